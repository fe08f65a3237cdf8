"""Convolutions of small images as matrix products: the same function, where the runtime computes it faster."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from fractal_dsl import ops
from fractal_dsl.deploy.export import onnx, products
from fractal_dsl.deploy.export.products import ConvAsProduct, with_products
from fractal_dsl.deploy.export.program import fastest
from fractal_dsl.deploy.nets import Ends
from fractal_dsl.deploy.runtimes import load_exported


@pytest.fixture
def any_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """Even convolutions with few weights become products."""
    monkeypatch.setattr(products, "WEIGHTS", 0)


CONVOLUTIONS: list[dict[str, Any]] = [
    {"kernel_size": 3, "padding": 1},
    {"kernel_size": 3, "padding": 1, "bias": False},
    {"kernel_size": 1},
    {"kernel_size": 2, "stride": 2},
    {"kernel_size": (3, 1), "padding": (1, 0)},
    {"kernel_size": (1, 2), "stride": (2, 1), "padding": (0, 1)},
    {"kernel_size": 3, "padding": 2, "dilation": 2, "stride": (1, 2)},
    {"kernel_size": (2, 3), "dilation": (1, 2), "padding": (0, 2)},
]


@pytest.mark.usefixtures("any_size")
@pytest.mark.parametrize("settings", CONVOLUTIONS, ids=str)
@pytest.mark.parametrize("size", [(4, 4), (2, 3)])
def test_a_product_is_the_convolution(settings: dict[str, Any], size: tuple[int, int]) -> None:
    torch.manual_seed(1)
    net = nn.Sequential(nn.Conv2d(3, 5, **settings), nn.ReLU())
    changed = with_products(net, [torch.zeros(2, 3, *size)])
    assert changed is not None and isinstance(changed.get_submodule("0"), ConvAsProduct)
    for batch in (1, 3):
        x = torch.randn(batch, 3, *size)
        torch.testing.assert_close(changed(x), net(x))


@pytest.mark.usefixtures("any_size")
def test_other_convolutions_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    def kept(net: nn.Module, size: int = 4) -> bool:
        return with_products(net, [torch.zeros(2, 4, size, size)]) is None

    assert kept(nn.Sequential(nn.Conv2d(4, 4, 3)), 7), "25 pixels"
    assert kept(nn.Sequential(nn.Conv2d(4, 4, 3, groups=2)))
    assert kept(nn.Sequential(nn.Conv2d(4, 4, 3, padding="same")))
    assert kept(nn.Sequential(nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect")))
    shared = nn.Conv2d(4, 4, 3, padding=1)
    assert kept(nn.Sequential(shared, nn.MaxPool2d(2), shared)), "used at two sizes"
    monkeypatch.setattr(products, "WEIGHTS", 145)
    assert kept(nn.Sequential(nn.Conv2d(4, 4, 3, padding=1))), "144 weights"


@pytest.mark.usefixtures("any_size")
def test_the_faster_of_both_is_exported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("onnxruntime")
    compared: list[str] = []

    def fastest(calls: dict[str, Any]) -> str:
        compared.extend(calls)
        return compared[-1]

    monkeypatch.setattr(onnx, "fastest", fastest)
    torch.manual_seed(1)
    net = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1)).eval()
    ends = Ends({"input": ops.Tensor("f32", (3, 4, 4))}, {"output": ops.Tensor("f32", (8, 4, 4))})
    proto, layout = onnx.fastest_onnx(net, ends, 1, 1)
    assert compared == [onnx.CHOSEN, layout] and [n.op_type for n in proto.graph.node].count("Gemm") == 2
    onnx.save_onnx(proto, tmp_path / "net.onnx")
    x = torch.randn(3, 3, 4, 4)
    (y,), _ = load_exported("onnx", str(tmp_path / "net.onnx"), [], 1)((x.numpy(),), 0)
    np.testing.assert_allclose(y, net(x).detach().numpy(), rtol=1e-4, atol=1e-5)


def test_the_fastest_call_is_that_of_the_smallest_median() -> None:
    size = {"slow": 300_000, "fast": 1}
    assert fastest({name: lambda n=n: sum(range(n)) for name, n in size.items()}) == "fast"
