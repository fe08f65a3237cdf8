"""Schedules: shared keys, recomputed regions, compiled segments."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fractal_dsl.base.errors import UserError
from fractal_dsl.pipeline import compile_text
from fractal_dsl.plans.plan import Plan
from fractal_dsl.runtime import FractalModule, build
from fractal_dsl.runtime.instructions import RecomputedRegion
from fractal_dsl.runtime.schedule import Scheduler

TEXT = """
layer conv(out: int) = conv2d(out, 3, padding=1, bias=false) >> dropout(10%) >> batchnorm2d >> relu
rule F(out: int) join mean {
    F[1]   = conv(out)
    F[n+1] = F[n] >> F[n] | conv(out)
}
net N(x: f32[2, 8, 8]) -> f32[5] with drop_path(local=15%, global=50%)
    = conv(4) STEM >> seq(F[4](w).each(maxpool2d(2)) for w in [4, 6]) >> flatten >> linear(5)
"""


def net(stem: str = "") -> FractalModule:
    return build(compile_text(TEXT.replace("STEM", stem)), 0)


def images(seed: int = 0) -> Tensor:
    return torch.randn(6, 2, 8, 8, generator=torch.Generator().manual_seed(seed))


def trained_step(model: FractalModule, plan: Plan) -> tuple[Tensor, list[Tensor | None], dict[str, Tensor]]:
    torch.manual_seed(5)
    out = model.train().run(images(), plan)
    gradients = torch.autograd.grad(out.square().sum(), list(model.parameters()), allow_unused=True)
    return out, list(gradients), {k: v.clone() for k, v in model.state_dict().items()}


def kept_for_backward(model: FractalModule) -> int:
    """Bytes that a forward pass keeps."""
    kept: dict[int, int] = {}

    def pack(t: Tensor) -> Tensor:
        if not isinstance(t, nn.Parameter):
            kept[t.untyped_storage().data_ptr()] = t.untyped_storage().nbytes()
        return t

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        out = model.train().run(images(), model.full_plan())
    del out
    return sum(kept.values())


@pytest.mark.parametrize("level", [1, 2, 3, 4])
@pytest.mark.parametrize("which", ["full", "local", "column 2"])
def test_recomputed_sub_fractals_change_nothing_but_memory(level: int, which: str) -> None:
    """Outputs, gradients, dropout, running statistics and their counts, to the last bit."""
    model = net()
    local = next(p for p in (model.plan(1, i) for i in range(99)) if p.route == 0)
    plan = {"full": model.full_plan(), "local": local, "column 2": model.column_plan(2)}[which]
    other = copy.deepcopy(model)
    other.checkpoint(level)
    a, b = trained_step(model, plan), trained_step(other, plan)
    assert torch.equal(a[0], b[0])
    for x, y in zip(a[1], b[1], strict=True):
        assert (x is None) == (y is None)
        assert x is None or y is None or torch.equal(x, y)
    assert all(torch.equal(value, b[2][name]) for name, value in a[2].items())
    assert b[2]["conv.batchnorm2d.num_batches_tracked"] == 1


def test_recomputing_keeps_less_for_the_backward_pass() -> None:
    kept = []
    for level in (None, 1, 2, 3):
        model = net()
        model.checkpoint(level)
        kept.append(kept_for_backward(model))
    assert kept[1] < 0.75 * kept[0]
    assert kept[2] < 0.6 * kept[0]


def test_what_only_joins_read_is_not_kept_and_gradients_are_the_same_to_the_last_bit() -> None:
    """ReLUs behind which is a join or a pooling remember a byte an element; against the generated code."""
    model, other = net(), net()
    outs = []
    for m, forward in ((model, lambda m: m.run(images(), m.full_plan())), (other, lambda m: m.dense(images()))):
        torch.manual_seed(5)
        outs.append(forward(m.train()))
        outs[-1].square().sum().backward()
    assert torch.equal(*outs)
    for (name, a), b in zip(model.named_parameters(), other.parameters(), strict=True):
        assert a.grad is not None and b.grad is not None
        assert torch.equal(a.grad, b.grad), name

    def dense(model: FractalModule) -> int:
        model.run = lambda x, plan: model.dense(x)
        return kept_for_backward(model)

    assert kept_for_backward(net()) < 0.86 * dense(net())


def test_slim_layers_have_second_derivatives_and_leave_hooks_alone() -> None:
    model = net().double().train()
    x = torch.randn(3, 2, 8, 8, dtype=torch.float64, requires_grad=True)
    scheduler = Scheduler(model.join_graph, dict(model.named_modules()))
    pool, relu = next(iter(scheduler.slim_pools.values())), next(iter(scheduler.slim_relus.values()))
    assert torch.autograd.gradcheck(relu, (x,)) and torch.autograd.gradgradcheck(relu, (x,))
    assert torch.autograd.gradcheck(pool, (x,)) and torch.autograd.gradgradcheck(pool, (x,))
    ran: list[str] = []
    for name, module in model.named_modules():
        if isinstance(module, nn.MaxPool2d | nn.ReLU):
            module.register_forward_hook(lambda *_, name=name: ran.append(name))
    model.run(x, model.full_plan())
    assert len(ran) == sum(isinstance(m, nn.MaxPool2d | nn.ReLU) for m in model.modules())


def regions(model: FractalModule) -> list[RecomputedRegion]:
    scheduler = Scheduler(model.join_graph, dict(model.named_modules()))
    return [s for s in scheduler.schedule(model.full_plan()) if isinstance(s, RecomputedRegion)]


def test_what_is_marked_is_recomputed_and_nothing_else() -> None:
    assert regions(net()) == []
    (stem,) = regions(net("@checkpoint"))
    assert len(stem.instructions) == 4 and len(stem.operands) == len(stem.results) == 1
    model, plain = net("@checkpoint"), net()
    plan = model.full_plan()
    a, b = trained_step(plain, plan), trained_step(model, plan)
    assert torch.equal(a[0], b[0])
    assert kept_for_backward(model) < kept_for_backward(plain)


def test_neighbours_that_are_marked_are_recomputed_one_by_one() -> None:
    text = TEXT.replace("conv(4) STEM", "conv(4) @checkpoint >> conv(4) @checkpoint")
    assert len(regions(build(compile_text(text)))) == 2


def test_equal_keys_mean_equal_values() -> None:
    """In eval mode, for every pair of plans; and what columns have in common is found."""
    model = net()
    for step in range(6):
        model.train().run(images(step), model.plan(0, step))
    model.eval()
    scheduler = Scheduler(model.join_graph, dict(model.named_modules()))
    values: dict[int, Tensor] = {}
    shared = 0
    plans = [model.column_plan(k) for k in (1, 2, 3, 4)] + [model.plan(3, i) for i in range(8)]
    schedules = scheduler.keyed(plans)
    for schedule in schedules:
        found: dict[int, Tensor] = {model.join_graph.input[0]: images()}
        for step in schedule:
            out = step.call(*[found[o] for o in step.operands])
            found[step.result] = out
            if step.key in values:
                shared += 1
                assert torch.equal(values[step.key], out)
            values.setdefault(step.key, out)
    assert shared > 50
    stems = {tuple([s.key for s in schedule[:4]]) for schedule in schedules}
    assert len(stems) == 1


@pytest.mark.parametrize("compiled", [False, True])
def test_several_plans_at_once_are_each_what_they_are_alone(compiled: bool) -> None:
    """Outputs and summed gradients; what the plans share runs once, and counts once in running statistics."""
    text = TEXT.replace("dropout(10%) >> ", "").replace("STEM", "").replace("F[4]", "F[3]")
    model = build(compile_text(text), 0).train()
    other = copy.deepcopy(model)
    if compiled:
        other.compile(backend="eager")
    plans = [model.plan(1, 0), *(model.column_plan(k) for k in (1, 2, 3))]
    alone = [model.run(images(), plan) for plan in plans]
    torch.stack([out.square().sum() for out in alone]).sum().backward()
    ran: list[str] = []
    for name, module in other.named_modules():
        if isinstance(module, nn.Conv2d) and not compiled:
            module.register_forward_hook(lambda *_, name=name: ran.append(name))
    together = other.run_together(images(), plans)
    torch.stack([out.square().sum() for out in together]).sum().backward()
    for a, b in zip(alone, together, strict=True):
        torch.testing.assert_close(a, b)
    for a, b in zip(model.parameters(), other.parameters(), strict=True):
        assert (a.grad is None) == (b.grad is None)
        if a.grad is not None and b.grad is not None:
            torch.testing.assert_close(a.grad, b.grad, rtol=1e-4, atol=1e-4)
    if not compiled:
        assert ran.count("conv.conv2d") == ran.count("block1.column2.conv1.conv2d") == 1
        assert ran.count("block2.column2.conv1.conv2d") == 2
        assert other.get_buffer("conv.batchnorm2d.num_batches_tracked") == 1


def test_batch_norms_keep_routes_apart_only_where_they_differ() -> None:
    names = {k for k in net().state_dict() if k.endswith("_column3")}
    assert not any(k.startswith("conv.") for k in names), "the stem sees the same by every route"
    assert not any(k.startswith("block1.column3.conv1.") for k in names)
    assert any(k.startswith("block1.column3.conv2.") for k in names)
    assert any(k.startswith("block2.column3.conv1.") for k in names)


@pytest.mark.slow
@pytest.mark.parametrize("level", [None, pytest.param(2, marks=pytest.mark.slow)])
def test_compiled_segments_are_the_same_function(level: int | None) -> None:
    """Layers between joins are compiled once for each structure, whatever the plan; nothing is compiled twice."""
    from torch._dynamo.testing import CompileCounterWithBackend

    counter = CompileCounterWithBackend("eager")
    text = TEXT.replace("dropout(10%) >> ", "").replace("STEM", "").replace("F[4]", "F[3]")
    model = build(compile_text(text), 0)
    other = copy.deepcopy(model)
    other.checkpoint(level)
    other.compile(backend=counter)
    plans = [model.full_plan(), model.column_plan(3), *(model.plan(1, i) for i in range(12))]
    for plan in plans:
        a, b = trained_step(model, plan), trained_step(other, plan)
        torch.testing.assert_close(a[0], b[0], rtol=1e-4, atol=1e-5)
        for x, y in zip(a[1], b[1], strict=True):
            assert (x is None) == (y is None)
            assert x is None or y is None or (x - y).norm() <= 1e-4 * max(1e-3, y.norm())
    compiled = counter.frame_count
    for plan in plans:
        trained_step(model, plan), trained_step(other, plan)
    assert counter.frame_count == compiled
    assert compiled < 20
    model.eval()
    other.eval()
    torch.testing.assert_close(model(images()), other(images()), rtol=1e-4, atol=1e-5)


def test_torch_compile_from_outside_compiles_the_whole_net_and_leaves_plans_alone() -> None:
    from torch._dynamo.testing import CompileCounterWithBackend

    counter = CompileCounterWithBackend("eager")
    text = TEXT.replace("dropout(10%) >> ", "").replace("STEM", "").replace("F[4]", "F[3]")
    model = build(compile_text(text), 0)
    compiled = torch.compile(model, backend=counter)
    model.eval()
    torch.testing.assert_close(compiled(images()), model(images()))
    once = counter.frame_count
    model.train()
    for step in range(4):
        plan = model.plan(model.seed, model.step)
        twin = copy.deepcopy(model)
        assert torch.equal(compiled(images(step)), twin.run(images(step), plan))
    assert counter.frame_count == once, "no plan is compiled"


GATED = """
layer conv(out: int) = conv2d(out, 3, padding=1, bias=false) >> batchnorm2d >> relu
rule F(out: int) join gated {
    F[1]   = conv(out)
    F[n+1] = F[n] >> F[n] | conv(out)
}
net N(x: f32[2, 8, 8]) -> f32[5] with drop_path(local=40%, global=50%)
    = gated(id, conv(2)) >> F[3](4) >> maxpool2d(2) >> (F[2](4) >> conv(4)) @checkpoint >> flatten >> linear(5)
