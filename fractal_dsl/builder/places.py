"""Places in Python code: where a construct of the language was written.

A node that Python builds has a span whose ``start`` is the number of a place, not an offset.
"""

from __future__ import annotations

import inspect
from itertools import islice
from pathlib import Path
from types import FrameType
from typing import NamedTuple

from fractal_dsl.language.source import Span

_FOLDER = str(Path(__file__).parent)


class Place(NamedTuple):
    """A range of characters in a Python file. Lines and columns count from 1; the end is exclusive."""

    file: str
    line: int
    column: int
    end_line: int
    end_column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


_PLACES: list[Place] = []
_NUMBERS: dict[Place, int] = {}


def caller() -> FrameType:
    """The innermost frame outside this package."""
    frame = inspect.currentframe()
    assert frame is not None, "this Python has no frames"
    while frame.f_code.co_filename.startswith(_FOLDER) and frame.f_back is not None:
        frame = frame.f_back
    return frame


def here() -> Span:
    """The span of the construct that the innermost frame outside this package writes."""
    return span_of(caller())


def span_of(frame: FrameType) -> Span:
    """The span of what a frame executes."""
    code = frame.f_code
    line, end, column, end_column = next(islice(code.co_positions(), frame.f_lasti // 2, None))
    first = line or frame.f_lineno
    return number_of(Place(code.co_filename, first, (column or 0) + 1, end or first, (end_column or 0) + 1))


def number_of(place: Place) -> Span:
    """The span that stands for a place."""
    number = _NUMBERS.setdefault(place, len(_PLACES))
    if number == len(_PLACES):
        _PLACES.append(place)
    return Span(number, number)


def place(span: Span) -> Place:
    """The place that a span of a built node stands for."""
    return _PLACES[span.start]
