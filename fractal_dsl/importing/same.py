"""Copies a module's weights into the net of its text, and compares both nets."""

from __future__ import annotations

import copy
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import nn

from fractal_dsl.compiled import Compiled
from fractal_dsl.graph.graph import Input, Join, JoinGraph, Layer
from fractal_dsl.importing.capture import unchanged
from fractal_dsl.importing.modules import with_defaults
from fractal_dsl.importing.plain import PlainGraph, Step
from fractal_dsl.importing.refusal import Refusal
from fractal_dsl.importing.rewriting import ASSOCIATIVE
from fractal_dsl.runtime import FractalModule, build

TOLERANCE = 1e-5
_State = Mapping[str, torch.Tensor | None]


class Comparison(NamedTuple):
    """How a module and the net of its text agree.

    ``params`` is their number of parameters, ``unused`` that of the module's parameters that do not take part.
    ``difference`` is the largest difference of outputs on random input, relative to the largest output. It is that in
    float64 if rounding makes the nets differ in float32.
    """

    params: int
    unused: int
    difference: float


def compared(
    compiled: Compiled, graph: PlainGraph, module: nn.Module, x: torch.Tensor, expected: torch.Tensor
) -> tuple[FractalModule, Comparison]:
    """The net of a text with the module's weights, and how both agree. Raises Refusal if they differ.

    ``expected`` is the module's output for ``x``."""
    names = {name for step in graph.steps for name in step.tensors.values()}
    state = {name: _tensor(module, name) for name in names}
    model, nodes = build(compiled).eval(), matched(compiled.graph, graph)
    _check_learned(model, nodes, graph, state)
    _copy(model, nodes, graph, state)
    counted = {id(p): p.numel() for p in state.values() if isinstance(p, nn.Parameter)}
    params, unused = sum(counted.values()), sum(p.numel() for p in module.parameters()) - sum(counted.values())
    if params != compiled.summary.params:
        raise Refusal(f"the text has {compiled.summary.params:,} parameters, the module {params:,}; please report this")
    difference = _checked_difference(model, module, x, expected)
    with _varied(state.values()) as changed:  # a branch that ends in zeros hides what it computes
        if changed:
            _copy(model, nodes, graph, state)
            theirs, _ = outputs(module, x)
            if theirs.isfinite().all():
                _checked_difference(model, module, x, theirs)
    if changed:
        _copy(model, nodes, graph, state)
    return model, Comparison(params, unused, difference)


def _checked_difference(model: FractalModule, module: nn.Module, x: torch.Tensor, expected: torch.Tensor) -> float:
    """The relative difference of the nets' outputs. Raises Refusal if it is too large."""
    difference = _difference(model, x, expected)
    if not difference <= TOLERANCE:  # deep nets can amplify rounding
        difference = min(difference, _double_difference(model, module, x))
    if not difference <= TOLERANCE:
        raise Refusal(f"the net of the text computes something else (relative difference {difference:.1e})")
    return difference


@contextmanager
def _varied(tensors: Iterable[torch.Tensor | None]) -> Generator[bool]:
    """Change the parameters whose numbers are all equal, such as scales of 0 or 1, and afterwards change them back.

    Whether there are any."""
    constant = [
        p for p in tensors if isinstance(p, nn.Parameter) and p.is_floating_point() and bool((p == p.min()).all())
    ]
    before = [p.detach().clone() for p in constant]
    draw = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for p in constant:
            factor = 0.8 + 0.4 * torch.rand(p.shape, generator=draw, dtype=p.dtype)
            shift = 0.1 + 0.1 * torch.rand(p.shape, generator=draw, dtype=p.dtype)
            p.copy_(p * factor + shift * (p.abs() < 0.1))
        try:
            yield bool(constant)
        finally:
            for p, old in zip(constant, before, strict=True):
                p.copy_(old)


def random_like(example: torch.Tensor, batch: int) -> torch.Tensor:
    """Random inputs like the example. Whole numbers are not larger than those of the example."""
    draw = torch.Generator().manual_seed(0)
    shape = (batch, *example.shape[1:])
    if example.dtype == torch.int64:
        return torch.randint(0, int(example.max()) + 1, shape, generator=draw)
    return torch.randn(shape, generator=draw)


def outputs(module: nn.Module, x: torch.Tensor) -> tuple[torch.Tensor, bool]:
    """The output of a module, in eval mode, and whether it is the same when it runs again; of several outputs, the
    first. Raises Refusal if it fails."""
    with torch.no_grad(), unchanged(module):
        try:
            result, again = (_first(module(x.clone())) for _ in range(2))
        except Refusal:
            raise
        except Exception as error:
            said = str(error).strip().splitlines()
            raise Refusal(f"it fails on an input of shape {[*x.shape]}: {said[0] if said else error}") from None
    return result, result.shape == again.shape and _apart(result, again) <= TOLERANCE


def _first(result: Any) -> torch.Tensor:
    while isinstance(result, dict | list | tuple) and result:
        result = next(iter(result.values() if isinstance(result, dict) else result))
    if not isinstance(result, torch.Tensor):
        raise Refusal(f"it returns {type(result).__name__}, not a tensor")
    return result


