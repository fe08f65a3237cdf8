"""Batch norms whose mini-batches are counted at once: torch's own numbers and counts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from fractal_dsl.pipeline import compile_text
from fractal_dsl.runtime import FractalModule, build, schedule

NET = """
rule F join mean {
  F[1] = conv2d(4, 3, padding=1) >> batchnorm2d >> relu
  F[n+1] = F[n] >> F[n] | conv2d(4, 3, padding=1) >> batchnorm2d >> relu
}
shared again = conv2d(4, 1) >> batchnorm2d >> relu
net N(x: f32[3, 8, 8]) -> f32[2] with drop_path(local=20%, global=50%)
  = F[2] @checkpoint >> again >> again >> global_avgpool >> linear(2)
"""


def norms(model: nn.Module) -> list[Any]:
    return [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]


def frozen(model: FractalModule) -> None:
    norms(model)[1].eval()


def averaging(model: FractalModule) -> None:
    norms(model)[0].momentum = None


def watched(model: FractalModule) -> None:
    norms(model)[0].register_forward_hook(lambda _m, _x, y: 2 * y)


def replaced(model: FractalModule) -> None:
    norms(model)[0].forward = norms(model)[0].forward


def unchanged(model: FractalModule) -> None:
    del model


def trained(change: Callable[[FractalModule], None]) -> tuple[dict[str, Tensor], list[Tensor], list[Tensor]]:
    """The state, the outputs and the gradients of a few steps."""
    torch.manual_seed(0)
    model = build(compile_text(NET), seed=1).train()
    model.run(torch.randn(4, 3, 8, 8), model.full_plan())
    change(model)
    outputs = [model(torch.randn(4, 3, 8, 8)) for _ in range(4)]
    outputs.append(model.run(torch.randn(4, 3, 8, 8), model.full_plan()))
    torch.stack(outputs).square().sum().backward()
    return model.state_dict(), outputs, [p.grad for p in model.parameters() if p.grad is not None]


@pytest.mark.parametrize("change", [unchanged, frozen, averaging, watched, replaced])
def test_counts_and_numbers_are_torchs(
    change: Callable[[FractalModule], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = trained(change)
    monkeypatch.setattr(schedule, "norm_call", lambda _: None)
    torchs = trained(change)
    assert ours[0].keys() == torchs[0].keys()
    assert all(torch.equal(ours[0][name], value) for name, value in torchs[0].items())
    assert all(map(torch.equal, ours[1] + ours[2], torchs[1] + torchs[2]))


class _Adds(TorchDispatchMode):
    """Counts additions to whole numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        first = args[0] if args else None
        one = first[0] if isinstance(first, list) and first else first
        if isinstance(one, Tensor) and one.dtype == torch.int64 and "add_" in str(func):
            self.calls.append(str(func))
        return func(*args, **(kwargs or {}))


def test_one_addition_counts_for_all_norms() -> None:
    model = build(compile_text(NET), seed=1).train()
    with _Adds() as adds:
        model.run(torch.randn(4, 3, 8, 8), model.full_plan())
    assert adds.calls == ["aten._foreach_add_.ScalarList"]
    with _Adds() as adds:
        model.eval().run(torch.randn(4, 3, 8, 8), model.full_plan())
    assert adds.calls == []
