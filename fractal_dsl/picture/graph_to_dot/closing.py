"""Closes the frames of a picture, the least telling ones first, so that it fits a page.

First those around plain runs of layers become boxes, then those of which the same layer is drawn open before, then
those around parallel parts, the innermost first.
"""

from __future__ import annotations

from msgspec import Struct
from msgspec.structs import replace

from fractal_dsl.picture.graph_to_dot.folding import box, deepest
from fractal_dsl.picture.graph_to_dot.placed import Placed
from fractal_dsl.picture.graph_to_dot.tree import Frame, Item, Leaf, Parallel, Series

PAGE = (1800.0, 1300.0)
"""The largest width and height, or height and width, of a picture whose texts can be read on a page."""


class Closing(Struct, frozen=True):
    """Which frames become boxes: those below a ``rank``, and with ``repeats`` all of a layer but the first.

    The rank of a frame without parallel parts is 0. That of others is 1 more than the highest inside."""

    rank: int = 0
    repeats: bool = False


def closings(tree: Series) -> list[Closing]:
    """The ways to close a tree's frames, from none to all."""
    ranks = range(1, 2 + deepest(tree))
    return [Closing(), *(Closing(rank, repeats) for rank in ranks for repeats in (False, True))]


def closed(tree: Series, closing: Closing) -> Series:
    """The tree with frames closed."""
    return _Closed(closing).series(tree)


def excess(placed: Placed) -> float:
    """How many times a picture is as large as fits a page; 1 or less fits."""
    rects = placed.rects()
    width = max(r.right for r in rects) - min(r.left for r in rects)
    height = max(r.bottom for r in rects) - min(r.top for r in rects)
    longer, shorter = PAGE
    return min(max(width / longer, height / shorter), max(width / shorter, height / longer))


class _Closed:
    def __init__(self, closing: Closing) -> None:
        self.closing, self.seen = closing, set[str]()

    def series(self, series: Series) -> Series:
        return Series(tuple(map(self._item, series.items)))

    def _item(self, item: Item) -> Item:
        match item:
            case Leaf():
                return item
            case Parallel():
                return replace(item, branches=tuple(map(self.series, item.branches)))
            case Frame():
                name = item.title.partition(" ×")[0]
                again = self.closing.repeats and name in self.seen
                named = item.key[0] != "block" and bool(item.names)  # a frame around parts that repeat has no name
                if named and (again or _rank(item) < self.closing.rank):
                    return box(item)
                self.seen.add(name)
                return replace(item, body=self.series(item.body))


def _rank(frame: Frame) -> int:
    inner = _ranks(frame.body)
    return 1 + max(inner) if inner else 0


def _ranks(series: Series) -> list[int]:
    """The ranks of the frames inside that have any, and 0 for parallel parts."""
    result: list[int] = []
    for item in series.items:
        match item:
            case Leaf():
                pass
            case Parallel():
                result += [0, *(rank for branch in item.branches for rank in _ranks(branch))]
            case Frame():
                result += [rank] if (rank := _rank(item)) else []
    return result
