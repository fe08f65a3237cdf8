"""An encoder and its decoder side by side: the U of U-Net.

a >> concat(id, down >> b >> concat(id, down >> c >> up) >> d >> up) >> e

a ----> e        the encoder goes down on the left, the decoder comes up on the right,
b ----> d        and shortcuts run across
   c
"""

from __future__ import annotations

from math import prod

from msgspec import Struct
from msgspec.structs import replace

from fractal_dsl.picture.graph_to_dot.placed import Connector, Placed, PlacedText, Rect, half_width, shape_beside
from fractal_dsl.picture.graph_to_dot.placer import Area, Placer, Route
from fractal_dsl.picture.graph_to_dot.sizes import (
    BOTTOM,
    FRAME_GAP,
    GAP,
    SIDE,
    SMALL,
    TITLE,
    Sizes,
    into,
    out,
    text_width,
    top,
)
from fractal_dsl.picture.graph_to_dot.tree import Frame, Item, Leaf, Parallel, Series
from fractal_dsl.picture.graph_to_dot.units import shape_text

_BETWEEN = 84.0  # from the encoder to the decoder
_LOW = 10.0  # from the lowest box to the line that leads up from it
_CROSSES = 2  # a net with fewer lines across is one strip


class _Level(Struct, frozen=True):
    """One level of the U: the items on the way down and those on the way up.

    Between them is a ``frame`` around all further levels, or ``across``: a skip and the join where it ends. At the
    lowest level it is ``middle``.
    """

    down: tuple[Item, ...]
    up: tuple[Item, ...]
    frame: Frame | None = None
    across: tuple[Leaf, Leaf] | None = None
    middle: tuple[Item, ...] = ()


def place_valley(tree: Series, sizes: Sizes) -> Placed | None:
    """The layout of a net that is an encoder and its decoder; None for other nets."""
    levels = _levels(tree.items)
    if sum(level.across is not None for level in levels) < _CROSSES:
        return None
    placed = _Valley(levels, sizes).place()
    placed.parts, placed.movable = [tree], False
    return placed


def _levels(items: tuple[Item, ...]) -> list[_Level]:
    """The levels from the outermost to the lowest; empty unless there is exactly one way down."""
    deep = [i for i, item in enumerate(items) if _is_deep(item)]
    if len(deep) != 1:
        return []
    (i,) = deep
    item = items[i]
    if isinstance(item, Frame):
        return [_Level(items[:i], items[i + 1 :], item), *_levels(item.body.items)]
    assert isinstance(item, Parallel)
    skip, way = _skip_and_way(item)
    join = items[i + 1]
    assert isinstance(skip, Leaf) and isinstance(join, Leaf)
    below = _levels(way.items) or [_lowest(way.items)]
    return [_Level(items[:i], items[i + 2 :], across=(skip, join)), *below]


def _is_deep(item: Item) -> bool:
    """Whether an item goes down to a smaller size and back up, beside a shortcut."""
    match item:
        case Leaf():
            return False
        case Frame():
            return any(map(_is_deep, item.body.items))
        case Parallel() if len(item.branches) == 2:
            skip, way = _skip_and_way(item)
            return skip is not None and min(map(_size, way.items)) < _size(way.items[-1])
        case Parallel():
            return False


def _skip_and_way(item: Parallel) -> tuple[Leaf | None, Series]:
    """The line that stands for `id` and the other branch."""
    for branch, other in zip(item.branches, reversed(item.branches), strict=True):
        first = branch.items[0]
        if len(branch.items) == 1 and isinstance(first, Leaf) and first.unit.kind == "skip":
            return first, other
    return None, item.branches[0]


def _lowest(items: tuple[Item, ...]) -> _Level:
    """The level with the items that lead to the smallest size, those that keep it, and those that lead up again."""
    sizes = [*map(_size, items)]
    first = sizes.index(min(sizes))
    first += isinstance(items[first], Parallel)  # its join belongs to it
    last = len(sizes) - 1 - sizes[::-1].index(min(sizes))
    return _Level(items[: first + 1], items[max(first, last) + 1 :], middle=items[first + 1 : last + 1])


def _size(item: Item) -> int:
    """The number of positions in the output of an item, without its channels."""
    tensor = out(item)
    return prod(tensor.shape[1:]) if tensor is not None else 0


