"""Source text, spans in it, and excerpts with carets."""

from __future__ import annotations

import errno
import os
import stat
from bisect import bisect_right
from functools import cached_property
from pathlib import Path

from msgspec import Struct

from fractal_dsl.base.texts import display_width

MAX_SOURCE_BYTES = 1_000_000


class Span(Struct, frozen=True):
    """A half-open range of characters, ``start`` to ``end``, in one source."""

    start: int
    end: int

    def to(self, other: Span) -> Span:
        """The smallest span that covers this one and ``other``."""
        return Span(min(self.start, other.start), max(self.end, other.end))


class Source(Struct, frozen=True, dict=True):
    """A source text and its name in messages.

    ``base`` is the offset of its first character. Each imported file has its own range of offsets, so that a span alone
    identifies its file. Every offset that this class takes includes ``base``.
    """

    name: str
    text: str
    base: int = 0

    def __repr__(self) -> str:
        return f"Source({self.name!r})"

    @classmethod
    def read(cls, path: str | Path, base: int = 0) -> Source:
        """Read a UTF-8 file. Raises OSError (also for a folder or a pipe, which might never end), UnicodeDecodeError,
        or ValueError if it is larger than 1 MB or contains a NUL byte."""
        file = Path(path)
        mode = file.stat().st_mode
        if not stat.S_ISREG(mode):
            reason = "it is a folder" if stat.S_ISDIR(mode) else "it is not a regular file"
            raise OSError(errno.EINVAL, reason, str(path))
        with file.open("rb") as opened:
            data = opened.read(MAX_SOURCE_BYTES + 1)
            size = os.fstat(opened.fileno()).st_size
        if len(data) > MAX_SOURCE_BYTES:
            raise ValueError(f"the file has {size:,} bytes; the limit is {MAX_SOURCE_BYTES:,}")
        text = data.decode("utf-8").removeprefix("\ufeff")
        if "\0" in text:
            raise ValueError("the file contains a NUL byte; a .frac file is text")
        return cls(str(path), text, base)

    @property
    def end(self) -> int:
        """The offset after the last character."""
        return self.base + len(self.text)

    def slice(self, span: Span) -> str:
        """The text of a span."""
        return self.text[span.start - self.base : span.end - self.base]

    @cached_property
    def _line_starts(self) -> list[int]:
        return [0, *(i + 1 for i, c in enumerate(self.text) if c == "\n")]

    def position(self, offset: int) -> tuple[int, int]:
        """The line and column of a character, both counted from 1."""
        offset -= self.base
        line = bisect_right(self._line_starts, offset)
        return line, offset - self._line_starts[line - 1] + 1

    @property
    def path(self) -> Path | None:
        """The file that the text is, or the new file that an editor has not saved yet; None if it is not a file."""
        path = Path(self.name)
        unsaved = path.is_absolute() and path.parent.is_dir() and not path.exists()
        return path.resolve() if unsaved or path.is_file() else None

    def where(self, span: Span) -> tuple[str, int, int, int, int]:
        """The file, line, column, last line and last column of a span, for people. The end is exclusive."""
        return (self.name, *self.position(span.start), *self.position(span.end))

    def gutter(self, number: int) -> str:
        """What stands before a line in an excerpt: its number."""
        return f"{number:>4}"

    def line(self, number: int) -> str:
        """The text of a line (counted from 1), without its line break."""
        start = self._line_starts[number - 1]
        end = self.text.find("\n", start)
        return self.text[start : end if end >= 0 else None].rstrip("\r")

    def excerpt(self, span: Span) -> str:
        """The first line of the span with carets under it."""
        number, column = self.position(span.start)
        last, end_column = self.position(max(span.end, span.start))
        text = self.line(number)
        width = (end_column if last == number else len(text) + 1) - column
        if len(text) > 160:  # keep a window around the caret: longer lines are unreadable in a terminal
            cut = max(0, column - 60)
            text, column = text[cut : cut + 160], column - cut
        shown = "".join(c if c.isprintable() else " " if c == "\t" else "·" for c in text)
        width = max(1, min(width, len(shown) - column + 2))
        before, under = shown[: column - 1], shown[column - 1 : column - 1 + width]
        carets = "^" * (display_width(under) + width - len(under))
        gutter = self.gutter(number)
        return f"{gutter} | {shown}\n{' ' * len(gutter)} | {' ' * display_width(before)}{carets}"


class Located(str):
    """The value of a parameter, read from a file. ``source`` is the file; ``name`` and ``span`` are the spans of the
    parameter's name and value in it."""

    source: Source
    name: Span
    span: Span

    @classmethod
    def at(cls, text: str, source: Source, name: Span, span: Span) -> Located:
        """The value with its place in the file."""
        located = cls(text)
        located.source, located.name, located.span = source, name, span
        return located


class Sources(Struct, frozen=True):
    """The sources of a program: the file itself and its imports."""

    all: tuple[Source, ...]

    def at(self, span: Span) -> Source:
        """The source that contains a span."""
        return next((s for s in reversed(self.all) if s.base <= span.start), self.all[0])

    def slice(self, span: Span) -> str:
        """The text of a span."""
        return self.at(span).slice(span)
