"""Plans as values: their text, the specs that draw them, the distribution of the draws, replay."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from itertools import product
from pathlib import Path
from random import Random

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chi2, chisquare
from typer.testing import CliRunner

from fractal_dsl.base.errors import UserError
from fractal_dsl.cli.app import app
from fractal_dsl.pipeline import compile_text
from fractal_dsl.plans.plan import Plan, draw_plan, local_plan, plan_of_text
from fractal_dsl.plans.plan_on_graph import cost, needed, plan_of_spec
from fractal_dsl.plans.space import PlanSpace
from fractal_dsl.program.program import DropPath
from fractal_dsl.runtime import build

TEXT = """
layer conv(out: int) = conv2d(out, 3, padding=1, bias=false) >> batchnorm2d >> relu
rule F(out: int) join mean {
    F[1]   = conv(out)
    F[n+1] = F[n] >> F[n] | conv(out)
}
net N(x: f32[2, 8, 8]) -> f32[5] with drop_path(local=30%, global=50%), init("xavier")
    = seq(F[3](w).each(maxpool2d(2)) for w in [4, 6]) >> flatten >> linear(5)
"""
SIGNIFICANCE = 0.001  # the seeds are fixed: these tests give one answer for ever


# --- text


joins = st.lists(st.lists(st.booleans(), min_size=2, max_size=4).filter(any).map(tuple), max_size=30).map(tuple)


@given(st.integers(0, 40), joins)
def test_a_plan_reads_back_from_its_text(route: int, live: tuple[tuple[bool, ...], ...]) -> None:
    plan = Plan(route, live)
    assert plan_of_text(plan.text()) == plan


def test_the_text_of_a_plan_counts_equal_neighbours() -> None:
    assert Plan(2, ((True, False),) * 3 + ((True, True, False),)).text() == "2:10*3.110"
    assert len(Plan(0, ((True,) * 4,) * 100_000).text()) == len("0:1111*100000")


@pytest.mark.parametrize(
    "text", ["", "0", "x:11", "0:12", "0:11..11", "0:00", "0:11*0", "-1:11", "0:11*99999999", "0:" + "1." * 80 + "a"]
)
def test_what_is_no_plan_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="is not a plan") as error:
        plan_of_text(text)
    assert len(str(error.value)) < 200


# --- specs


def test_a_training_step_is_the_plan_of_its_kind_with_the_same_seed_and_step() -> None:
    model = build(compile_text(TEXT))
    graph = model.join_graph
    kinds = Counter[str]()
    for step in range(40):
        plan = model.plan(7, step)
        assert plan_of_spec(f"mixed:7:{step}", graph) == plan
        kind = "global" if plan.route else "local"
        assert plan_of_spec(f"{kind}:7:{step}", graph) == plan
        kinds[kind] += 1
    assert min(kinds.values()) > 10
    assert plan_of_spec("local:7", graph) == plan_of_spec("local:7:0", graph)
    assert plan_of_spec("column:2", graph) == model.column_plan(2)
    assert plan_of_spec("full", graph) == model.full_plan()


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("column:4", "there is no column 4: net N has columns 1 to 3"),
        ("column:0", "there is no column 0"),
        ("column:1:1", "is not a plan: a plan is full, column:K, local:SEED"),
        ("local", "is not a plan"),
        ("local:-1", "is not a plan"),
        ("deep:1", "is not a plan"),
        ("0:11.11", "of another net: it has 2 joins of 4 operands, net N has 4 of 10"),
        ("4:10.100*2.10", "of another net"),
    ],
)
def test_a_spec_that_does_not_fit_says_what_would(spec: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        plan_of_spec(spec, compile_text(TEXT).graph)


def test_replaying_a_text_gives_the_same_output_to_the_last_bit() -> None:
    model = build(compile_text(TEXT), seed=3)
    x = torch.randn(4, 2, 8, 8, generator=torch.Generator().manual_seed(0))
    outputs: list[torch.Tensor] = []
    for step in range(6):
        plan = model.plan(1, step)
        again = plan_of_spec(plan.text(), model.join_graph)
        assert again == plan
        outputs.append(model.eval().run(x, plan))
        assert torch.equal(model.run(x, again), outputs[-1])
    assert not all(torch.equal(outputs[0], y) for y in outputs)


def test_a_net_without_joins_has_the_full_plan_alone() -> None:
    graph = compile_text("net N(x: f32[4]) -> f32[2] = linear(2)").graph
    assert plan_of_spec("local:1", graph) == plan_of_spec("full", graph) == Plan(0, ())
    assert Plan(0, ()).text() == "0:" and plan_of_text("0:") == Plan(0, ())


def test_a_step_with_all_columns_runs_the_drawn_plan_and_each_column() -> None:
    every = compile_text(TEXT.replace("global=50%", "columns=all")).graph
    space = PlanSpace.of(every)
    assert space.step(3, 1) == [space.drawn(3, 1), *(plan_of_spec(f"column:{k}", every) for k in (1, 2, 3))]
    own = PlanSpace.of(compile_text(TEXT).graph)
    assert own.step(3, 1) == [own.drawn(3, 1)] and own.drawn(3, 1) == build(compile_text(TEXT)).plan(3, 1)


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        (Plan(0, ((True, True),) * 4), "it has 4 joins of 8 operands, net N has 4 of 10"),
        (Plan(4, ((True,) * 2, (True,) * 3) * 2), "it has route 4, net N has columns 1 to 3"),
        (Plan(-1, ((True,) * 2, (True,) * 3) * 2), "it has route -1"),
        (Plan(0, ((False,) * 2, (True,) * 3) * 2), "drops all operands of a join"),
    ],
)
def test_a_plan_of_another_net_is_refused(plan: Plan, message: str) -> None:
    with pytest.raises(UserError, match=message):
        PlanSpace.of(compile_text(TEXT).graph).check(plan)


# --- what a plan needs


def test_a_column_needs_what_the_column_alone_costs() -> None:
    compiled = compile_text(TEXT)
    for k, column in enumerate(compiled.summary.columns, 1):
        part = cost(compiled.graph, needed(compiled.graph, plan_of_spec(f"column:{k}", compiled.graph)))
        assert (part.params, part.macs) == (column.params, column.macs)
    whole = cost(compiled.graph, needed(compiled.graph, plan_of_spec("full", compiled.graph)))
    assert (whole.params, whole.macs) == (compiled.summary.params, compiled.summary.macs)


# --- distributions


def fits(seen: Counter[object], expected: dict[object, float], draws: int) -> None:
    """Pearson's chi-square test at 0.1%; whatever is drawn must be among what is expected."""
    assert seen.keys() <= expected.keys()
    assert sum(expected.values()) == pytest.approx(1)
    result = chisquare([seen[key] for key in expected], [draws * p for p in expected.values()])
    assert result.pvalue > SIGNIFICANCE, f"chi-square {result.statistic:.1f}, {len(expected) - 1} degrees of freedom"


