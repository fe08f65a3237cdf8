"""What joins make of operands that drop-path leaves out."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from random import Random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fractal_dsl.pipeline import compile_text
from fractal_dsl.plans.plan import FULL, Plan, local_plan
from fractal_dsl.runtime import FractalModule, build
from fractal_dsl.runtime.instructions import Instruction
from fractal_dsl.runtime.slim import Slim
from tests.support.effort import examples


def side_by_side(join: str, n: int, body: str = "linear(3)", net: str = "F[1]", more: str = "") -> FractalModule:
    width = 3 * n if join == "concat" else 3
    columns = " | ".join([body] * n)
    return build(
        compile_text(
            f"rule F join {join} {{ F[1] = {columns} {more} }}\n"
            f"net N(x: f32[3]) -> f32[{width}] with drop_path(local=50%, global=25%) = {net}"
        ),
        seed=1,
    ).double()


def probability(live: Sequence[bool], drop: float) -> float:
    """Of drawing these live operands of a join, by the words of the reference."""
    n, k = len(live), sum(live)
    return (1 - drop) ** k * drop ** (n - k) + (drop**n / n if k == 1 else 0.0)


@settings(max_examples=examples(20))
@given(join=st.sampled_from(["sum", "concat"]), n=st.integers(2, 5), drop=st.floats(0, 1), training=st.booleans())
def test_sum_and_concat_keep_their_expectation_over_local_plans(join: str, n: int, drop: float, training: bool) -> None:
    model = side_by_side(join, n).train(training)
    x = torch.randn(4, 3, dtype=torch.float64)
    plans = [live for live in product([False, True], repeat=n) if any(live)]
    assert sum(probability(live, drop) for live in plans) == pytest.approx(1)
    with torch.no_grad():
        outputs = [probability(live, drop) * model.run(x, Plan(FULL, (live,))) for live in plans]
        torch.testing.assert_close(torch.stack(outputs).sum(0), model.dense(x))
        torch.testing.assert_close(model.run(x, model.full_plan()), model.dense(x))


@pytest.mark.parametrize("join", ["sum", "concat"])
def test_the_mean_over_drawn_plans_is_what_the_whole_net_gives(join: str) -> None:
    model = side_by_side(join, 3)
    x = torch.ones(1, 3, dtype=torch.float64)
    rng, drawn = Random(3), 4000
    with torch.no_grad():
        total = sum((model.run(x, local_plan([3], 0.5, rng)) for _ in range(drawn)), torch.zeros(1))
        torch.testing.assert_close(total / drawn, model.dense(x), atol=0.08, rtol=0)


@pytest.mark.parametrize("join", ["sum", "concat", "mean", "max", "gated"])
def test_a_column_plan_is_the_extracted_column_in_either_mode(join: str) -> None:
    more = "F[n+1] = F[n] >> linear(3) | linear(3)"
    model = side_by_side(join, 1, net="F[3] >> linear(3)", more=more)
    x = torch.randn(4, 3, dtype=torch.float64)
    for k in range(1, model.n_columns + 1):
        for mode in (True, False):
            model.train(mode)
            torch.testing.assert_close(model.run(x, model.column_plan(k)), model.extract(k).dense(x))


@pytest.mark.parametrize("join", ["sum", "concat", "mean", "max", "gated"])
def test_plans_that_run_together_give_what_each_gives_alone(join: str) -> None:
    model = side_by_side(join, 3)
    alone = [tuple(i == k for i in range(3)) for k in range(3)]
    plans = [model.full_plan(), *(Plan(FULL, (live,)) for live in alone), *(Plan(k + 1, (alone[k],)) for k in range(3))]
    x = torch.randn(4, 3, dtype=torch.float64)
    for together, plan in zip(model.run_together(x, plans), plans, strict=True):
        torch.testing.assert_close(together, model.run(x, plan))


def test_max_and_mean_take_what_is_live_as_it_is() -> None:
    x = torch.randn(4, 3, dtype=torch.float64)
    for join in ("mean", "max"):
        model = side_by_side(join, 3)
        branches: list[Tensor] = [m(x) for m in model.modules() if isinstance(m, torch.nn.Linear)]
        expected = torch.stack(branches[1:])
        expected = expected.mean(0) if join == "mean" else expected.amax(0)
        torch.testing.assert_close(model.run(x, Plan(FULL, ((False, True, True),))), expected)


def test_whole_numbers_are_not_scaled() -> None:
    text = "rule F join concat { F[1] = id | id }\nnet N(x: i64[4]) -> f32[8, 2] with drop_path(local=50%) = F[1] >> "
    model = build(compile_text(text + "embedding(10, 2)"), seed=1)
    x = torch.full((1, 4), 9)
    rows = model.run(x, Plan(FULL, ((True, False),)))
    torch.testing.assert_close(rows[:, :4], model.dense(x)[:, :4])


def test_what_a_scaled_join_reads_is_not_kept_for_the_backward_pass() -> None:
    model = side_by_side("sum", 3, "linear(3) >> relu").train()
    instructions = model._scheduler.schedule(Plan(FULL, ((True, True, False),)))  # pyright: ignore[reportPrivateUsage]
    assert sum(isinstance(i, Instruction) and isinstance(i.call, Slim) for i in instructions) == 2


def test_a_net_of_sums_means_the_same_in_training_and_in_evaluation() -> None:
    torch.manual_seed(0)
    model = side_by_side("sum", 4).train()
    x = torch.randn(256, 3, dtype=torch.float64)
    wanted = x @ torch.randn(3, 3, dtype=torch.float64)
    for step in range(300):
        model.zero_grad()
        (model.run(x, local_plan([4], 0.5, Random(step))) - wanted).square().mean().backward()
        for p in model.parameters():
            if p.grad is not None:
                p.data -= 0.02 * p.grad
    assert (model.eval()(x) - wanted).square().mean() < 0.05
