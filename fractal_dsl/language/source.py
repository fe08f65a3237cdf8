"""Source text, spans in it, and excerpts with carets."""

from __future__ import annotations

import errno
import os
import stat
import unicodedata
from bisect import bisect_right
from functools import cached_property
from pathlib import Path

from msgspec import Struct

MAX_SOURCE_BYTES = 1_000_000


class Span(Struct, frozen=True):
    """A half-open range of characters, ``start`` to ``end``, in one source."""

    start: int
    end: int

    def to(self, other: Span) -> Span:
        """The smallest span that covers this one and ``other``."""
        return Span(min(self.start, other.start), max(self.end, other.end))


class Source(Struct, frozen=True, dict=True):
    """A text and the name under which messages show it.

    Where a file imports others, ``base`` is where its characters are counted from, so that a span tells
    its file by itself; every offset that this class takes counts from there.
    """

    name: str
    text: str
    base: int = 0

    def __repr__(self) -> str:
        return f"Source({self.name!r})"

    @classmethod
    def read(cls, path: str | Path, base: int = 0) -> Source:
        """Read a UTF-8 file. Raises OSError (also for a folder or a pipe, which might never end),
        UnicodeDecodeError, or ValueError if it is over 1 MB."""
        file = Path(path)
        mode = file.stat().st_mode
        if not stat.S_ISREG(mode):
            what = "it is a folder" if stat.S_ISDIR(mode) else "it is not a regular file"
            raise OSError(errno.EINVAL, what, str(path))
        with file.open("rb") as opened:
            data = opened.read(MAX_SOURCE_BYTES + 1)
            size = os.fstat(opened.fileno()).st_size
        if len(data) > MAX_SOURCE_BYTES:
            raise ValueError(f"the file has {size:,} bytes; the limit is {MAX_SOURCE_BYTES:,}")
        text = data.decode("utf-8").removeprefix("\ufeff")
        if "\0" in text:
            raise ValueError("the file holds a NUL byte; a .frac file is text")
        return cls(str(path), text, base)

    @property
    def end(self) -> int:
        """The offset behind the last character."""
        return self.base + len(self.text)

    def slice(self, span: Span) -> str:
        """The text of a span."""
        return self.text[span.start - self.base : span.end - self.base]

    @cached_property
    def _line_starts(self) -> list[int]:
        return [0, *(i + 1 for i, c in enumerate(self.text) if c == "\n")]

    def position(self, offset: int) -> tuple[int, int]:
        """Line and column of a character, both counted from 1."""
        offset -= self.base
        line = bisect_right(self._line_starts, offset)
        return line, offset - self._line_starts[line - 1] + 1

    def line(self, number: int) -> str:
        """The text of a line (counted from 1), without its end."""
        start = self._line_starts[number - 1]
        end = self.text.find("\n", start)
        return self.text[start : end if end >= 0 else None].rstrip("\r")

    def excerpt(self, span: Span) -> str:
        """The first line of the span with carets under it."""
        number, column = self.position(span.start)
        last, end_column = self.position(max(span.end, span.start))
        text = self.line(number)
        width = (end_column if last == number else len(text) + 1) - column
        if len(text) > 160:  # keep a window around the caret: no terminal shows a longer line well
            cut = max(0, column - 60)
            text, column = text[cut : cut + 160], column - cut
        shown = "".join(c if c.isprintable() else " " if c == "\t" else "·" for c in text)
        width = max(1, min(width, len(shown) - column + 2))
        before, under = shown[: column - 1], shown[column - 1 : column - 1 + width]
        carets = "^" * (_cells(under) + width - len(under))
        gutter = f"{number:>4}"
        return f"{gutter} | {shown}\n{' ' * len(gutter)} | {' ' * _cells(before)}{carets}"


def _cells(text: str) -> int:
    """How many columns of a terminal a text takes: two for each wide character, none for one that combines."""
    wide = sum(unicodedata.east_asian_width(c) in "WF" for c in text)
    return len(text) + wide - sum(unicodedata.combining(c) > 0 for c in text)


class Located(str):
    """A text from a file: the value of a parameter. ``source`` is the file; in it the parameter's name is at
    ``name``, its value at ``span``."""

    source: Source
    name: Span
    span: Span

    @classmethod
    def at(cls, text: str, source: Source, name: Span, span: Span) -> Located:
        """The text with its place."""
        located = cls(text)
        located.source, located.name, located.span = source, name, span
        return located


class Sources(Struct, frozen=True):
    """The texts that a program is made of: the file itself, and what it imports."""

    all: tuple[Source, ...]

    def at(self, span: Span) -> Source:
        """The text that a span lies in."""
        return next((s for s in reversed(self.all) if s.base <= span.start), self.all[0])

    def slice(self, span: Span) -> str:
        """The text of a span."""
        return self.at(span).slice(span)
