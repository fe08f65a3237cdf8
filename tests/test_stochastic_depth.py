"""Stochastic depth: branches of inline joins with ``@drop`` (Huang et al. 2016)."""

from __future__ import annotations

import json
from collections import Counter
from itertools import product
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare
from torch import Tensor, nn
from typer.testing import CliRunner

from fractal_dsl.base.errors import UserError
from fractal_dsl.cli.app import app
from fractal_dsl.pipeline import compile_text
from fractal_dsl.plans.plan import FULL, Plan, draw_branches, plan_of_text
from fractal_dsl.plans.plan_on_graph import plan_of_spec
from fractal_dsl.plans.space import PlanSpace
from fractal_dsl.program.drops import chances_of
from fractal_dsl.runtime import FractalModule, build
from fractal_dsl.runtime.schedule import lasting
from tests.support.effort import examples

RESIDUAL = """
param top: prob = 50%
layer conv(out: int) = conv2d(out, 3, padding=1, bias=false) >> batchnorm2d >> relu
layer block(out: int, p: prob) = sum(id, (conv(out) >> conv(out)) @drop(p)) >> relu
net N(x: f32[2, 6, 6]) -> f32[3]
    = conv(4) >> seq(block(4, (i + 1) / 4 * top) for i in range(4)) >> global_avgpool >> linear(3)
"""
MIXED = """
layer res(out: int, p: prob) = sum(id, (linear(out) >> tanh) @drop(p))
rule F(out: int) join mean {
    F[1]   = res(out, 30%)
    F[n+1] = F[n] >> F[n] | res(out, n / 10)
}
net N(x: f32[4]) -> f32[4] with drop_path(local=30%, global=50%) = res(4, 20%) >> F[3](4) >> linear(4)
"""
JOINS = ("sum", "mean", "concat", "product", "max", "min", "gated")


def net(join: str, drops: list[float], body: str = "linear(3)") -> FractalModule:
    branches = ", ".join(f"{body} @drop({p})" if p else body for p in drops)
    width = 3 * len(drops) if join == "concat" else 3
    return build(compile_text(f"net N(x: f32[3]) -> f32[{width}] = {join}({branches})"), seed=1).double()


def probabilities(drops: list[float]) -> dict[tuple[bool, ...], float]:
    """Of each set of live branches, by the words of the reference."""
    result: dict[tuple[bool, ...], float] = {}
    everything = 1.0
    for drop in drops:
        everything *= drop
    for live in product([False, True], repeat=len(drops)):
        chance = everything / len(drops) if sum(live) == 1 else 0.0
        each = [1 - p if on else p for on, p in zip(live, drops, strict=True)]
        if any(live):
            for factor in each[1:]:
                each[0] *= factor
            result[live] = chance + each[0]
    return result


drops_of_a_join = st.lists(st.sampled_from([0.0, 0.1, 0.5, 0.9]), min_size=2, max_size=4).filter(any)

# --- what a draw means


@settings(max_examples=examples(25))
@given(join=st.sampled_from(["sum", "mean", "concat"]), drops=drops_of_a_join, training=st.booleans())
def test_evaluation_gives_the_expectation_over_all_draws(join: str, drops: list[float], training: bool) -> None:
    model = net(join, drops).train(training)
    x = torch.randn(4, 3, dtype=torch.float64)
    chances = probabilities(drops)
    assert sum(chances.values()) == pytest.approx(1)
    with torch.no_grad():
        outputs = [p * model.run(x, Plan(FULL, (), (live,))) for live, p in chances.items() if p]
        torch.testing.assert_close(torch.stack(outputs).sum(0), model.dense(x))
        torch.testing.assert_close(model.eval()(x), model.dense(x), rtol=0, atol=0)


@pytest.mark.parametrize("join", ["product", "max", "min", "gated"])
def test_joins_that_weigh_their_operands_take_the_live_ones_as_they_are(join: str) -> None:
    model = net(join, [0.0, 0.2, 0.5])
    if join == "gated":
        model.get_submodule("gated").get_parameter("logits").data.copy_(torch.tensor([0.3, -0.5, 1.0]))
    x = torch.randn(4, 3, dtype=torch.float64)
    branches = [m(x) for m in model.modules() if isinstance(m, nn.Linear)]
    for live in ((True, False, True), (True, False, False)):
        kept = torch.stack([b for b, on in zip(branches, live, strict=True) if on])
        weights = torch.tensor([0.3, -0.5, 1.0], dtype=torch.float64)[[*live]].softmax(0)
        reduced = {"product": kept.prod(0), "max": kept.amax(0), "min": kept.amin(0)}
        expected = reduced.get(join, (weights[:, None, None] * kept).sum(0))
        torch.testing.assert_close(model.run(x, Plan(FULL, (), (live,))), expected)


