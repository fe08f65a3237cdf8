"""The compiled network means what the recurrence says: compared with the recursive evaluator."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator

import pytest
import torch
from hypothesis import assume, given, reject, settings
from hypothesis import strategies as st

from fractal_dsl.compiled import Compiled
from fractal_dsl.graph.graph import Input, Join, Layer, Output
from fractal_dsl.language.diagnostics import FracError
from fractal_dsl.pipeline import compile_text
from fractal_dsl.plans.plan import FULL
from fractal_dsl.runtime import FractalModule, build
from tests.support.effort import examples
from tests.support.oracle import Evaluator, Spec, column_choice, specs

MAX_LAYERS = 120


def compiled(spec: Spec) -> Compiled:
    try:
        result = compile_text(spec.text())
    except FracError as error:  # nested concatenations can be larger than any machine holds
        assert {d.code for d in error.diagnostics} == {"E0601"}
        reject()
    assume(result.summary.base_layers <= MAX_LAYERS)
    assume(math.prod(result.summary.output_shape) and max(n.out.shape[0] for _, n in result.raw.items()) <= 3000)
    return result


def weighted(model: FractalModule) -> Iterator[torch.nn.Module]:
    """The layers with weights, in the order in which the text places them."""
    for _, node in model.join_graph.items():
        if isinstance(node, Layer) and node.spec.weighted:
            yield model.get_submodule(node.name)


@settings(max_examples=examples(30))
@given(spec=specs, seed=st.integers(0, 2**31))
def test_compiled_net_equals_recurrence_full_by_column_and_by_plan(spec: Spec, seed: int) -> None:
    c = compiled(spec)
    model = build(c, seed).double().eval()
    x = torch.randn(2, 4, 5, 5, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    evaluator = Evaluator(spec, weighted(model))
    with torch.no_grad():
        whole = evaluator.net(x)
        assume(whole.abs().max() < 1e100)  # nested products overflow
        torch.testing.assert_close(model(x), whole, rtol=1e-9, atol=1e-12)
        order = sorted({label for labels in evaluator.labels for label in labels}, key=lambda p: (-p[0], p[1]))
        columns = model.join_graph.columns  # each way through the net once, shallow to deep
        assert (model.n_columns, set(columns) <= {*order}) == (max(1, len(columns)), True)
        for label in order:
            way = Evaluator(spec, weighted(model), column_choice(order, order.index(label) + 1)).net(x)
            assert any(torch.allclose(way, model.run(x, model.column_plan(k + 1))) for k in range(len(columns)))
        for k in range(1, model.n_columns + 1):
            choice = column_choice(order, order.index(columns[k - 1]) + 1) if order else None
            expected = Evaluator(spec, weighted(model), choice).net(x)
            torch.testing.assert_close(model.run(x, model.column_plan(k)), expected, rtol=1e-9, atol=1e-12)
            torch.testing.assert_close(model.column(k)(x), expected, rtol=1e-9, atol=1e-12)
            torch.testing.assert_close(model.extract(k).eval()(x), expected, rtol=1e-9, atol=1e-12)
        for step in range(3):
            plan = model.plan(seed, step)
            live, local = iter(plan.live), plan.route == FULL
            branches = iter(plan.branches) if plan.branches else None
            evaluator = Evaluator(spec, weighted(model), lambda _, live=live: list(next(live)), local, branches)
            expected = evaluator.net(x)
            torch.testing.assert_close(model.run(x, plan), expected, rtol=1e-9, atol=1e-12)


@settings(max_examples=examples(30))
@given(spec=specs)
def test_figures_from_the_recurrence_equal_those_of_the_graph_and_the_module(spec: Spec) -> None:
    c = compiled(spec)
    s, graph = c.summary, c.graph
    paths: dict[int, int] = {}
    weighted_depth: dict[int, int] = {}
    bases: dict[int, frozenset[int]] = {}
    for number, node in graph.items():
        operands = graph.operands(number)
        paths[number] = 1 if isinstance(node, Input) else sum(paths[o] for o in operands)
        here = int(isinstance(node, Layer) and node.spec.weighted)
        weighted_depth[number] = here + max((weighted_depth[o] for o in operands), default=0)
        longest = max((bases[o] for o in operands), key=len, default=frozenset[int]())
        base = node.site.base if isinstance(node, Layer) else None
        bases[number] = longest | ({base} if base is not None else frozenset[int]())
    end, output = graph.output
    assert (s.paths, s.weighted_depth, s.depth) == (paths[end], weighted_depth[end], len(bases[end]))
    assert s.output_shape == output.out.shape
    joins = [n for _, n in graph.items() if isinstance(n, Join)]
    assert s.joins == dict(Counter(len(graph.operands(i)) for i, n in graph.items() if isinstance(n, Join)))
    assert (s.drops.branches if s.drops else 0) == sum(drop > 0 for j in joins for drop in j.drops)
    assert s.joins_raw == sum(isinstance(n, Join) for _, n in c.raw.items())
    layers = [n for _, n in graph.items() if isinstance(n, Layer)]
    assert s.base_layers == len({n.site.base for n in layers} - {None})
    assert s.weighted_layers == sum(n.spec.weighted for n in layers)
    assert s.macs == sum(n.spec.cost(n.into, n.out, n.args)[1] for n in layers)
    model = build(c, device="meta")
    assert s.params == sum(p.numel() for p in model.parameters())
    for k, column in enumerate(s.columns, 1):
        assert column.params == sum(p.numel() for p in model.column(k).parameters())
        alone = [n for _, n in c.column(k).items() if isinstance(n, Layer)]
        assert column.depth == len({n.site.base for n in alone} - {None})
        assert column.macs == sum(n.spec.cost(n.into, n.out, n.args)[1] for n in alone)
    assert sum(isinstance(n, Output) for _, n in graph.items()) == 1


def test_collapse_carries_meaning() -> None:
    """Nested two-way means weigh three columns 1/4, 1/4, 1/2; the collapsed join weighs them 1/3 each."""
    spec = Spec([["conv"]], [["F", "F"], ["conv"]], "mean", 3, 1, False)
    model = build(compile_text(spec.text()), 0).eval()
    joins = [n for _, n in model.join_graph.joins()]
    assert [len(j.labels) for j in joins] == [2, 3]
    assert [[level for level, _ in j.labels if level] for j in joins] == [[1, 2], [1, 2, 3]]


@pytest.mark.parametrize(("level", "paths"), [(1, 1), (2, 2), (3, 5), (4, 26), (5, 677), (6, 458330)])
def test_number_of_paths_of_the_papers_rule(level: int, paths: int) -> None:
    spec = Spec([["conv"]], [["F", "F"], ["conv"]], "mean", level, 1, False)
    s = compile_text(spec.text()).summary
    assert s.paths == paths
    assert s.base_layers == 2**level - 1
    assert s.depth == 2 ** (level - 1)
    assert s.joins_raw == 2 ** (level - 1) - 1
    assert sum(s.joins.values()) == (2 ** (level - 2) if level > 1 else 0)
