"""ReLU and max pooling that save less: torch's own numbers and gradients, bit for bit."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn

from fractal_dsl.pipeline import compile_text
from fractal_dsl.runtime import build
from fractal_dsl.runtime.anytime import anytime
from fractal_dsl.runtime.instructions import Instruction, unchanged
from fractal_dsl.runtime.slim import PooledRelu, Slim, slim_pool, slim_relu

INF, NAN = float("inf"), float("nan")
VALUES = [-INF, -1.0, -0.0, 0.0, 1e-44, 1.0, 2.0, INF, NAN]
GRADIENTS = [-INF, -2.5, -0.0, 0.0, 1.0, INF, NAN]


def drawn(values: list[float], shape: tuple[int, ...], dtype: torch.dtype, seed: int) -> Tensor:
    """Values at random, with many ties."""
    picked = torch.randint(len(values), shape, generator=torch.Generator().manual_seed(seed))
    return torch.tensor(values, dtype=dtype)[picked]


def bits(x: Tensor) -> Tensor:
    """The numbers without the sign of zero, with one NaN."""
    return torch.where(x.isnan(), NAN, x + 0.0).double().view(torch.int64)


def passed(call: object, x: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor]:
    x = x.detach().requires_grad_()
    y = call(x)  # type: ignore[operator]
    y.backward(gradient.to(y.dtype))
    assert x.grad is not None
    return y.detach(), x.grad


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_a_relu_has_torchs_gradients_of_any_numbers(dtype: torch.dtype, layout: torch.memory_format) -> None:
    x = drawn(VALUES, (5, 8, 6, 6), dtype, 0).contiguous(memory_format=layout)
    gradient = drawn(GRADIENTS, (5, 8, 6, 6), dtype, 1)
    relu = slim_relu(nn.ReLU())
    assert relu is not None
    ours, torchs = passed(relu, x, gradient), passed(nn.ReLU(), x, gradient)
    for a, b in zip(ours, torchs, strict=True):
        assert torch.equal(bits(a), bits(b)) and a.stride() == b.stride()


@pytest.mark.parametrize(
    "pool",
    [
        nn.MaxPool2d(2),
        nn.MaxPool2d(3, 1, 1),
        nn.MaxPool2d(3, 2, 1, ceil_mode=True),
        nn.MaxPool2d((1, 3), (2, 1)),
        nn.MaxPool2d(2, 1, dilation=2),
    ],
    ids=str,
)
@pytest.mark.parametrize("slim", [False, True])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_a_relu_after_its_pooling_has_the_same_numbers_and_gradients(
    pool: nn.MaxPool2d, slim: bool, layout: torch.memory_format
) -> None:
    relu, slim_pooling = slim_relu(nn.ReLU()), slim_pool(pool)
    assert relu is not None and slim_pooling is not None
    call = PooledRelu(relu, slim_pooling)
    call = call.slim() if slim else call
    for seed in range(20):
        x = drawn(VALUES, (2, 3, 7, 8), torch.float32, seed).contiguous(memory_format=layout)
        gradient = drawn(GRADIENTS, tuple(pool(x).shape), torch.float32, seed + 100)
        ours, torchs = passed(call, x, gradient), passed(lambda x: pool(torch.relu(x)), x, gradient)
        for a, b in zip(ours, torchs, strict=True):
            assert torch.equal(bits(a), bits(b))


NET = """
rule F join mean {
  F[1] = conv2d(4, 3, padding=1) >> batchnorm2d >> relu >> maxpool2d(2)
  F[n+1] = conv2d(4, 3, padding=1) >> relu >> maxpool2d(2) | F[n]
}
net N(x: f32[3, 8, 8]) -> f32[2] with drop_path(global=50%) = F[2] >> global_avgpool >> linear(2)
"""


def test_a_pooling_that_alone_reads_a_relu_comes_first() -> None:
    model = build(compile_text(NET), seed=1).train()
    scheduled = model._scheduler.schedule(model.full_plan())  # pyright: ignore[reportPrivateUsage]
    calls = [i.call for i in scheduled if isinstance(i, Instruction)]
    assert [type(call) for call in calls].count(PooledRelu) == 2
    assert all(a is unchanged for a, b in pairwise(calls) if isinstance(b, PooledRelu))
    relus = {m for m in model.modules() if isinstance(m, nn.ReLU | nn.MaxPool2d)}
    assert relus <= model.live(model.full_plan())


def test_hooks_see_the_order_of_the_spec() -> None:
    model = build(compile_text(NET), seed=1).train()
    x, plan = torch.randn(4, 3, 8, 8), model.full_plan()
    expected = model.run(x, plan)
    seen: list[tuple[str, int]] = []
    for module in model.modules():
        if isinstance(module, nn.ReLU | nn.MaxPool2d):
            module.register_forward_hook(lambda m, _, y: seen.append((type(m).__name__, y.shape[-1])))
    assert torch.equal(model.run(x, plan), expected)
    assert seen == [("ReLU", 8), ("MaxPool2d", 4)] * 2


def test_a_relu_that_a_join_reads_too_stays_before_the_pooling() -> None:
    branches = "sum(maxpool2d(3, stride=1, padding=1), id)"
    text = f"net N(x: f32[3, 8, 8]) -> f32[4] = conv2d(3, 3) >> relu >> {branches} >> global_avgpool >> linear(4)"
    model = build(compile_text(text), seed=1)
    scheduled = model.train()._scheduler.schedule(model.full_plan())  # pyright: ignore[reportPrivateUsage]
    calls = [i.call for i in scheduled if isinstance(i, Instruction)]
    assert not any(isinstance(call, PooledRelu) for call in calls)
    assert sum(isinstance(call, Slim) for call in calls) == 2


SHARED = """
rule F join mean {
  F[1] = maxpool2d(2) >> conv2d(4, 1)
  F[n+1] = conv2d(4, 2, stride=2) >> conv2d(4, 1) >> conv2d(4, 1) | F[n]
}
net N(x: f32[3, 8, 8]) -> f32[2] with drop_path(global=50%) =
  conv2d(4, 3) >> relu >> F[2] >> global_avgpool >> linear(2)
