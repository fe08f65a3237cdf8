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

from fractal_dsl.runtime import layers

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


def scramble(model: nn.Module) -> None:
    """``scramble_norms``, and no parameters that are zeros or tiny: those would hide what is behind them."""
    with torch.no_grad():
        scramble_norms(model)
        for parameter in model.parameters():
            if parameter.abs().max() < 1e-3:
                parameter.uniform_(-0.5, 0.5)


def timm_model(name: str, **options: Any) -> nn.Module:
    """A model of timm with random weights; the test is skipped where there is no timm."""
    torchvision_models()
    if find_spec("timm") is None:
        pytest.skip("timm is not installed")
    return importlib.import_module("timm").create_model(name, **options).eval()


def torchvision_model(name: str, **options: Any) -> nn.Module:
    """A model of torchvision with random weights; the test is skipped where there is no torchvision."""
    return torchvision_models().get_model(name, weights=None, **options).eval()


class PyramidOnResNet50(nn.Module):
    """torchvision's feature pyramid on its ResNet-50: [batch, 3, h, w] to four maps of 256 channels."""

    def __init__(self) -> None:
        super().__init__()
        body = torchvision_models().resnet50(weights=None)
        ops = importlib.import_module("torchvision.ops")
        self.stem = nn.Sequential(body.conv1, body.bn1, body.relu, body.maxpool)
        self.stages = nn.ModuleList([body.layer1, body.layer2, body.layer3, body.layer4])
        self.pyramid = ops.FeaturePyramidNetwork([256, 512, 1024, 2048], 256)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        maps: dict[str, Tensor] = {}
        x = self.stem(x)
        for i, stage in enumerate(self.stages):
            x = maps[str(i)] = stage(x)
        return tuple(self.pyramid(maps).values())


def copy_each(sources: list[nn.Module], targets: list[nn.Module]) -> None:
    """Copy weights and statistics from module to module, in the order in which each registers them. A convolution of
    size 1 fits a linear layer."""
    for source, target in zip(sources, targets, strict=True):
        for value, place in zip(_tensors(source), _tensors(target), strict=True):
            assert value.numel() == place.numel()
            place.data.copy_(value.data.reshape(place.shape))


def _tensors(module: nn.Module) -> list[Tensor]:
    whole = isinstance(module, nn.MultiheadAttention | layers.Attention | layers.WindowAttention | _swin_attention())
    buffers = dict(module.named_buffers(recurse=whole))
    for unlearned in ("num_batches_tracked", "relative_position_index"):
        buffers.pop(unlearned, None)
    return [*module.parameters(recurse=whole), *buffers.values()]


def _swin_attention() -> type[nn.Module]:
    """Torchvision's attention within windows, if a test has imported it."""
    module = sys.modules.get("torchvision.models.swin_transformer")
    return module.ShiftedWindowAttention if module else nn.MultiheadAttention


def small_swin(window: int) -> nn.Module:
    """Swin-T with windows of another size, so that small images have several."""
    torchvision_models()
    module = importlib.import_module("torchvision.models.swin_transformer")
    return module.SwinTransformer([4, 4], 96, [2, 2, 6, 2], [3, 6, 12, 24], [window, window]).eval()


class GPT2(nn.Module):
    """GPT-2 (Radford et al. 2019), written out: [batch, length] to [batch, length, tokens]."""

    def __init__(self, tokens: int, length: int, depth: int, width: int = 768, heads: int = 12) -> None:
        super().__init__()
        self.wte, self.wpe = nn.Embedding(tokens, width), nn.Embedding(length, width)
        self.blocks = nn.ModuleList(_GPT2Block(width, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        h = self.wte(x) + self.wpe(torch.arange(x.shape[1]))
        for block in self.blocks:
            h = block(h)
        return self.norm(h) @ self.wte.weight.T


class _GPT2Block(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.before, self.after = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = _CausalAttention(width, heads)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.before(x))
        return x + self.down(nn.functional.gelu(self.up(self.after(x)), approximate="tanh"))


class _CausalAttention(nn.Module):
    """Head by head, with a triangle of minus infinity."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.into, self.into_bias = (nn.Parameter(torch.randn(3 * width, *n) * 0.02) for n in ((width,), ()))
        self.out, self.out_bias = (nn.Parameter(torch.randn(width, *n) * 0.02) for n in ((width,), ()))

    def forward(self, x: Tensor) -> Tensor:
        weight, bias, out_weight, out_bias = self.parameters()
        hidden = (x @ weight.T + bias).chunk(3, 2)
        late = torch.full((x.shape[1], x.shape[1]), float("-inf")).triu(1)
        results: list[Tensor] = []
        for q, k, v in zip(*[part.chunk(self.heads, 2) for part in hidden], strict=True):
            scores = q @ k.transpose(1, 2) / q.shape[2] ** 0.5 + late
            results.append(scores.softmax(2) @ v)
        return torch.cat(results, 2) @ out_weight.T + out_bias


class WideResNet(nn.Module):
    """WRN-``depth``-``widen`` (Zagoruyko and Komodakis 2016), as in the paper's code: [batch, 3, 32, 32] to classes."""

    def __init__(self, depth: int = 28, widen: int = 10, classes: int = 10) -> None:
        super().__init__()
        widths = [16, 16 * widen, 32 * widen, 64 * widen]
        self.conv = nn.Conv2d(3, widths[0], 3, padding=1, bias=False)
        blocks: list[nn.Module] = []
        for index in range(3):
            blocks.append(_WideBlock(widths[index], widths[index + 1], 1 if index == 0 else 2))
            blocks += [_WideBlock(widths[index + 1], widths[index + 1], 1) for _ in range((depth - 4) // 6 - 1)]
        self.blocks = nn.ModuleList(blocks)
        self.norm = nn.BatchNorm2d(widths[-1])
        self.fc = nn.Linear(widths[-1], classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        for block in self.blocks:
            x = block(x)
        return self.fc(self.norm(x).relu().mean((2, 3)))


class _WideBlock(nn.Module):
    def __init__(self, channels: int, out: int, stride: int) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(channels)
        self.conv1 = nn.Conv2d(channels, out, 3, stride, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(out)
        self.conv2 = nn.Conv2d(out, out, 3, padding=1, bias=False)
        self.shortcut = nn.Conv2d(channels, out, 1, stride, bias=False) if channels != out else None

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm1(x).relu()
        result = self.conv2(self.norm2(self.conv1(y)).relu())
        return result + (x if self.shortcut is None else self.shortcut(y))