"""


@pytest.mark.slow
@pytest.mark.parametrize("level", [None, 1, 2])
def test_compiled_nets_with_joins_that_have_weights_and_lone_operands(level: int | None) -> None:
    """Every plan's chains are whole, whatever they begin with."""
    model = build(compile_text(GATED), 0).train()
    other = copy.deepcopy(model)
    other.checkpoint(level)
    other.compile(backend="eager")
    for plan in [model.full_plan(), *(model.column_plan(k) for k in (1, 2, 3)), *(model.plan(0, i) for i in range(12))]:
        torch.testing.assert_close(other.run(images(), plan), model.run(images(), plan), rtol=1e-4, atol=1e-5)


def test_recomputed_regions_are_walked_back_as_often_as_one_likes() -> None:
    """With all buffers as one pass leaves them, those of modules from outside, too."""
    text = TEXT.replace("batchnorm2d", "nn.InstanceNorm2d(STATS)").replace("dropout(10%) >> ", "").replace("STEM", "")
    text = text.replace("InstanceNorm2d(STATS)", "InstanceNorm2d(out, track_running_stats=true)")
    model = build(compile_text(text), 0).train()
    other = copy.deepcopy(model)
    other.checkpoint(2)
    assert copy.deepcopy(other)._level == 2
    for m in (model, other):
        loss = m.run(images(), m.full_plan()).square().sum()
        loss.backward(retain_graph=True)
        loss.backward()
    for (name, a), b in zip(model.state_dict().items(), other.state_dict().values(), strict=True):
        assert torch.equal(a, b), name
    for a, b in zip(model.parameters(), other.parameters(), strict=True):
        assert a.grad is not None and b.grad is not None and torch.equal(a.grad, b.grad)


