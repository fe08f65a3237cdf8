"""Layers that torch.nn does not have. ``model.py`` files carry these classes' source: torch is all they need."""

from __future__ import annotations

import torch
from torch import nn


class GlobalAvgPool(nn.Module):
    """The mean over all axes behind the channels: [batch, channels, …] to [batch, channels]."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.flatten(2).mean(2)


class Positions(nn.Module):
    """Adds a learned vector for each position: [batch, length, features] to the same."""

    def __init__(self, length: int, features: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(length, features) * 0.02)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.weight


class Attention(nn.Module):
    """Multi-head self-attention: [batch, length, features] to the same."""

    def __init__(
        self, features: int, num_heads: int, dropout: float = 0.0, bias: bool = True, causal: bool = False
    ) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(features, num_heads, dropout, bias, batch_first=True)
        self.causal = causal

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mask = None
        if self.causal:
            mask = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool, device=x.device).triu(1)
        return self.attention(x, x, x, attn_mask=mask, need_weights=False)[0]


class Place(nn.Module):
    """Zeros before and behind along one axis: where a concatenated operand stands when it stands alone."""

    def __init__(self, dim: int, before: int, after: int) -> None:
        super().__init__()
        self.dim, self.before, self.after = dim, before, after

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        padding = [0, 0] * (x.dim() - self.dim - 1) + [self.before, self.after]
        return nn.functional.pad(x, padding)
