"""The series-parallel structure of the units.

Every net of the language is series-parallel: a join closes the branches that one tensor opened. So a picture is a tree
of items in sequence (``Series``) and side by side (``Parallel``), and no lines need to cross.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from msgspec import Struct
from msgspec.structs import replace

from fractal_dsl.picture.graph_to_dot.units import FrameKey, Unit, Units


class Leaf(Struct, frozen=True):
    """One unit, with its index in ``Units``."""

    number: int
    unit: Unit


class Parallel(Struct, frozen=True):
    """Branches side by side, from left to right. A join follows.

    ``lanes`` are the columns in each branch. It is empty if the join is not a rule's.
    """

    branches: tuple[Series, ...]
    lanes: tuple[frozenset[int], ...]


class Frame(Struct, frozen=True):
    """A box around a block, a call of a user's layer, or a tagged part. ``names`` are the names that open it.

    It has one entry and one exit: the first item of its body is no join, and the last one is not ``Parallel``. With
    ``shapes``, it shows the shapes of its input and output.
    """

    key: FrameKey
    title: str
    body: Series
    names: tuple[str, ...] = ()
    shapes: bool = True


class Series(Struct, frozen=True):
    """Items one below the other."""

    items: tuple[Item, ...]


Item = Leaf | Parallel | Frame


class _Path(Struct, frozen=True):
    """The items between two units. ``arrives`` and ``slot`` are its lanes and position at the join where it ends."""

    items: tuple[Item, ...]
    lanes: frozenset[int]
    arrives: frozenset[int]
    slot: int


def units_to_tree(drawn: Units) -> Series:
    """The tree of a net, without frames.

    A unit with one neighbour on each side becomes part of the path between them, until a single path leads from the
    input to the output.
    """
    after: dict[int, dict[int, list[_Path]]] = defaultdict(dict)
    before: dict[int, set[int]] = defaultdict(set)
    for number, operands in enumerate(drawn.operands):
        known = drawn.lanes[number] or (None,) * len(operands)
        for slot, (operand, lane) in enumerate(zip(operands, known, strict=True)):
            lanes = frozenset[int]() if lane is None else frozenset({lane})
            after[operand][number] = [_Path((), lanes, lanes, slot)]
            before[number].add(operand)
    ready = list(range(len(drawn.units)))
    while ready:
        here = ready.pop()
        if len(before[here]) != 1 or len(after[here]) != 1:
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
    start, end = 0, len(drawn.units) - 1
    ((_, paths),) = after[start].items()
    assert len(paths) == 1 and before[end] == {start}, "not series-parallel"
    whole = (Leaf(start, drawn.units[start]), *paths[0].items, Leaf(end, drawn.units[end]))
    return Series(whole)


def leaves(item: Item | Series) -> Iterator[Leaf]:
    """The leaves of a tree, from top to bottom and left to right."""
    match item:
        case Leaf():
            yield item
        case Parallel():
            for branch in item.branches:
                yield from leaves(branch)
        case Frame():
            yield from leaves(item.body)
        case Series():
            for inner in item.items:
                yield from leaves(inner)


def units_of(item: Item | Series) -> Iterator[Unit]:
    """The units of a tree."""
    return (leaf.unit for leaf in leaves(item))


def blank(series: Series) -> Series:
    """The tree with the least text: boxes have none, and frames no shapes."""
    return Series(tuple(_blank(item) for item in series.items))


def _blank(item: Item) -> Item:
    match item:
        case Leaf():
            return replace(item, unit=replace(item.unit, label="")) if item.unit.kind == "layer" else item
        case Parallel():
            return replace(item, branches=tuple(map(blank, item.branches)))
        case Frame():
            title = item.title.partition(" · ")[0]
            return replace(item, body=blank(item.body), title=title, shapes=False)


def _side_by_side(paths: list[_Path], lanes: tuple[int | None, ...]) -> tuple[Item, ...]:
    """Paths to a join: by column if it is a rule's, which has ``lanes``, else in the order of its operands."""
    if len(paths) == 1:
        return paths[0].items
    by_column = bool(lanes) and all(p.arrives or p.lanes for p in paths)
    ordered = sorted(paths, key=lambda p: (min(p.arrives or p.lanes) if by_column else 0, p.slot))
    held = tuple(p.lanes for p in ordered) if by_column else ()
    return (Parallel(tuple(Series(p.items) for p in ordered), held),)
