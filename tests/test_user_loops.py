"""What users do with a net outside the train command: statistics, saved state, exports, long runs."""

from __future__ import annotations

import copy
import gc
import tracemalloc
import warnings
from pathlib import Path
from random import Random
from typing import Literal

import pytest
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, update_bn

from fractal_dsl import build, compile_file, compile_text, load_artifact, save_artifact
from fractal_dsl.config import parse_config
from fractal_dsl.plans.plan import Plan, local_plan
from fractal_dsl.plans.space import PlanSpace
from fractal_dsl.runtime import FractalModule
from fractal_dsl.runtime.batchnorm import Routed
from fractal_dsl.tasks.classification import Classification
from fractal_dsl.training.step import Stepper
from tests.test_replacing import COMPILED, TEXT, images, net

EXAMPLES = Path(__file__).parent.parent / "examples"


# --- running statistics


def averages(model: FractalModule, batches: list[Tensor], plan: Plan) -> FractalModule:
    """The net with the statistics that its batch norms see under a plan, averaged: torch's own, one route at a time."""
    twin = copy.deepcopy(model).train()
    for module in twin.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.reset_running_stats()
            module.momentum = None
    with torch.no_grad():
        for x in batches:
            twin.run(x, plan)
    return twin


@pytest.mark.parametrize("averaged", [False, True])
@pytest.mark.parametrize("level", [None, 2])
def test_update_bn_estimates_the_statistics_of_every_route(averaged: bool, level: int | None) -> None:
    model = net()
    model.checkpoint(level)
    batches = [images(seed) * 3 - seed for seed in range(3)]
    updated = AveragedModel(model) if averaged else model
    before = copy.deepcopy(model)
    update_bn(batches, updated)
    model = updated.module if isinstance(updated, AveragedModel) else updated
    assert isinstance(model, FractalModule) and model.step == before.step
    model.eval()
    for k in range(model.n_columns + 1):
        plan = model.column_plan(k) if k else model.full_plan()
        torch.testing.assert_close(
            model.run(images(9), plan), averages(before, batches, plan).eval().run(images(9), plan)
        )
    assert all(m.momentum == 0.1 for m in model.modules() if isinstance(m, Routed))


def test_statistics_are_reset_for_every_route() -> None:
    model = net()
    for module in model.modules():
        if isinstance(module, Routed):
            module.reset_running_stats()
            for name, value in module.named_buffers():
                assert bool((value == ("var" in name)).all())


def test_training_goes_on_with_plans_where_batch_norms_average() -> None:
    model = build(COMPILED, 3).train()
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.momentum = None
    for seed in range(4):
        model(images(seed))
    assert model.step == 4


# --- the state of a loop


def drawn(model: FractalModule, steps: int) -> list[Plan]:
    found: list[Plan] = []
    for seed in range(steps):
        found.append(model.plan(model.seed, model.step))
        model.train()(images(seed)).sum().backward()
    return found


def test_a_loop_that_is_saved_and_resumed_draws_the_same_plans(tmp_path: Path) -> None:
    whole = drawn(build(COMPILED, 3), 9)
    model = build(COMPILED, 3)
    first = drawn(model, 4)
    torch.save(model.state_dict(), tmp_path / "state.pt")
    again = build(COMPILED, 3)
    again.load_state_dict(torch.load(tmp_path / "state.pt"))
    assert first + drawn(again, 5) == whole
    nested = nn.Sequential(build(COMPILED, 3))
    nested.load_state_dict({f"0.{k}": v for k, v in model.state_dict().items()})
    assert isinstance(nested[0], FractalModule) and nested[0].step == 4
    assert copy.deepcopy(model).step == 4
    save_artifact(COMPILED, model, tmp_path / "net")
    assert load_artifact(tmp_path / "net").step == 4


def test_weights_without_a_step_load_strictly_and_nets_without_drop_path_have_none() -> None:
    model = build(COMPILED, 3)
    drawn(model, 2)
    weights = {name: value for name, value in model.state_dict().items() if name != "_extra_state"}
    assert len(weights) + 1 == len(model.state_dict())
    model.load_state_dict(weights)
    assert model.step == 2
    assert all(isinstance(value, Tensor) for value in model.state_dict().values())
    with pytest.raises(RuntimeError, match="Missing key"):
        model.load_state_dict({"linear.weight": weights["linear.weight"]})
    plain = compile_text(TEXT.replace("with drop_path(local=30%, global=50%)", ""))
    assert "_extra_state" not in build(plain).state_dict()
    assert "_extra_state" not in model.extract(1).state_dict()


