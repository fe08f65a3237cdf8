"""What is drawn: the nodes of a join graph folded into units, one for each box or bar.

A base layer is one unit, whatever it is made of; outside the blocks, so is a call of a user's layer that is a plain
run of operations. Everything else stands for itself.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from fractal_dsl.diagnostics import UserError
from fractal_dsl.graph import Input, Join, JoinGraph, Layer, Output, Site
from fractal_dsl.ops import Tensor
from fractal_dsl.plan import column_order

MAX_UNITS = 2_000
_MAX_LABEL = 24

FrameKey = tuple[str, int]
"""What a frame is drawn around: ``("block", 2)``, or the call of a user's layer by its number."""


@dataclass(frozen=True, slots=True)
class Unit:
    """A box (``layer``, ``input``, ``output``), a bar (``join``) or a bare line (``skip``, for ``id``).

    ``members`` are its nodes in topological order; ``frames`` are around it, outermost first; ``pinned`` marks
    what ``each`` puts right before a join.
    """

    kind: Literal["input", "output", "layer", "skip", "join"]
    label: str
    family: str
    members: tuple[int, ...]
    name: str
    into: Tensor | None
    out: Tensor
    frames: tuple[FrameKey, ...] = ()
    pinned: bool = False


@dataclass(frozen=True, slots=True)
class Units:
    """The units in topological order and the operands of each, in the order of their slots.

    ``lanes[u]`` has for each operand of a rule's join the place of its column among all columns, from 0 (shallow);
    None where the operand is an open join. ``titles`` has the text of each frame.
    """

    units: tuple[Unit, ...]
    operands: tuple[tuple[int, ...], ...]
    lanes: tuple[tuple[int | None, ...], ...]
    titles: dict[FrameKey, str]


def check_size(net: str, units: int) -> None:
    """Raise UserError if there are too many units to be drawn; a net's base layers are a lower bound of them."""
    if units > MAX_UNITS:
        raise UserError(
            f"the picture of {net} would have at least {units:,} boxes and bars; the limit is {MAX_UNITS:,}. "
            "Draw a smaller net of the same shape, for example with `-p columns=4`"
        )


def fold(graph: JoinGraph) -> Units:
    """Fold a graph, at any stage, into its units. Raises UserError if there are too many of them to be drawn."""
    owner, folds = _owners(graph)
    members: dict[int, list[int]] = defaultdict(list)
    for number in graph.g.nodes:
        members[owner.get(number, number)].append(number)
    check_size(graph.net, len(members))
    place = {key: i for i, key in enumerate(members)}
    columns = graph.columns or column_order(x for _, join in graph.joins() for x in join.labels if x is not None)
    lane = {label: i for i, label in enumerate(columns)}
    units: list[Unit] = []
    operands: list[tuple[int, ...]] = []
    lanes: list[tuple[int | None, ...]] = []
    titles: dict[FrameKey, str] = {}
    for key, inside in members.items():
        units.append(_unit(graph, tuple(inside), folds.get(key), titles))
        outside = (owner.get(p, p) for n in inside for p in graph.operands(n))
        operands.append(tuple(dict.fromkeys(place[p] for p in outside if p != key)))
        node = graph[inside[0]]
        own = node.labels if isinstance(node, Join) and len(inside) == 1 else ()
        lanes.append(tuple(None if label is None else lane[label] for label in own))
    return Units(tuple(units), tuple(operands), tuple(lanes), titles)


@dataclass(frozen=True, slots=True)
class _Fold:
    """The label of a fold, and whether it is the name of a call: all its nodes' names begin with it then."""

    label: str
    call: bool


