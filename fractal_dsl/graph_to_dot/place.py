"""Where everything goes: exact coordinates in points, y downwards, x = 0 the middle of the net.

Columns are lanes that run straight through the whole net. A branch is centred in the height of its neighbours, so
that the one layer of a shallow column stands beside the middle of a deep one, as in the paper's figure 1.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import pairwise, takewhile

from fractal_dsl.graph_to_dot.sizes import (
    LANE_GAP,
    RAIL,
    SMALL,
    TITLE,
    Sizes,
    gap,
    grid,
    into,
    out,
    shape_text,
    top,
)
from fractal_dsl.graph_to_dot.tree import Frame, Item, Leaf, Parallel, Series
from fractal_dsl.graph_to_dot.units import FrameKey
from fractal_dsl.ops import Tensor

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Rect:
    """A rectangle by its edges."""

    left: float
    top: float
    right: float
    bottom: float

    @property
    def middle(self) -> float:
        """The x of its centre."""
        return (self.left + self.right) / 2


@dataclass(frozen=True, slots=True)
class Text:
    """A text and the point at which it is centred."""

    text: str
    at: Point


@dataclass(frozen=True, slots=True)
class Edge:
    """Straight pieces from the bottom of a unit to the top of another; a corner at each point between."""

    source: int
    target: int
    points: tuple[Point, ...]


@dataclass
class Placed:
    """A layout: rectangles of units and frames (with their titles), and edges.

    ``entering[e]`` is the shape written where edge e enters a frame, ``leaving[u]`` where unit u feeds what is
    outside its frame.
    """

    units: dict[int, Rect] = field(default_factory=dict[int, Rect])
    frames: dict[FrameKey, tuple[Rect, Text]] = field(default_factory=dict[FrameKey, tuple[Rect, Text]])
    edges: list[Edge] = field(default_factory=list[Edge])
    entering: dict[int, Text] = field(default_factory=dict[int, Text])
    leaving: dict[int, Text] = field(default_factory=dict[int, Text])


@dataclass(frozen=True, slots=True)
class _Route:
    """A line on its way down from a unit: it turns at height ``turn``, or drops straight where ``bar`` is above."""

    source: int
    points: tuple[Point, ...]
    turn: float = 0.0
    bar: tuple[float, float] | None = None

    def to(self, x: float, y: float) -> tuple[Point, ...]:
        (last_x, last_y) = self.points[-1]
        if self.bar and self.bar[0] <= x <= self.bar[1]:
            return ((x, last_y), (x, y))
        if abs(x - last_x) < 0.01:
            return (*self.points, (x, y))
        return (*self.points, (last_x, self.turn), (x, self.turn), (x, y))


@dataclass(frozen=True, slots=True)
class _Area:
    """The width that an item may take, and whether the columns in it lie on the net's grid."""

    left: float
    right: float
    on_grid: bool

    @property
    def middle(self) -> float:
        return (self.left + self.right) / 2


def place(tree: Series) -> Placed:
    """Lay a tree out."""
    placer = _Placer(Sizes(tree))
    placer.series(tree, _Area(0.0, 0.0, True), 0.0, placer.sizes.height(tree), None)
    return placer.placed