# --- exports


def test_what_records_a_net_in_train_mode_warns_once() -> None:
    def warned(filter: Literal["default", "always"], *models: FractalModule) -> list[str]:
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter(filter)
            for model in models:
                torch.export.export(model, (images(),), strict=False)
                torch.jit.trace(model, (images(),), check_trace=False)
        return sorted(str(w.message).partition(" in train")[0] for w in seen if "records one call" in str(w.message))

    trained = build(COMPILED, 3).train()
    expected = ["torch.export records one call of net N", "torch.jit.trace records one call of net N"]
    assert warned("default", trained, trained) == expected
    assert warned("always", build(COMPILED, 3).eval(), trained.extract(1)) == []


# --- long runs


def entries(value: object, seen: set[int] | None = None) -> int:
    """How many entries the containers of an object of ours hold, those in them included."""
    seen = set() if seen is None else seen
    if id(value) in seen or isinstance(value, Tensor | nn.Module | type):
        return 0
    seen.add(id(value))
    if isinstance(value, dict):
        return len(value) + sum(entries(v, seen) for v in value.values())
    if isinstance(value, list | tuple | set):
        return len(value) + sum(entries(v, seen) for v in value)
    kept = getattr(value, "__dict__", None) if type(value).__module__.startswith("fractal_dsl.runtime") else None
    return entries(kept, seen) if kept else 0


def kept(model: FractalModule) -> int:
    return sum(entries(v) for name, v in vars(model).items() if name not in ("_modules", "_graph", "join_graph"))


@pytest.mark.parametrize("compiled", [False, True])
def test_plans_leave_nothing_behind(compiled: bool) -> None:
    """Drawn ones, those of columns, and ones that say they are a column's; together, and one by one."""
    model = build(COMPILED, 3)
    if compiled:
        model.compile(backend="eager")
    arities = PlanSpace.of(model.join_graph).arities
    sizes: list[int] = []
    for step in range(900):
        plan = local_plan(arities, 0.5, Random(step))
        model._scheduler.schedule(plan)
        model._scheduler.schedule(Plan(1 + step % 3, plan.live))
        model._scheduler.together([plan, model.column_plan(1 + step % 3)])
        sizes.append(kept(model))
    assert max(sizes[600:]) <= 1.05 * max(sizes[:300])


@pytest.mark.slow
def test_ten_thousand_plans_of_a_deep_net_take_no_memory() -> None:
    model = build(compile_file(EXAMPLES / "fractalnet_deep.frac", {"columns": "4"}), device="meta")
    scheduler = model._scheduler
    for step in range(500):
        scheduler.schedule(model.plan(0, step))
    tracemalloc.start()
    try:
        gc.collect()
        before, entries_before = tracemalloc.get_traced_memory()[0], kept(model)
        for step in range(500, 10_500):
            scheduler.schedule(model.plan(0, step))
        gc.collect()
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert grown < 2**20, f"{grown:,} bytes in 10,000 plans"
    assert kept(model) < 1.5 * entries_before


@pytest.mark.slow
def test_five_hundred_training_steps_take_no_memory() -> None:
    compiled = compile_file(EXAMPLES / "digits.frac")
    model = build(compiled, 0).train()
    stepper = Stepper(
        model, Classification(10), parse_config({**compiled.program.train, "ema": 0.9}), torch.device("cpu")
    )
    x, y = torch.randn(16, *model.input.shape), torch.randint(10, (16,))
    for number in range(100):
        stepper.step(x, y, number, 0.01)
    tracemalloc.start()
    try:
        gc.collect()
        before = tracemalloc.get_traced_memory()[0]
        for number in range(100, 600):
            stepper.step(x, y, number, 0.01)
        gc.collect()
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert grown < 2**20, f"{grown:,} bytes in 500 steps"
