"""Drop-path, columns, and batch norm by route."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor

from fractal_dsl.base.errors import UserError
from fractal_dsl.graph.graph import Layer
from fractal_dsl.pipeline import compile_text
from fractal_dsl.plans.plan import Plan
from fractal_dsl.runtime import FractalModule, build

TEXT = """
layer conv(out: int) = conv2d(out, 3, padding=1, bias=false) >> batchnorm2d >> relu
rule F(out: int) join mean {
    F[1]   = conv(out)
    F[n+1] = F[n] >> F[n] | conv(out)
}
net N(x: f32[2, 8, 8]) -> f32[5] with OPTIONS init("xavier")
    = seq(F[3](w).each(maxpool2d(2)) for w in [4, 6]) >> flatten >> linear(5)
"""


def net(options: str = "drop_path(local=15%, global=50%),", seed: int = 0) -> FractalModule:
    return build(compile_text(TEXT.replace("OPTIONS", options)), seed)


def images(seed: int = 0) -> Tensor:
    return torch.randn(6, 2, 8, 8, generator=torch.Generator().manual_seed(seed))


def masked_dense(model: FractalModule, x: Tensor, plan: Plan) -> Tensor:
    """Everything computed, dropped operands multiplied by zero; batch norms by the plan's route."""
    graph, live = model.join_graph, iter(plan.live)
    values: dict[int, Tensor] = {graph.input[0]: x}
    for number, node in graph.items():
        operands = [values[o] for o in graph.operands(number)]
        if isinstance(node, Layer):
            module = model.get_submodule(node.name)
            has_route = plan.route and hasattr(module, f"running_mean_column{plan.route}")
            values[number] = module(operands[0], route=plan.route) if has_route else module(operands[0])
        elif number != graph.input[0] and len(operands) > 1:
            flags = next(live)
            values[number] = sum(t * float(f) for t, f in zip(operands, flags, strict=True)) / sum(flags)
        elif operands:
            values[number] = operands[0]
    return values[graph.output[0]]


@pytest.mark.parametrize("step", range(12))
def test_gradients_equal_those_of_the_masked_dense_net(step: int) -> None:
    model = net().double().train()
    plan = model.plan(seed=1, step=step)
    x = images().double()
    dense = copy.deepcopy(model)
    model.run(x, plan).square().sum().backward()
    masked_dense(dense, x, plan).square().sum().backward()
    some = 0
    for (name, ours), theirs in zip(model.named_parameters(), dense.parameters(), strict=True):
        assert theirs.grad is not None
        if ours.grad is None:
            assert not theirs.grad.any(), name
        else:
            some += 1
            torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-9, atol=1e-12, msg=name)
    assert some


def test_gradcheck_under_a_local_plan() -> None:
    text = TEXT.replace("OPTIONS", "drop_path(local=40%),").replace("relu", "tanh").replace("maxpool", "avgpool")
    model = build(compile_text(text.replace("[4, 6]", "[2, 2]").replace("[2, 8, 8]", "[1, 4, 4]")), 0).double().train()
    plan = model.plan(0, 3)
    assert not all(map(all, plan.live))
    x = torch.randn(3, 1, 4, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: model.run(x, plan), (x,), fast_mode=True)


def test_dropped_layers_are_not_run_and_keep_their_statistics() -> None:
    model = net().train()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    ran: set[str] = set()
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Conv2d):
            module.register_forward_hook(lambda *_, name=name: ran.add(name))
    model.run(images(), model.column_plan(2))
    assert ran == {f"block{b}.column2.conv{i}.conv2d" for b in (1, 2) for i in (1, 2)}
    changed = {k for k, v in model.state_dict().items() if not torch.equal(v, before[k])}
    behind_joins = {
        f"block{b}.column2.conv{i}.batchnorm2d.running_{what}_column2"
        for b, i in ((1, 2), (2, 1), (2, 2)) for what in ("mean", "var")
    }  # fmt: skip
    first = "block1.column2.conv1.batchnorm2d"  # sees the images, by whatever route
    assert changed == behind_joins | {f"{first}.{w}" for w in ("running_mean", "running_var", "num_batches_tracked")}


