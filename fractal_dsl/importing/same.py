"""Copies a module's weights into the net of its text, and compares both nets."""

from __future__ import annotations

import copy
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import nn

from fractal_dsl.compiled import Compiled
from fractal_dsl.graph.graph import Input, Join, JoinGraph, Layer
from fractal_dsl.importing.capture import unchanged
from fractal_dsl.importing.ends import Examples, Path, shown, tensors
from fractal_dsl.importing.modules import with_defaults
from fractal_dsl.importing.places import line_of
from fractal_dsl.importing.plain import INPUT, Place, PlainGraph, Step
from fractal_dsl.importing.refusal import Refusal
from fractal_dsl.importing.rewriting import ASSOCIATIVE
from fractal_dsl.runtime import FractalModule, build

TOLERANCE = 1e-5
Outputs = dict[Path, torch.Tensor]
"""The outputs of a module by their paths, in order."""
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
    compiled: Compiled, graph: PlainGraph, module: nn.Module, x: Examples, expected: Outputs
) -> tuple[FractalModule, Comparison]:
    """The net of a text with the module's weights, and how both agree. Raises Refusal if they differ.

    ``expected`` are the module's outputs for the inputs ``x``."""
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
            if all(bool(output.isfinite().all()) for output in theirs.values()):
                _checked_difference(model, module, x, theirs)
    if changed:
        _copy(model, nodes, graph, state)
    return model, Comparison(params, unused, difference)


def _checked_difference(model: FractalModule, module: nn.Module, x: Examples, expected: Outputs) -> float:
    """The largest relative difference of the nets' outputs. Raises Refusal if one is too large."""
    differences = _differences(model, x, expected)
    if not max(differences) <= TOLERANCE:  # deep nets can amplify rounding
        exactly = _double_differences(model, module, x) or differences
        differences = [min(pair) for pair in zip(differences, exactly, strict=True)]
    for path, difference in zip(expected, differences, strict=True):
        if not difference <= TOLERANCE:
            at = f" for {shown(path)}" if path else ""
            raise Refusal(f"the net of the text computes something else{at} (relative difference {difference:.1e})")
    return max(differences)


def check_batch(model: FractalModule, module: nn.Module, x: Examples, place: Place) -> None:
    """Compare the nets on an input with another batch size. Raises Refusal if they differ."""
    expected, _ = outputs(module, x)
    try:
        _checked_difference(model, module, x, expected)
    except Refusal:
        reason = (
            f"its control flow depends on the size of the batch: it computes something else for {len(x[0]):,} examples"
        )
        raise Refusal(reason, place) from None


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


def random_like(examples: Examples, batch: int) -> Examples:
    """Random inputs like the examples, each drawn by itself. Whole numbers are not larger than those of the example."""
    draw = torch.Generator().manual_seed(0)

    def drawn(example: torch.Tensor) -> torch.Tensor:
        shape = (batch, *example.shape[1:])
        if example.dtype == torch.int64:
            return torch.randint(0, int(example.max()) + 1, shape, generator=draw)
        return torch.randn(shape, generator=draw)

    return tuple(map(drawn, examples))


def outputs(module: nn.Module, x: Examples) -> tuple[Outputs, bool]:
    """The outputs of a module, in eval mode, and whether they are the same when it runs again. Raises Refusal if it
    fails, or returns something else than tensors."""
    with torch.no_grad(), unchanged(module):
        try:
            result, again = (dict(tensors(module(*[t.clone() for t in x]))) for _ in range(2))
        except Refusal as refusal:
            raise Refusal(refusal.reason, Place((), line_of(type(module).forward))) from None
        except Exception as error:
            said = str(error).strip().splitlines()
            shapes = " and ".join(str([*t.shape]) for t in x)
            word = "inputs of shapes" if len(x) > 1 else "an input of shape"
            raise Refusal(f"it fails on {word} {shapes}: {said[0] if said else error}") from None
    return result, result.keys() == again.keys() and all(apart(result[p], again[p]) <= TOLERANCE for p in result)


def _differences(model: FractalModule, x: Examples, theirs: Outputs) -> list[float]:
    with torch.no_grad():
        ours = model(*x)
    given = ours if isinstance(ours, tuple) else (ours,)
    return [apart(a, b) for a, b in zip(given, theirs.values(), strict=True)]


def _double_differences(model: FractalModule, module: nn.Module, x: Examples) -> list[float]:
    """The relative differences in float64, in which only another net differs; none if one does not run in it."""
    exact = tuple([t.double() if t.is_floating_point() else t for t in x])
    try:
        with torch.no_grad(), unchanged(theirs := copy.deepcopy(module).double()):
            expected = dict(tensors(theirs(*exact)))
        return _differences(model.double(), exact, expected)
    except Exception:
        return []
    finally:
        model.float()


def apart(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    """The largest difference of two tensors, relative to the largest number; infinite if they have other shapes."""
    if ours.shape != theirs.shape:
        return float("inf")
    ours, theirs = ours.double(), theirs.double()
    scale = theirs.abs().max().clamp_min(1e-30)
    return float(((ours - theirs).abs().max() / scale).item())


def matched(ours: JoinGraph, graph: PlainGraph) -> dict[int, int]:
    """For each step, the node of the compiled graph that computes it. Both are walked from the outputs to the inputs.

    Raises Refusal if the text does not describe the graph."""
    result: dict[int, int] = {}
    stack = [*zip(_operands(ours, ours.output[0]), graph.results(), strict=True)]
    while stack:
        node, number = stack.pop()
        if result.get(number) == node:
            continue
        payload, step = ours[node], graph.steps[number]
        operands = _operands(ours, node)
        inputs: Sequence[int] = step.inputs if step.op != INPUT else ()
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
            return step.op == INPUT and step.args.get("name", payload.name) == payload.name
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
