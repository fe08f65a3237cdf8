"""Points, boxes and lines as Graphviz writes them: lines are Bezier curves with rounded corners."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from itertools import pairwise

from msgspec import Struct

from fractal_dsl.picture.graph_to_dot.placed import Coordinates, Rect

_ARROW = 5.0  # Graphviz's arrowhead at arrowsize 0.5
_CORNER = 5.0


class Canvas(Struct, frozen=True):
    """Converts coordinates: Graphviz's y goes up from the bottom left corner."""

    left: float
    bottom: float

    def point(self, at: Coordinates) -> str:
        """A point as DOT writes it."""
        return f"{decimal(at[0] - self.left)},{decimal(self.bottom - at[1])}"

    def box(self, rect: Rect) -> str:
        """The corners of a rectangle."""
        return f"{self.point((rect.left, rect.bottom))},{self.point((rect.right, rect.top))}"

    def node(self, rect: Rect) -> dict[str, str]:
        """The position of a node, and its size in inches."""
        return {
            "pos": self.point((rect.middle, (rect.top + rect.bottom) / 2)),
            "width": decimal((rect.right - rect.left) / 72, 4),
            "height": decimal((rect.bottom - rect.top) / 72, 4),
        }


def own_part(path: tuple[Coordinates, ...], others: Iterable[tuple[Coordinates, ...]]) -> tuple[Coordinates, ...]:
    """The rest of a path after the last point that it shares with others from the start.

    Graphviz draws the lines from a box in its own order, so a dropped line must not cover a live one.
    """
    return min((_behind(path, other) for other in others), key=_length, default=path)


def _behind(path: tuple[Coordinates, ...], other: tuple[Coordinates, ...]) -> tuple[Coordinates, ...]:
    if path[0] != other[0]:
        return path
    at, ours, theirs = path[0], list(path[1:]), list(other[1:])
    while len(ours) > 1 or (ours and theirs and ours[0] != theirs[0]):
        if not theirs or _direction(at, ours[0]) != _direction(at, theirs[0]):
            break
        at = min(ours[0], theirs[0], key=partial(_distance, at))
        ours, theirs = ours[ours[0] == at :], theirs[theirs[0] == at :]
    return (at, *ours)


def _direction(start: Coordinates, end: Coordinates) -> tuple[bool, bool, bool, bool]:
    return end[0] > start[0], end[0] < start[0], end[1] > start[1], end[1] < start[1]


def _distance(a: Coordinates, b: Coordinates) -> float:
    return abs(b[0] - a[0]) + abs(b[1] - a[1])


def _length(path: tuple[Coordinates, ...]) -> float:
    return sum(_distance(a, b) for a, b in pairwise(path))


def spline(points: tuple[Coordinates, ...], canvas: Canvas, arrow: bool) -> str:
    """Straight lines with rounded corners as Bezier curves for Graphviz, with the tip of the arrow, if any."""
    tip = points[-1]
    path = [*points[:-1], _back(tip, points[-2])] if arrow else points
    curve = [path[0]]
    for before, corner, after in zip(path, path[1:], path[2:], strict=False):
        start, end = _towards(corner, before), _towards(corner, after)
        curve += [*_straight(curve[-1], start), corner, corner, end]
    curve += _straight(curve[-1], path[-1])
    return (f"e,{canvas.point(tip)} " if arrow else "") + " ".join(map(canvas.point, curve))


def _back(tip: Coordinates, before: Coordinates) -> Coordinates:
    """The point where the arrow at the end of a line begins."""
    length = _distance(before, tip)
    return tip[0] - (tip[0] - before[0]) / length * _ARROW, tip[1] - (tip[1] - before[1]) / length * _ARROW


def _straight(start: Coordinates, end: Coordinates) -> list[Coordinates]:
    """The last three control points of a straight line."""
    return [start, end, end]


def _towards(corner: Coordinates, other: Coordinates) -> Coordinates:
    """The point at which a rounded corner meets the straight line towards ``other``."""
    length = abs(other[0] - corner[0]) + abs(other[1] - corner[1])
    part = min(_CORNER, length / 2) / length
    return corner[0] + (other[0] - corner[0]) * part, corner[1] + (other[1] - corner[1]) * part


def decimal(x: float, digits: int = 2) -> str:
    """A number without trailing zeros."""
    text = f"{x:.{digits}f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text