def live_sets(arity: int, drop: float) -> dict[object, float]:
    """All live sets of a join: independent drops; where all are dropped, one operand, drawn evenly, survives."""
    result: dict[object, float] = {}
    for live in product((False, True), repeat=arity):
        kept = sum(live)
        if kept:
            result[live] = (1 - drop) ** kept * drop ** (arity - kept) + (drop**arity / arity if kept == 1 else 0)
    return result


@pytest.mark.parametrize("arity", [2, 3, 4])
@pytest.mark.parametrize("drop", [0.15, 0.6])
def test_local_draws_every_live_set_as_often_as_stated(arity: int, drop: float) -> None:
    joins, plans = 40, 250
    drawn = [local_plan([arity] * joins, drop, Random(f"{arity} {drop} {i}")).live for i in range(plans)]
    fits(Counter[object](live for plan in drawn for live in plan), live_sets(arity, drop), joins * plans)


def test_joins_are_dropped_independently_of_each_other_and_of_the_step_before() -> None:
    """Live sets of two joins, and of one join in two steps, against the product of their distributions."""
    own, n = live_sets(2, 0.5), 6_000
    pairs = {(a, b): p * q for a, p in own.items() for b, q in own.items()}
    plans = [draw_plan(DropPath(0.5, 0.0), [2, 2], [], 1, seed=1, step=i).live for i in range(n)]
    fits(Counter[object](plans), pairs, n)  # type: ignore[arg-type]
    steps = [draw_plan(DropPath(0.5, 0.0), [2], [], 1, seed=2, step=i).live[0] for i in range(2 * n)]
    fits(Counter[object](zip(steps[::2], steps[1::2], strict=True)), pairs, n)  # type: ignore[arg-type]


