"""Values: ``where`` names tensors that are computed once and used several times."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch

from fractal_dsl.base.errors import UserError
from fractal_dsl.graph.graph import Join, JoinGraph, Layer
from fractal_dsl.graph.path_lengths import path_lengths
from fractal_dsl.language.diagnostics import FracError
from fractal_dsl.language.source import Source
from fractal_dsl.picture.graph_to_dot import Look, graph_to_dot, rule_to_dot
from fractal_dsl.pipeline import checked, compile_text
from fractal_dsl.plans.plan_on_graph import cost, needed, plan_of_spec
from fractal_dsl.runtime import build
from fractal_dsl.runtime.artifact import load_artifact, save_artifact
from tests.test_render import read as read_picture

CONV = "layer conv(out: int) = conv2d(out, 3, padding=1) >> relu\n"


def net(body: str, declarations: str = "", options: str = "") -> str:
    return f"{CONV}{declarations}net N(x: f32[4, 6, 6]) -> f32[4, 6, 6] {options} = {body}"


def layers(graph: JoinGraph, name: str) -> int:
    return sum(isinstance(node, Layer) and node.spec.name == name for _, node in graph.items())


def test_a_value_is_computed_once_however_often_it_is_mentioned() -> None:
    text = net("sum(a, a, b, b >> conv(4)) where a = conv(4), b = a >> conv(4)")
    compiled = compile_text(text)
    assert layers(compiled.graph, "conv2d") == 3
    assert compiled.summary.params == 3 * (4 * 4 * 9 + 4)
    assert compiled.summary.macs == 3 * 4 * 4 * 9 * 36
    assert compiled.summary.weighted_depth == 3
    assert compiled.summary.paths == 4 == sum(path_lengths(compiled.graph).values())
    model = build(compiled, 0).eval()
    calls: list[str] = []
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Conv2d):
            module.register_forward_hook(lambda *_, name=name: calls.append(name))
    model(torch.randn(2, 4, 6, 6))
    assert len(calls) == 3


def test_the_output_is_that_of_the_tensors_written_in_python() -> None:
    values = "a = conv(4), b = sum(id, a) >> conv(4), c = sum(a, b) >> conv(4)"
    text = net(f"max(sum(a, c), mean(b, a >> conv(4))) where {values}")
    model = build(compile_text(text), 0).eval()
    a_, b_, c_, d_ = [m for m in model.modules() if isinstance(m, torch.nn.Conv2d)]
    x = torch.randn(2, 4, 6, 6)
    a = a_(x).relu()
    b = b_(x + a).relu()
    c = c_(a + b).relu()
    torch.testing.assert_close(model(x), torch.maximum(a + c, (b + d_(a).relu()) / 2))


def test_each_use_of_a_layer_computes_its_own_values() -> None:
    declarations = "layer twice(out: int) = sum(a, a >> conv(out)) where a = conv(out)\n"
    compiled = compile_text(net("twice(4) >> twice(4)", declarations))
    assert layers(compiled.graph, "conv2d") == 4
    assert compiled.summary.params == 4 * (4 * 4 * 9 + 4)


def test_values_can_be_arguments() -> None:
    declarations = "layer cell(p: block, q: block) = sum(p, r, q >> conv(4)) where r = sum(p, q) >> conv(4)\n"
    compiled = compile_text(net("sum(cell(a, b), cell(b, a)) where a = conv(4), b = a >> conv(4)", declarations))
    assert layers(compiled.graph, "conv2d") == 6


def test_a_value_that_nothing_needs_is_left_out_with_a_warning() -> None:
    found = checked(Source("spec.frac", net("sum(a, id) where a = conv(4), b = a >> conv(4), c = b >> conv(4)")))
    assert [(w.code, w.message) for w in found.warnings] == [
        ("W0401", "the value `b` is never used"),
        ("W0401", "the value `c` is never used"),
    ]
    assert layers(found.nets[0].graph, "conv2d") == 1


def test_a_value_that_a_repetition_leaves_out_gives_no_warning() -> None:
    declarations = "layer f(n: int) = sum(id, (a >> conv(4)) ** n) where a = conv(4)\n"
    found = checked(Source("spec.frac", net("f(0)", declarations)))
    assert not found.warnings
    assert layers(found.nets[0].graph, "conv2d") == 0


@pytest.mark.parametrize("join", ["mean", "sum", "concat"])
def test_a_value_of_a_case_is_computed_only_where_a_live_operand_needs_it(join: str) -> None:
    rule = f"""rule F join {join} {{
        F[1]   = conv(4)
        F[n+1] = F[n] | a >> conv(4) | a where a = conv(4) >> conv(4)
    }}
    """
    compiled = compile_text(net("F[2] >> conv(4)", rule, "with drop_path(local=50%)"))
    graph = compiled.graph
    (_, node), *others = graph.joins()
    assert (len(node.labels), others) == (3, [])
    convs = {"full": 5, "0:100": 2, "0:010": 4, "0:001": 3, "0:011": 4}
    for text, count in convs.items():
        live = needed(graph, plan_of_spec(text, graph))
        assert sum(isinstance(graph[n], Layer) and graph[n].spec.name == "conv2d" for n in live) == count, text


def test_columns_pay_once_for_the_values_on_their_way() -> None:
    rule = """rule F join mean {
        F[1]   = conv(4)
        F[n+1] = F[n] >> F[n] | sum(a, a >> conv(4), b) >> conv(4) | b where a = F[n], b = a >> conv(4)
    }
    """
    compiled = compile_text(net("F[3]", rule, "with drop_path(local=10%, global=50%)"))
    graph, summary = compiled.graph, compiled.summary
    whole = cost(graph, graph.g.nodes)
    assert (summary.params, summary.macs) == (whole.params, whole.macs)
    for k, column in enumerate(summary.columns, 1):
        alone = cost(graph, needed(graph, plan_of_spec(f"column:{k}", graph)))
        assert (column.params, column.macs) == (alone.params, alone.macs), k


def test_a_block_with_values_has_the_same_figures_wherever_it_is_placed() -> None:
    """As a base layer of a rule, and outside of rules, on one shape."""
    declarations = """let part = sum(a, a >> conv(4)) where a = conv(4)
    rule F { F[1] = part  F[n+1] = F[n] >> part }
    """
    compiled = compile_text(net("part >> F[3] >> part", declarations))
    assert compiled.summary.base_layers == 2 * 3
    assert compiled.summary.depth == 2 * 3
    assert layers(compiled.graph, "conv2d") == 2 * 5


def test_shared_blocks_with_values_share_their_weights() -> None:
    compiled = compile_text(net("part >> part", "shared part = sum(a, a >> conv(4)) where a = conv(4)\n"))
    assert compiled.summary.params == 2 * (4 * 4 * 9 + 4) == sum(p.numel() for p in build(compiled, 0).parameters())
    assert layers(compiled.graph, "conv2d") == 4


def test_large_nets_are_refused_at_once() -> None:
    rule = "rule F { F[1] = conv(4)  F[n+1] = sum(a, a >> F[n]) where a = F[n] >> F[n] }\n"
    with pytest.raises(FracError, match=r"E0601.*base layers"):
        compile_text(net("F[60]", rule))
    small = "rule F(b: block) { F[1] = b  F[n+1] = sum(F[n], F[n]) }\n"
    with pytest.raises(FracError, match="E0601"):
        compile_text(net("F[60](a) where a = conv(4)", small))


def test_checkpoints_recompute_what_reads_a_value_from_outside() -> None:
    text = "sum(a, (sum(a, b) >> conv(4) >> conv(4)) @checkpoint) where a = conv(4) @checkpoint, b = a >> conv(4)"
    results: list[list[torch.Tensor]] = []
    for body in (text, text.replace(" @checkpoint", "")):
        model = build(compile_text(net(body)), 0)
        y = model(torch.ones(2, 4, 6, 6))
        y.square().sum().backward()
        results.append([y, *[p.grad for p in model.parameters() if p.grad is not None]])
    for one, other in zip(*results, strict=True):
        assert torch.equal(one, other)


def test_pictures_draw_a_line_around_what_is_not_series_parallel() -> None:
    values = "a = conv(4), b = sum(a, conv(4)) >> conv(4), c = sum(b, a) >> conv(4)"
    compiled = compile_text(net(f"sum(b, c) where {values}"))
    for stage in (compiled.raw, compiled.graph):
        picture = read_picture(graph_to_dot(stage, Look(strips=1)))
        drawn = {(source, target) for source, target, _ in picture.edges}
        convs = [f"n{number + 1}" for number, node in stage.items() if isinstance(node, Layer) and node.spec.weighted]
        joins = [f"n{number}" for number, node in stage.items() if isinstance(node, Join)]
        a, one, b, c = convs
        first, second, _ = joins
        assert {(one, first), (first, b), (a, second), (second, c)} <= drawn


def test_the_picture_of_a_rule_shows_each_value_by_itself() -> None:
    rule = "rule F join mean { F[1] = conv(4)  F[n+1] = a | a >> F[n] where a = conv(4) }\n"
    dot = rule_to_dot(compile_text(net("F[2]", rule)).program)
    assert dot.count("a(z)") == 1


def test_the_schedule_of_a_plan_frees_a_value_after_its_last_use() -> None:
    text = net("sum(a, b >> conv(4)) where a = conv(4), b = a >> conv(4)", "", "")
    model = build(compile_text(text), 0)
    x = torch.randn(2, 4, 6, 6)
    torch.testing.assert_close(model.train()(x), model.run(x, model.full_plan()))


def test_exported_programs_have_the_same_output() -> None:
    text = net("sum(a, b >> conv(4)) where a = conv(4), b = sum(id, a) >> conv(4)")
    model = build(compile_text(text), 0).eval()
    x = torch.randn(2, 4, 6, 6)
    torch.testing.assert_close(torch.export.export(model, (x,)).module()(x), model(x))


# --- several inputs and outputs

PAIR = """
shared body = conv2d(8, 3, padding=1) >> relu >> global_avgpool
net Pair(left: f32[1, 6, 6], right: f32[1, 6, 6]) -> (f32[1], f32[8]) = (concat(a, b) >> linear(1), a)
    where a = left >> body, b = right >> body
