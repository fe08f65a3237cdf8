"""One source of truth: whatever replaces a submodule, and however, everything runs what the net holds now."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from torch import Tensor, fx, nn
from torch.nn.utils import parametrizations, prune

from fractal_dsl import Anytime, build, compile_text, load_artifact, save_artifact
from fractal_dsl.base.errors import UserError
from fractal_dsl.graph.graph import Join, Layer
from fractal_dsl.plans.plan import Plan
from fractal_dsl.plans.plan_on_graph import live_operands, needed
from fractal_dsl.runtime import FractalModule
from fractal_dsl.runtime.batchnorm import Routed
from fractal_dsl.runtime.fuse import fuse

TEXT = """
layer conv(out: int) = conv2d(out, 3, padding=1) >> batchnorm2d >> relu
rule F(out: int) join mean {
    F[1]   = conv(out)
    F[n+1] = F[n] >> F[n] | conv(out)
}
net N(x: f32[2, 6, 6]) -> f32[5] with drop_path(local=30%, global=50%)
    = conv(4) >> F[3](4).each(maxpool2d(2)) >> F[2](6) >> flatten >> linear(5)
"""
COMPILED = compile_text(TEXT)


def net() -> FractalModule:
    model = build(COMPILED, 3).train()
    with torch.no_grad():
        for step in range(12):  # statistics that tell routes apart
            model.run(images(step) + step, model.plan(0, step))
    return model.eval()


def images(seed: int = 0) -> Tensor:
    return torch.randn(4, 2, 6, 6, generator=torch.Generator().manual_seed(seed))


def meaning(model: FractalModule, x: Tensor, plan: Plan) -> Tensor:
    """The output under a plan, node by node, by the modules that the net's own tree holds."""
    graph, live, live_nodes = model.join_graph, live_operands(model.join_graph, plan), needed(model.join_graph, plan)
    values = {graph.input[0]: x}
    for number, node in graph.items():
        if number not in live_nodes or number in values:
            continue
        operands = graph.operands(number)
        on = live.get(number, (True,) * len(operands))
        given = [values[o] for o, alive in zip(operands, on, strict=True) if alive]
        if isinstance(node, Layer):
            module = cast(Any, model.get_submodule(node.module))
            routed = plan.route and isinstance(module, Routed) and module.has_route(plan.route)
            values[number] = module(*given, route=plan.route) if routed else module(*given)
        else:
            assert not isinstance(node, Join) or node.spec.name == "mean"
            values[number] = torch.stack(given).mean(0)
    return values[graph.output[0]]


# --- ways to change a net


def each(model: FractalModule, kind: type[nn.Module], make: Callable[[Any], nn.Module]) -> None:
    """Replace every module of a kind, as adapters and converters do: on its parent, wherever that is."""
    for name, module in list(model.named_modules()):
        if isinstance(module, kind):
            above, _, last = name.rpartition(".")
            setattr(model.get_submodule(above), last, make(module))