"""


def test_plans_agree_on_what_comes_first() -> None:
    """Column 1 reads the ReLU in its pooling alone, the whole net also in a convolution. Their answers share values."""
    model = build(compile_text(SHARED), seed=1)
    x = torch.randn(4, 3, 8, 8)
    plans = [model.column_plan(1), model.column_plan(2), model.full_plan()]
    expected = [model.eval().run(x, plan) for plan in plans]
    assert all(torch.equal(a.logits, b) for a, b in zip(anytime(model, x), expected, strict=True))
    together = model.train().run_together(x.requires_grad_(), plans)
    assert all(torch.equal(a, model.run(x, plan)) for a, plan in zip(together, plans, strict=True))


SLIM = [slim_relu(nn.ReLU()), slim_pool(nn.MaxPool2d(2))]


@pytest.mark.parametrize("slim", SLIM, ids=["relu", "pool"])
def test_torchs_transforms_and_second_derivatives_pass_through(slim: Slim) -> None:
    torch.manual_seed(0)
    x = torch.randn(3, 1, 4, 6, 6, requires_grad=True)
    each = torch.func.vmap(torch.func.grad(lambda v: slim(v).square().sum()))(x)
    assert torch.equal(each, torch.func.vmap(torch.func.grad(lambda v: slim.module(v).square().sum()))(x))
    seconds = []
    for call in (slim, slim.module):
        (first,) = torch.autograd.grad(call(x[0]).pow(3).sum(), x, create_graph=True)
        seconds.append(torch.autograd.grad(first.square().sum(), x)[0])
    assert torch.equal(*seconds) and seconds[0].any()


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("channels", [1, 3, 4, 9])
@pytest.mark.parametrize("size", [(7, 6), (182, 182)])  # with indices of two bytes, and of four
def test_a_pooling_has_torchs_numbers_and_layout(
    layout: torch.memory_format, channels: int, size: tuple[int, int]
) -> None:
    pool = nn.MaxPool2d(3, 2, 1)
    slim = slim_pool(pool)
    assert slim is not None
    x = drawn(VALUES, (2, channels, *size), torch.float32, 3).contiguous(memory_format=layout)
    gradient = drawn(GRADIENTS, tuple(pool(x).shape), torch.float32, 4)
    ours, torchs = passed(slim, x, gradient), passed(pool, x, gradient)
    for a, b in zip(ours, torchs, strict=True):
        assert torch.equal(bits(a), bits(b)) and a.stride() == b.stride()