def test_a_column_shares_a_block_that_stands_before_and_behind_joins() -> None:
    text = """
shared s = conv2d(4, 3, padding=1) >> batchnorm2d >> relu
rule F join mean { F[1] = s  F[n+1] = F[n] >> F[n] | s }
net N(x: f32[4, 8, 8]) -> f32[5] with drop_path(local=15%, global=50%) = F[3] >> flatten >> linear(5)
"""
    model = build(compile_text(text), 0)
    x = torch.randn(3, 4, 8, 8)
    for step in range(8):
        model.train().run(x, model.plan(0, step))
    model.eval()
    for k in (1, 2, 3):
        assert torch.equal(model.column(k)(x), model.run(x, model.column_plan(k)))


def test_plans_of_other_nets_are_refused() -> None:
    model = net()
    full = model.full_plan()
    for plan in (
        Plan(9, full.live),
        Plan(-1, full.live),
        Plan(0, full.live[1:]),
        Plan(0, ((False, False), *full.live[1:])),
    ):
        with pytest.raises(UserError, match=r"the plan is of another net|drops all operands of a join"):
            model.run(images(), plan)
    with pytest.raises(UserError, match="levels count from 0"):
        model.checkpoint(-1)


@pytest.mark.parametrize("value", [2, "full", (0, ())])
def test_what_is_not_a_plan_is_refused(value: Any) -> None:
    model, x = net(), images()
    calls = (lambda: model.run(x, value), lambda: model(x, value), lambda: model.run_together(x, [value]))
    for call in (*calls, lambda: model.live(value)):
        with pytest.raises(UserError, match=r"expected a plan, but this is .*`model.column_plan\(k\)`"):
            call()


def test_a_module_that_is_replaced_runs() -> None:
    model = net().eval()
    model.run(images(), model.full_plan())
    model.set_submodule("conv.relu", nn.Sigmoid())
    assert torch.equal(model(images()), model.run(images(), model.full_plan()))


def test_a_net_is_not_pickled() -> None:
    with pytest.raises(UserError, match="save_artifact"):
        pickle.dumps(net())