class Lora(nn.Module):
    """A low-rank adapter around a convolution."""

    def __init__(self, base: nn.Conv2d) -> None:
        super().__init__()
        self.base = base
        self.down = nn.Conv2d(base.in_channels, 1, 1)
        self.up = nn.Conv2d(1, base.out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.base(x) + self.up(self.down(x))


def head(model: FractalModule) -> None:
    model.linear = nn.Linear(54, 2)


def set_submodule(model: FractalModule) -> None:
    model.set_submodule("conv.conv2d", nn.Conv2d(2, 4, 3, padding=1))


def deleted_and_put_back(model: FractalModule) -> None:
    del model.linear
    model.add_module("linear", nn.Linear(54, 5))


def adapters(model: FractalModule) -> None:
    each(model, nn.Conv2d, Lora)


def other_norms(model: FractalModule) -> None:
    each(model, nn.modules.batchnorm._BatchNorm, lambda norm: nn.GroupNorm(2, norm.num_features))


def other_activations(model: FractalModule) -> None:
    each(model, nn.ReLU, lambda _: nn.Sigmoid())


def other_poolings(model: FractalModule) -> None:
    each(model, nn.MaxPool2d, lambda _: nn.AvgPool2d(2))


def attributes(model: FractalModule) -> None:
    for module in model.modules():
        if isinstance(module, nn.MaxPool2d):
            module.kernel_size = (3, 3)
            module.stride, module.padding = 2, 1


def container(model: FractalModule) -> None:
    """A whole part of the tree, with other weights."""
    block = copy.deepcopy(cast(nn.Module, model.block1))
    for p in block.parameters():
        nn.init.normal_(p)
    model.block1 = block


def kind_of_container(model: FractalModule) -> None:
    parts = nn.ModuleDict(dict(cast(nn.Module, model.block1).named_children()))
    model.block1 = parts
    each(model, nn.Conv2d, Lora)


def parametrized(model: FractalModule) -> None:
    for module in list(model.modules()):
        if isinstance(module, nn.Conv2d):
            parametrizations.weight_norm(module)
            with torch.no_grad():
                cast(Any, module).parametrizations.weight.original0.mul_(2)


def spectral(model: FractalModule) -> None:
    parametrizations.spectral_norm(cast(nn.Linear, model.linear))


def pruned(model: FractalModule) -> None:
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            cast(Any, prune).l1_unstructured(module, "weight", 0.5)


def assigned(model: FractalModule) -> None:
    state = {k: torch.rand_like(v) if v.is_floating_point() else v for k, v in model.state_dict().items()}
    model.load_state_dict(state, assign=True)


def hooks(model: FractalModule) -> None:
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.ReLU | nn.MaxPool2d):
            module.register_forward_hook(lambda _, __, out: out * 1.5)


def tied(model: FractalModule) -> None:
    model.set_submodule("block1.column3.conv2.conv2d", model.get_submodule("block1.column3.conv1.conv2d"))


CHANGES = [
    *(head, set_submodule, deleted_and_put_back, adapters, other_norms, other_activations, other_poolings, attributes),
    *(container, kind_of_container, parametrized, spectral, pruned, assigned, hooks, tied),
]
AS_SPECIFIED = {"set_submodule", "deleted_and_put_back", "container", "assigned", "hooks"}


def warmed() -> tuple[FractalModule, Anytime]:
    """A net of which everything that is kept was made."""
    model = net()
    model(images())
    planned = Anytime(model)
    for plan in plans(model):
        model.run(images(), plan)
    return model, planned


def plans(model: FractalModule) -> list[Plan]:
    columns = [model.column_plan(k) for k in range(1, model.n_columns + 1)]
    return [model.full_plan(), *columns, *(model.plan(9, i) for i in range(4))]


@pytest.mark.parametrize("copied", [False, True])
@pytest.mark.parametrize("change", CHANGES)
def test_everything_runs_the_modules_that_the_net_holds_now(change: Callable[..., None], copied: bool) -> None:
    model, planned = warmed()
    if copied:
        model = copy.deepcopy(model)
        planned = Anytime(model)
    change(model)
    x = images(1)
    expected = [meaning(model, x, plan) for plan in plans(model)]
    close = torch.testing.assert_close
    close(model(x), expected[0])
    for plan, value in zip(plans(model), expected, strict=True):
        close(model.run(x, plan), value)
        close(model(x, plan), value)
    for found, value in zip(model.run_together(x, plans(model)), expected, strict=True):
        close(found, value)
    for answers in (planned(x), Anytime(model)(x)):
        found = list(answers)
        for answer, value in zip(found, [*expected[1 : 1 + model.n_columns], expected[0]], strict=True):
            close(answer.logits, value)
    for k in range(1, model.n_columns + 1):
        close(model.column(k)(x), expected[k])
        if change is not pruned:  # torch does not copy what is pruned
            close(model.extract(k)(x), expected[k])
    model.train()
    for _ in range(6 if change is not spectral else 0):  # it takes a step of its own in each pass
        twin_plan = model.plan(model.seed, model.step)
        close(model(x), meaning(model, x, twin_plan))


@pytest.mark.parametrize("change", [c for c in CHANGES if c is not spectral])
@pytest.mark.parametrize("way", [pytest.param("compiled", marks=pytest.mark.slow), "recomputed"])
def test_compiled_and_recomputed_plans_run_them_too(change: Callable[..., None], way: str) -> None:
    model = build(COMPILED, 3).train()
    if way == "compiled":
        model.compile(backend="eager")
    else:
        model.checkpoint(2)
    for plan in plans(model)[::3]:
        model.run(images(), plan)
    change(model)
    for plan in plans(model)[::3]:
        torch.testing.assert_close(model.run(images(1), plan), meaning(model, images(1), plan))
        model.run(images(1), plan).sum().backward()


