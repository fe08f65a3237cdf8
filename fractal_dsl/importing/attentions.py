"""Rewrites attention that is written out: products of matrices as ``attend``, and heads of one sequence as
``attention``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch

from fractal_dsl.importing.modules import with_defaults
from fractal_dsl.importing.plain import PlainGraph, Step
from fractal_dsl.ops import JOINS

_MOVES = ("reshape", "flatten", "permute", "transpose", "slice")


def attends(graph: PlainGraph) -> PlainGraph:
    """``softmax(q kᵀ · s + b) v`` is ``attend(q, k, v, b, scale=s)``."""
    steps, readers = list(graph.steps), graph.consumers()
    new: dict[int, list[Step]] = {}
    for number, step in enumerate(graph.steps):
        if step.op != "matmul" or not _single(graph, readers, step.inputs[0], "softmax"):
            continue
        softmax = graph.steps[step.inputs[0]]
        if softmax.args["dim"] not in (-1, len(softmax.out.shape)):
            continue
        scores, bias = softmax.inputs[0], None
        if _single(graph, readers, scores, "sum") and len(graph.steps[scores].inputs) == 2:
            scores, bias = graph.steps[scores].inputs
        factor = 1.0
        if _single(graph, readers, scores, "times"):
            factor *= float(str(graph.steps[scores].args["factor"]))
            scores = graph.steps[scores].inputs[0]
        if not _single(graph, readers, scores, "matmul"):
            continue
        query, key = graph.steps[scores].inputs
        while graph.steps[query].op == "times":
            factor *= float(str(graph.steps[query].args["factor"]))
            query = graph.steps[query].inputs[0]
        while graph.steps[key].op == "times":
            factor *= float(str(graph.steps[key].args["factor"]))
            key = graph.steps[key].inputs[0]
        operands = [query, key, step.inputs[1], *([] if bias is None else [bias])]
        made = _attend(graph, operands, factor, step)
        if made is not None:
            new[number] = made
    return _inserted(graph, new) if new else PlainGraph(tuple(steps), graph.output)


def _single(graph: PlainGraph, readers: list[list[int]], number: int, op: str) -> bool:
    """Whether a step is of a kind and has one reader."""
    return graph.steps[number].op == op and len(readers[number]) == 1


def _attend(graph: PlainGraph, operands: list[int], factor: float, step: Step) -> list[Step] | None:
    """The steps of ``attend`` in place of a product, the last of which is it: keys are turned, unless they were."""
    key = graph.steps[operands[1]]
    rank = len(key.out.shape)
    before: list[Step] = []
    turned = key.op == "transpose" and {key.args["dim0"], key.args["dim1"]} == {rank - 1, rank}
    if turned:
        operands[1] = key.inputs[0]
    elif key.op == "permute":
        dims = [int(d) for d in key.args["dims"]]  # type: ignore[union-attr]
        source = graph.steps[key.inputs[0]]
        back = [*dims[:-2], dims[-1], dims[-2]]
        moved = [i for i, a in enumerate(back, 1) if i != a]
        out = type(key.out)(key.out.dtype, tuple(source.out.shape[a - 1] for a in back))
        args = {"dim0": moved[0], "dim1": moved[1]} if len(moved) == 2 else {"dims": tuple(back)}
        before.append(Step("transpose" if len(moved) == 2 else "permute", args, key.inputs, out, key.place))
        operands[1] = -1
    else:
        shape = (*key.out.shape[:-2], key.out.shape[-1], key.out.shape[-2])
        out = type(key.out)(key.out.dtype, shape)
        before.append(Step("transpose", {"dim0": rank - 1, "dim1": rank}, (operands[1],), out, key.place))
        operands[1] = -1
    shapes = tuple([before[0].out if o == -1 else graph.steps[o].out for o in operands])
    usual = abs(factor * shapes[0].shape[-1] ** 0.5 - 1) < 1e-6
    args = {"scale": None if usual else float(f"{factor:.10g}"), "causal": False}
    try:
        JOINS["attend"].out(shapes, args)
    except Exception:
        return None
    return [*before, Step("attend", args, tuple(operands), step.out, step.place)]


def _inserted(graph: PlainGraph, new: Mapping[int, list[Step]]) -> PlainGraph:
    """The graph with several steps in place of some; -1 as an input is the step before."""
    place: dict[int, int] = {}
    steps: list[Step] = []
    for number, step in enumerate(graph.steps):
        for made in new.get(number, [step]):
            inputs = tuple([len(steps) - 1 if i == -1 else place[i] for i in made.inputs])
            steps.append(Step(made.op, made.args, inputs, made.out, made.place, made.tensors))
        place[number] = len(steps) - 1
    return PlainGraph(tuple(steps), place[graph.output])


class _Projection(NamedTuple):
    """Heads of a linear layer: its step, and the first of its features."""

    linear: int
    offset: int


def self_attention(graph: PlainGraph) -> PlainGraph:
    """Heads of linear layers of one sequence, ``attend``, and a linear layer of their outputs are ``attention``."""
    steps, readers = list(graph.steps), graph.consumers()
    for number, step in enumerate(graph.steps):
        if step.op == "attend" and len(step.inputs) == 3 and step.args["scale"] is None:
            out = _merged(graph, readers, number)
            made = _attention(graph, step, out) if out is not None else None
            if out is not None and made is not None:
                steps[out] = made
    return PlainGraph(tuple(steps), graph.output)


def _attention(graph: PlainGraph, step: Step, out: int) -> Step | None:
    """The attention whose last projection is step ``out``."""
    if len(step.out.shape) != 3:
        return None
    heads, length, size = step.out.shape
    parts = [_projection(graph, number, (heads, length, size)) for number in step.inputs]
    last = graph.steps[out]
    if any(part is None for part in parts) or last.out.shape != (length, heads * size):
        return None
    query, key, value = [part for part in parts if part is not None]
    linear = [graph.steps[part.linear] for part in (query, key, value)]
    source, bias = linear[0].inputs, bool(linear[0].args["bias"])
    same = all(s.inputs == source and bool(s.args["bias"]) == bias for s in linear) and last.args["bias"] == bias
    if not same or graph.steps[source[0]].out != last.out:
        return None
    width = heads * size
    offsets = [part.offset for part in (query, key, value)]
    args = {"num_heads": heads, "bias": bias, "causal": step.args["causal"]}
    if query.linear == key.linear == value.linear and offsets == [0, width, 2 * width]:
        tensors = _renamed(linear[0], "attention.in_proj_") | _renamed(last, "attention.out_proj.")
    elif len({query.linear, key.linear, value.linear}) == 3 and all(s.out.shape[-1] == width for s in linear):
        args["kv_heads"] = heads
        tensors = _renamed(last, "out.")
        for name, projection in zip(("query.", "key.", "value."), linear, strict=True):
            tensors |= _renamed(projection, name)
    else:
        return None
    return Step("attention", with_defaults("attention", args), source, last.out, last.place, tensors)


def _renamed(step: Step, prefix: str) -> dict[str, str]:
    return {prefix + name: source for name, source in step.tensors.items()}


def _projection(graph: PlainGraph, number: int, shape: tuple[int, int, int]) -> _Projection | None:
    """The features of a linear layer that a step has as heads; None if it has something else."""
    heads, length, size = shape
    linear, moves = _moves_above(graph, number)
    last = graph.steps[linear]
    if last.op != "linear" or len(last.out.shape) != 2 or last.out.shape[0] != length:
        return None
    whole = torch.arange(length * last.out.shape[1]).reshape(1, length, -1)
    actual = _moved(graph, moves, whole)[0]
    if tuple(actual.shape) != shape:
        return None
    offset = int(actual[0, 0, 0])
    if offset + heads * size > last.out.shape[1]:
        return None
    expected = whole[0, :, offset : offset + heads * size].reshape(length, heads, size).transpose(0, 1)
    return _Projection(linear, offset) if torch.equal(actual, expected) else None


def _moves_above(graph: PlainGraph, number: int) -> tuple[int, list[int]]:
    """The step whose numbers a step has in other places, and the steps between."""
    moves: list[int] = []
    while graph.steps[number].op in _MOVES:
        moves.insert(0, number)
        number = graph.steps[number].inputs[0]
    return number, moves


def _merged(graph: PlainGraph, readers: list[list[int]], number: int) -> int | None:
    """The linear layer that takes the heads of an attention one after another as features."""
    heads, length, size = graph.steps[number].out.shape[-3:] if len(graph.steps[number].out.shape) == 3 else (0, 0, 0)
    moves: list[int] = []
    after = number
    while heads and len(readers[after]) == 1:
        after = readers[after][0]
        if graph.steps[after].op not in _MOVES:
            break
        moves.append(after)
    if not heads or graph.steps[after].op != "linear":
        return None
    whole = torch.arange(heads * length * size).reshape(1, heads, length, size)
    actual = _moved(graph, moves, whole)
    return after if torch.equal(actual, whole.transpose(1, 2).reshape(1, length, -1)) else None


def _moved(graph: PlainGraph, moves: list[int], x: torch.Tensor) -> torch.Tensor:
    """A tensor with a batch of 1 after steps that move numbers."""
    for number in moves:
        step = graph.steps[number]
        match step.op:
            case "permute":
                x = x.permute(0, *step.args["dims"])  # type: ignore[misc]
            case "transpose":
                x = x.transpose(step.args["dim0"], step.args["dim1"])  # type: ignore[arg-type]
            case "slice":
                axis, stop = int(str(step.args["dim"])), step.args["stop"]
                start = int(str(step.args["start"]))
                part = slice(start, None if stop is None else int(str(stop)), int(str(step.args["step"])))
                x = x[(slice(None),) * axis + (part,)]
            case _:
                x = x.reshape(1, *step.out.shape)
    return x