def _owners(graph: JoinGraph) -> tuple[dict[int, int], dict[int, _Fold]]:
    """For each folded node the last node of its fold, and by that the fold."""
    sites = {n: node.site for n, node in graph.items() if isinstance(node, Layer | Join)}
    bases: dict[int, list[int]] = defaultdict(list)
    calls: dict[tuple[str, int], list[int]] = defaultdict(list)
    for number, site in sites.items():
        if site.base is not None:
            bases[site.base].append(number)
        for call in _calls(site):
            calls[call].append(number)
    owner: dict[int, int] = {}
    folds: dict[int, _Fold] = {}

    def own(inside: list[int], call: str | None) -> None:
        owner.update(dict.fromkeys(inside, inside[-1]))
        folds[inside[-1]] = _Fold(call or _op_label(graph, inside), call is not None)

    for base, inside in bases.items():
        if _closed(graph, inside):
            around = (c for c in sites[inside[-1]].groups if {sites[n].base for n in calls[c]} == {base})
            own(inside, next((name for name, _ in around), None))
    for (name, _), inside in calls.items():  # outer calls come before inner ones
        plain = not any(n in owner or isinstance(graph[n], Join) for n in inside)
        if plain and len({_calls(sites[n]) for n in inside}) == 1 and _closed(graph, inside):
            own(inside, name)
    return owner, folds


def _calls(site: Site) -> tuple[tuple[str, int], ...]:
    return (*site.outer, *site.groups)


def _closed(graph: JoinGraph, inside: list[int]) -> bool:
    """Whether the nodes take one tensor from outside and give one."""
    within = set(inside)
    sources = {p for n in inside for p in graph.g.pred[n] if p not in within}
    ends = {n for n in inside for c in graph.g.succ[n] if c not in within}
    return len(sources) == len(ends) == 1


def _op_label(graph: JoinGraph, inside: list[int]) -> str:
    joins = [node.spec.name for n in inside if isinstance(node := graph[n], Join)]
    ops = [node.spec.name for n in inside if isinstance(node := graph[n], Layer)]
    return f"{joins[-1]}({', '.join(dict.fromkeys(ops))})" if joins else ops[0]


def _unit(graph: JoinGraph, inside: tuple[int, ...], folded: _Fold | None, titles: dict[FrameKey, str]) -> Unit:
    node = graph[inside[-1]]
    match node:
        case Input():
            return Unit("input", node.name, "input", inside, node.name, None, node.out)
        case Output():
            return Unit("output", "output", "output", inside, "output", node.out, node.out)
        case Layer() | Join():
            pass
    into = graph[graph.operands(inside[0])[0]].out
    frames = _frames(node.site, titles)
    name = node.name
    if folded is not None and folded.call:
        name = _common_name(m.name for n in inside if isinstance(m := graph[n], Layer | Join))
    if folded is None and isinstance(node, Join):
        text = "" if node.droppable and node.spec.name == "mean" else node.spec.name
        return Unit("join", text, "join", inside, name, into, node.out, frames)
    if folded is None and isinstance(node, Layer) and node.spec.name == "id":
        return Unit("skip", "id", "shape", inside, name, into, node.out, frames)
    specs = [m.spec for n in inside if isinstance(m := graph[n], Layer)]
    family = next((s.family for s in specs if s.weighted), specs[0].family)
    text = folded.label if folded else specs[0].name
    text = text if len(text) <= _MAX_LABEL else text[: _MAX_LABEL - 1] + "…"
    pinned = node.site.block > 0 and node.site.base is None
    return Unit("layer", text, family, inside, name, into, node.out, frames, pinned)


def _frames(site: Site, titles: dict[FrameKey, str]) -> tuple[FrameKey, ...]:
    """The calls around a node, then its block; ``titles`` gets their texts."""
    calls = site.outer if site.block else site.groups
    titles.update({("layer", number): name for name, number in calls})
    keys: list[FrameKey] = [("layer", number) for _, number in calls]
    if site.block:
        block = f"block {site.block}"
        titles.setdefault(("block", site.block), block)
        if rule := next((entry for entry in reversed(site.trail) if entry.endswith("]")), None):
            titles["block", site.block] = f"{block} · {rule}"
        keys.append(("block", site.block))
    return tuple(keys)


def _common_name(names: Iterable[str]) -> str:
    """The dotted name that all names share: ``block1.column3.conv2``."""
    common: list[str] | None = None
    for name in names:
        parts = name.split(".")
        if common is None:
            common = parts
        while common != parts[: len(common)]:
            common.pop()
    return ".".join(common or ())
