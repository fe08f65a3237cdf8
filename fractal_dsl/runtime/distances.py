"""Learned tensors and distances in a window, for attention biases. ``model.py`` files contain the source of these
classes."""

from __future__ import annotations

import torch
from torch import nn


class LearnedTensor(nn.Module):
    """A learned tensor, the same for each example of a mini-batch: anything to [batch, …]."""

    def __init__(self, shape: tuple[int, ...], std: float = 0.02) -> None:
        super().__init__()
        if min(shape, default=0) < 1:
            raise ValueError(f"a tensor has sizes above 0, not {shape}")
        self.shape, self.std = shape, std
        self.weight = nn.Parameter(torch.randn(shape) * std)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.weight.expand(x.shape[0], *self.shape)


class Distances(nn.Module):
    """The distances between two pixels of a window: anything to [batch, 2 height - 1, 2 width - 1, 2].

    They are linear, or logarithmic in one of two ways (Swin v2, Liu et al. 2022)."""

    def __init__(
        self, window_size: tuple[int, int], scale: str = "linear", extent: tuple[int, int] | None = None
    ) -> None:
        super().__init__()
        height, width = window_size
        if extent is not None and (scale != "log8" or len(extent) != 2 or min(extent) < 1):
            raise ValueError(f"the scale {scale!r} does not take the extent {extent}")
        if min(height, width) < 1:
            raise ValueError(f"a window has sizes above 0, not {window_size}")
        self.window_size, self.scale, self.extent = window_size, scale, extent

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        axes: list[torch.Tensor] = []
        for size, extent in zip(self.window_size, self.extent or [n - 1 for n in self.window_size], strict=True):
            d = x.new_ones((2 * size - 1,)).cumsum(0) - size
            if self.scale == "log":
                d = d.sign() * (1 + d.abs()).log()
            elif self.scale == "log8":
                d = d.sign() * (1 + d.abs() * 8 / max(1, extent)).log2() / 3
            axes.append(d)
        height, width = self.window_size
        rows = axes[0][:, None].expand(-1, 2 * width - 1)
        columns = axes[1][None].expand(2 * height - 1, -1)
        return torch.stack([rows, columns], 2).expand(x.shape[0], -1, -1, -1)


class Pairs(nn.Module):
    """From a table [batch, distances, features], the row of each pair of pixels: [batch, queries, keys, features].

    Distances are signed, with those of a class token in the last three rows (BEiT, Bao et al. 2021), or ``absolute``,
    with only every ``stride``-th pixel as a query (LeViT, Graham et al. 2021)."""

    def __init__(
        self, window_size: tuple[int, int], absolute: bool = False, stride: int = 1, class_token: bool = False
    ) -> None:
        super().__init__()
        height, width = window_size
        if min(height, width) < 1:
            raise ValueError(f"a window has sizes above 0, not {window_size}")
        if (absolute and class_token) or (stride != 1 and not absolute):
            raise ValueError("a class token has no absolute distances, and a stride needs them")
        self.window_size, self.absolute, self.stride, self.class_token = window_size, absolute, stride, class_token

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        (h, w), token = self.window_size, int(self.class_token)
        queries = -(-h // self.stride) * -(-w // self.stride) + token
        return x.index_select(1, self.places(x).flatten()).reshape(x.shape[0], queries, h * w + token, x.shape[2])

    def places(self, x: torch.Tensor) -> torch.Tensor:
        """The row of each pair: [queries, keys]."""
        h, w = self.window_size
        number = x.new_ones((max(h, w),), dtype=torch.int64).cumsum(0) - 1
        down, along = (number[: size : self.stride, None] - number[:size] for size in (h, w))
        if self.absolute:
            down, along, columns = down.abs(), along.abs(), w
        else:
            down, along, columns = down + h - 1, along + w - 1, 2 * w - 1
        pixels = (down[:, None, :, None] * columns + along[None, :, None, :]).flatten(2).flatten(0, 1)
        if not self.class_token:
            return pixels
        last = (2 * h - 1) * (2 * w - 1)
        first = torch.cat([pixels.new_full((1, 1), last + 2), pixels.new_full((1, h * w), last)], 1)
        return torch.cat([first, torch.cat([pixels.new_full((h * w, 1), last + 1), pixels], 1)])


class WindowMask(nn.Module):
    """-100 for two pixels of a window that are from opposite sides of an image whose pixels were moved by
    ``shift_size``, else 0: anything to [batch, windows, pixels, pixels] (Swin, Liu et al. 2021)."""

    def __init__(self, image_size: tuple[int, int], window_size: tuple[int, int], shift_size: tuple[int, int]) -> None:
        super().__init__()
        self.image_size, self.window_size, self.shift_size = image_size, window_size, shift_size

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        regions: list[torch.Tensor] = []
        for size, window, moved in zip(self.image_size, self.window_size, self.shift_size, strict=True):
            at = x.new_ones((size,), dtype=torch.int64).cumsum(0) - 1
            regions.append(((at >= size - moved) & (moved > 0)).to(torch.int64).reshape(-1, window))
        rows, columns = regions
        region = (2 * rows[:, None, :, None] + columns[None, :, None, :]).flatten(2).flatten(0, 1)
        apart = region[:, :, None] != region[:, None, :]
        return x.new_zeros(apart.shape).masked_fill(apart, -100.0).expand(x.shape[0], -1, -1, -1)


class UnitVectors(nn.Module):
    """Vectors along an axis divided by their length, which counts as ``eps`` at least."""

    def __init__(self, dim: int = 1, eps: float = 1e-12) -> None:
        super().__init__()
        self.dim, self.eps = dim, eps

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.normalize(x, dim=self.dim, eps=self.eps)
