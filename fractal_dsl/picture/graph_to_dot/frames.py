"""Frames around the parts of a tree: blocks, calls of layers, and tags.

A frame has one entry and one exit. A tag can enclose columns that a join outside it closes. The frame includes that
join if it comes next. If the columns stay open to the end of their branch, each column gets its own frame:

    ((a | b) @tag("t") >> c)            (a | (b | c) @tag("t"))    after collapse
    a frame around a, b and their bar   `b @t` and `c @t`
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import count, groupby

from msgspec.structs import replace

from fractal_dsl.picture.graph_to_dot.tree import Frame, Item, Leaf, Parallel, Series
from fractal_dsl.picture.graph_to_dot.units import FrameKey, FrameText, common

_Keys = tuple[FrameKey, ...]


def framed(tree: Series, texts: Mapping[FrameKey, FrameText]) -> Series:
    """The tree with the frames that its units name. Each frame has one entry, one exit and a key of its own."""
    return Series(tuple(_Framer(texts).series(tree.items, 0)))


class _Framer:
    def __init__(self, texts: Mapping[FrameKey, FrameText]) -> None:
        self.texts = texts
        self.numbers = defaultdict[str, Iterator[int]](lambda: count(1))
        self.used = set[FrameKey]()
        self.parts = count(-1, -1)
        self.shared: dict[int, tuple[Parallel, _Keys]] = {}  # keep the item alive, so that its id stays unique

    def series(self, items: Sequence[Item], depth: int) -> Iterator[Item]:
        """The items with their frames, inside ``depth`` outer frames."""
        keys = [k[depth] if len(k) > depth else None for k in self._keys(items)]
        for i, (item, below) in enumerate(zip(items, (*items[1:], None), strict=True)):
            if isinstance(item, Parallel) and not _is_join(below):
                keys[i] = None  # its columns are open: a frame around them would have several exits
        for key, run in groupby(zip(keys, items, strict=True), lambda pair: pair[0]):
            inside = [item for _, item in run]
            if key is None:
                yield from (self._branches(item, depth) for item in inside)
            else:
                yield from self._around(key, inside, depth)

    def _around(self, key: FrameKey, inside: list[Item], depth: int) -> Iterator[Item]:
        first, last = inside[0], inside[-1]
        assert not isinstance(last, Parallel), "a frame has one exit"
        if len(inside) == 1 and isinstance(first, Leaf) and key[0] != "block":
            yield from self.series([self._with_tag(first, key)], depth + 1)
        else:
            yield self._frame(key, Series(tuple(self.series(inside, depth + 1))))

    def _branches(self, item: Item, depth: int) -> Item:
        if not isinstance(item, Parallel):
            return item
        return replace(item, branches=tuple(Series(tuple(self.series(b.items, depth))) for b in item.branches))

    def _frame(self, key: FrameKey, body: Series) -> Frame:
        """A frame. If one of two frames around the same content is a tag's, the other has the tag in its title."""
        kind, text = key[0], self.texts[key]
        if len(body.items) == 1 and isinstance(inner := body.items[0], Frame) and "tag" in (kind, inner.key[0]):
            parts = (inner.title, text.title) if kind == "tag" and inner.key[0] != "tag" else (text.title, inner.title)
            names = tuple(dict.fromkeys((*text.names, *inner.names)))
            return Frame(inner.key if kind == "tag" else self._own(key), _title(*parts), inner.body, names)
        return Frame(self._own(key), text.title, body, text.names)

    def _own(self, key: FrameKey) -> FrameKey:
        """A key that no other frame has. The parts of a tag, and of a call that others interrupt, have a frame each."""
        kind, _ = key
        own = (kind, next(self.numbers[kind])) if kind == "tag" else key
        if own in self.used:
            own = (kind, next(self.parts))
        self.used.add(own)
        return own

    def _with_tag(self, leaf: Leaf, key: FrameKey) -> Leaf:
        """A single unit has its tag in its label instead of a frame."""
        unit = leaf.unit
        if key[0] != "tag" or unit.kind not in ("layer", "closed"):
            return leaf
        return Leaf(leaf.number, replace(unit, label=_title(unit.label, self.texts[key].title)))

    def _keys(self, items: Sequence[Item]) -> list[_Keys]:
        """The frames around each item, outermost first. A join is in the frames that all its columns are in."""
        above = (None, *items)
        return [self._of(up if isinstance(up, Parallel) else item) for up, item in zip(above, items, strict=False)]

    def _of(self, item: Item) -> _Keys:
        """The frames that all units of an item are in."""
        assert not isinstance(item, Frame)
        if isinstance(item, Leaf):
            return item.unit.frames
        if id(item) not in self.shared:
            inside = [keys for branch in item.branches for keys in self._keys(branch.items)]
            self.shared[id(item)] = item, common(inside)
        return self.shared[id(item)][1]


def _is_join(item: Item | None) -> bool:
    return isinstance(item, Leaf) and item.unit.kind == "join"


def _title(title: str, tag: str) -> str:
    if f"@{title}" == tag:
        return tag
    return title if title.endswith(tag) else f"{title} {tag}"