def _difference(model: FractalModule, x: torch.Tensor, theirs: torch.Tensor) -> float:
    with torch.no_grad():
        ours = model(x)
    if ours.shape != theirs.shape:
        return float("inf")
    return _apart(ours, theirs)


def _double_difference(model: FractalModule, module: nn.Module, x: torch.Tensor) -> float:
    """The relative difference in float64, in which only another net differs; infinite if one does not run in it."""
    try:
        with torch.no_grad(), unchanged(theirs := copy.deepcopy(module).double()):
            expected = _first(theirs(x.double()))
        return _difference(model.double(), x.double(), expected)
    except Exception:
        return float("inf")
    finally:
        model.float()


def _apart(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    """The largest difference of two tensors, relative to the largest number."""
    scale = theirs.abs().max().clamp_min(1e-30)
    return float(((ours - theirs).abs().max() / scale).item())


def matched(ours: JoinGraph, graph: PlainGraph) -> dict[int, int]:
    """For each step, the node of the compiled graph that computes it. Both are walked from the output to the input.

    Raises Refusal if the text does not describe the graph."""
    result: dict[int, int] = {}
    stack = [(_operands(ours, ours.output[0])[0], graph.output)]
    while stack:
        node, number = stack.pop()
        if result.get(number) == node:
            continue
        payload, step = ours[node], graph.steps[number]
        operands = _operands(ours, node)
        inputs: Sequence[int] = step.inputs
        if step.op in ASSOCIATIVE:  # a rule merges its joins, and a text may nest them
            operands = _flat(operands, lambda n: _operands(ours, n), lambda n, step=step: _join(ours[n], step))
            inputs = _flat(inputs, lambda n: graph.steps[n].inputs, lambda n, step=step: _alike(graph.steps[n], step))
        if number in result or not _agrees(payload, step) or len(operands) != len(inputs):
            raise Refusal("the text does not describe the net; please report this", step.place)
        result[number] = node
        stack += zip(operands, inputs, strict=True)
    return result


def _operands(ours: JoinGraph, node: int) -> list[int]:
    """The operands of a node, without identities."""
    result: list[int] = []
    for operand in ours.operands(node):
        while isinstance(layer := ours[operand], Layer) and layer.spec.name == "id":
            operand = ours.operands(operand)[0]
        result.append(operand)
    return result


def _flat(operands: Sequence[int], inside: Callable[[int], Sequence[int]], same: Callable[[int], bool]) -> list[int]:
    """Operands, with those of a join of the same kind in its place."""
    result: list[int] = []
    for operand in operands:
        result += _flat(inside(operand), inside, same) if same(operand) else [operand]
    return result


def _join(payload: object, step: Step) -> bool:
    return isinstance(payload, Join) and payload.spec.name == step.op and {**payload.args} == {**step.args}


def _alike(a: Step, b: Step) -> bool:
    return a.op == b.op and {**a.args} == {**b.args}


def _agrees(payload: object, step: Step) -> bool:
    match payload:
        case Input():
            return step.op == "input"
        case Layer():
            ours = with_defaults(payload.spec.name, payload.args)
            return payload.spec.name == step.op and ours == {**step.args} and payload.out == step.out
        case Join():
            return _join(payload, step) and (payload.out == step.out or step.op in ASSOCIATIVE)
        case _:
            return False


def _tensor(module: nn.Module, name: str) -> torch.Tensor | None:
    """A parameter or buffer by its name, if the module has it; a constant that was captured has no name there. At
    ``full``, batch norms with statistics by route have the whole net's."""
    path, _, leaf = name.rpartition(".")
    return getattr(module.get_submodule(path), leaf, None)


def _check_learned(model: FractalModule, nodes: dict[int, int], graph: PlainGraph, state: _State) -> None:
    """Raise Refusal if the text would learn what the module does not learn, or the other way around."""
    for number, step in enumerate(graph.steps):
        if not step.tensors:
            continue
        payload = model.join_graph[nodes[number]]
        assert isinstance(payload, Layer | Join)
        learned = {name for name, _ in model.get_submodule(payload.module).named_parameters()}
        for name, source in step.tensors.items():
            if (name in learned) != isinstance(state[source], nn.Parameter):
                shown = "a constant" if state[source] is None else f"its buffer `{source}`"
                if isinstance(state[source], nn.Parameter):
                    raise Refusal(f"`{step.op}` does not learn its {name}; make `{source}` a buffer", step.place)
                raise Refusal(f"it computes with {shown}, where the language has only learned numbers", step.place)


def _copy(model: FractalModule, nodes: dict[int, int], graph: PlainGraph, state: _State) -> None:
    """Copy the weights of each step into the module of its node; the statistics of columns are those of the net."""
    with torch.no_grad():
        for number, step in enumerate(graph.steps):
            if not step.tensors:
                continue
            payload = model.join_graph[nodes[number]]
            assert isinstance(payload, Layer | Join)
            ours = model.get_submodule(payload.module).state_dict()
            for name, value in ours.items():
                source = step.tensors.get(name.partition("_column")[0])
                if source is not None and (given := state[source]) is not None:
                    value.copy_(given.reshape(value.shape))