@pytest.mark.parametrize("change", CHANGES)
def test_an_artifact_is_the_net_or_is_refused(change: Callable[..., None], tmp_path: Path) -> None:
    model, _ = warmed()
    change(model)
    if change.__name__ not in AS_SPECIFIED:
        with pytest.raises(UserError, match=r"spec"):
            save_artifact(COMPILED, model, tmp_path / "net")
        assert not (tmp_path / "net").exists()
        return
    save_artifact(COMPILED, model, tmp_path / "net")
    if change is not hooks:
        again = load_artifact(tmp_path / "net")
        assert torch.equal(again(images(1)), model(images(1)))
    column = model.extract(2)
    save_artifact(COMPILED, column, tmp_path / "column", 2)


@pytest.mark.parametrize("change", [c for c in CHANGES if c is not pruned])
def test_folding_batch_norms_is_the_column_or_is_refused(change: Callable[..., None]) -> None:
    model, _ = warmed()
    change(model)
    column = model.extract(2).eval()
    x = images(1)
    if change in (adapters, other_norms, kind_of_container, parametrized):
        with pytest.raises(UserError, match="folding batch norms"):
            fuse(column)
    elif change is not hooks:  # on a convolution they see the batch norm's work, too
        torch.testing.assert_close(fuse(column)(x), column(x), rtol=1e-4, atol=1e-4)


def test_what_cannot_be_copied_or_is_missing_is_refused() -> None:
    model, planned = warmed()
    pruned(model)
    with pytest.raises(UserError, match="undo pruning"):
        model.extract(1)
    model, planned = warmed()
    del model.linear
    for use in (lambda: model.run(images(), model.full_plan()), lambda: planned(images()), lambda: model.extract(1)):
        with pytest.raises(UserError, match="no longer has module linear"):
            list(use())
    model.linear = nn.Linear(54, 3)
    assert model.run(images(), model.full_plan()).shape == (4, 3)


# --- batch norms that know no routes


def sync(model: FractalModule) -> FractalModule:
    return nn.SyncBatchNorm.convert_sync_batchnorm(model)


def plain_norms(model: FractalModule) -> FractalModule:
    each(model, Routed, lambda norm: nn.BatchNorm2d(norm.num_features))
    return model


def folded_by_torch(model: FractalModule) -> FractalModule:
    from torch.nn.utils.fusion import fuse_conv_bn_eval

    for name, module in list(model.named_modules()):
        if isinstance(module, Routed):
            above = model.get_submodule(name.rpartition(".")[0])
            above.conv2d = fuse_conv_bn_eval(cast(Any, above.conv2d), module)
            cast(Any, above).batchnorm2d = nn.Identity()
    return model


def inside(model: FractalModule) -> FractalModule:
    each(model, Routed, lambda norm: nn.Sequential(norm))
    return model


def behind_activations(model: FractalModule) -> FractalModule:
    for name in ("block1.column3.conv3.relu", "block2.column1.conv1.relu"):
        channels = 4 if name.startswith("block1") else 6
        model.set_submodule(name, nn.Sequential(nn.BatchNorm2d(channels), nn.ReLU()))
    return model


@pytest.mark.parametrize("change", [sync, plain_norms, folded_by_torch, inside, behind_activations])
def test_norms_that_keep_one_set_of_statistics_are_refused_where_columns_run(change: Callable[..., Any]) -> None:
    model, planned = warmed()
    model = change(model)
    whole = model.eval()(images())
    torch.testing.assert_close(model.run(images(), model.full_plan()), whole)  # the whole net has its statistics
    refused: list[Callable[[], object]] = [
        lambda: model.run(images(), model.column_plan(1)),
        lambda: model.run_together(images(), [model.column_plan(2)]),
        lambda: list(planned(images())),
        lambda: model.column(2),
        lambda: model.extract(2),
        lambda: model.train()(images()),
        lambda: model.train().run(images(), model.full_plan()),
    ]
    for use in refused:
        with pytest.raises(UserError, match="one set of running statistics"):
            use()


# --- edits of the fx graph


