"""Where everything goes: exact coordinates in points, y downwards, x = 0 the middle of the net.

Columns are lanes that run straight through the whole net. A branch is centred in the height of its neighbours, so
that the one layer of a shallow column stands beside the middle of a deep one, as in the paper's figure 1.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import pairwise, takewhile
from math import log

from fractal_dsl.graph_to_dot.sizes import (
    GAP,
    LANE_GAP,
    RAIL,
    SMALL,
    TITLE,
    Sizes,
    gap,
    grid,
    into,
    out,
    top,
)
from fractal_dsl.graph_to_dot.tree import Frame, Item, Leaf, Parallel, Series
from fractal_dsl.graph_to_dot.units import FrameKey, shape_text
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

    def rects(self) -> list[Rect]:
        """Everything that takes room, the corners of lines too."""
        corners = (Rect(x, y, x, y) for edge in self.edges for x, y in edge.points)
        return [*self.units.values(), *(rect for rect, _ in self.frames.values()), *corners]

    def moved(self, x: float, y: float) -> Placed:
        """The same layout elsewhere."""

        def rect(r: Rect) -> Rect:
            return Rect(r.left + x, r.top + y, r.right + x, r.bottom + y)

        def text(t: Text) -> Text:
            return Text(t.text, (t.at[0] + x, t.at[1] + y))

        return Placed(
            {key: rect(r) for key, r in self.units.items()},
            {key: (rect(r), text(t)) for key, (r, t) in self.frames.items()},
            [Edge(e.source, e.target, tuple((a + x, b + y) for a, b in e.points)) for e in self.edges],
            {key: text(t) for key, t in self.entering.items()},
            {key: text(t) for key, t in self.leaving.items()},
        )


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


GUTTER = 56.0  # between two stretches of a wrapped net
_RISE = 14.0  # how far a line goes on above and below the stretches that it connects
_TALL = 620.0  # a net up to this height is not wrapped
_SHAPE = 1.3  # the width over the height at which a wrapped net is read best
_MAX_STRETCHES = 10


def place(tree: Series, stretches: int | None = 1) -> Placed:
    """Lay a tree out in stretches that are read from left to right; None: as many as make it fit a page."""
    sizes = Sizes(tree)
    parts = _stretches(tree, sizes, stretches)
    placer = _Placer(sizes)
    route: _Route | None = None
    x = 0.0
    for i, part in enumerate(parts):
        sizes.shift(0.0)
        left, right = sizes.extent(part, 0.0, True)
        if i:
            x += GUTTER - left
        sizes.shift(x)
        height = sizes.height(part)
        if route is not None:
            route = _risen(route, x + left - GUTTER / 2, _entry(part, x, sizes))
        (route,) = placer.series(part, _Area(x, x, True), 0.0, height, route)
        route = replace(route, points=(*route.points, (route.points[-1][0], height + _RISE)), bar=None)
        x += right
    return placer.placed


def _entry(part: Series, x: float, sizes: Sizes) -> float:
    """Where a line comes down into a stretch whose grid is around ``x``."""
    left, right = sizes.extent(Series(part.items[:1]), x, True)
    return (left + right) / 2


def _risen(route: _Route, gutter: float, x: float) -> _Route:
    """A line from below one stretch through the gutter to above the next."""
    up = -_RISE
    points = (*route.points, (gutter, route.points[-1][1]), (gutter, up), (x, up))
    return replace(route, points=points, turn=up / 2)


def _stretches(tree: Series, sizes: Sizes, wanted: int | None) -> list[Series]:
    """The items in about equally high parts; a line leads from each to the next."""
    if wanted is not None:
        return _split(tree, sizes, wanted)
    height = sizes.height(tree)
    if height <= _TALL:
        return [tree]
    tree = _unframed(tree, sizes, height / 2)

    def off(parts: list[Series]) -> float:
        """How far from the wanted shape, and how empty, the picture would be."""
        extents = [sizes.extent(part, 0.0, True) for part in parts]
        widths = [right - left for left, right in extents]
        heights = [sizes.height(part) for part in parts]
        width = sum(widths) + GUTTER * (len(parts) - 1)
        filled = sum(w * h for w, h in zip(widths, heights, strict=True)) / (width * max(heights))
        return abs(log(width / max(heights) / _SHAPE)) + 2 * (1 - filled)

    best = min((_split(tree, sizes, n) for n in range(1, _MAX_STRETCHES + 1)), key=off)
    return best if max(map(sizes.height, best)) < 0.75 * height else [tree]


def _unframed(tree: Series, sizes: Sizes, limit: float) -> Series:
    """Without the frame of a call that is most of the net, and that no stretch could hold."""
    items: list[Item] = []
    for item in tree.items:
        high = isinstance(item, Frame) and item.key[0] != "block" and sizes.height(item) > limit
        items += item.body.items if isinstance(item, Frame) and high else (item,)
    return Series(tuple(items))


def _split(tree: Series, sizes: Sizes, count: int) -> list[Series]:
    """At most ``count`` parts whose highest is as low as can be; no part begins between columns and their join."""
    runs: list[list[Item]] = []
    for before, item in zip((None, *tree.items), tree.items, strict=False):
        joined = isinstance(item, Parallel) or isinstance(before, Parallel) or _is_join(item)
        if before is not None and joined:
            runs[-1].append(item)
        else:
            runs.append([item])

    def packed(limit: float) -> list[Series]:
        parts = [Series(tuple(runs[0]))]
        for run in runs[1:]:
            longer = Series((*parts[-1].items, *run))
            if sizes.height(longer) <= limit:
                parts[-1] = longer
            else:
                parts.append(Series(tuple(run)))
        return parts

    low = max(sizes.height(Series(tuple(run))) for run in runs)
    high = sizes.height(tree)
    while high - low > 1.0:
        middle = (low + high) / 2
        low, high = (low, middle) if len(packed(middle)) <= count else (middle, high)
    return packed(high) if count > 1 else [tree]


def _is_join(item: Item) -> bool:
    return isinstance(item, Leaf) and item.unit.kind == "join"


class _Placer:
    """Walks the tree from top to bottom. Each method takes the height at which its part begins and the routes that
    come from above, and returns the routes that leave the part's bottom."""

    def __init__(self, sizes: Sizes) -> None:
        self.sizes = sizes
        self.placed = Placed()
        self.beside = 0  # how many parallel parts are around

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
        self.beside += 1
        for branch, inner in zip(item.branches, areas, strict=True):
            below += self.series(branch, inner, y, height, route)
        self.beside -= 1
        return below, span

    def box(self, item: Leaf, area: _Area, y: float, height: float, route: _Route | None) -> _Route:
        half = self.sizes.width(item) / 2
        rect = Rect(area.middle - half, y, area.middle + half, y + height)
        self.placed.units[item.number] = rect
        if route is not None:
            self._edge(route.source, item.number, route.to(rect.middle, y))
        leaving = item.unit.out
        told = leaving is None or shape_text(leaving) in item.unit.label
        if item.unit.kind == "closed" and leaving is not None and not told and not self.beside:
            self.placed.leaving[item.number] = _beside(leaving, rect.middle, rect.bottom + GAP / 2 - 1)
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
        free = (i for i in range(crossing, len(self.placed.edges)) if i not in self.placed.entering)
        if tensor is not None and not isinstance(first, Frame) and (edge := next(free, None)) is not None:
            self.placed.entering[edge] = _beside(tensor, x, title.at[1])
        leaving = out(item)
        if leaving is not None and not isinstance(last, Frame):
            self.placed.leaving[end.source] = _beside(leaving, end.points[-1][0], rect.bottom - 8)
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
