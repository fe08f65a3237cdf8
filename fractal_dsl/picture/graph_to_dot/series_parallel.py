"""Units to a tree: what stands below and beside what.

A net without values is series-parallel: a join closes the branches that one tensor opened, and no lines need to cross.
With values, a net is any acyclic graph. Then the lines that keep it from being series-parallel are taken out, and drawn
around the rest (``crossings``):

    c = a >> b                    a
    sum(b, c), sum(a, c)        b | c      and a line around it
"""

from __future__ import annotations

from collections import defaultdict

from msgspec import Struct
from msgspec.structs import replace

from fractal_dsl.picture.graph_to_dot.tree import Item, Leaf, Parallel, Series, leaves
from fractal_dsl.picture.graph_to_dot.units import Unit, Units

_LAST = 1_000_000  # the slot of a path that only stands beside others


class Crossing(Struct, frozen=True):
    """A line around the tree between two nodes of the graph, and the ``id`` nodes that it stands for."""

    source: int
    target: int
    through: tuple[int, ...] = ()


class Crossings(Struct, frozen=True):
    """The lines around a tree, and the pairs of nodes that are neighbours in the tree only."""

    lines: tuple[Crossing, ...] = ()
    apart: frozenset[tuple[int, int]] = frozenset()


NO_CROSSINGS = Crossings()


class _Path(Struct, frozen=True):
    """The items between two units. ``arrives`` and ``slot`` are its lanes and position at the join where it ends."""

    items: tuple[Item, ...]
    lanes: frozenset[int]
    arrives: frozenset[int]
    slot: int


def units_to_tree(drawn: Units) -> tuple[Series, Crossings]:
    """The tree of a net, without frames, and the lines that have no place in it."""
    return _Reduction(drawn).tree()