def drop_a_layer(model: FractalModule) -> None:
    node = next(n for n in model.graph.nodes if n.target == "conv.relu")
    node.replace_all_uses_with(node.args[0])
    model.graph.erase_node(node)
    model.recompile()


def insert_a_function(model: FractalModule) -> None:
    node = next(n for n in model.graph.nodes if n.target == "linear")
    with model.graph.inserting_before(node):
        new = model.graph.call_function(torch.tanh, node.args)
    node.args = (new,)
    model.recompile()


def retarget(model: FractalModule) -> None:
    model.add_module("other", nn.Linear(54, 5))
    next(n for n in model.graph.nodes if n.target == "linear").target = "other"
    model.recompile()


def new_graph(model: FractalModule) -> None:
    graph = fx.Graph()
    graph.output(graph.call_module("linear", (graph.call_function(torch.flatten, (graph.placeholder("x"), 1)),)))
    model.linear = nn.Linear(72, 5)
    model.graph = graph


@pytest.mark.parametrize("copied", [False, True])
@pytest.mark.parametrize("edit", [drop_a_layer, insert_a_function, retarget, new_graph])
def test_an_edited_graph_runs_as_code_and_plans_are_refused(
    edit: Callable[..., None], copied: bool, tmp_path: Path
) -> None:
    model, planned = warmed()
    before = model(images())
    edit(model)
    if copied:
        model = copy.deepcopy(model)
        planned = None
    assert not torch.equal(model(images()), before) or edit is retarget
    refused: list[Callable[[], object]] = [
        lambda: model.run(images(), model.full_plan()),
        lambda: model.run_together(images(), [model.full_plan()]),
        lambda: Anytime(model) if planned is None else planned(images()),
        lambda: model.column(1),
        lambda: model.extract(1),
        lambda: fuse(model),
        lambda: model.live(model.full_plan()),
        lambda: save_artifact(COMPILED, model, tmp_path / "net"),
        lambda: model.train()(images()),
    ]
    for use in refused:
        with pytest.raises(UserError, match="was edited"):
            use()


def test_a_graph_that_computes_the_same_is_not_edited() -> None:
    model, _ = warmed()
    model.graph.lint()
    model.graph.eliminate_dead_code()
    model.recompile()
    assert torch.equal(model.run(images(), model.full_plan()), model(images()))


# --- hooks of the model itself


def test_hooks_of_the_model_fire_under_plans() -> None:
    model = net()
    calls: list[int] = []
    handle = model.register_forward_hook(lambda *_: calls.append(1))
    model(images())
    for plan in plans(model):
        model.run(images(), plan)
    model.run_together(images(), plans(model))
    model.train()(images())
    assert len(calls) == 2 + 2 * len(plans(model))
    with pytest.raises(UserError, match="hooks of the model"):
        Anytime(model)
    handle.remove()
    Anytime(model)


def test_compiled_segments_call_hooks_that_come_later() -> None:
    model = build(COMPILED, 3)
    model.compile(backend="eager")
    plan = model.full_plan()
    before = model.run(images(), plan)
    handle = cast(nn.Module, model.linear).register_forward_hook(lambda _, __, out: out + 1)
    torch.testing.assert_close(model.run(images(), plan), before + 1)
    handle.remove()
    torch.testing.assert_close(model.run(images(), plan), before)


def test_taking_a_column_leaves_the_modes_of_modules_alone() -> None:
    model = net().train()
    frozen = model.get_submodule("conv.batchnorm2d").eval()
    column = model.column(1)
    assert not frozen.training and column.training
    assert not model.extract(1).get_submodule("conv.batchnorm2d").training


def test_plans_that_ran_before_see_each_replaced_module() -> None:
    model, x = net(), images()
    plans = [model.full_plan(), *(model.column_plan(k) for k in range(1, model.n_columns + 1))]
    for plan in plans:
        model.run(x, plan)
    names = [name for name, module in model.named_modules() if isinstance(module, nn.Conv2d)]
    for i, name in enumerate(names):
        above, _, last = name.rpartition(".")
        setattr(model.get_submodule(above), last, copy.deepcopy(model.get_submodule(name)))
        with torch.no_grad():
            model.get_submodule(name).weight.mul_(1.5)
        for plan in plans[i % 4 :] + plans[: i % 4]:
            torch.testing.assert_close(model.run(x, plan), meaning(model, x, plan))