class _Valley:
    """Places both sides from top to bottom, and then mirrors the right one vertically."""

    def __init__(self, levels: list[_Level], sizes: Sizes) -> None:
        self.levels, self.sizes = levels, sizes
        self.left, self.right = Placer(sizes), Placer(sizes)
        widths = [max((sizes.width(i) for i in items), default=0.0) for items in self._sides()]
        middle, self.half = widths[2], (widths[0] / 2, widths[1] / 2)
        self.x = sum(self.half) + max(_BETWEEN, middle + 2 * GAP)
        self.tops: list[float] = []
        self.edges: list[float] = []  # of each level: the top of its frame, or of the bar across
        y = 0.0
        for level in levels:
            self.tops.append(y)
            y += max(self._height(level.down), self._height(level.up))
            y += FRAME_GAP if level.frame else GAP
            self.edges.append(y)
            if level.frame:
                y += top(level.frame)
            elif level.across:
                y += sizes.height(level.across[1]) + GAP
        self.bottom = y + self._height(levels[-1].middle) + _LOW

    def _sides(self) -> tuple[list[Item], list[Item], list[Item]]:
        down = [item for level in self.levels for item in level.down]
        up = [item for level in self.levels for item in (*level.up, *(level.across or ())[1:])]
        return down, up, [item for level in self.levels for item in level.middle]

    def _height(self, items: tuple[Item, ...]) -> float:
        return self.sizes.height(Series(items)) if items else 0.0

    def place(self) -> Placed:
        route: Route | None = None
        for i, level in enumerate(self.levels):
            route = self._run(self.left, level.down, 0.0, self.half[0], self.tops[i], route)
            assert route is not None
            if level.frame and (tensor := into(level.frame)):
                text = shape_beside(tensor, 0.0, self.edges[i] + TITLE / 2 + 2)
                self.left.placed.entering[len(self.left.placed.edges)] = text
            if level.across:
                self._hand_across(level.across, self._middle_of_bar(i), route)
        middle = self.sizes.width(Series(self.levels[-1].middle)) if self.levels[-1].middle else 0.0
        route = self._run(self.left, self.levels[-1].middle, self.x / 2, middle / 2, self.edges[-1], route)
        assert route is not None
        x, _ = route.points[-1]
        points = (*route.points, (x, self.bottom), (self.x, self.bottom))
        self._place_right(replace(route, points=tuple((x, -y) for x, y in points), bar=None))
        return self._framed(_joined(self.left.placed, self.right.placed.upside_down()))

    def _place_right(self, route: Route) -> None:
        for i, level in reversed([*enumerate(self.levels)]):
            if level.across:
                height = self.sizes.height(level.across[1])
                span = self.x - self.half[1], self.x + self.half[1]
                route = self.right.bar(level.across[1], span, -self.edges[i] - height, height, [route])
            elif level.frame and (tensor := out(level.frame)):
                text = shape_beside(tensor, self.x, -(self.edges[i] + TITLE / 2 + 2))
                self.right.placed.leaving[route.source] = text
            y = -self.tops[i] - self._height(level.up)
            route = self._run(self.right, level.up, self.x, self.half[1], y, route) or route

    def _run(
        self, placer: Placer, items: tuple[Item, ...], x: float, half: float, y: float, route: Route | None
    ) -> Route | None:
        """Place some items below each other around ``x``."""
        if not items:
            return route
        if route is not None:
            route = replace(route, turn=y - GAP / 2, bar=None)
        (end,) = placer.series(Series(items), Area(x - half, x + half, False), y, self._height(items), route)
        return end

    def _middle_of_bar(self, level: int) -> float:
        across = self.levels[level].across
        return self.edges[level] + (self.sizes.height(across[1]) / 2 if across else 0.0)

    def _hand_across(self, across: tuple[Leaf, Leaf], y: float, route: Route) -> None:
        skip, join = across
        thin = self.sizes.height(skip) / 2
        rect = Rect(self.x / 2 - thin, y - thin, self.x / 2 + thin, y + thin)
        placed = self.left.placed
        placed.units[skip.number] = rect
        x, _ = route.points[-1]
        placed.edges.append(Connector(route.source, skip.number, (*route.points, (x, y), (rect.left, y))))
        end = self.x - self.half[1]
        placed.edges.append(Connector(skip.number, join.number, ((rect.right, y), (end, y))))

    def _framed(self, placed: Placed) -> Placed:
        """The layout with the frames around both sides."""
        bottom = self.bottom
        left, right = -self.half[0], self.x + self.half[1]
        for i, level in reversed([*enumerate(self.levels)]):
            if level.frame:
                title = level.frame.title
                bottom += BOTTOM
                left = min(left - SIDE, -SIDE - text_width(title, SMALL))
                shape = out(level.frame)
                right = max(right + SIDE, self.x + SIDE + text_width(shape_text(shape) if shape else "", SMALL))
                at = (left + 10 + half_width(title), self.edges[i] + TITLE / 2 + 2)
                placed.frames[level.frame.key] = Rect(left, self.edges[i], right, bottom), PlacedText(title, at)
        return placed


def _joined(left: Placed, right: Placed) -> Placed:
    """Two layouts of one picture as one."""
    count = len(left.edges)
    return Placed(
        left.units | right.units,
        left.frames | right.frames,
        [*left.edges, *right.edges],
        left.entering | {count + edge: text for edge, text in right.entering.items()},
        left.leaving | right.leaving,
    )
