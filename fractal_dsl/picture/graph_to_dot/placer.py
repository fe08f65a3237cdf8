"""Places the boxes, bars and frames of one strip, from top to bottom.

Columns are lanes that run straight through the whole net. A branch is centred in the height of its neighbours, so
that the only layer of a shallow column is beside the middle of a deep one, as in the paper's figure 1.
"""

from __future__ import annotations

from itertools import pairwise, takewhile

from msgspec import Struct
from msgspec.structs import replace

from fractal_dsl.picture.graph_to_dot.placed import (
    Connector,
    Coordinates,
    Placed,
    PlacedText,
    Rect,
    half_width,
    shape_beside,
)
from fractal_dsl.picture.graph_to_dot.sizes import GAP, LANE_GAP, RAIL, TITLE, Sizes, gap, grid, into, out, top
from fractal_dsl.picture.graph_to_dot.tree import Frame, Item, Leaf, Parallel, Series
from fractal_dsl.picture.graph_to_dot.units import shape_text

_CORNER = 8.0  # from the side of a box with several outputs to the first line that enters it


class Route(Struct, frozen=True):
    """A line on its way down from a unit. It turns at height ``turn``, or goes straight down under ``bar``."""

    source: int
    points: tuple[Coordinates, ...]
    turn: float = 0.0
    bar: tuple[float, float] | None = None

    def to(self, x: float, y: float) -> tuple[Coordinates, ...]:
        (last_x, last_y) = self.points[-1]
        if self.bar and self.bar[0] <= x <= self.bar[1]:
            return ((x, last_y), (x, y))
        if abs(x - last_x) < 0.01:
            return (*self.points, (x, y))
        return (*self.points, (last_x, self.turn), (x, self.turn), (x, y))


class Area(Struct, frozen=True):
    """The width available to an item, and whether its columns are on the net's grid."""

    left: float
    right: float
    on_grid: bool

    @property
    def middle(self) -> float:
        return (self.left + self.right) / 2