def test_a_python_join_gets_the_live_branches_alone() -> None:
    text = 'extern join spread from "tests.support.parts:Spread"\nnet N(x: f32[3]) -> f32[3] = '
    model = build(compile_text(f"{text}spread(id, linear(3) @drop(20%), tanh)", allow_python=True), 1)
    x = torch.randn(4, 3)
    kept = torch.stack([x, x.tanh()])
    torch.testing.assert_close(model.run(x, Plan(FULL, (), ((True, False, True),))), x - kept.mean(0))


def test_a_draw_that_leaves_all_branches_in_differs_from_evaluation() -> None:
    model = net("sum", [0.0, 0.5])
    x = torch.randn(2, 3, dtype=torch.float64)
    a, b = (m(x) for m in model.modules() if isinstance(m, nn.Linear))
    torch.testing.assert_close(model.run(x, plan_of_text("0:/11")), a + 2 * b)
    torch.testing.assert_close(model.run(x, plan_of_text("0:")), a + b)
    both = model.run_together(x, [plan_of_text("0:/11"), plan_of_text("0:"), plan_of_text("0:/10")])
    torch.testing.assert_close(both, [a + 2 * b, a + b, a])


def test_a_branch_that_is_left_out_is_not_computed_and_gets_no_gradient() -> None:
    model = build(compile_text(RESIDUAL), seed=1).train()
    called: list[str] = []
    for name, module in model.named_modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(lambda *_, name=name: called.append(name))
    plan = plan_of_text("0:/11.10*2.11")
    before = {name: b.clone() for name, b in model.named_buffers()}
    model.run(torch.randn(2, 2, 6, 6), plan).sum().backward()
    kept = [f"{block}.{conv}.conv2d" for block in ("block", "block_4") for conv in ("conv", "conv_2")]
    assert called == ["conv.conv2d", *kept]
    left_out = {name for name, p in model.named_parameters() if p.grad is None}
    assert left_out == {n for n, _ in model.named_parameters() if n.startswith(("block_2.", "block_3."))}
    unchanged = {n.split(".")[0] for n, b in model.named_buffers() if torch.equal(b, before[n])}
    assert unchanged == {"block_2", "block_3"}
    used = {m for m in model.live(plan) if isinstance(m, nn.Conv2d)}
    assert used == {model.get_submodule(name) for name in called}


def test_gradients_are_those_of_the_net_without_the_branch() -> None:
    model = build(compile_text(RESIDUAL), seed=1).double().train()
    x = torch.randn(3, 2, 6, 6, dtype=torch.float64)

    def by_hand(x: Tensor) -> Tensor:
        x = run(model.get_submodule("conv"), x)
        for name, factor in (("block", 1 / 0.875), ("block_2", 1 / 0.75), ("block_3", 0), ("block_4", 2)):
            block = model.get_submodule(name)
            branch = run(block.get_submodule("conv_2"), run(block.get_submodule("conv"), x)) if factor else None
            x = torch.relu(x if branch is None else x + factor * branch)
        return model.get_submodule("linear")(x.flatten(2).mean(2))

    def run(module: nn.Module, x: Tensor) -> Tensor:
        return torch.relu(module.get_submodule("batchnorm2d")(module.get_submodule("conv2d")(x)))

    model.run(x, plan_of_text("0:/11*2.10.11")).square().sum().backward()
    ours = {name: p.grad for name, p in model.named_parameters()}
    model.zero_grad()
    by_hand(x).square().sum().backward()
    for name, p in model.named_parameters():
        assert (p.grad is None) == (ours[name] is None)
        if p.grad is not None:
            torch.testing.assert_close(ours[name], p.grad)


# --- draws


def test_every_set_of_branches_is_drawn_as_often_as_stated() -> None:
    for drops in ([0.0, 0.3], [0.5, 0.2], [0.6, 0.5, 0.4], [0.0, 0.9, 0.1]):
        joins, steps = 20, 400
        drawn = [draw_branches([drops] * joins, 3, step) for step in range(steps)]
        seen = Counter(live for plan in drawn for live in plan)
        expected = {live: p for live, p in probabilities(drops).items() if p}
        assert seen.keys() <= expected.keys()
        result = chisquare([seen[k] for k in expected], [joins * steps * p for p in expected.values()])
        assert result.pvalue > 0.001
        for i, chance in enumerate(chances_of(drops)):
            assert sum(p for live, p in expected.items() if live[i]) == pytest.approx(chance)


def test_a_draw_is_a_function_of_seed_and_step() -> None:
    model = build(compile_text(RESIDUAL), seed=7).train()
    x = torch.randn(2, 2, 6, 6)
    model.eval()
    plans = [model.plan(7, step) for step in range(30)]
    assert len({*plans}) > 8 and all(plan.branches and not lasting(plan) for plan in plans)
    wanted = [model.train().run(x, plan) for plan in plans[:4]]
    again = build(compile_text(RESIDUAL), seed=7).train()
    for step in range(4):
        torch.testing.assert_close(again(x), wanted[step], rtol=0, atol=0)
    assert again.step == 4
    resumed = build(compile_text(RESIDUAL), seed=7)
    resumed.load_state_dict(again.state_dict())
    assert resumed.step == 4


