"""Channels last: convolutions of small images keep channels first if their weights are large. Gradients stay the same
up to rounding."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from fractal_dsl.config import parse_config
from fractal_dsl.pipeline import compile_text
from fractal_dsl.runtime import FractalModule, build, own_layout
from fractal_dsl.runtime.channels_last import lay_channels_last
from fractal_dsl.runtime.own_layout import channels_first
from fractal_dsl.tasks.classification import Classification
from fractal_dsl.training.step import Stepper

LAST = torch.channels_last
NET = """
layer conv(out: int) = conv2d(out, 3, padding=1, bias=false) >> batchnorm2d >> relu
rule F(out: int) join mean {
  F[1] = conv(out)
  F[n+1] = F[n] >> F[n] | conv(out)
}
net N(x: f32[3, 16, 16]) -> f32[5] with drop_path(local=15%, global=50%) =
  seq(F[3](w).each(maxpool2d(2)) for w in [4, 8, 8, 8]) >> conv2d(4, 1) >> flatten >> linear(5)
"""


@pytest.fixture(autouse=True)
def _large(monkeypatch: pytest.MonkeyPatch) -> None:
    """All weights of these nets count as large."""
    monkeypatch.setattr(own_layout, "_LARGE", 1)


def nets() -> list[FractalModule]:
    """A net with channels first, one with channels last throughout, and one laid out for training."""
    models = [build(compile_text(NET), seed=1).train() for _ in range(3)]
    models[1].to(memory_format=LAST)  # type: ignore[call-overload]
    lay_channels_last(models[2])
    return models


def gradients(model: FractalModule, x: torch.Tensor, column: int | None) -> torch.Tensor:
    plan = model.full_plan() if column is None else model.column_plan(column)
    model.zero_grad()
    model.run(x, plan).square().mean().backward()
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


def test_only_convolutions_of_small_images_keep_channels_first() -> None:
    sizes = {16: 0, 8: 0, 4: 7, 2: 7}  # pixels along an axis, and the convolutions with channels first
    for model, expected in zip(nets()[1:], (0, sum(sizes.values())), strict=True):
        weights = [m.weight for m in model.modules() if isinstance(m, nn.Conv2d)]
        assert len(weights) == 29 and sum(map(channels_first, weights)) == expected


def test_convolutions_with_small_weights_change_their_layout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own_layout, "_LARGE", 8 * 8 * 9 + 1)
    weights = [m.weight for m in nets()[2].modules() if isinstance(m, nn.Conv2d)]
    assert not any(map(channels_first, weights))


@pytest.mark.parametrize("column", [None, 1, 3])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-4)])
def test_gradients_are_those_of_other_layouts(dtype: torch.dtype, tolerance: float, column: int | None) -> None:
    x = torch.randn(8, 3, 16, 16, dtype=dtype)
    first, last, laid = (model.to(dtype) for model in nets())
    expected = gradients(first, x, column)
    for model in (last, laid):
        actual = gradients(model, x.contiguous(memory_format=LAST), column)
        assert (actual - expected).norm() < tolerance * expected.norm()


@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_infinite_gradients_and_nans_pass_as_in_other_layouts(value: float) -> None:
    x = torch.randn(2, 3, 16, 16)
    x[0, 0, 3, 3] = value
    first, _, laid = nets()
    a, b = gradients(first, x, None), gradients(laid, x.contiguous(memory_format=LAST), None)
    assert torch.equal(a.isfinite(), b.isfinite()) and not a.isfinite().all()


@pytest.mark.parametrize(("precision", "expected"), [("fp32", 14), ("bf16", 0)])
def test_a_stepper_lays_its_net_out(precision: str, expected: int) -> None:
    config = parse_config({"channels_last": True, "precision": precision})
    model = build(compile_text(NET), seed=1).train()
    stepper = Stepper(model, Classification(5), config, torch.device("cpu"))
    loss, _ = stepper.step(torch.randn(4, 3, 16, 16), torch.tensor([0, 1, 2, 3]), 0, 0.1)
    assert loss.isfinite()
    assert sum(channels_first(m.weight) for m in model.modules() if isinstance(m, nn.Conv2d)) == expected


def test_hooks_and_replaced_convolutions_run() -> None:
    _, _, laid = nets()
    seen: list[nn.Module] = []
    small = [name for name, m in laid.named_modules() if isinstance(m, nn.Conv2d) and channels_first(m.weight)]
    laid.get_submodule(small[0]).register_forward_hook(lambda m, _x, _y: seen.append(m))
    laid.set_submodule(small[1], nn.Conv2d(8, 8, 3, padding=1))
    laid.run(torch.randn(2, 3, 16, 16).contiguous(memory_format=LAST), laid.full_plan()).sum().backward()
    assert seen == [laid.get_submodule(small[0])]