def test_local_steps_update_the_statistics_of_the_whole_net() -> None:
    model = net("drop_path(local=15%, global=100%),").train()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    model.run(images(), model.full_plan())
    changed = {k for k, v in model.state_dict().items() if not torch.equal(v, before[k])}
    assert changed == {k for k in before if k.endswith(("running_mean", "running_var", "num_batches_tracked"))}


def test_eval_mode_has_no_drop_path_and_train_mode_draws_anew_each_batch() -> None:
    model = net()
    x = images()
    model.eval()
    assert torch.equal(model(x), model(x))
    assert model.step == 0
    model.train()
    outputs = [model(x).detach() for _ in range(8)]
    assert model.step == 8
    assert len({o.sum().item() for o in outputs}) > 1
    again = net().train()
    assert all(torch.equal(o, again(x)) for o in outputs), "the same seed draws the same plans"


def test_without_global_drop_path_batch_norms_are_plain() -> None:
    model = net("drop_path(local=15%),").eval()
    assert not any("column" in k.rpartition(".")[2] for k in model.state_dict())
    assert torch.equal(model.extract(1)(images()), model.run(images(), model.column_plan(1)))


@pytest.mark.parametrize("k", [1, 2, 3])
def test_column_shares_weights_and_its_extract_is_the_same_function(k: int) -> None:
    model = net().train()
    for step in range(10):
        model.run(images(step), model.plan(0, step))
    model.eval()
    x = images(99)
    column, extract = model.column(k), model.extract(k)
    assert torch.equal(column(x), model.run(x, model.column_plan(k)))
    assert torch.equal(extract(x), column(x))
    assert not any("column" in name.rpartition(".")[2] for name in extract.state_dict())
    ours = dict(model.named_parameters())
    assert all(ours[name] is p for name, p in column.named_parameters())
    assert not any(p is q for p in extract.parameters() for q in model.parameters())


@pytest.mark.parametrize("k", [0, 4, -1])
def test_a_column_that_is_not_there(k: int) -> None:
    with pytest.raises(UserError, match="columns 1 to 3"):
        net().column(k)


def test_a_net_of_one_column() -> None:
    model = build(compile_text(TEXT.replace("OPTIONS", "drop_path(local=15%, global=50%),").replace("F[3]", "F[1]")))
    assert model.n_columns == 1
    x = images()
    model.eval()
    assert torch.equal(model.extract(1)(x), model(x))
    model.train()(x).sum().backward()


def test_plan_depends_on_seed_and_step_alone() -> None:
    model = net()
    plans = [model.plan(7, step) for step in range(20)]
    assert plans == [net(seed=3).plan(7, step) for step in range(20)]
    assert len(set(plans)) > 5


def test_copy_is_independent() -> None:
    model = net().train()
    twin = copy.deepcopy(model)
    x = images()
    a, b = model(x), twin(x)
    assert torch.equal(a, b)
    with torch.no_grad():
        next(twin.parameters()).zero_()
    assert not torch.equal(model.eval()(x), twin.eval()(x))


def test_levels_may_count_from_zero() -> None:
    """A rule whose base case is F[0] has the columns of the same rule with the base case F[1]."""
    from_one = TEXT.replace("OPTIONS", "")
    from_zero = from_one.replace("F[1]", "F[0]").replace("F[3]", "F[2]")
    one, zero = compile_text(from_one), compile_text(from_zero)
    assert zero.graph.columns == tuple((level - 1, place) for level, place in one.graph.columns)
    assert zero.summary.columns == one.summary.columns
    x = images()
    ours, theirs = build(zero, 3).eval(), build(one, 3).eval()
    assert torch.equal(ours(x), theirs(x))
    for k in range(1, ours.n_columns + 1):
        assert torch.equal(ours.column(k)(x), theirs.column(k)(x))
