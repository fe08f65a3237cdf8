"""Layers that torch.nn lacks. ``model.py`` files contain the source of these classes, so that they need only torch."""

from __future__ import annotations

import torch
from torch import nn


class Normalise(nn.Module):
    """Normalises raw inputs, bytes or floats, by channel: [batch, channels, …] to the same shape."""

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, channels: int, axes: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(channels, *(1,) * axes))
        self.register_buffer("std", torch.ones(channels, *(1,) * axes))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x.float() - self.mean) / self.std


class Restore(nn.Module):
    """Gives outputs in the unit of the targets, by channel: [batch, channels, …] to the same shape."""

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, channels: int, axes: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(channels, *(1,) * axes))
        self.register_buffer("std", torch.ones(channels, *(1,) * axes))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.std + self.mean


class GlobalAvgPool(nn.Module):
    """The mean over all axes after the channels: [batch, channels, …] to [batch, channels]."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.flatten(2).mean(2)


class Transpose(nn.Module):
    """Two axes of a tensor swapped; axis 0 is the batch."""

    def __init__(self, dim0: int, dim1: int) -> None:
        super().__init__()
        self.dim0, self.dim1 = dim0, dim1

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.transpose(self.dim0, self.dim1)


class DropExamples(nn.Module):
    """In training, zeros for each example of a mini-batch with probability ``p``; the others are divided by 1 - p
    (stochastic depth, Huang et al. 2016, by example)."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.training:
            return x
        kept = torch.rand([len(x)] + [1] * (x.dim() - 1), device=x.device) >= self.p
        return x * kept / (1 - self.p)

    def extra_repr(self) -> str:
        return f"p={self.p}"


class Positions(nn.Module):
    """Adds a learned vector to each position: [batch, length, features] to the same shape."""

    def __init__(self, length: int, features: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(length, features) * 0.02)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.weight


class Attention(nn.Module):
    """Multi-head self-attention: [batch, length, features] to the same shape."""

    def __init__(
        self, features: int, num_heads: int, dropout: float = 0.0, bias: bool = True, causal: bool = False
    ) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(features, num_heads, dropout, bias, batch_first=True)
        self.causal = causal

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mask = None
        if self.causal:
            mask = x.new_ones((x.shape[1], x.shape[1]), dtype=torch.bool).triu(1)
        return self.attention(x, x, x, attn_mask=mask, need_weights=False)[0]


class Recurrent(nn.Module):
    """The outputs of an RNN, LSTM or GRU: [batch, length, features] to [batch, length, hidden]."""

    def __init__(self, kind: str, features: int, hidden_size: int, num_layers: int = 1, **options: object) -> None:
        super().__init__()
        self.layer = getattr(nn, kind)(features, hidden_size, num_layers, batch_first=True, **options)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x)[0]


class Place(nn.Module):
    """Pads one axis with zeros: puts a single operand of a concatenation into its place."""

    def __init__(self, dim: int, before: int, after: int) -> None:
        super().__init__()
        self.dim, self.before, self.after = dim, before, after

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        padding = [0, 0] * (x.dim() - self.dim - 1) + [self.before, self.after]
        return nn.functional.pad(x, padding)


class Gated(nn.Module):
    """The sum of tensors of one shape, weighted by the softmax of learned logits.

    ``live`` gives the indices of the operands if some are dropped.
    """

    def __init__(self, operands: int, init: float = 0.0) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.full((operands,), init))

    def forward(self, *operands: torch.Tensor, live: list[int] | None = None) -> torch.Tensor:
        weights = (self.logits if live is None else self.logits[live]).softmax(0)
        total = weights[0] * operands[0]
        for i in range(1, len(operands)):
            total = total + weights[i] * operands[i]
        return total
