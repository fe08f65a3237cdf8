"""Rewrites a plain graph so that it reads as nested series and parallel parts, without changing what it computes."""

from __future__ import annotations

from fractal_dsl.importing.attentions import attends, self_attention
from fractal_dsl.importing.plain import Place, PlainGraph, Step, renumbered
from fractal_dsl.importing.regions import Regions
from fractal_dsl.importing.sources import attached
from fractal_dsl.ops import JOINS, Tensor


def rewritten(graph: PlainGraph) -> PlainGraph:
    """The graph after all rewrites."""
    for rewrite in _REWRITES:
        graph = rewrite(graph).live()
    while (grouped := _grouped(graph)) is not None:
        graph = grouped.live()
    return graph


def common(a: Place, b: Place) -> Place:
    """The place around two places."""
    scopes = [x for x, y in zip(a.scopes, b.scopes, strict=False) if x == y]
    return Place(tuple(scopes), a.line)


def _global_pooling(graph: PlainGraph) -> PlainGraph:
    """Pooling to one element and flattening are ``global_avgpool``."""
    steps, readers = list(graph.steps), graph.consumers()
    for number, step in enumerate(graph.steps):
        if step.op != "flatten" or step.args != {"start_dim": 1, "end_dim": -1}:
            continue
        pool = graph.steps[step.inputs[0]]
        single = pool.op.startswith("adaptiveavgpool") and pool.args["output_size"] == 1
        if single and len(readers[step.inputs[0]]) == 1:
            steps[number] = Step("global_avgpool", {}, pool.inputs, step.out, common(pool.place, step.place))
    return PlainGraph(tuple(steps), graph.output)


def _channel_norms(graph: PlainGraph) -> PlainGraph:
    """A layer norm with the channels moved to the end and back is ``layernorm2d``."""
    steps, readers = list(graph.steps), graph.consumers()
    for number, step in enumerate(graph.steps):
        if step.op != "permute":
            continue
        norm = graph.steps[step.inputs[0]]
        before = graph.steps[norm.inputs[0]] if norm.op == "layernorm" else step
        there, back = {"dims": (2, 3, 1)}, {"dims": (3, 1, 2)}
        if before is step or before.op != "permute" or (before.args, step.args) != (there, back):
            continue
        if len(readers[step.inputs[0]]) == len(readers[norm.inputs[0]]) == 1:
            steps[number] = Step("layernorm2d", norm.args, before.inputs, step.out, norm.place, norm.tensors)
    return PlainGraph(tuple(steps), graph.output)


def _channel_shuffles(graph: PlainGraph) -> PlainGraph:
    """Channels reshaped to groups, transposed and flattened are ``channel_shuffle``."""
    steps = list(graph.steps)
    for number, step in enumerate(graph.steps):
        if step.op != "flatten" or step.args["start_dim"] != 1 or len(step.out.shape) < 2:
            continue
        swap = graph.steps[step.inputs[0]]
        split = graph.steps[swap.inputs[0]] if swap.op == "transpose" else step
        if split.op == "reshape" and swap.args == {"dim0": 1, "dim1": 2} and step.args["end_dim"] == 2:
            source = graph.steps[split.inputs[0]].out
            if source == step.out and split.out.shape[2:] == source.shape[1:]:
                args = {"groups": split.out.shape[0]}
                steps[number] = Step("channel_shuffle", args, split.inputs, step.out, step.place)
    return PlainGraph(tuple(steps), graph.output)


def _composed_moves(graph: PlainGraph) -> PlainGraph:
    """Two permutations in a row are one, and so are two changes of sizes. A learned tensor has the last sizes."""
    steps, readers = list(graph.steps), graph.consumers()
    for number, step in enumerate(graph.steps):
        before = steps[step.inputs[0]] if step.inputs else step
        if before is step or len(readers[step.inputs[0]]) != 1:
            continue
        if step.op in _PERMUTATIONS and before.op in _PERMUTATIONS:
            order = [_order(before)[axis - 1] for axis in _order(step)]
            moved = [i for i, axis in enumerate(order, 1) if i != axis]
            args = {"dim0": moved[0], "dim1": moved[1]} if len(moved) == 2 else {"dims": tuple(order)}
            op = "transpose" if len(moved) == 2 else "permute" if moved else "id"
            steps[number] = Step(op, args, before.inputs, step.out, step.place)
        if step.op in ("reshape", "flatten") and before.op == "parameter":
            args = {**before.args, "shape": step.out.shape}
            steps[number] = Step("parameter", args, before.inputs, step.out, before.place, before.tensors)
        if step.op == "reshape" and before.op in ("reshape", "flatten"):
            steps[number] = Step("reshape", step.args, before.inputs, step.out, step.place)
    return _without_identities(PlainGraph(tuple(steps), graph.output))


_PERMUTATIONS = ("transpose", "permute")


def _order(step: Step) -> list[int]:
    """The axes of a permutation, counted from 1."""
    if step.op == "permute":
        return [int(axis) for axis in step.args["dims"]]  # type: ignore[union-attr]
    order = list(range(1, len(step.out.shape) + 1))
    a, b = int(str(step.args["dim0"])) - 1, int(str(step.args["dim1"])) - 1
    order[a], order[b] = order[b], order[a]
    return order