class _Placer:
    """Walks the tree from top to bottom. Each method takes the height at which its part begins and the routes that
    come from above, and returns the routes that leave the part's bottom."""

    def __init__(self, sizes: Sizes) -> None:
        self.sizes = sizes
        self.placed = Placed()

    def series(self, series: Series, area: _Area, y: float, height: float, route: _Route | None) -> list[_Route]:
        items, slack = series.items, height - self.sizes.height(series)
        stretched = isinstance(items[-1], Parallel) and any(_pinned(b) for b in items[-1].branches)
        moved = len(items) - _pinned(series)  # what `each` put before a join stands at the bottom of its lane
        y += 0.0 if stretched else slack / 2
        routes = [] if route is None else [route]
        span = (area.left, area.right)
        for i, item in enumerate(items):
            distance = gap(items[i - 1], item) if i else 0.0
            if i == moved and not stretched:
                distance += slack / 2
            own = self.sizes.height(item) + (slack if stretched and i == len(items) - 1 else 0.0)
            y += distance
            if i and len(routes) == 1:
                routes = [_turned(routes[0], item, y, distance)]
            match item:
                case Parallel():
                    routes, span = self.parallel(item, area, y, own, routes[0])
                case Leaf() if item.unit.kind == "join":
                    routes = [self.bar(item, span, y, own, routes)]
                case Leaf():
                    routes = [self.box(item, area, y, own, routes[0] if routes else None)]
                case Frame():
                    routes = [self.frame(item, area, y, own, routes[0])]
            y += own
        return routes

    def parallel(
        self, item: Parallel, area: _Area, y: float, height: float, route: _Route
    ) -> tuple[list[_Route], tuple[float, float]]:
        """Also returns the left and right edge of what the branches span."""
        spans = grid(item) if area.on_grid else None
        if spans:
            lanes = self.sizes.lanes
            areas = [_Area(lanes[a][0], lanes[b][1], a != b) for a, b in spans]
        else:
            areas, x = list[_Area](), area.middle - self.sizes.width(item) / 2
            for branch in item.branches:
                right = x + self.sizes.width(branch)
                areas.append(_Area(x, right, False))
                x = right + LANE_GAP
        span = areas[0].left, areas[-1].right
        if route.bar and not (route.bar[0] <= span[0] and span[1] <= route.bar[1]):
            route = replace(route, bar=None)
        below: list[_Route] = []
        for branch, inner in zip(item.branches, areas, strict=True):
            below += self.series(branch, inner, y, height, route)
        return below, span

    def box(self, item: Leaf, area: _Area, y: float, height: float, route: _Route | None) -> _Route:
        half = self.sizes.width(item) / 2
        rect = Rect(area.middle - half, y, area.middle + half, y + height)
        self.placed.units[item.number] = rect
        if route is not None:
            self._edge(route.source, item.number, route.to(rect.middle, y))
        return _Route(item.number, ((rect.middle, rect.bottom),))

    def bar(self, item: Leaf, span: tuple[float, float], y: float, height: float, routes: list[_Route]) -> _Route:
        rect = Rect(span[0], y, span[1], y + height)
        self.placed.units[item.number] = rect
        for route in routes:
            self._edge(route.source, item.number, (*route.points, (route.points[-1][0], y)))
        return _Route(item.number, ((rect.middle, rect.bottom),), bar=span)

    def frame(self, item: Frame, area: _Area, y: float, height: float, route: _Route) -> _Route:
        first, last = item.body.items[0], item.body.items[-1]
        inner = _Area(*self.sizes.extent(item.body, area.middle, area.on_grid), area.on_grid)
        left, right = self.sizes.frame_edges(item, inner.left, inner.right)
        rect = Rect(left, y, right, y + height)
        room = self.sizes.half_frame(item)
        x = route.points[-1][0]
        if isinstance(first, Leaf) or not left + room <= x <= right - room:
            x = rect.middle
        title = Text(item.title, (left + 10 + _half(item.title), y + TITLE / 2 + 2))
        self.placed.frames[item.key] = (rect, title)

        crossing, body_top = len(self.placed.edges), y + top(item)
        entered = _Route(route.source, route.to(x, y), turn=body_top - (RAIL if isinstance(first, Parallel) else 5.0))
        (end,) = self.series(item.body, inner, body_top, self.sizes.height(item.body), entered)
        tensor = into(item)
        if tensor is not None and not isinstance(first, Frame):
            self.placed.entering[crossing] = _beside(tensor, x, title.at[1])
        if not isinstance(last, Frame):
            self.placed.leaving[end.source] = _beside(out(item), end.points[-1][0], rect.bottom - 8)
        return replace(end, bar=None)

    def _edge(self, source: int, target: int, points: tuple[Point, ...]) -> None:
        kept = [points[0]]
        for here, after in pairwise(points[1:]):
            if not kept[-1][0] == here[0] == after[0]:
                kept.append(here)
        self.placed.edges.append(Edge(source, target, (*kept, points[-1])))


def _turned(route: _Route, item: Item, y: float, distance: float) -> _Route:
    """The route with the height at which it turns on its way to an item at ``y``."""
    return replace(route, turn=y - (RAIL if isinstance(item, Parallel) else distance / 2))


def _pinned(series: Series) -> int:
    """How many items at the end of a branch `each` has put there."""
    behind = takewhile(lambda item: isinstance(item, Leaf) and item.unit.pinned, reversed(series.items))
    return sum(1 for _ in behind)


def _half(text: str) -> float:
    """About half the width of a small text in Helvetica: Graphviz places texts by their centres."""
    return SMALL / 2 * sum(0.28 if c in "fijlrt·.,[]() " else 0.56 for c in text)


def _beside(tensor: Tensor, x: float, y: float) -> Text:
    """A shape to the right of a line."""
    text = shape_text(tensor)
    return Text(text, (x + 6 + _half(text), y))