def test_draws_of_drop_path_are_what_they_are_without_branches() -> None:
    bare = compile_text(MIXED.replace("@drop(p)", "")).graph
    graph = compile_text(MIXED).graph
    for step in range(30):
        plan, other = (PlanSpace.of(g).drawn(3, step) for g in (graph, bare))
        assert (plan.route, plan.live) == (other.route, other.live) and plan.branches


def test_all_passes_of_a_step_leave_out_the_same_branches() -> None:
    graph = compile_text(MIXED.replace("global=50%", "columns=all")).graph
    for step in range(10):
        first, *columns = PlanSpace.of(graph).step(3, step)
        assert [p.route for p in columns] == [1, 2, 3]
        assert {p.branches for p in columns} == {first.branches}


# --- plans as values


@given(
    st.lists(st.lists(st.booleans(), min_size=2, max_size=4).filter(any).map(tuple), max_size=6).map(tuple),
    st.lists(st.lists(st.booleans(), min_size=2, max_size=4).filter(any).map(tuple), max_size=6).map(tuple),
)
def test_a_plan_with_branches_reads_back_from_its_text(
    live: tuple[tuple[bool, ...], ...], branches: tuple[tuple[bool, ...], ...]
) -> None:
    assert plan_of_text(Plan(2, live, branches).text()) == Plan(2, live, branches)


@pytest.mark.parametrize("text", ["0:/", "0:/12", "0:/00", "0:11/", "0:/11/10", "0/11"])
def test_what_is_no_plan_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="is not a plan"):
        plan_of_text(text)


@pytest.mark.parametrize("text", ["0:/11", "0:/11*5", "0:/111.11*3", "1:/11*2"])
def test_a_plan_of_another_net_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="of another net"):
        plan_of_spec(text, compile_text(RESIDUAL).graph)


def test_specs_draw_branches_and_evaluation_leaves_them_in() -> None:
    graph = compile_text(MIXED).graph
    space = PlanSpace.of(graph)
    for step in range(8):
        plan = space.drawn(5, step)
        assert plan_of_spec(f"mixed:5:{step}", graph) == plan
        assert plan_of_spec(f"local:5:{step}", graph).branches == plan.branches
    assert not plan_of_spec("full", graph).branches and not plan_of_spec("column:2", graph).branches
    alone = compile_text(RESIDUAL).graph
    assert plan_of_spec("mixed:5:1", alone) == plan_of_spec("local:5:1", alone) == PlanSpace.of(alone).drawn(5, 1)


def test_the_command_shows_what_a_draw_leaves_out(tmp_path: Path) -> None:
    path = tmp_path / "n.frac"
    path.write_text(RESIDUAL, "utf-8")
    run = CliRunner().invoke
    facts = json.loads(run(app, ["plan", str(path), "--plan", "0:/11*2.10.11", "--json"]).stdout)
    assert facts["plan"] == "0:/11*2.10.11" and facts["kind"] == "drawn" and facts["joins"] == []
    assert [j["live"] for j in facts["inline_joins"]] == [[1, 2], [1, 2], [1], [1, 2]]
    assert [j["drops"] for j in facts["inline_joins"]] == [[0.0, i / 8] for i in (1, 2, 3, 4)]
    assert facts["macs"] < facts["macs_of_all"]
    shown = run(app, ["plan", str(path), "--plan", "0:/11*2.10.11"]).stdout
    assert "block_3.sum  0% 37.5%               1 ·" in shown
    path.write_text(MIXED, "utf-8")
    both = run(app, ["plan", str(path), "--plan", "local:3"]).stdout
    assert "block1.join1" in both and "inline join" in both


# --- with columns


def test_columns_keep_their_branches_and_an_extracted_column_draws_them() -> None:
    model = build(compile_text(MIXED), seed=2).double()
    x = torch.randn(3, 4, dtype=torch.float64)
    for k in range(1, model.n_columns + 1):
        column = model.extract(k)
        torch.testing.assert_close(column.eval()(x), model.eval().run(x, model.column_plan(k)))
        assert column.draws and column.drop_path is None
        drawn = [column.plan(1, step) for step in range(20)]
        assert len({*drawn}) > 1 and all(not plan.live and plan.branches for plan in drawn)


def test_a_global_step_draws_branches_within_its_column() -> None:
    model = build(compile_text(MIXED), seed=2).double()
    x = torch.randn(3, 4, dtype=torch.float64)
    steps = [plan for step in range(60) if (plan := model.plan(0, step)).route == 2]
    assert len({*steps}) > 4
    outputs = [model.run(x, plan) for plan in steps]
    assert not all(torch.equal(outputs[0], y) for y in outputs)
