"""Networks by other hands, and their weights put into ours."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from importlib.util import find_spec
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor, nn

_LIBRARIES: list[torch.library.Library] = []  # what they define goes when they go


def torchvision_models() -> ModuleType:
    """``torchvision.models``; the test is skipped where there is none.

    The registry's torchvision is built for CUDA: beside a CPU torch its own operators are missing, and it fails at
    import. No model here uses them, so their names are enough.
    """
    if find_spec("torchvision") is None:
        pytest.skip("torchvision is not installed")
    try:
        return importlib.import_module("torchvision.models")
    except RuntimeError as error:
        if "torchvision::nms" not in str(error):
            raise
    for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
        del sys.modules[name]
    library = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _LIBRARIES.append(library)
    return importlib.import_module("torchvision.models")


class UNet(nn.Module):
    """U-Net with padded convolutions, written out level by level: [batch, channels, h, w] to [batch, classes, h, w]."""

    def __init__(self, channels: int, classes: int, width: int, levels: int) -> None:
        super().__init__()
        widths = [width * 2**level for level in range(levels)]
        self.down = nn.ModuleList(_twice(a, b) for a, b in zip([channels, *widths], widths, strict=False))
        self.up = nn.ModuleList(nn.ConvTranspose2d(2 * w, w, 2, stride=2) for w in widths[:-1])
        self.merge = nn.ModuleList(_twice(2 * w, w) for w in widths[:-1])
        self.last = nn.Conv2d(width, classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        skips: list[Tensor] = []
        for level, down in enumerate(self.down):
            x = down(nn.functional.max_pool2d(x, 2) if level else x)
            skips.append(x)
        for level in reversed(range(len(self.up))):
            x = self.merge[level](torch.cat([skips[level], self.up[level](x)], 1))
        return self.last(x)


def _twice(channels: int, out: int) -> nn.Sequential:
    convolutions = nn.Conv2d(channels, out, 3, padding=1), nn.Conv2d(out, out, 3, padding=1)
    return nn.Sequential(convolutions[0], nn.ReLU(), convolutions[1], nn.ReLU())


def in_order(model: nn.Module, x: Tensor) -> list[nn.Module]:
    """The modules with parameters of their own, in the order in which ``model(x)`` calls them."""
    called: list[nn.Module] = []
    hook: Callable[[nn.Module, Any], None] = lambda module, args: called.append(module)  # noqa: E731
    own = [m for m in model.modules() if next(m.parameters(recurse=False), None) is not None]
    handles = [module.register_forward_pre_hook(hook) for module in own]
    with torch.no_grad():
        model(x)
    for handle in handles:
        handle.remove()
    assert len(set(called)) == len(called)
    return called


def scramble_norms(model: nn.Module) -> None:
    """Give every norm a scale, shift and statistics of its own: fresh ones are all alike, and hide a mix-up."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d | nn.LayerNorm):
            for name, values in module.state_dict().items():
                if name in ("weight", "running_var"):
                    values.uniform_(0.5, 1.5)
                elif name != "num_batches_tracked":
                    values.normal_(0, 0.1)


def copy_in_order(source: nn.Module, target: nn.Module, x: Tensor) -> None:
    """Parameters and statistics from one network to the other, by the order of execution on ``x``."""
    for a, b in zip(in_order(source, x), in_order(target, x), strict=True):
        assert isinstance(b, type(a))
        b.load_state_dict(a.state_dict())
    assert sum(p.numel() for p in source.parameters()) == sum(p.numel() for p in target.parameters())