def _without_identities(graph: PlainGraph) -> PlainGraph:
    place: dict[int, int] = {}
    for number, step in enumerate(graph.steps):
        place[number] = place[step.inputs[0]] if step.op == "id" else number
    steps = [renumbered(step, place) for step in graph.steps]
    return PlainGraph(tuple(steps), place[graph.output])


def _left_nested_sums(graph: PlainGraph) -> PlainGraph:
    """``(a + b) + c`` is one sum of three, if nothing else reads ``a + b``, and so are other joins."""
    steps, readers = list(graph.steps), graph.consumers()
    for number, step in enumerate(graph.steps):
        if step.op in ASSOCIATIVE and step.op != "concat":
            first = steps[step.inputs[0]]
            if first.op == step.op and first.args == step.args and len(readers[step.inputs[0]]) == 1:
                operands = (*first.inputs, *step.inputs[1:])
                steps[number] = Step(step.op, step.args, operands, step.out, common(first.place, step.place))
    return PlainGraph(tuple(steps), graph.output)


def _shared_prefixes(graph: PlainGraph) -> PlainGraph:
    """``concat(a, b, c)`` beside ``concat(a, b)`` is ``concat(concat(a, b), c)``, as in a dense block."""
    steps = list(graph.steps)
    known: dict[tuple[object, ...], int] = {}
    for number, step in enumerate(graph.steps):
        if step.op != "concat":
            continue
        dim = step.args["dim"]
        for end in range(len(step.inputs) - 1, 1, -1):
            if (dim, step.inputs[:end]) in known:
                operands = (known[dim, step.inputs[:end]], *step.inputs[end:])
                steps[number] = Step("concat", step.args, operands, step.out, step.place)
                break
        known.setdefault((dim, step.inputs), number)
    return PlainGraph(tuple(steps), graph.output)


def _hoisted(graph: PlainGraph) -> PlainGraph:
    """A concatenation in a submodule that computes none of its operands belongs to the submodules around them, as in a
    dense layer, which begins with the concatenation of all before it."""
    steps = list(graph.steps)
    for number, step in enumerate(graph.steps):
        if step.op == "concat" and step.place.scopes:
            inner = step.place.scopes[-1]
            places = [graph.steps[i].place for i in step.inputs]
            if not any(inner in place.scopes for place in places):
                around = places[-1]
                for place in [step.place, *places]:
                    around = common(around, place)
                steps[number] = Step(step.op, step.args, step.inputs, step.out, around)
    return PlainGraph(tuple(steps), graph.output)


def _shortcuts_first(graph: PlainGraph) -> PlainGraph:
    """``f(x) + x`` is ``x + f(x)``, and the same of products, which is exactly equal."""
    steps, regions = list(graph.steps), Regions(graph)
    for number, step in enumerate(graph.steps):
        if step.op in ("sum", "product") and len(step.inputs) == 2 and step.inputs[1] == regions.dominator[number]:
            steps[number] = Step(step.op, step.args, step.inputs[::-1], step.out, step.place)
    return PlainGraph(tuple(steps), graph.output)


ASSOCIATIVE = ("sum", "product", "max", "min", "concat")


def _grouped(graph: PlainGraph) -> PlainGraph | None:
    """Join operands with common steps first: ``concat(x, a, b)`` is ``concat(x, concat(a, b))`` if ``b`` reads ``a``.

    None if there is nothing to do."""
    regions = Regions(graph)
    steps = list(graph.steps)
    order: list[int] = []  # of steps; new ones come before the join that reads them
    for number, step in enumerate(graph.steps):
        if step.op in ASSOCIATIVE:
            step = _with_groups(number, step, regions, steps, order)
            steps[number] = step
        order.append(number)
    if len(steps) == len(graph.steps):
        return None
    new = {old: i for i, old in enumerate(order)}
    return PlainGraph(tuple([renumbered(steps[old], new) for old in order]), new[graph.output])


def _with_groups(number: int, step: Step, regions: Regions, steps: list[Step], order: list[int]) -> Step:
    groups = regions.groups(regions.dominator[number], step.inputs)
    if len(groups) == 1 or all(len(g) == 1 for g in groups):
        return step
    if step.op == "concat" and any(g[-1] - g[0] + 1 != len(g) for g in groups):
        return step
    operands: list[int] = []
    for group in groups:
        inside = [step.inputs[slot] for slot in group]
        if len(group) > 1:
            steps.append(Step(step.op, step.args, tuple(inside), _joined(step, inside, steps), step.place))
            order.append(len(steps) - 1)
            inside = [len(steps) - 1]
        operands += inside
    return Step(step.op, step.args, tuple(operands), step.out, step.place)


def _joined(step: Step, operands: list[int], steps: list[Step]) -> Tensor:
    return JOINS[step.op].out(tuple([steps[i].out for i in operands]), step.args)


_REWRITES = (
    attends,
    self_attention,
    attached,
    _global_pooling,
    _channel_norms,
    _channel_shuffles,
    _composed_moves,
    _left_nested_sums,
    _shared_prefixes,
    _hoisted,
    _shortcuts_first,
)
