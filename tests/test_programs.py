"""Random well-typed programs: each checks, compiles, runs forward and backward, and means what the language says."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from types import ModuleType
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, Phase, given, note, settings
from hypothesis import seed as hypothesis_seed
from hypothesis import strategies as st

from fractal_dsl.compiled import Compiled
from fractal_dsl.graph.graph import Join, Layer
from fractal_dsl.language.source import Source
from fractal_dsl.ops import JOINS, LAYERS
from fractal_dsl.picture.graph_to_dot import (
    Look,
    Opening,
    figure_to_dot,
    graph_to_dot,
    graph_to_page,
    rule_to_dot,
)
from fractal_dsl.picture.graph_to_dot.frames import framed
from fractal_dsl.picture.graph_to_dot.series_parallel import units_to_tree
from fractal_dsl.picture.graph_to_dot.units import fold
from fractal_dsl.pipeline import check, pick
from fractal_dsl.plans.plan import FULL, Plan
from fractal_dsl.plans.plan_on_graph import plan_of_spec
from fractal_dsl.runtime import FractalModule, build
from fractal_dsl.runtime.artifact import model_source
from fractal_dsl.runtime.fit import tensors_of
from tests.support.effort import examples
from tests.support.programs import Drawer, Meaning, Piece, Program, column, programs
from tests.test_format import assert_formats
from tests.test_render import read as read_picture
from tests.test_tags import check_frames

EXACT = {"rtol": 1e-5, "atol": 1e-8}


def modules(model: FractalModule) -> Iterator[torch.nn.Module]:
    """The modules of the net in the order of the text, one for each layer but ``id`` and each join that has one."""
    for _, node in model.join_graph.items():
        if (isinstance(node, Layer) and node.spec.name != "id") or (isinstance(node, Join) and node.spec.torch):
            yield model.get_submodule(node.name)


def compiled(program: Program) -> Compiled:
    return pick(check(Source("spec.frac", program.text), allow_python=True), None)


def inputs(program: Program, seed: int) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(seed)
    shapes = [(3, *shape) for shape in program.inputs.values()]
    if program.tokens:
        return tuple([torch.randint(0, program.tokens, shape, generator=generator) for shape in shapes])
    return tuple([torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes])


def outputs(y: Any) -> tuple[torch.Tensor, ...]:
    """The outputs of a net as a tuple, also if there is one."""
    return y if isinstance(y, tuple) else (y,)


def expected(meaning: Meaning, program: Program, x: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
    return meaning.net(program.term, [*program.inputs], x)


def loss(y: Any) -> torch.Tensor:
    return torch.stack([one.square().sum() for one in outputs(y)]).sum()


def from_source(source: str, name: str) -> torch.nn.Module:
    module = ModuleType("model")
    exec(compile(source, "model.py", "exec"), module.__dict__)
    return getattr(module, name)()


def build_with_random_norms(compiled: Compiled, seed: int) -> FractalModule:
    """The net in float64 with norms whose weights are not 1 and 0, nor their statistics where routes share them."""
    model = build(compiled, seed).double().eval()
    generator = torch.Generator().manual_seed(seed)
    routed = any("_column" in name for name, _ in model.named_buffers())
    for value in [*model.parameters(), *([] if routed else model.buffers())]:
        if value.ndim == 1 and value.is_floating_point():
            value.data.copy_(0.5 + torch.rand(value.shape, generator=generator, dtype=value.dtype))
    return model


def check_plan(program: Program, model: FractalModule, x: tuple[torch.Tensor, ...], plan: Plan) -> None:
    """The outputs and gradients under a drawn plan are those of the program."""
    live, branches = iter(plan.live), iter(plan.branches)
    meaning = Meaning(modules(model), lambda labels: list(next(live)), branches, plan.route == FULL)
    ours, theirs = outputs(model.run(x, plan)), expected(meaning, program, x)
    torch.testing.assert_close(ours, theirs, **EXACT)
    assert next(live, None) is None and next(branches, None) is None, "a join that the program does not have"
    parameters = list(model.parameters())
    gradients = [torch.autograd.grad(loss(y), parameters, allow_unused=True) for y in (ours, theirs)]
    largest = max([1.0, *[g.abs().max().item() for side in gradients for g in side if g is not None]])
    near = {**EXACT, "atol": EXACT["atol"] + 1e-13 * largest}  # a small gradient may be the difference of large ones
    for p, one, other in zip(parameters, *gradients, strict=True):
        zeros = torch.zeros_like(p)
        torch.testing.assert_close(zeros if one is None else one, zeros if other is None else other, **near)


@settings(max_examples=examples(35), suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(program=programs(), seed=st.integers(0, 1000))
def test_programs_mean_what_the_language_says(program: Program, seed: int) -> None:
    note(program.text)
    net = compiled(program)
    model = build_with_random_norms(net, seed)
    assert [one.shape for one in model.inputs.values()] == [*program.inputs.values()]
    x = inputs(program, seed)

    with torch.no_grad():
        y = outputs(model(*x))
        meaning = Meaning(modules(model))
        torch.testing.assert_close(y, expected(meaning, program, x), **EXACT)
        assert next(meaning.modules, None) is None, "a layer that the program does not have"
        assert [one.shape for one in y] == [(3, width) for width in program.outputs]
        order = sorted(meaning.labels, key=lambda label: (-label[0], label[1]))
        columns = model.join_graph.columns
        for k in range(1, model.n_columns + 1):
            choose = column(meaning.labels, order.index(columns[k - 1]) + 1) if columns else None
            theirs = expected(Meaning(modules(model), choose), program, x)
            torch.testing.assert_close(outputs(model.run(x, model.column_plan(k))), theirs, **EXACT)
            torch.testing.assert_close(outputs(model.column(k)(*x)), theirs, **EXACT)

        plain = from_source(model_source(net, model.join_graph), "N").double()
        plain.load_state_dict({k: v for k, v in tensors_of(model).items() if "_column" not in k.rpartition(".")[2]})
        for one, other in zip(outputs(plain.eval()(*x)), y, strict=True):
            assert torch.equal(one, other), "model.py is another function"

    for step in range(3):
        check_plan(program, model, x, model.plan(seed, step))

    model.train()
    loss(model(*x)).backward()
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    assert gradients
    assert all(g.isfinite().all() for g in gradients)
    torch.optim.SGD(model.parameters(), 1e-3).step()
    model.eval()
    with torch.no_grad():
        for k in range(1, model.n_columns + 1):
            alone = model.extract(k).double().eval()(*x)
            torch.testing.assert_close(alone, model.run(x, model.column_plan(k)), **EXACT)


@settings(max_examples=examples(20), suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(program=programs())
def test_programs_are_drawn_at_every_stage_and_in_every_view(program: Program) -> None:
    note(program.text)
    net = compiled(program)
    for graph in (net.raw, net.collapsed, net.graph):
        units = fold(graph)
        tree, crossings = units_to_tree(units)
        crossed = bool(crossings.lines or crossings.apart) or len(program.outputs) > 1
        check_frames(framed(tree, units.frames), crossed=crossed)
        for look in (Look(strips=1), Look(), Look(opening=Opening(1))):
            read_picture(graph_to_dot(graph, look))
    graph_to_page(net.graph, Look(), [(spec, plan_of_spec(spec, net.graph)) for spec in ("full", "column:1")])
    if any(isinstance(n, Layer) and n.site.block for _, n in net.graph.items()):
        read_picture(rule_to_dot(net.program))
        read_picture(figure_to_dot(net.program, net.graph, Look()))


@settings(max_examples=examples(15), suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(program=programs(), seed=st.integers(0, 1000))
def test_annotations_change_no_step_of_training(program: Program, seed: int) -> None:
    """Not even what dropout drops, where ``@checkpoint`` has a part recomputed."""
    note(program.text)
    bare = replace(program, text=re.sub(r' @(tag\("[^"]*"\)|checkpoint)', "", program.text))
    results: list[list[torch.Tensor]] = []
    for given_text in (program, bare):
        model = build(compiled(given_text), seed).double().train()
        torch.manual_seed(seed)
        y = model(*inputs(program, seed))
        loss(y).backward()
        results.append([*outputs(y), *(p.grad for p in model.parameters() if p.grad is not None)])
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, **EXACT)


@settings(max_examples=examples(35), suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(program=programs())
def test_programs_are_formatted_to_the_same_tree(program: Program) -> None:
    assert_formats(program.text)


def test_the_whole_table_occurs_in_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    """The properties above say something of every layer and join of the language, of Python's and of torch's: each
    is among those that are drawn from."""
    words: set[str] = set()
    op = Drawer.op

    def noted(self: Drawer, text: str, name: str, **args: Any) -> Piece:
        words.update(re.findall(r"[a-z_0-9]+", text))
        return op(self, text, name, **args)

    monkeypatch.setattr(Drawer, "op", noted)

    def draw(program: Program) -> None:
        words.update(re.findall(r"[a-z_0-9]+", program.text))

    few = settings(max_examples=120, phases=[Phase.generate], suppress_health_check=list(HealthCheck), database=None)
    wanted = {*LAYERS, *JOINS, "extern", "nn", "i64"}
    for number in range(10):  # what a seed draws depends on the modules that are loaded, too
        hypothesis_seed(number)(few(given(program=programs())(draw)))()
        if wanted <= words:
            break
    assert wanted <= words, wanted - words
