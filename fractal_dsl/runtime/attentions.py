"""Attention layers. ``model.py`` files contain the source of these classes, as of those in ``layers``."""

from __future__ import annotations

import torch
from torch import nn


class Attention(nn.Module):
    """Multi-head self-attention: [batch, length, features] to the same shape.

    Positions attend to those less than ``window`` away, if it is given, and not to later ones if it is ``causal``.
    """

    def __init__(
        self,
        features: int,
        num_heads: int,
        dropout: float = 0.0,
        bias: bool = True,
        causal: bool = False,
        window: int | None = None,
    ) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(features, num_heads, dropout, bias, batch_first=True)
        self.causal, self.window = causal, window

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mask = None
        if self.causal or self.window is not None:
            ones = x.new_ones((x.shape[1], x.shape[1]), dtype=torch.bool)
            mask = ones.triu(1 if self.causal else self.window or 1)
            if self.window is not None:
                mask = mask | ones.tril(-self.window)
        return self.attention(x, x, x, attn_mask=mask, need_weights=False)[0]


class GroupedAttention(nn.Module):
    """Self-attention whose heads share ``kv_heads`` heads of keys and values evenly (Ainslie et al. 2023): [batch,
    length, features] to the same shape.

    With ``rotary``, queries and keys are turned by angles that grow with the position (Su et al. 2021, with halves of a
    head as pairs, and base 10,000). ``causal`` and ``window`` are those of ``Attention``.
    """

    def __init__(
        self,
        features: int,
        num_heads: int,
        dropout: float = 0.0,
        bias: bool = True,
        causal: bool = False,
        kv_heads: int | None = None,
        window: int | None = None,
        rotary: bool = False,
    ) -> None:
        super().__init__()
        self.kv_heads = num_heads if kv_heads is None else kv_heads
        if num_heads % self.kv_heads or features % num_heads:
            raise ValueError(
                f"{features} features, {num_heads} heads and {self.kv_heads} shared heads do not divide evenly"
            )
        self.num_heads, self.size = num_heads, features // num_heads
        if rotary and self.size % 2:
            raise ValueError(f"rotary positions turn pairs of features, but a head has {self.size}")
        self.query = nn.Linear(features, features, bias)
        self.key = nn.Linear(features, self.kv_heads * self.size, bias)
        self.value = nn.Linear(features, self.kv_heads * self.size, bias)
        self.out = nn.Linear(features, features, bias)
        self.dropout, self.causal, self.window, self.rotary = dropout, causal, window, rotary

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q = self.query(x).unflatten(2, (self.num_heads, self.size)).transpose(1, 2)
        k = self.key(x).unflatten(2, (self.kv_heads, self.size)).transpose(1, 2)
        v = self.value(x).unflatten(2, (self.kv_heads, self.size)).transpose(1, 2)
        at = x.new_ones((x.shape[1],), dtype=torch.int64).cumsum(0) - 1
        if self.rotary:
            q, k = self.turned(q, at), self.turned(k, at)
        k, v = (z.repeat_interleave(self.num_heads // self.kv_heads, 1) for z in (k, v))
        seen, behind = None, at[:, None] - at
        if self.causal:
            seen = behind >= 0
        if self.window is not None:
            near = behind.abs() < self.window
            seen = near if seen is None else seen & near
        dropped = self.dropout if self.training else 0.0
        y = nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=seen, dropout_p=dropped)
        return self.out(y.transpose(1, 2).flatten(2))

    def turned(self, x: torch.Tensor, at: torch.Tensor) -> torch.Tensor:
        """Each pair of numbers [batch, heads, length, size], one in each half, turned by its position."""
        half = self.size // 2
        speeds = x.new_tensor([10_000.0 ** (-i / half) for i in range(half)], dtype=torch.float32)
        angles = at[:, None] * speeds
        a, b = x[..., :half], x[..., half:]
        cos, sin = angles.cos().type_as(x), angles.sin().type_as(x)
        return torch.cat([a * cos - b * sin, a * sin + b * cos], -1)


class WindowAttention(nn.Module):
    """Multi-head self-attention within windows (Liu et al. 2021): [batch, height, width, features] to the same shape.

    A learned bias for each distance between two pixels of a window is added to their score. The windows are moved by
    ``shift_size`` pixels: those at the borders consist of parts from opposite sides of the image, which do not attend
    to each other.
    """

    def __init__(
        self,
        features: int,
        num_heads: int,
        window_size: int | tuple[int, int],
        shift_size: int | tuple[int, int] = 0,
        dropout: float = 0.0,
        bias: bool = True,
    ) -> None:
        super().__init__()
        self.num_heads, self.dropout = num_heads, dropout
        self.window = (window_size, window_size) if isinstance(window_size, int) else window_size
        self.shift = (shift_size, shift_size) if isinstance(shift_size, int) else shift_size
        if self.shift[0] >= self.window[0] or self.shift[1] >= self.window[1]:
            raise ValueError(f"windows of {self.window} pixels cannot be moved by {self.shift}")
        distances = (2 * self.window[0] - 1) * (2 * self.window[1] - 1)
        self.bias_table = nn.Parameter(torch.randn(distances, num_heads) * 0.02)
        self.qkv = nn.Linear(features, 3 * features, bias)
        self.out = nn.Linear(features, features, bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        sizes, shift = (x.shape[1], x.shape[2]), [*self.shift]
        scores = self.biases(x)
        if any(shift):
            x = x.roll([-shift[0], -shift[1]], [1, 2])
            scores = scores + self.borders(x, shift).expand(x.shape[0], -1, -1, -1, -1).flatten(0, 1)
        h, w = self.window
        grid = x.reshape(x.shape[0], sizes[0] // h, h, sizes[1] // w, w, x.shape[3]).transpose(2, 3)
        inside = self.qkv(grid.flatten(3, 4).flatten(0, 2)).unflatten(2, (3, self.num_heads, -1))
        q, k, v = inside.permute(2, 0, 3, 1, 4)
        dropped = self.dropout if self.training else 0.0
        y = nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=scores, dropout_p=dropped)
        y = self.out(y.transpose(1, 2).flatten(2)).reshape(grid.shape).transpose(2, 3).flatten(3, 4).flatten(1, 2)
        return y.roll(shift, [1, 2]) if any(shift) else y

    def biases(self, x: torch.Tensor) -> torch.Tensor:
        """The bias of each pair of pixels in a window: [heads, pixels, pixels]."""
        (h, w), number = self.window, x.new_ones((max(self.window),), dtype=torch.int64).cumsum(0) - 1
        down, along = (number[:size, None] - number[:size] + size - 1 for size in (h, w))
        place = down[:, None, :, None] * (2 * w - 1) + along[None, :, None, :]
        return self.bias_table[place.reshape(h * w, h * w)].permute(2, 0, 1)

    def borders(self, x: torch.Tensor, shift: list[int]) -> torch.Tensor:
        """-100 for pixels of one window that are from opposite sides, else 0: [1, windows, 1, pixels, pixels]."""
        regions: list[torch.Tensor] = []
        for size, window, moved in zip((x.shape[1], x.shape[2]), self.window, shift, strict=True):
            at = x.new_ones((size,), dtype=torch.int64).cumsum(0) - 1
            regions.append(((at >= size - moved) & (moved > 0)).to(torch.int64).reshape(-1, window))
        rows, columns = regions
        region = (2 * rows[:, None, :, None] + columns[None, :, None, :]).flatten(2).flatten(0, 1)
        apart = region[:, :, None] != region[:, None, :]
        return x.new_zeros(apart.shape).masked_fill(apart, -100.0)[None, :, None]