class Placer:
    """Walks the tree from top to bottom.

    Each method takes the height at which its part begins and the routes that come from above, and returns the routes
    that leave the bottom of the part.
    """

    def __init__(self, sizes: Sizes) -> None:
        self.sizes = sizes
        self.placed = Placed()
        self.parallels = 0  # the number of enclosing parallel parts

    def series(self, series: Series, area: Area, y: float, height: float, route: Route | None) -> list[Route]:
        items, slack = series.items, height - self.sizes.height(series)
        stretched = isinstance(items[-1], Parallel) and any(_pinned(b) for b in items[-1].branches)
        moved = len(items) - _pinned(series)  # the blocks of `each` are at the bottom of their lanes
        y += 0.0 if stretched else slack / 2
        routes = [] if route is None else [route]
        span = (area.left, area.right)
        for i, item in enumerate(items):
            distance = gap(items[i - 1], item) if i else 0.0
            if i == moved and not stretched:
                distance += slack / 2
            own = self.sizes.height(item) + (slack if stretched and i == len(items) - 1 else 0.0)
            y += distance
            if i:
                routes = [_turned(route, item, y, distance) for route in routes]
            match item:
                case Parallel():
                    routes, span = self.parallel(item, area, y, own, routes[0])
                case Leaf() if item.unit.kind == "join":
                    routes = [self.bar(item, span, y, own, routes)]
                case Leaf():
                    routes = [self.box(item, area, y, own, routes)]
                case Frame():
                    routes = [self.frame(item, area, y, own, routes[0])]
            y += own
        return routes

    def parallel(
        self, item: Parallel, area: Area, y: float, height: float, route: Route
    ) -> tuple[list[Route], tuple[float, float]]:
        """Also returns the left and right edge of the branches."""
        spans = grid(item) if area.on_grid else None
        if spans:
            lanes = self.sizes.lanes
            areas = [Area(lanes[a][0], lanes[b][1], a != b) for a, b in spans]
        else:
            areas, x = list[Area](), area.middle - self.sizes.width(item) / 2
            for branch in item.branches:
                right = x + self.sizes.width(branch)
                areas.append(Area(x, right, False))
                x = right + LANE_GAP
        span = areas[0].left, areas[-1].right
        if route.bar and not (route.bar[0] <= span[0] and span[1] <= route.bar[1]):
            route = replace(route, bar=None)
        below: list[Route] = []
        self.parallels += 1
        for branch, inner in zip(item.branches, areas, strict=True):
            below += self.series(branch, inner, y, height, route)
        self.parallels -= 1
        return below, span

    def box(self, item: Leaf, area: Area, y: float, height: float, routes: list[Route]) -> Route:
        half = self.sizes.width(item) / 2
        rect = Rect(area.middle - half, y, area.middle + half, y + height)
        self.placed.units[item.number] = rect
        several = item.unit.kind == "output" and len(routes) > 1
        for route in routes if several else routes[:1]:
            x = min(max(route.points[-1][0], rect.left + _CORNER), rect.right - _CORNER) if several else rect.middle
            self._edge(route.source, item.number, route.to(x, y))
        leaving = item.unit.out
        labelled = leaving is None or shape_text(leaving) in item.unit.label
        if item.unit.kind == "closed" and leaving is not None and not labelled and not self.parallels:
            self.placed.leaving[item.number] = shape_beside(leaving, rect.middle, rect.bottom + GAP / 2 - 1)
        return Route(item.number, ((rect.middle, rect.bottom),))

    def bar(self, item: Leaf, span: tuple[float, float], y: float, height: float, routes: list[Route]) -> Route:
        rect = Rect(span[0], y, span[1], y + height)
        self.placed.units[item.number] = rect
        for route in routes:
            self._edge(route.source, item.number, (*route.points, (route.points[-1][0], y)))
        return Route(item.number, ((rect.middle, rect.bottom),), bar=span)

    def frame(self, item: Frame, area: Area, y: float, height: float, route: Route) -> Route:
        first, last = item.body.items[0], item.body.items[-1]
        inner = Area(*self.sizes.extent(item.body, area.middle, area.on_grid), area.on_grid)
        left, right = self.sizes.frame_edges(item, inner.left, inner.right)
        rect = Rect(left, y, right, y + height)
        room = self.sizes.half_frame(item)
        x = route.points[-1][0]
        if isinstance(first, Leaf) or not left + room <= x <= right - room:
            x = rect.middle
        title = PlacedText(item.title, (left + 10 + half_width(item.title), y + TITLE / 2 + 2))
        self.placed.frames[item.key] = (rect, title)

        crossing, body_top = len(self.placed.edges), y + top(item)
        entered = Route(route.source, route.to(x, y), turn=body_top - (RAIL if isinstance(first, Parallel) else 5.0))
        (end,) = self.series(item.body, inner, body_top, self.sizes.height(item.body), entered)
        tensor, leaving = (into(item), out(item)) if item.shapes else (None, None)
        free = (i for i in range(crossing, len(self.placed.edges)) if i not in self.placed.entering)
        if tensor is not None and not isinstance(first, Frame) and (edge := next(free, None)) is not None:
            self.placed.entering[edge] = shape_beside(tensor, x, title.at[1])
        if leaving is not None and not isinstance(last, Frame):
            self.placed.leaving[end.source] = shape_beside(leaving, end.points[-1][0], rect.bottom - 8)
        return replace(end, bar=None)

    def _edge(self, source: int, target: int, points: tuple[Coordinates, ...]) -> None:
        kept = [points[0]]
        for here, after in pairwise(points[1:]):
            if not kept[-1][0] == here[0] == after[0]:
                kept.append(here)
        self.placed.edges.append(Connector(source, target, (*kept, points[-1])))


def _turned(route: Route, item: Item, y: float, distance: float) -> Route:
    """The route with the height at which it turns on its way to an item at ``y``."""
    return replace(route, turn=y - (RAIL if isinstance(item, Parallel) else distance / 2))


def _pinned(series: Series) -> int:
    """The number of items at the end of a branch that come from `each`."""
    behind = takewhile(lambda item: isinstance(item, Leaf) and item.unit.pinned, reversed(series.items))
    return sum(1 for _ in behind)
