"""What the names of a text stand for: each use, with the declaration that it refers to."""

from __future__ import annotations

from bisect import bisect_right

from fractal_dsl.language import syntax as s
from fractal_dsl.language.imports import Files
from fractal_dsl.services.symbols import Declared, Symbol, Use
from fractal_dsl.services.uses import uses


class NameIndex:
    """The uses of names in a text and in what it imports, in the order of the texts, declarations included."""

    def __init__(self, files: Files) -> None:
        self._declared = Declared(files)
        every = {id(file): file for file in (files.main, *files.targets.values())}
        by_span = {(u.span.start, u.span.end): u for file in every.values() for u in uses(self._declared, file)}
        self.uses = sorted(by_span.values(), key=lambda use: use.span.start)
        self._starts = [use.span.start for use in self.uses]

    def at(self, offset: int) -> Use | None:
        """The use of a name at an offset: the one around it, else the one that ends there."""
        last = bisect_right(self._starts, offset)
        return next((u for u in reversed(self.uses[max(0, last - 2) : last]) if offset <= u.span.end), None)

    def top(self, file: s.File) -> dict[str, Symbol]:
        """The declared names of a file; what it imports by name is the other file's symbol."""
        return self._declared.top(file)

    def imported(self, decl: s.Import | s.FromImport, name: str) -> Symbol | None:
        """The symbol of a name that an imported file declares."""
        return self._declared.imported(decl, name)
