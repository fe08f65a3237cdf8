"""Shorten a picture: runs of equal parts become one part with a count, and frames become boxes.

keep >> keep >> keep        keep ×3
a frame around `halve`      one box `halve`
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from msgspec import Struct
from msgspec.structs import replace

from fractal_dsl.base.errors import UserError, suggestion
from fractal_dsl.picture.graph_to_dot.series_parallel import NO_CROSSINGS, Crossings
from fractal_dsl.picture.graph_to_dot.tree import Frame, Item, Leaf, Parallel, Series, leaves, units_of
from fractal_dsl.picture.graph_to_dot.units import MAX_UNITS, Unit, check_size


class Opening(Struct, frozen=True):
    """The frames to open: those down to ``depth`` (None: all), and those that ``names`` name."""

    depth: int | None = None
    names: frozenset[str] = frozenset()


def merged(tree: Series, crossings: Crossings = NO_CROSSINGS) -> Series:
    """The tree with runs of equal parts, except blocks, merged. No run has one of the ``crossings`` inside."""
    return _Runs(tree, crossings, blocks=False).merged(tree)


def folded(
    tree: Series, net: str, opening: Opening, *, runs: bool = True, crossings: Crossings = NO_CROSSINGS
) -> Series:
    """The tree with its runs merged and its frames closed as ``opening`` says. No run has one of the ``crossings``
    inside.

    If ``opening`` says nothing and more than 2,000 boxes and bars would remain, runs of equal blocks are merged too,
    and frames are closed from the inside out until the rest can be drawn. Raises UserError if too many remain, and for
    a name that opens nothing.
    """
    if runs:
        tree = merged(tree, crossings)
    if opening.depth is not None or opening.names:
        depth = 0 if opening.depth is None else opening.depth
        tree = _closed(tree, depth, opening.names)
    elif _count(tree) > MAX_UNITS:
        tree = _Runs(tree, crossings, blocks=True).merged(tree) if runs else tree
        level = deepest(tree)
        while level and _count(tree) > MAX_UNITS:
            level -= 1
            tree = _closed(tree, level, frozenset())
        tree = _Runs(tree, crossings, blocks=True).merged(tree) if runs else tree
    check_size(net, _count(tree))
    return tree


def check_names(tree: Series, opened: frozenset[str], used: frozenset[str]) -> None:
    """Raise UserError for a name to open that nothing in the net has. ``used`` are the names of calls of layers."""
    known = {*used, *(name for frame in _frames(tree) for name in frame.names)}
    for name in sorted(opened - known):
        shown = sorted((n for n in known if not n.startswith("@")), key=lambda n: (n.startswith("block"), n))
        help = suggestion(name, shown) or (f"try {', '.join(shown[:8])}" if shown else "there is nothing to open")
        raise UserError(f"nothing in the picture is named {name!r}: {help}")


def _count(tree: Series) -> int:
    return sum(1 for _ in units_of(tree))


def _frames(item: Item | Series) -> Iterator[Frame]:
    match item:
        case Leaf():
            pass
        case Parallel():
            for branch in item.branches:
                yield from _frames(branch)
        case Frame():
            yield item
            yield from _frames(item.body)
        case Series():
            for inner in item.items:
                yield from _frames(inner)


def deepest(item: Item | Series) -> int:
    """How deep frames are nested."""
    match item:
        case Leaf():
            return 0
        case Parallel():
            return max(map(deepest, item.branches))
        case Frame():
            return 1 + deepest(item.body)
        case Series():
            return max(map(deepest, item.items), default=0)


# --- frames


def _closed(series: Series, depth: int, names: frozenset[str]) -> Series:
    """Close frames deeper than ``depth``, except those with one of the names and those around them."""
    return Series(tuple(_closed_item(item, depth, names) for item in series.items))


def _closed_item(item: Item, depth: int, names: frozenset[str]) -> Item:
    match item:
        case Leaf():
            return item
        case Parallel():
            return replace(item, branches=tuple(_closed(b, depth, names) for b in item.branches))
        case Frame():
            if depth > 0 or any(names & {*frame.names} for frame in _frames(item)):
                return replace(item, body=_closed(item.body, depth - 1, names))
            return box(item)


def box(frame: Frame) -> Leaf:
    """A frame as one box. It has the number of its last unit, so lines leave it as they left that unit."""
    inside = list(leaves(frame.body))
    first, last = inside[0].unit, inside[-1].unit
    families = Counter(leaf.unit.family for leaf in inside if leaf.unit.kind in ("layer", "closed"))
    family = next((f for f in ("conv", "attention", "linear") if families[f]), "closed")
    name = f"block{frame.key[1]}" if frame.key[0] == "block" else _common(inside)
    members = tuple(number for leaf in inside for number in leaf.unit.members)
    sort = (frame.title, *(x for leaf in inside for x in (leaf.unit.kind, *leaf.unit.sort)))
    name, times, count = frame.title.partition(" ×")
    label = " ".join(filter(None, (name, _window(inside), f"{times}{count}".strip())))
    return Leaf(inside[-1].number, Unit("closed", label, family, members, name, first.into, last.out, sort=sort))


def _window(inside: list[Leaf]) -> str:
    """The window of the only convolution in a plain run of layers."""
    labels = [leaf.unit.label for leaf in inside if leaf.unit.family == "conv"]
    plain = len(labels) == 1 and " ×" not in labels[0] and not any(leaf.unit.kind == "join" for leaf in inside)
    return labels[0].partition(" ")[2] if plain else ""


def _common(inside: list[Leaf]) -> str:
    parts = [leaf.unit.name.split(".") for leaf in inside]
    shared = [names[0] for names in zip(*parts, strict=False) if len({*names}) == 1]
    return ".".join(shared)


# --- runs

_PATTERN = 12  # the most items that are looked for in a row


class _Runs:
    """Merges equal neighbours, with ``blocks`` also whole blocks."""

    def __init__(self, tree: Series, crossings: Crossings, *, blocks: bool) -> None:
        self.lines, self.blocks = crossings.lines, blocks
        self.last_key = max((frame.key[1] for frame in _frames(tree)), default=0)

    def merged(self, series: Series) -> Series:
        """The items, except those in the lanes of a rule, where the layers of the columns are side by side."""
        items: list[Item] = []
        run: list[Item] = []
        for item in series.items:
            inner = self._merged_inside(item)
            if run and self._mergeable(inner) and self._mergeable(run[-1]) and _sort(inner) == _sort(run[0]):
                run.append(inner)
                continue
            items += _as_one(run)
            run = [inner]
        return Series(self._with_patterns([*items, *_as_one(run)]))

    def _with_patterns(self, items: list[Item]) -> tuple[Item, ...]:
        """The items, with parallel parts that occur several times in a row, with what lies between, in one frame."""
        if not any(isinstance(item, Parallel) for item in items):
            return tuple(items)
        result: list[Item] = []
        keys, start = [_sort(item) for item in items], 0
        while start < len(items):
            for size in range(2, min(_PATTERN, (len(items) - start) // 2) + 1):
                times, pattern = 1, keys[start : start + size]
                while keys[start + times * size : start + (times + 1) * size] == pattern:
                    times += 1
                run = [Series(tuple(items[i : i + size])) for i in range(start, start + times * size, size)]
                if times > 1 and self._repeatable(run):
                    self.last_key += 1
                    key = ("layer", self.last_key)
                    result.append(Frame(key, f"{_join_of(run[0])} ×{times}", _zipped_series(run)))
                    start += times * size
                    break
            else:
                result.append(items[start])
                start += 1
        return tuple(result)

    def _repeatable(self, run: list[Series]) -> bool:
        """Whether equal parts in a row can be one frame, which has one entry and one exit, and have parallel parts."""
        items = [item for series in run for item in series.items]
        first, last = run[0].items[0], run[0].items[-1]
        if isinstance(last, Parallel) or (isinstance(first, Leaf) and first.unit.kind == "join"):
            return False
        others = [item for item in items if not isinstance(item, Parallel)]
        if len(others) == len(items) or any(isinstance(item, Parallel) and item.lanes for item in items):
            return False
        ends = any(isinstance(i, Leaf) and i.unit.kind in ("input", "output") for i in others)
        blocks = any(isinstance(i, Frame) and i.key[0] == "block" for i in others)
        return not ends and not blocks and not any(map(self._crossed, items))

    def _merged_inside(self, item: Item) -> Item:
        match item:
            case Leaf():
                return item
            case Frame():
                return replace(item, body=self.merged(item.body))
            case Parallel():
                if item.lanes:
                    return item
                return replace(item, branches=tuple(map(self.merged, item.branches)))

    def _mergeable(self, item: Item) -> bool:
        match item:
            case Leaf():
                return item.unit.kind in ("layer", "closed") and not self._crossed(item)
            case Frame():
                return (self.blocks or item.key[0] != "block") and not self._crossed(item)
            case Parallel():
                return False

    def _crossed(self, item: Item) -> bool:
        """Whether a line around the tree leads into an item or out of it."""
        inside = {node for unit in units_of(item) for node in unit.members} if self.lines else set[int]()
        return any((line.source in inside) != (line.target in inside) for line in self.lines)


def _sort(item: Item | Series) -> object:
    """A key that is equal for equal parts. It leaves out their position and their shapes."""
    match item:
        case Leaf():
            return (item.unit.kind, item.unit.label, item.unit.sort)
        case Parallel():
            return ("parallel", item.lanes, tuple(map(_sort, item.branches)))
        case Frame():
            title = item.title.partition(" · ")[2] if item.key[0] == "block" else item.title
            return ("frame", title, _sort(item.body))
        case Series():
            return tuple(map(_sort, item.items))


def _join_of(series: Series) -> str:
    """The label of the last join below parallel parts."""
    joins = [i for i in series.items if isinstance(i, Leaf) and i.unit.kind == "join"]
    return joins[-1].unit.label or "mean"


def _as_one(run: list[Item]) -> list[Item]:
    if len(run) < 2:
        return run
    merged = _zipped(run)
    count = f" ×{len(run)}"
    if isinstance(merged, Leaf):
        return [Leaf(merged.number, replace(merged.unit, label=merged.unit.label + count))]
    assert isinstance(merged, Frame)
    title = merged.title + count
    if merged.key[0] == "block":
        last = run[-1]
        assert isinstance(last, Frame)
        title = f"blocks {merged.key[1]}–{last.key[1]} · {merged.title.partition(' · ')[2]}"
    return [replace(merged, title=title)]


def _zipped(run: list[Item]) -> Item:
    """Equal items as one, unit by unit: all their members, from the input of the first to the output of the last."""
    first = run[0]
    match first:
        case Leaf():
            units = [item.unit for item in run if isinstance(item, Leaf)]
            members = tuple(n for unit in units for n in unit.members)
            last = run[-1]
            assert isinstance(last, Leaf)
            return Leaf(last.number, replace(units[0], members=members, out=units[-1].out))
        case Parallel():
            rows = zip(*(item.branches for item in run if isinstance(item, Parallel)), strict=True)
            return replace(first, branches=tuple(_zipped_series(list(row)) for row in rows))
        case Frame():
            return replace(first, body=_zipped_series([item.body for item in run if isinstance(item, Frame)]))


def _zipped_series(run: list[Series]) -> Series:
    return Series(tuple(_zipped(list(row)) for row in zip(*(s.items for s in run), strict=True)))
