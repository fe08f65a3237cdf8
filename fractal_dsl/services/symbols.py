"""What a name may refer to: a symbol, which a file declares, or something built in."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, get_args

from msgspec import Struct

from fractal_dsl.language import syntax as s
from fractal_dsl.language.imports import Files
from fractal_dsl.language.source import Source, Span
from fractal_dsl.ops import JOINS, LAYERS
from fractal_dsl.program.syntax_to_program.values import BUILTINS

# fmt: off
SymbolKind = Literal[
    "layer", "join", "rule", "net", "param", "let", "shared", "file", "alias", "parameter", "level", "item", "value",
    "input",
]
# fmt: on
KINDS: tuple[SymbolKind, ...] = get_args(SymbolKind)


class Symbol(Struct, frozen=True, eq=False):
    """A declared name. ``span`` is the name where it is declared; ``node`` is its declaration.

    An ``alias`` is a name that ``from … import … as`` gives to the symbol ``of``."""

    kind: SymbolKind
    name: str
    source: Source
    span: Span
    node: s.Decl | s.Parameter | s.Case | s.Comprehension | s.Binding
    of: Symbol | None = None

    @property
    def key(self) -> tuple[str, int]:
        """The key of the symbol: the file, and the offset of the declared name in it."""
        return self.source.name, self.span.start - self.source.base

    @property
    def declared(self) -> Symbol:
        """The symbol itself, or what it is an alias of."""
        return self.of.declared if self.of else self

    @property
    def params(self) -> tuple[s.Parameter, ...]:
        """The parameters of a layer, a join or a rule."""
        node = self.declared.node
        return node.params if isinstance(node, s.LayerDecl | s.RuleDecl | s.Extern) else ()


class Native(Struct, frozen=True):
    """Something built in. ``owner`` is what a setting or a parameter belongs to, such as ``conv2d``."""

    kind: Literal["layer", "join", "function", "parameter", "setting", "variant", "option", "annotation"]
    name: str
    owner: str = ""


class Use(Struct, frozen=True):
    """A name in a text, and what it refers to."""

    span: Span
    of: Symbol | Native


def native(name: str) -> Native | None:
    """The built-in layer, join or function of a name."""
    kind = "layer" if name in LAYERS else "join" if name in JOINS else "function" if name in BUILTINS else None
    return Native(kind, name) if kind else None


_KINDS: dict[type[object], SymbolKind] = {s.RuleDecl: "rule", s.NetDecl: "net", s.Param: "param", s.Import: "file"}


class Declared:
    """The declared names of a text and of what it imports."""

    def __init__(self, files: Files) -> None:
        self.files = files
        self._tops: dict[int, dict[str, Symbol]] = {}

    def top(self, file: s.File) -> dict[str, Symbol]:
        """The declared names of a file; what it imports by name is the other file's symbol."""
        if id(file) not in self._tops:
            result: dict[str, Symbol] = {}
            for decl in file.decls:
                for symbol in self._declared(file, decl):
                    result.setdefault(symbol.name, symbol)
            self._tops[id(file)] = result
        return self._tops[id(file)]

    def _declared(self, file: s.File, decl: s.Decl) -> Iterator[Symbol]:
        source = file.source
        match decl:
            case s.FromImport():
                for there, here in decl.names:
                    target = self.imported(decl, there.id)
                    if target is None or there.span != here.span:
                        yield Symbol("alias", here.id, source, here.span, decl, target)
                    else:
                        yield target
            case s.TrainDecl() | s.BrokenDecl():
                pass
            case s.Let():
                yield Symbol("shared" if decl.shared else "let", decl.name.id, source, decl.name.span, decl)
            case s.LayerDecl() | s.Extern():
                yield Symbol("join" if decl.is_join else "layer", decl.name.id, source, decl.name.span, decl)
            case _:
                yield Symbol(_KINDS[type(decl)], decl.name.id, source, decl.name.span, decl)

    def imported(self, decl: s.Import | s.FromImport, name: str) -> Symbol | None:
        """The symbol of a name that an imported file declares."""
        target = self.files.targets.get(decl.path.span)
        return None if target is None else self.top(target).get(name)
