"""The boxes and bars of a picture: the nodes of a join graph, folded into units.

A base layer is one unit, whatever it consists of. Outside of blocks, so is a call of a user's layer that is a plain run
of operations. Every other node is a unit by itself.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Iterable, Sequence
from itertools import takewhile
from typing import Literal, cast

from msgspec import Struct

from fractal_dsl.base.errors import UserError
from fractal_dsl.base.texts import percent
from fractal_dsl.graph.graph import Input, Join, JoinGraph, Layer, Output, Site, Tag
from fractal_dsl.ops import DROP_EXAMPLES, Args, OpSpec, Tensor
from fractal_dsl.program.columns import column_order

MAX_UNITS = 2_000
_MAX_LABEL = 24

FrameKey = tuple[str, int]
"""The part that a frame encloses: ``("block", 2)``, or ``layer`` or ``tag`` with the number of the call or tag."""


class FrameText(Struct, frozen=True):
    """The title of a frame, and the names that open it."""

    title: str
    names: tuple[str, ...]


class Unit(Struct, frozen=True):
    """A box (``layer``, ``input``, ``output``, or ``closed`` for a part that is not opened), a bar (``join``) or a bare
    line (``skip``, for ``id``).

    ``into`` and ``out`` are its shapes. ``members`` are its nodes in topological order. ``frames`` are around it,
    outermost first. ``pinned`` marks blocks that ``each`` puts right before a join. Only units with equal ``sort`` may
    be merged.
    """

    kind: Literal["input", "output", "layer", "closed", "skip", "join"]
    label: str
    family: str
    members: tuple[int, ...]
    name: str
    into: Tensor | None
    out: Tensor | None
    frames: tuple[FrameKey, ...] = ()
    pinned: bool = False
    sort: tuple[object, ...] = ()


class Units(Struct, frozen=True):
    """The units in topological order and the operands of each, in the order of their slots.

    ``lanes[u]`` has, for each operand of a rule's join, the index of its column, from 0 (shallow), or None if the
    operand is an open join. ``frames`` has the texts of all frames.
    """

    units: tuple[Unit, ...]
    operands: tuple[tuple[int, ...], ...]
    lanes: tuple[tuple[int | None, ...], ...]
    frames: dict[FrameKey, FrameText]


def check_size(net: str, units: int) -> None:
    """Raise UserError if there are too many units to draw."""
    if units > MAX_UNITS:
        raise UserError(
            f"the picture of {net} would have {units:,} boxes and bars; the limit is {MAX_UNITS:,}. "
            "Leave parts closed with `--depth 1`, draw one block with `--view block`, or a smaller net of the same "
            "shape, for example with `-p columns=4`"
        )


def fold(graph: JoinGraph, opened: Container[str] = ()) -> Units:
    """Fold a graph, at any stage, into its units. Layers that ``opened`` names stay as they are written."""
    owner, folds = _owners(graph, opened)
    members: dict[int, list[int]] = defaultdict(list)
    for number in graph.g.nodes:
        members[owner.get(number, number)].append(number)
    place = {key: i for i, key in enumerate(members)}
    columns = column_order(x for _, join in graph.joins() for x in join.labels if x is not None)
    lane = {label: i for i, label in enumerate(columns)}
    units: list[Unit] = []
    operands: list[tuple[int, ...]] = []
    lanes: list[tuple[int | None, ...]] = []
    frames = _Frames(opened)
    for key, inside in members.items():
        units.append(_unit(graph, tuple(inside), folds.get(key), frames))
        outside = (owner.get(p, p) for n in inside for p in graph.operands(n))
        operands.append(tuple(dict.fromkeys(place[p] for p in outside if p != key)))
        node = graph[inside[0]]
        own = node.labels if isinstance(node, Join) and len(inside) == 1 else ()
        lanes.append(tuple(None if label is None else lane[label] for label in own))
    return Units(tuple(units), tuple(operands), tuple(lanes), frames.texts)


class _Fold(Struct, frozen=True):
    """The label of a fold, and whether it is the name of a call, which then begins the names of all its nodes."""

    label: str
    call: bool


def _owners(graph: JoinGraph, opened: Container[str]) -> tuple[dict[int, int], dict[int, _Fold]]:
    """The last node of its fold for each folded node, and the fold by its last node."""
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
            call = next((name for name, _ in around), None)
            if call is None or call not in opened:
                own(inside, call)
    for (name, _), inside in calls.items():  # outer calls come before inner ones
        plain = name not in opened and not any(n in owner or isinstance(graph[n], Join) for n in inside)
        if plain and len({_calls(sites[n]) for n in inside}) == 1 and _closed(graph, inside):
            own(inside, name)
    return owner, folds


def _calls(site: Site) -> tuple[tuple[str, int], ...]:
    return (*site.outer, *site.groups)


def _closed(graph: JoinGraph, inside: list[int]) -> bool:
    """Whether some nodes read one tensor from outside and output one."""
    within = set(inside)
    sources = {p for n in inside for p in graph.g.pred[n] if p not in within}
    ends = {n for n in inside for c in graph.g.succ[n] if c not in within}
    return len(sources) == len(ends) == 1


def _op_label(graph: JoinGraph, inside: list[int]) -> str:
    joins = [node.spec.name for n in inside if isinstance(node := graph[n], Join)]
    ops = [node.spec.name for n in inside if isinstance(node := graph[n], Layer)]
    return f"{joins[-1]}({', '.join(dict.fromkeys(ops))})" if joins else ops[0]


def _unit(graph: JoinGraph, inside: tuple[int, ...], folded: _Fold | None, around: _Frames) -> Unit:
    node = graph[inside[-1]]
    match node:
        case Input():
            return Unit("input", f"{node.name}\n{shape_text(node.out)}", "input", inside, node.name, None, node.out)
        case Output():
            several = len(node.outs) > 1
            shapes = [f"{name} " * several + shape_text(out) for name, out in zip(node.names, node.outs, strict=True)]
            label = "\n".join(["outputs" if several else "output", *shapes])
            return Unit("output", label, "output", inside, "output", node.outs[0], node.outs[0])
        case Layer() | Join():
            pass
    into = graph[graph.operands(inside[0])[0]].out
    sites = (m.site for n in inside if isinstance(m := graph[n], Layer | Join))
    frames = around.around(sites)
    name = node.name
    if folded is not None and folded.call:
        name = _common_name(m.name for n in inside if isinstance(m := graph[n], Layer | Join))
    if folded is None and isinstance(node, Join):
        text = "" if node.of_columns and node.spec.name == "mean" else node.spec.name
        text = " ".join(filter(None, (text, drop_text(node.drops))))
        return Unit("join", text, "join", inside, name, into, node.out, frames)
    layers = [m for n in inside if isinstance(m := graph[n], Layer)]
    sort = tuple((m.spec.name, *m.args.items()) for m in layers)
    if folded is None and isinstance(node, Layer) and node.spec.name == "id":
        return Unit("skip", "", "shape", inside, name, into, node.out, frames, sort=sort)
    family = next((m.spec.family for m in layers if m.spec.weighted), layers[0].spec.family)
    text = folded.label if folded else op_text(layers[0].spec, layers[0].args)
    text = text if len(text) <= _MAX_LABEL or family == "closed" else text[: _MAX_LABEL - 1] + "…"
    pinned = node.site.block > 0 and node.site.base is None
    drops = [drop for n in inside if isinstance(join := graph[n], Join) for drop in join.drops]
    label = " ".join(filter(None, (text, window_text([(m.spec, m.args) for m in layers]), drop_text(drops))))
    kind = "closed" if family == "closed" else "layer"
    return Unit(kind, label, family, inside, name, into, node.out, frames, pinned, sort)


def op_text(spec: OpSpec, args: Args) -> str:
    """The name of a layer in a picture."""
    drop = args["p"] if spec is DROP_EXAMPLES else None
    return spec.name if not isinstance(drop, float) else f"drop {percent(drop)} by example"


def drop_text(drops: Iterable[float]) -> str:
    """The probabilities of branches with ``@drop`` as they are written in a picture: ``drop 10%``, ``drop 5%–20%``."""
    given = [drop for drop in drops if drop]
    return f"drop {'–'.join(dict.fromkeys(map(percent, (min(given), max(given)))))}" if given else ""


def window_text(ops: Sequence[tuple[OpSpec, Args]]) -> str:
    """The window of the only convolution among some operations, or of a pooling: ``3×3 /2`` has a stride of 2.

    ``2×2 ↑2`` is a transposed convolution with that stride: it enlarges. The usual pooling, 2×2 with stride 2, has no
    text.
    """
    windows = [op for op in ops if op[0].family == "conv"] or [op for op in ops if op[0].family == "pool"]
    if len(windows) != 1 or "kernel_size" not in windows[0][1]:
        return ""
    spec, args = windows[0]
    kernel = _by_axis(args["kernel_size"], spec.rank)
    stride = kernel if args["stride"] is None else _by_axis(args["stride"], spec.rank)
    if spec.family == "pool" and {*kernel, *stride} == {2}:
        return ""
    text = "×".join(map(str, kernel))
    if stride != (kernel if spec.family == "pool" else (1,) * len(stride)):
        text += (" ↑" if "transpose" in spec.name else " /") + "×".join(
            map(str, stride if len({*stride}) > 1 else stride[:1])
        )
    dilation = args.get("dilation", 1)
    return text if dilation == 1 else f"{text} d{dilation}"


def _by_axis(value: object, rank: int | None) -> tuple[object, ...]:
    return cast(tuple[object, ...], value) if isinstance(value, tuple) else (value,) * (rank or 1)


def shape_text(tensor: Tensor) -> str:
    """A shape as pictures show it: ``3×32×32``."""
    sizes = "×".join(map(str, tensor.shape)) or "scalar"
    return sizes if tensor.dtype == "f32" else f"{tensor.dtype} {sizes}"


def short(number: float) -> str:
    """A number with three digits for a box: ``36.9 k``."""
    for size, sign in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.3g} {sign}" if number < 999.5 * size else f"{number / size:.0f} {sign}"
    return f"{number:.3g}"


class _Frames:
    """The frames around nodes, with their texts."""

    def __init__(self, opened: Container[str]) -> None:
        self.opened = opened
        self.texts: dict[FrameKey, FrameText] = {}

    def around(self, sites: Iterable[Site]) -> tuple[FrameKey, ...]:
        """The frames that enclose all of some nodes, outermost first."""
        return common([self._of(site) for site in sites])

    def _of(self, site: Site) -> tuple[FrameKey, ...]:
        """The calls around a node, its block, the opened calls within it, and its tags between them."""
        keys: list[FrameKey] = []
        tags = list(reversed(site.tags))
        calls = [*site.outer, *([None] if site.block else []), *site.groups]
        for depth, call in enumerate((*calls, None)):
            while tags and tags[-1].depth == depth:
                keys.append(self._tag(tags.pop()))
            if depth == len(site.outer) and site.block:
                keys.append(self._block(site))
            elif call is not None and (depth < len(site.outer) or not site.block or call[0] in self.opened):
                keys.append(self._call(*call))
        return tuple(keys)

    def _call(self, name: str, number: int) -> FrameKey:
        return self._key(("layer", number), name, (name,))

    def _tag(self, tag: Tag) -> FrameKey:
        return self._key(("tag", tag.number), f"@{tag.text}", (tag.text, f"@{tag.text}"))

    def _block(self, site: Site) -> FrameKey:
        block = f"block {site.block}"
        rule = next((entry for entry in reversed(site.trail) if entry.endswith("]")), None)
        title = f"{block} · {rule}" if rule else block
        names = (block, f"block{site.block}", *((rule, rule.partition("[")[0]) if rule else ()))
        return self._key(("block", site.block), title, names)

    def _key(self, key: FrameKey, title: str, names: tuple[str, ...]) -> FrameKey:
        if key not in self.texts or (key[0] == "block" and "·" not in self.texts[key].title):
            self.texts[key] = FrameText(title, names)
        return key


def common(sequences: Sequence[tuple[FrameKey, ...]]) -> tuple[FrameKey, ...]:
    """The longest common prefix."""
    columns = zip(*sequences, strict=False)
    return tuple(column[0] for column in takewhile(lambda column: len({*column}) == 1, columns))


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
