"""Sizes of everything, in points."""

from __future__ import annotations

from collections import defaultdict
from itertools import pairwise

from fractal_dsl.ops import Tensor
from fractal_dsl.picture.graph_to_dot.tree import Frame, Item, Leaf, Parallel, Series, units_of
from fractal_dsl.picture.graph_to_dot.units import Unit, shape_text

FONT, SMALL = 10.0, 8.5
BOXES = ("layer", "closed")
GAP, FAN, FRAME_GAP = 18.0, 26.0, 24.0  # below an item; below one that feeds several columns; around a frame
RAIL = 12.0  # from the line that feeds several columns down to their tops
LANE_GAP = 16.0
TITLE = 16.0  # from the top of a frame to the bottom of its title
BOTTOM = 20.0  # from the last item of a frame to its edge
SIDE = 14.0
_CHAR = 0.64  # of the font size: a letter's mean width in DejaVu Sans, the widest of the usual fonts
_LINE, _PADDING = 10.0, 14.0  # the height of a line in a box, and the space above and below the lines
_THIN = 0.0  # the point on a line that stands for `id`
_BAR, _NAMED_BAR = 6.0, 13.0
_MIN_WIDTH = 52.0
_BLANK = (26.0, 14.0)  # width and height of a box without a text

_Span = tuple[int, int]
"""The first and the last of neighbouring lanes."""


def text_width(text: str, size: float) -> float:
    """An upper estimate of the width of a text."""
    return _CHAR * size * len(text)


class Sizes:
    """Widths and heights of the parts of one tree, and the lanes of its columns.

    ``lanes[k]`` has the left and right edge of column k+1 on the net's grid; 0 is the middle of the net.
    """

    def __init__(self, tree: Series) -> None:
        self._heights: dict[int, tuple[Item | Series, float]] = {}  # keep the item alive, so that its id stays unique
        boxes = (unit.label for unit in units_of(tree) if unit.kind in BOXES)
        self._box_height = max(map(_text_height, boxes), default=0.0)
        self._box_widths = {in_block: _box_width(tree, in_block) for in_block in (False, True)}
        self._centred_lanes = self.lanes = _Lanes(self).placed(tree)

    def shift(self, x: float) -> None:
        """Move the middle of the net's grid to ``x``."""
        self.lanes = {k: (left + x, right + x) for k, (left, right) in self._centred_lanes.items()}

    def width(self, item: Item | Series) -> float:
        """The width of a part that is not on the net's grid, in points."""
        match item:
            case Leaf():
                own = _own_width(item.unit)
                return max(own, self._box_widths[is_in_block(item.unit)]) if item.unit.kind in BOXES else own
            case Parallel():
                return sum(map(self.width, item.branches)) + LANE_GAP * (len(item.branches) - 1)
            case Frame():
                return 2 * max(self.width(item.body) / 2 + SIDE, self.half_frame(item))
            case Series():
                return max(map(self.width, item.items))

    def half_frame(self, frame: Frame) -> float:
        """The width that a frame needs on each side of its line: for the title on the left, for shapes on the right."""
        shapes = [shape_text(t) for t in (into(frame), out(frame)) if t is not None and frame.shapes]
        return 14 + max(text_width(text, SMALL) for text in (frame.title, *shapes))

    def frame_edges(self, frame: Frame, left: float, right: float) -> tuple[float, float]:
        """The left and right edge of a frame around content from ``left`` to ``right``."""
        half = max((right - left) / 2 + SIDE, self.half_frame(frame))
        return (left + right) / 2 - half, (left + right) / 2 + half

    def extent(self, item: Item | Series, middle: float, on_grid: bool) -> tuple[float, float]:
        """The left and right edge of a part centred at ``middle``. Columns on the net's grid stay in their lanes."""
        match item:
            case Parallel() if on_grid and (spans := grid(item)):
                wide = [self._branch_extent(b, *span) for b, span in zip(item.branches, spans, strict=True)]
                return min(w[0] for w in wide), max(w[1] for w in wide)
            case Frame() if on_grid:
                return self.frame_edges(item, *self.extent(item.body, middle, on_grid))
            case Series() if on_grid:
                wide = [self.extent(i, middle, on_grid) for i in item.items if not isinstance(i, Leaf)]
                if wide:
                    middle = (min(w[0] for w in wide) + max(w[1] for w in wide)) / 2
                widths = [self._centred(i, middle) for i in item.items if isinstance(i, Leaf)]
                return min(w[0] for w in (*wide, *widths)), max(w[1] for w in (*wide, *widths))
            case _:
                return self._centred(item, middle)

    def _branch_extent(self, branch: Series, first: int, last: int) -> tuple[float, float]:
        """The left and right edge of a branch in lanes. Frames around several of its columns extend beyond them."""
        left, right = self.lanes[first][0], self.lanes[last][1]
        inner = self.extent(branch, (left + right) / 2, True) if first != last else (left, right)
        return min(left, inner[0]), max(right, inner[1])

    def _centred(self, item: Item | Series, middle: float) -> tuple[float, float]:
        half = self.width(item) / 2
        return middle - half, middle + half

    def height(self, item: Item | Series) -> float:
        """The height of a part, in points."""
        if id(item) not in self._heights:
            self._heights[id(item)] = item, self._height(item)
        return self._heights[id(item)][1]

    def _height(self, item: Item | Series) -> float:
        match item:
            case Leaf() if item.unit.kind == "join":
                return _NAMED_BAR if item.unit.label else _BAR
            case Leaf() if item.unit.kind == "skip":
                return _THIN
            case Leaf() if item.unit.kind in BOXES:
                return self._box_height
            case Leaf():
                return _text_height(item.unit.label)
            case Parallel():
                return max(map(self.height, item.branches))
            case Frame():
                return top(item) + self.height(item.body) + BOTTOM
            case Series():
                gaps = (gap(a, b) for a, b in pairwise(item.items))
                return sum(map(self.height, item.items)) + sum(gaps)


