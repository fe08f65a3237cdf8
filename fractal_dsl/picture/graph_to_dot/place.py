"""Layout: exact coordinates in points, y downwards.

A net is one strip from top to bottom, or several strips, read from left to right, if one would not fit a page, or an
encoder and its decoder beside each other.
"""

from __future__ import annotations

from math import log

from msgspec.structs import replace

from fractal_dsl.picture.graph_to_dot.placed import Placed
from fractal_dsl.picture.graph_to_dot.placer import Area, Placer, Route
from fractal_dsl.picture.graph_to_dot.sizes import Sizes
from fractal_dsl.picture.graph_to_dot.tree import Frame, Item, Leaf, Parallel, Series
from fractal_dsl.picture.graph_to_dot.valley import place_valley

GUTTER = 56.0  # between two strips of a wrapped net
_RISE = 14.0  # how far a line extends above and below the strips that it connects
_TALL = 620.0  # a net up to this height is not wrapped
_SHAPE = 1.3  # the best ratio of width to height of a wrapped net
_MAX_STRIPS = 10


def lay_out(tree: Series, strips: int | None = 1) -> Placed:
    """Lay a tree out in strips, which are read from left to right. None means as fits a page and the kind of net."""
    sizes = Sizes(tree)
    if strips is None and (valley := place_valley(tree, sizes)):
        return valley
    parts = _strips(tree, sizes, strips)
    placer = Placer(sizes)
    route: Route | None = None
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
        (route,) = placer.series(part, Area(x, x, True), 0.0, height, route)
        route = replace(route, points=(*route.points, (route.points[-1][0], height + _RISE)), bar=None)
        x += right
    placer.placed.parts = parts
    return placer.placed


def _entry(part: Series, x: float, sizes: Sizes) -> float:
    """The x at which a line enters a strip whose grid is centred at ``x``."""
    left, right = sizes.extent(Series(part.items[:1]), x, True)
    return (left + right) / 2


def _risen(route: Route, gutter: float, x: float) -> Route:
    """A line from below one strip through the gutter to above the next."""
    up = -_RISE
    points = (*route.points, (gutter, route.points[-1][1]), (gutter, up), (x, up))
    return replace(route, points=points, turn=up / 2)


def _strips(tree: Series, sizes: Sizes, wanted: int | None) -> list[Series]:
    """The items in parts of about equal height. A line leads from each to the next."""
    if wanted is not None:
        return _split(tree, sizes, wanted)
    height = sizes.height(tree)
    if height <= _TALL:
        return [tree]
    tree = _unframed(tree, sizes, height / 2)

    def off(parts: list[Series]) -> float:
        """A penalty for a picture with another ratio of width to height, and for its empty area."""
        extents = [sizes.extent(part, 0.0, True) for part in parts]
        widths = [right - left for left, right in extents]
        heights = [sizes.height(part) for part in parts]
        width = sum(widths) + GUTTER * (len(parts) - 1)
        filled = sum(w * h for w, h in zip(widths, heights, strict=True)) / (width * max(heights))
        return abs(log(width / max(heights) / _SHAPE)) + 2 * (1 - filled)

    best = min((_split(tree, sizes, n) for n in range(1, _MAX_STRIPS + 1)), key=off)
    return best if max(map(sizes.height, best)) < 0.75 * height else [tree]


def _unframed(tree: Series, sizes: Sizes, limit: float) -> Series:
    """Remove the frames of calls that are most of the net, which no strip could hold."""
    items: list[Item] = []
    for item in tree.items:
        high = isinstance(item, Frame) and item.key[0] != "block" and sizes.height(item) > limit
        items += item.body.items if isinstance(item, Frame) and high else (item,)
    return Series(tuple(items))


def _split(tree: Series, sizes: Sizes, count: int) -> list[Series]:
    """At most ``count`` parts, the highest as low as possible. No part begins between columns and their join."""
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
