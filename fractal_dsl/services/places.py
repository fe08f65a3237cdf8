"""Places as editors count them: lines and UTF-16 code units, both from 0."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from msgspec import Struct

from fractal_dsl.language.source import Source, Span


class Point(Struct, frozen=True, order=True):
    """A place between two characters: its line, and the UTF-16 code units before it on the line."""

    line: int
    character: int


class Range(Struct, frozen=True):
    """A half-open range of a text."""

    start: Point
    end: Point


class FileRange(Struct, frozen=True):
    """A range of a file, which is given by its path."""

    file: str
    range: Range


class Edit(Struct, frozen=True):
    """A change: the new text of a range of a file."""

    file: str
    range: Range
    text: str


def units(text: str) -> int:
    """The UTF-16 code units of a text."""
    return len(text) + sum(c > "\uffff" for c in text)


def point_at(source: Source, offset: int) -> Point:
    """The point at an offset, which includes the base of the source."""
    line, column = source.position(min(max(offset, source.base), source.end))
    return Point(line - 1, units(source.line(line)[: column - 1]))


def range_of(source: Source, span: Span) -> Range:
    """The range of a span."""
    return Range(point_at(source, span.start), point_at(source, span.end))


def place_of(source: Source, span: Span) -> FileRange:
    """The place of a span in its file."""
    return FileRange(source.name, range_of(source, span))


def offset_at(source: Source, point: Point) -> int:
    """The offset of a point. A point after the end of its line, or of the text, counts as that end."""
    lines = source.text.split("\n")
    if point.line >= len(lines):
        return source.end
    line = lines[point.line]
    column, left = 0, point.character
    while column < len(line) and left > 0:
        left -= units(line[column])
        column += 1
    return source.base + sum(len(text) + 1 for text in lines[: point.line]) + column


def edited(sources: Mapping[str, Source], edits: Iterable[Edit]) -> dict[str, str]:
    """The texts of the sources after the edits, which do not overlap, by file."""
    texts = {file: source.text for file, source in sources.items()}
    for edit in sorted(edits, key=lambda edit: edit.range.start, reverse=True):
        source, text = sources[edit.file], texts[edit.file]
        start, end = (offset_at(source, point) - source.base for point in (edit.range.start, edit.range.end))
        texts[edit.file] = text[:start] + edit.text + text[end:]
    return texts