def test_global_draws_every_column_as_often() -> None:
    n = 8_000
    choices = [(3, 2, 1, 0), (1, 1, 0, 0)]
    plans = [draw_plan(DropPath(0.15, 1.0), [4, 2], choices, 4, seed=9, step=i) for i in range(n)]
    fits(Counter[object](plan.route for plan in plans), dict.fromkeys(range(1, 5), 0.25), n)
    for plan in plans:
        assert [flags.index(True) for flags in plan.live] == [chosen[plan.route - 1] for chosen in choices]
        assert [sum(flags) for flags in plan.live] == [1, 1]


def test_global_draws_columns_by_their_weights() -> None:
    n, choices = 8_000, [(3, 2, 1, 0), (1, 1, 0, 0)]
    drop_path = DropPath(0.15, 1.0, weights=(1.0, 0.0, 2.0, 5.0))
    plans = [draw_plan(drop_path, [4, 2], choices, 4, seed=9, step=i) for i in range(n)]
    fits(Counter[object](plan.route for plan in plans), {1: 1 / 8, 3: 2 / 8, 4: 5 / 8}, n)


def test_the_mixture_is_global_as_often_as_stated_and_local_in_between() -> None:
    n, mixed = 20_000, DropPath(0.3, 0.4)
    plans = [draw_plan(mixed, [3], [(2, 1, 0)], 3, seed=4, step=i) for i in range(n)]
    expected: dict[object, float] = {(0, live): 0.6 * p for live, p in live_sets(3, 0.3).items()}
    expected |= {(k, tuple(i == 3 - k for i in range(3))): 0.4 / 3 for k in (1, 2, 3)}
    fits(Counter[object]((plan.route, plan.live[0]) for plan in plans), expected, n)


def test_the_test_itself_can_fail() -> None:
    """Drops without the survivor being drawn evenly, as a join that keeps its first operand would have them."""
    own, n = live_sets(2, 0.6), 10_000
    rng = Random(0)
    kept = [(rng.random() >= 0.6, rng.random() >= 0.6) for _ in range(n)]
    seen = Counter[object](live if any(live) else (True, False) for live in kept)
    statistic = sum((seen[k] - n * p) ** 2 / (n * p) for k, p in own.items())
    assert chi2.sf(statistic, len(own) - 1) < SIGNIFICANCE


# --- ranks


def test_another_process_draws_the_same_plans_and_loads_no_torch() -> None:
    graph = compile_text(TEXT).graph
    specs = [f"mixed:11:{step}" for step in range(12)] + ["local:5", "global:5:9"]
    ours = [plan_of_spec(spec, graph).text() for spec in specs]
    code = (
        "import sys; from fractal_dsl.pipeline import compile_text; "
        "from fractal_dsl.plans.plan_on_graph import plan_of_spec; "
        f"g = compile_text({TEXT!r}).graph; print(*[plan_of_spec(s, g).text() for s in {specs!r}]); "
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    theirs, torch_there = done.stdout.splitlines()
    assert theirs.split() == ours and torch_there == "False"
    assert len({*ours}) > 6


# --- the command


def test_the_command_prints_a_plan_that_it_reads_back(tmp_path: Path) -> None:
    path = str(tmp_path / "n.frac")
    Path(path).write_text(TEXT, encoding="utf-8")
    run = CliRunner().invoke
    printed = json.loads(run(app, ["plan", path, "--plan", "local:2:5", "--json"]).stdout)
    assert printed["plan"] == plan_of_spec("local:2:5", compile_text(TEXT).graph).text()
    assert json.loads(run(app, ["plan", path, "--plan", printed["plan"], "--json"]).stdout) == printed
    assert 0 < printed["macs_share"] < 1 and [len(j["columns"]) for j in printed["joins"]] == [2, 3, 2, 3]
    column = run(app, ["plan", path, "--plan", "column:1"]).stdout
    assert "block1.join1  3 2      not needed" in column and "block1.join2  3 2 1    · · 1" in column
