"""The text of a program that Python built, whose places are lines of Python."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import cast

from fractal_dsl.builder.places import Place, place
from fractal_dsl.language import syntax as s
from fractal_dsl.language.source import Source, Span
from fractal_dsl.language.walk import SyntaxNode, parts


class Built(Source, frozen=True):
    """A text with the places in Python code of its nodes, as (start, end, place), outer nodes first."""

    places: tuple[tuple[int, int, Place], ...] = ()

    @property
    def path(self) -> Path:
        """The file that the text would be."""
        return Path(self.name).resolve()

    def where(self, span: Span) -> tuple[str, int, int, int, int]:
        """The place in Python code of the innermost node that holds a span."""
        start, end = span.start - self.base, span.end - self.base
        around = [at for first, last, at in self.places if first <= start and end <= last]
        at = around[-1] if around else self.places[0][2]
        path = Path(at.file)
        shown = path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
        return str(shown), at.line, at.column, at.end_line, at.end_column

    def gutter(self, number: int) -> str:
        """What stands before a line of the text: its number would be taken for one of Python."""
        return "frac"


def places_of(built: s.File, parsed: s.File) -> Iterator[tuple[int, int, Place]]:
    """The places of the nodes of a parsed tree, outer nodes first. ``built`` is the same tree with places as spans."""
    pairs = zip(built.decls, parsed.decls, strict=True)
    todo = [(cast(SyntaxNode, one), cast(SyntaxNode, other)) for one, other in pairs][::-1]
    while todo:
        one, other = todo.pop()
        yield other.span.start, other.span.end, place(one.span)
        todo += list(zip(parts(one), parts(other), strict=True))[::-1]
