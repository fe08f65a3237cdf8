"""Layouts: rectangles, lines and texts at exact coordinates, in points, y downwards."""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct, field
from msgspec.structs import replace

from fractal_dsl.ops import Tensor
from fractal_dsl.picture.graph_to_dot.sizes import SMALL, TITLE
from fractal_dsl.picture.graph_to_dot.tree import Series
from fractal_dsl.picture.graph_to_dot.units import FrameKey, shape_text

Coordinates = tuple[float, float]


class Rect(Struct, frozen=True):
    """A rectangle by its edges."""

    left: float
    top: float
    right: float
    bottom: float

    @property
    def middle(self) -> float:
        """The x of its centre."""
        return (self.left + self.right) / 2


class PlacedText(Struct, frozen=True):
    """A text and the point at its centre."""

    text: str
    at: Coordinates


class Connector(Struct, frozen=True):
    """A line from the edge of one unit to the edge of another, with a corner at each point between. It stands for the
    ``id`` nodes that it leads through."""

    source: int
    target: int
    points: tuple[Coordinates, ...]
    through: tuple[int, ...] = ()


class Placed(Struct):
    """A layout: rectangles of units and frames (with their titles), and edges.

    ``entering[e]`` is the shape written where edge e enters a frame, ``leaving[u]`` where the output of unit u leaves
    its frame. ``parts`` are the strips, side by side. ``movable`` means that items below each other in the tree are
    below each other in the picture.
    """

    units: dict[int, Rect] = field(default_factory=dict[int, Rect])
    frames: dict[FrameKey, tuple[Rect, PlacedText]] = field(default_factory=dict[FrameKey, tuple[Rect, PlacedText]])
    edges: list[Connector] = field(default_factory=list[Connector])
    entering: dict[int, PlacedText] = field(default_factory=dict[int, PlacedText])
    leaving: dict[int, PlacedText] = field(default_factory=dict[int, PlacedText])
    parts: list[Series] = field(default_factory=list[Series])
    movable: bool = True

    def rects(self) -> list[Rect]:
        """The rectangles of units, frames and the corners of lines."""
        corners = (Rect(x, y, x, y) for edge in self.edges for x, y in edge.points)
        return [*self.units.values(), *(rect for rect, _ in self.frames.values()), *corners]

    def moved(self, x: float, y: float) -> Placed:
        """The layout moved by (x, y) points."""

        return self._mapped(lambda at: (at[0] + x, at[1] + y))

    def upside_down(self) -> Placed:
        """The layout mirrored vertically. Titles stay at the top of their frames."""
        turned = self._mapped(lambda at: (at[0], -at[1]))
        for key, (rect, title) in turned.frames.items():
            turned.frames[key] = rect, PlacedText(title.text, (title.at[0], rect.top + TITLE / 2 + 2))
        return turned

    def _mapped(self, to: Callable[[Coordinates], Coordinates]) -> Placed:
        def rect(r: Rect) -> Rect:
            (left, a), (right, b) = to((r.left, r.top)), to((r.right, r.bottom))
            return Rect(left, min(a, b), right, max(a, b))

        def text(t: PlacedText) -> PlacedText:
            return PlacedText(t.text, to(t.at))

        return replace(
            self,
            units={key: rect(r) for key, r in self.units.items()},
            frames={key: (rect(r), text(t)) for key, (r, t) in self.frames.items()},
            edges=[replace(e, points=tuple(map(to, e.points))) for e in self.edges],
            entering={key: text(t) for key, t in self.entering.items()},
            leaving={key: text(t) for key, t in self.leaving.items()},
        )


def half_width(text: str) -> float:
    """About half the width of a small text in Helvetica, in points. Graphviz positions texts by their centres."""
    return SMALL / 2 * sum(0.28 if c in "fijlrt·.,[]() " else 0.56 for c in text)


def shape_beside(tensor: Tensor, x: float, y: float) -> PlacedText:
    """A shape to the right of a line at ``x``."""
    text = shape_text(tensor)
    return PlacedText(text, (x + 6 + half_width(text), y))
