"""A text in the canonical style."""

from __future__ import annotations

from fractal_dsl.language.source import Source
from fractal_dsl.pipeline import parse
from fractal_dsl.services.places import Edit, Point, Range, point_at


def canonical_text(source: Source) -> str:
    """A source in the canonical style, with the line ending of its first line. Raises FracError for syntax errors."""
    from fractal_dsl.language.syntax_to_text import syntax_to_text

    text = syntax_to_text(parse(source))
    first, _, _ = source.text.partition("\n")
    return text.replace("\n", "\r\n") if first.endswith("\r") else text


def format_edits(source: Source) -> list[Edit]:
    """The edits that format a text: one that spans the lines that change, or none.

    Raises FracError for syntax errors."""
    before, after = source.text.splitlines(keepends=True), canonical_text(source).splitlines(keepends=True)
    if before == after:
        return []
    head, tail = 0, 0
    least = min(len(before), len(after))
    while head < least and before[head] == after[head]:
        head += 1
    while tail < least - head and before[-1 - tail] == after[-1 - tail]:
        tail += 1
    end = Point(len(before) - tail, 0) if tail else point_at(source, source.end)
    return [Edit(source.name, Range(Point(head, 0), end), "".join(after[head : len(after) - tail]))]
