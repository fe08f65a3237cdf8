"""Nets written in PyTorch, for the tests of `import`."""

from __future__ import annotations

from types import ModuleType

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class ConvBlock(nn.Module):
    """Convolution, batch norm, ReLU."""

    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, out, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(out)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv(x)))


class FractalBlock(nn.Module):
    """The columns of FractalNet side by side, as in the authors' code: at step t, column c has a convolution if 2**c
    divides t, and the outputs of those that have one are joined by their mean."""

    def __init__(self, columns: int, channels: int, out: int) -> None:
        super().__init__()
        self.columns, self.steps = columns, 2 ** (columns - 1)
        self.convs = nn.ModuleDict()
        for step in range(1, self.steps + 1):
            for column in self.active(step):
                first = step == 2**column
                self.convs[f"step{step}_column{column}"] = ConvBlock(channels if first else out, out)

    def active(self, step: int) -> list[int]:
        """The columns that end at a step, the deepest first."""
        return [c for c in range(self.columns) if step % 2**c == 0]

    def forward(self, x: Tensor) -> Tensor:
        inputs = [x] * self.columns
        for step in range(1, self.steps + 1):
            columns = self.active(step)
            outputs = [self.convs[f"step{step}_column{c}"](inputs[c]) for c in columns]
            joined = torch.stack(outputs).mean(0) if len(outputs) > 1 else outputs[0]
            for c in columns:
                inputs[c] = joined
        return inputs[0]


class FractalNet(nn.Module):
    """FractalNet with pooling after each block."""

    def __init__(self, columns: int = 4, widths: tuple[int, ...] = (8, 16, 32)) -> None:
        super().__init__()
        pairs = zip([3, *widths], widths, strict=False)
        self.blocks = nn.ModuleList(FractalBlock(columns, channels, out) for channels, out in pairs)
        self.classifier = nn.Linear(widths[-1], 10)

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = F.max_pool2d(block(x), 2)
        return self.classifier(x.mean((2, 3)))


class Encoder(nn.Module):
    """A transformer for texts, with tokens in and classes out."""

    def __init__(self, width: int = 16, layers: int = 3) -> None:
        super().__init__()
        self.embed = nn.Embedding(50, width)
        self.pos = nn.Parameter(torch.randn(12, width))
        self.layers = nn.ModuleList(EncoderLayer(width) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(12 * width, 2)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embed(tokens) + self.pos
        for layer in self.layers:
            x = layer(x)
        return self.head(self.norm(x).flatten(1))


class EncoderLayer(nn.Module):
    """Norm first, with a causal mask."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, 4, batch_first=True)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        mask = torch.full((12, 12), float("-inf")).triu(1)
        y = self.norm1(x)
        x = x + self.attention(y, y, y, attn_mask=mask, need_weights=False)[0]
        return x + self.mlp(self.norm2(x))


def small(models: ModuleType, name: str) -> nn.Module:
    """A net of torchvision, with few channels where its class allows it."""
    match name:
        case "densenet":
            return models.DenseNet(8, (2, 3, 2), 16, num_classes=10)
        case "vgg":
            features = models.vgg.make_layers([8, "M", 16, "M", 32, 32, "M", 64, 64, "M"], True)
            return nn.Sequential(features, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))
        case "googlenet":
            return models.googlenet(aux_logits=False, init_weights=False)
        case "mobilenet_v2":
            return models.mobilenet_v2(width_mult=0.25)
        case "fcn_resnet50":
            return models.segmentation.fcn_resnet50(weights=None, weights_backbone=None)
        case _:
            return models.get_model(name, weights=None)