class _Lanes:
    """Lanes as narrow as what stands in them allows.

    ``needs`` are widths that spans of lanes must have; ``left[k]`` and ``right[k]`` are the room beside lane k for the
    frames that begin or end there.
    """

    def __init__(self, sizes: Sizes) -> None:
        self.sizes = sizes
        self.needs: dict[_Span, float] = {}
        self.left: dict[int, float] = defaultdict(float)
        self.right: dict[int, float] = defaultdict(float)

    def placed(self, tree: Series) -> dict[int, tuple[float, float]]:
        """The left and right edge of each lane; 0 is the middle of all."""
        self._series(tree, None)
        widths = {k: 0.0 for first, last in self.needs for k in range(first, last + 1)}
        gaps = {k: LANE_GAP + self.right[k] + self.left[k + 1] for k in widths}
        for (first, last), need in sorted(self.needs.items(), key=lambda n: n[0][1] - n[0][0]):
            span = range(first, last + 1)
            missing = need - sum(widths[k] for k in span) - sum(gaps[k] for k in span[:-1])
            for k in span:
                widths[k] += max(0.0, missing) / len(span)
        lanes: dict[int, tuple[float, float]] = {}
        order = sorted(widths)
        x = -(sum(widths.values()) + sum(gaps[k] for k in order[:-1])) / 2
        for k in order:
            lanes[k] = (x, x + widths[k])
            x += widths[k] + gaps[k]
        return lanes

    def _series(self, series: Series, within: _Span | None) -> tuple[float, float]:
        """Note what a series asks of the lanes in which it stands (None: it is around all lanes).

        Returns how far its frames reach out of these to the left and right.
        """
        beside = [self._item(item, within) for item in series.items]
        return max((b[0] for b in beside), default=0.0), max((b[1] for b in beside), default=0.0)

    def _item(self, item: Item, within: _Span | None) -> tuple[float, float]:
        if isinstance(item, Frame) and (span := _span(item.body)):
            left, right = (x + SIDE for x in self._series(item.body, within and span))
            if within is not None:
                self.left[span[0]] = max(self.left[span[0]], left)
                self.right[span[1]] = max(self.right[span[1]], right)
                self._need(span, 2 * (self.sizes.half_frame(item) - SIDE))
            return left, right
        if isinstance(item, Parallel) and (spans := grid(item)):
            beside = [self._branch(b, span) for b, span in zip(item.branches, spans, strict=True)]
            return beside[0][0], beside[-1][1]
        if within is not None:
            self._need(within, self.sizes.width(item))
        return 0.0, 0.0

    def _branch(self, branch: Series, span: _Span) -> tuple[float, float]:
        if span[0] != span[1]:
            return self._series(branch, span)
        self._need(span, self.sizes.width(branch))
        return 0.0, 0.0

    def _need(self, span: _Span, width: float) -> None:
        self.needs[span] = max(self.needs.get(span, 0.0), width)


def is_in_block(unit: Unit) -> bool:
    """Whether a unit is in a block."""
    return any(kind == "block" for kind, _ in unit.frames)


def grid(item: Parallel) -> list[_Span] | None:
    """The first and last lane of each branch, if every branch has lanes of its own, from left to right; else None."""
    if not item.lanes or not all(item.lanes):
        return None
    spans = [(min(lanes), max(lanes)) for lanes in item.lanes]
    apart = all(a[1] < b[0] for a, b in pairwise(spans))
    return spans if apart else None


def _span(series: Series) -> _Span | None:
    """The first and last lane of the columns in a series; None if there are none on the grid."""
    spans: list[_Span] = []
    for item in series.items:
        if isinstance(item, Frame) and (inner := _span(item.body)):
            spans.append(inner)
        elif isinstance(item, Parallel):
            spans += grid(item) or ()
    return (min(s[0] for s in spans), max(s[1] for s in spans)) if spans else None


def gap(above: Item, below: Item) -> float:
    """The distance between two items of a series, in points."""
    if isinstance(above, Frame) or isinstance(below, Frame):
        return FRAME_GAP
    if isinstance(below, Parallel):
        feeds_lanes = isinstance(above, Leaf) and above.unit.kind == "join" and grid(below)
        return GAP if feeds_lanes else FAN
    return GAP


def top(frame: Frame) -> float:
    """The distance from the top of a frame to its first item, in points."""
    return TITLE + (RAIL + 6 if isinstance(frame.body.items[0], Parallel) else 10)


def into(item: Item) -> Tensor | None:
    """The input shape of an item."""
    return next(iter(units_of(item))).into


def out(item: Item) -> Tensor | None:
    """The output shape of an item; for parallel branches, that of the last one."""
    *_, last = units_of(item)
    return last.out


def _text_height(text: str) -> float:
    return _PADDING + _LINE * (1 + text.count("\n")) if text else _BLANK[1]


def _own_width(unit: Unit) -> float:
    if unit.kind == "skip":
        return _THIN
    return max(text_width(line, FONT) for line in unit.label.split("\n")) + 14 if unit.label else _BLANK[0]


def _box_width(tree: Series, in_block: bool) -> float:
    """The common width of all layers in blocks, or of all those outside."""
    boxes = [unit for unit in units_of(tree) if unit.kind in BOXES and is_in_block(unit) == in_block]
    least = _MIN_WIDTH if any(unit.label for unit in boxes) else _BLANK[0]
    return max([least, *map(_own_width, boxes)])
