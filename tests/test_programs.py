"""Random well-typed programs: each checks, compiles, runs forward and backward, and means what the language says."""

from __future__ import annotations

import re
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, Phase, given, note, settings
from hypothesis import strategies as st

from fractal_dsl.compiled import Compiled
from fractal_dsl.graph.graph import Join, Layer
from fractal_dsl.language.source import Source
from fractal_dsl.ops import JOINS, LAYERS
from fractal_dsl.pipeline import check, pick
from fractal_dsl.runtime import FractalModule, build
from fractal_dsl.runtime.artifact import model_source
from fractal_dsl.runtime.fit import tensors_of
from tests.support.effort import examples
from tests.support.programs import Drawer, Meaning, Piece, Program, column, programs
from tests.test_format import assert_formats

EXACT = {"rtol": 1e-5, "atol": 1e-8}


def modules(model: FractalModule) -> Iterator[torch.nn.Module]:
    """The modules of the net in the order of the text, one for each layer but ``id`` and each join that has one."""
    for _, node in model.join_graph.items():
        if (isinstance(node, Layer) and node.spec.name != "id") or (isinstance(node, Join) and node.spec.torch):
            yield model.get_submodule(node.name)


def compiled(program: Program) -> Compiled:
    return pick(check(Source("spec.frac", program.text), allow_python=True), None)


def inputs(program: Program, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    if program.tokens:
        return torch.randint(0, program.tokens, (3, *program.input), generator=generator)
    return torch.randn(3, *program.input, generator=generator, dtype=torch.float64)


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


@settings(max_examples=examples(35), suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(program=programs(), seed=st.integers(0, 1000))
def test_programs_mean_what_the_language_says(program: Program, seed: int) -> None:
    note(program.text)
    net = compiled(program)
    model = build_with_random_norms(net, seed)
    assert model.input.shape == program.input
    x = inputs(program, seed)

    with torch.no_grad():
        y = model(x)
        meaning = Meaning(modules(model))
        torch.testing.assert_close(y, meaning.closed(program.term, x), **EXACT)
        assert next(meaning.modules, None) is None, "a layer that the program does not have"
        assert y.shape == (3, program.output)
        order = sorted(meaning.labels, key=lambda label: (-label[0], label[1]))
        columns = model.join_graph.columns
        for k in range(1, model.n_columns + 1):
            choose = column(meaning.labels, order.index(columns[k - 1]) + 1) if columns else None
            expected = Meaning(modules(model), choose).closed(program.term, x)
            torch.testing.assert_close(model.run(x, model.column_plan(k)), expected, **EXACT)
            torch.testing.assert_close(model.column(k)(x), expected, **EXACT)

        plain = from_source(model_source(net, model.join_graph), "N").double()
        plain.load_state_dict({k: v for k, v in tensors_of(model).items() if "_column" not in k.rpartition(".")[2]})
        assert torch.equal(plain.eval()(x), y), "model.py is another function"

    model.train()
    model(x).square().sum().backward()
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    assert gradients
    assert all(g.isfinite().all() for g in gradients)


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

    @settings(max_examples=80, derandomize=True, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
    @given(program=programs())
    def draw(program: Program) -> None:
        words.update(re.findall(r"[a-z_0-9]+", program.text))

    draw()
    assert not {*LAYERS, *JOINS, "extern", "nn", "i64"} - words
