"""A program that Python built: its declarations, its text, and its nets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from fractal_dsl.base.deep import deep
from fractal_dsl.builder.declaration import Declaration, declarations_of
from fractal_dsl.builder.errors import BuilderError
from fractal_dsl.builder.nodes import BUILT_IN, refs
from fractal_dsl.builder.places import here, place
from fractal_dsl.builder.source import Built, places_of
from fractal_dsl.compiled import MAX_LAYERS, Compiled
from fractal_dsl.language import syntax as s
from fractal_dsl.language.source import Source
from fractal_dsl.language.syntax_to_text import syntax_to_text
from fractal_dsl.pipeline import check, parse, pick


class Spec:
    """A file of the language: nets, training settings, and other declarations, with everything that they mention.

    ``Net`` has the same methods for a file with one net.
    """

    def __init__(self, *parts: Any) -> None:
        self.at = here()
        self.roots: list[Declaration] = []
        for part in parts:
            declared = declarations_of(part)
            if not declared:
                raise BuilderError(f"a program consists of declarations, not of {part!r}")
            self.roots += [d for d in declared if d not in self.roots]

    def file(self) -> s.File:
        """The tree of the program. Its spans are places in Python code."""
        with deep():
            built = self._reached()
        names: dict[str, Declaration] = {}
        for declaration in sorted(built, key=lambda d: d.number):
            for name in declaration.names:
                if name in names:
                    first = place(names[name].at)
                    raise BuilderError(f"`{name}` is declared in {first}, too: rename one of them", declaration.at)
                names[name] = declaration
        for tree in built.values():
            for ref in refs(tree):
                if ref.of == BUILT_IN and ref.id in names:
                    raise BuilderError(f"this declaration hides the built-in `{ref.id}`", names[ref.id].at)
        decls = [built[d] for d in sorted(built, key=lambda d: (isinstance(built[d], s.TrainDecl), d.number))]
        return s.File(Source("spec.frac", ""), s.Literal(1, self.at), tuple(decls))

    def _reached(self) -> dict[Declaration, s.Decl]:
        """The declarations that the parts mention, directly or through others."""
        built: dict[Declaration, s.Decl] = {}
        todo = [*self.roots]
        while todo:
            declaration = todo.pop()
            if declaration not in built:
                built[declaration] = declaration.built()
                todo += [ref.of for ref in refs(built[declaration]) if isinstance(ref.of, Declaration)]
        return built

    def to_frac(self) -> str:
        """The text of the program in the style of ``fmt``. Raises BuilderError for what has no text."""
        return self._source().text

    def compile(
        self,
        params: Mapping[str, object] | None = None,
        net: str | None = None,
        *,
        max_layers: int = MAX_LAYERS,
        allow_python: bool = False,
    ) -> Compiled:
        """A net (the last, unless ``net`` names one), as ``compile_file`` gives it for the text of the program.

        Paths are relative to the folder of the Python file. Raises FracError with every error; each points at its line
        of Python and shows the text of the language.
        """
        return pick(check(self._source(), params, max_layers, allow_python=allow_python), net)

    def _source(self) -> Built:
        tree = self.file()
        text = syntax_to_text(tree)
        name = self._name()
        parsed = parse(Source(name, text))
        return Built(name, text, places=tuple(places_of(tree, parsed)))

    def _name(self) -> str:
        """The path of the file beside the Python file that holds the program."""
        return next(self._names(), "spec.frac")

    def _names(self) -> Iterator[str]:
        for declaration in self.roots:
            path = Path(place(declaration.at).file)
            if path.is_file():
                yield str(path.with_suffix(".frac"))