"""


def test_a_net_takes_its_inputs_in_order_and_returns_a_tuple() -> None:
    compiled = compile_text(PAIR)
    model = build(compiled, 0).eval()
    left, right = torch.randn(2, 3, 1, 6, 6)
    conv = next(m for m in model.modules() if isinstance(m, torch.nn.Conv2d))
    linear = next(m for m in model.modules() if isinstance(m, torch.nn.Linear))
    a, b = (conv(x).relu().flatten(2).mean(2) for x in (left, right))
    expected = linear(torch.cat([a, b], 1)), a
    torch.testing.assert_close(model(left, right), expected)
    torch.testing.assert_close(model.run((left, right), model.full_plan()), expected)
    torch.testing.assert_close(model(left, right, model.full_plan()), expected)
    torch.testing.assert_close(torch.export.export(model, (left, right)).module()(left, right), expected)
    torch.testing.assert_close(torch.fx.symbolic_trace(model)(left, right), expected)
    assert [*model.inputs] == ["left", "right"] and [o.shape for o in model.outputs.values()] == [(1,), (8,)]
    twin = copy.deepcopy(model)
    torch.testing.assert_close(twin(left, right), expected)


def test_figures_of_several_inputs_and_outputs() -> None:
    summary = compile_text(PAIR).summary
    assert (summary.params, summary.weighted_depth) == (8 * 9 + 8 + 17, 2)
    facts = summary.json()
    assert facts["inputs"] == {"left": [1, 6, 6], "right": [1, 6, 6]}
    assert facts["outputs"] == {"output1": [1], "output2": [8]}
    assert "input_shape" not in facts
    with pytest.raises(UserError, match="has 2 inputs"):
        assert summary.input_shape


def test_compiled_folders_keep_several_inputs_and_outputs(tmp_path: Path) -> None:
    compiled = compile_text(PAIR)
    model = build(compiled, 0).eval()
    save_artifact(compiled, model, tmp_path / "pair")
    left, right = torch.randn(2, 3, 1, 6, 6)
    torch.testing.assert_close(load_artifact(tmp_path / "pair")(left, right), model(left, right))


def test_nets_train_by_hand_under_plans_with_several_inputs() -> None:
    rule = """
    rule F join mean { F[1] = linear(4)  F[n+1] = F[n] >> F[n] | linear(4) }
    net N(a: f32[3], b: f32[4]) -> (f32[2], f32[4]) with drop_path(local=30%, global=50%)
        = (c >> F[3] >> linear(2), c) where c = sum(a >> linear(4), b) >> F[2]
    """
    model = build(compile_text(rule), 0).train()
    given = torch.randn(5, 3), torch.randn(5, 4)
    for step in range(4):
        torch.testing.assert_close(model(*given), model.run(given, model.plan(0, step)))
    together = model.run_together(given, [model.full_plan(), model.column_plan(1)])
    for y, plan in zip(together, [model.full_plan(), model.column_plan(1)], strict=True):
        torch.testing.assert_close(y, model.run(given, plan))
    first, second = model.extract(1)(*given)
    torch.testing.assert_close((first, second), model.run(given, model.column_plan(1)))


def test_the_same_value_can_be_several_outputs() -> None:
    model = build(compile_text("net N(x: f32[4]) -> (f32[4], f32[4], f32[4]) = (a, a, x) where a = linear(4)"), 0)
    x = torch.randn(2, 4)
    one, two, three = model(x)
    assert torch.equal(one, two) and torch.equal(three, x)