class _Reduction:
    """Makes a unit with one neighbour on each side part of the path between them, until a single path leads from the
    input to the output. ``after[u][v]`` are the paths from u to v, side by side."""

    def __init__(self, drawn: Units) -> None:
        self.drawn = drawn
        self.after: dict[int, dict[int, list[_Path]]] = defaultdict(dict)
        self.before: dict[int, set[int]] = defaultdict(set)
        self.lines: list[Crossing] = []
        self.apart: set[tuple[int, int]] = set()
        for number, operands in enumerate(drawn.operands):
            known = drawn.lanes[number] or (None,) * len(operands)
            for slot, (operand, lane) in enumerate(zip(operands, known, strict=True)):
                lanes = frozenset[int]() if lane is None else frozenset({lane})
                self.after[operand][number] = [_Path((), lanes, lanes, slot)]
                self.before[number].add(operand)
            if number and drawn.units[number].kind == "input":  # further inputs stand below the first
                self.after[0][number] = [_Path((), frozenset(), frozenset(), _LAST)]
                self.before[number].add(0)
                self.apart.add((drawn.units[0].members[0], drawn.units[number].members[0]))

    def tree(self) -> tuple[Series, Crossings]:
        units = self.drawn.units
        start, end = 0, len(units) - 1
        self._shorten([*range(len(units))])
        while self.before.keys() != {end}:
            self._cross(*self._widest())
        ((_, paths),) = self.after[start].items()
        whole = (Leaf(start, units[start]), *_side_by_side(paths, ()), Leaf(end, units[end]))
        return Series(whole), Crossings(tuple(self.lines), frozenset(self.apart))

    def _shorten(self, ready: list[int]) -> None:
        """Make units with one neighbour on each side part of paths, beginning with those that are ``ready``."""
        before, after, drawn = self.before, self.after, self.drawn
        while ready:
            here = ready.pop()
            if len(before.get(here, ())) != 1 or len(after[here]) != 1:
                continue
            (source,) = before.pop(here)
            ((sink, behind),) = after.pop(here).items()
            ahead = after[source].pop(here)
            items = (
                *_side_by_side(ahead, drawn.lanes[here]),
                Leaf(here, drawn.units[here]),
                *_side_by_side(behind, drawn.lanes[sink]),
            )
            lanes = frozenset[int]().union(*(p.lanes for p in (*ahead, *behind)))
            arrives = frozenset[int]().union(*(p.arrives for p in behind))
            path = _Path(items, lanes, arrives, min(p.slot for p in behind))
            after[source].setdefault(sink, []).append(path)
            before[sink] = (before[sink] - {here}) | {source}
            ready += (source, sink)

    def _widest(self) -> tuple[int, int]:
        """The pair of units whose paths are taken out next, each with other paths, too. A bare line is preferred to one
        with boxes on it, then the one that passes most units."""
        pairs = (
            (source, sink)
            for sink, sources in self.before.items()
            if len(sources) > 1
            for source in sources
            if len(self.after[source]) > 1
        )
        return max(pairs, key=lambda pair: (_bare(self.after[pair[0]][pair[1]]), pair[1] - pair[0], -pair[0]))

    def _cross(self, source: int, sink: int) -> None:
        """Take the paths between two units out of the graph. Their boxes stand beside or above other ones."""
        paths = self.after[source].pop(sink)
        self.before[sink].discard(source)
        start, end = self.drawn.units[source], self.drawn.units[sink]
        for path in paths:
            if _bare([path]):
                through = tuple([n for item in path.items for leaf in leaves(item) for n in leaf.unit.members])
                self.lines.append(Crossing(start.members[-1], end.members[0], through))
            else:
                self.lines += [Crossing(last.members[-1], end.members[0]) for last in _ends(path.items[-1])]
                self._move(path, source)
        self._shorten([source, sink])

    def _move(self, path: _Path, source: int) -> None:
        """Find a place for the boxes of a path that was taken out: beside other paths from their source to a join, or
        else above the nearest other unit that reads the source."""
        others = self.after[source]
        joins = [sink for sink, paths in others.items() if self._is_join(sink) and all(p.items for p in paths)]
        below = min(joins or others)
        if joins:
            others[below].append(_Path(path.items, frozenset(), frozenset(), _LAST + path.slot))
            starts = [self.drawn.units[below]]
        else:
            items = _side_by_side(others[below], self.drawn.lanes[below])
            starts = _starts(items[0]) if items else [self.drawn.units[below]]
            first = others[below][0]
            others[below] = [replace(first, items=(*path.items, *items))]
            self.lines += [Crossing(self.drawn.units[source].members[-1], unit.members[0]) for unit in starts]
        for last in _ends(path.items[-1]):
            self.apart.update((last.members[-1], unit.members[0]) for unit in starts)

    def _is_join(self, number: int) -> bool:
        return self.drawn.units[number].kind == "join"


def _bare(paths: list[_Path]) -> bool:
    """Whether there are no boxes on some paths."""
    return all(leaf.unit.kind == "skip" for path in paths for item in path.items for leaf in leaves(item))


def _ends(item: Item | Series) -> list[Unit]:
    """The units whose outputs leave an item."""
    match item:
        case Leaf():
            return [item.unit]
        case Parallel():
            return [unit for branch in item.branches for unit in _ends(branch)]
        case _:
            body = item if isinstance(item, Series) else item.body
            return _ends(body.items[-1])


def _starts(item: Item | Series) -> list[Unit]:
    """The units that an item's input enters."""
    match item:
        case Leaf():
            return [item.unit]
        case Parallel():
            return [unit for branch in item.branches for unit in _starts(branch)]
        case _:
            body = item if isinstance(item, Series) else item.body
            return _starts(body.items[0])


def _side_by_side(paths: list[_Path], lanes: tuple[int | None, ...]) -> tuple[Item, ...]:
    """Paths to a join: by column if it is a rule's, which has ``lanes``, else in the order of its operands."""
    if len(paths) == 1:
        return paths[0].items
    by_column = bool(lanes) and all(p.arrives or p.lanes for p in paths)
    ordered = sorted(paths, key=lambda p: (min(p.arrives or p.lanes) if by_column else 0, p.slot))
    held = tuple(p.lanes for p in ordered) if by_column else ()
    return (Parallel(tuple(Series(p.items) for p in ordered), held),)
