"""Drop-path in ``model.py``: in train mode its outputs are those of the net's plans, as often as they are drawn."""

from __future__ import annotations

from collections import Counter
from itertools import product
from typing import Any

import pytest
import torch
from torch import nn

from fractal_dsl.pipeline import compile_text
from fractal_dsl.plans.plan import Plan
from fractal_dsl.runtime import FractalModule, build
from fractal_dsl.runtime.artifact import model_source
from fractal_dsl.runtime.fit import tensors_of
from tests.test_artifact import module_of

NET = """
rule F join JOIN { F[1] = linear(4) >> tanh  F[n+1] = F[n] >> F[n] | linear(4) >> tanh }
net N(x: f32[4]) -> f32[OUT] with drop_path(local=LOCAL%, global=GLOBAL%) = F[LEVEL] >> linear(3)
"""


def both(join: str, local: int, share: int, level: int = 3) -> tuple[FractalModule, nn.Module, str]:
    """The net and its ``model.py``, with the same weights."""
    text = NET.replace("JOIN", join).replace("OUT", "3").replace("LOCAL", str(local)).replace("GLOBAL", str(share))
    compiled = compile_text(text.replace("LEVEL", str(level)))
    model = build(compiled, seed=3)
    source = model_source(compiled, compiled.graph)
    plain: nn.Module = module_of(source).N()
    plain.load_state_dict(tensors_of(model))
    return model, plain, source


def calls(plain: nn.Module, x: torch.Tensor, count: int) -> list[torch.Tensor]:
    torch.manual_seed(0)
    with torch.no_grad():
        return [plain(x) for _ in range(count)]


def index(output: torch.Tensor, outputs: list[torch.Tensor]) -> int:
    distances = torch.stack([(output - o).abs().max() for o in outputs])
    assert distances.min() < 1e-6, "not the output of any plan"
    return int(distances.argmin())


@pytest.mark.parametrize("join", ["mean", "sum", "product", "max", "min", "gated"])
def test_a_step_runs_a_local_plan_as_often_as_it_is_drawn(join: str) -> None:
    model, plain, _ = both(join, 30, 0)
    x = torch.randn(2, 4, generator=torch.Generator().manual_seed(1))
    arities = [len(node.labels) for _, node in model.join_graph.joins()]
    assert arities == [2, 3]
    plans: dict[Plan, float] = {}
    for live in product(*[product((True, False), repeat=n) for n in arities]):
        if all(map(any, live)):
            chance = 1.0
            for flags in live:
                chance *= _chance(flags, 0.3)
            plans[Plan(0, live)] = chance
    assert sum(plans.values()) == pytest.approx(1)
    with torch.no_grad():
        outputs = [model.run(x, plan) for plan in plans]
    distinct: dict[int, float] = {}  # plans with equal outputs: what drop-path cuts off may differ
    for output, chance in zip(outputs, plans.values(), strict=True):
        first = index(output, outputs)
        distinct[first] = distinct.get(first, 0.0) + chance
    drawn = Counter(index(y, outputs) for y in calls(plain.train(), x, 3000))
    assert all(abs(drawn[i] / 3000 - chance) < 0.04 for i, chance in distinct.items())
    assert torch.equal(plain.eval()(x), model.eval()(x))


def _chance(flags: tuple[bool, ...], drop: float) -> float:
    chance = 1.0
    for on in flags:
        chance *= 1 - drop if on else drop
    return chance + (drop ** len(flags) / len(flags) if sum(flags) == 1 else 0.0)


@pytest.mark.parametrize("join", ["mean", "sum", "product", "max", "min", "gated"])
def test_global_drop_path_runs_one_column(join: str) -> None:
    model, plain, _ = both(join, 0, 100)
    x = torch.randn(2, 4, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        columns = [model.run(x, model.column_plan(k)) for k in (1, 2, 3)]
    drawn = Counter(index(y, columns) for y in calls(plain.train(), x, 600))
    assert all(abs(drawn[i] / 600 - 1 / 3) < 0.08 for i in range(3))


def test_the_branch_of_a_dropped_operand_does_not_run() -> None:
    """With single columns, the net has 8 linear layers. Join 1, which columns 2 and 3 read, runs in each case."""
    model, plain, _ = both("mean", 0, 100)
    seen: list[Any] = []
    for module in plain.modules():
        if isinstance(module, nn.Linear):
            module.register_forward_hook(lambda module, *_: seen.append(module))
    x = torch.randn(2, 4)
    lengths: set[int] = set()
    for _ in range(40):
        seen.clear()
        plain.train()(x)
        lengths.add(len(seen))
    assert lengths == {3, 5}
    assert model.n_columns == 3


def test_it_learns_and_every_weight_gets_a_gradient_in_time() -> None:
    _, plain, _ = both("mean", 20, 50)
    optimizer = torch.optim.SGD(plain.parameters(), lr=0.1)
    x, y = torch.randn(64, 4), torch.arange(64) % 3
    with torch.no_grad():
        before = nn.functional.cross_entropy(plain.eval()(x), y)
    plain.train()
    learned: set[str] = set()
    for _ in range(60):
        optimizer.zero_grad()
        nn.functional.cross_entropy(plain(x), y).backward()
        learned |= {name for name, p in plain.named_parameters() if p.grad is not None}
        optimizer.step()
    assert learned == {name for name, _ in plain.named_parameters()}
    assert nn.functional.cross_entropy(plain.eval()(x), y) < before


def test_a_net_without_drop_path_has_plain_joins() -> None:
    compiled = compile_text(NET.split("with")[0].replace("JOIN", "mean").replace("OUT", "3") + "= F[3] >> linear(3)")
    source = model_source(compiled, compiled.graph)
    assert "draw" not in source and "keep" not in source


def test_concat_keeps_its_layout() -> None:
    text = """rule F join concat { F[1] = linear(2) >> tanh  F[n+1] = F[n] | linear(3) >> tanh }
    net N(x: f32[4]) -> f32[8] with drop_path(local=40%) = F[3]"""
    compiled = compile_text(text)
    model = build(compiled, seed=1)
    plain = module_of(model_source(compiled, compiled.graph)).N()
    plain.load_state_dict(tensors_of(model))
    x = torch.randn(2, 4)
    plans = [Plan(0, (flags,)) for flags in product((True, False), repeat=3) if any(flags)]
    with torch.no_grad():
        outputs = [model.run(x, plan) for plan in plans]
    assert len({index(y, outputs) for y in calls(plain.train(), x, 300)}) == 7
