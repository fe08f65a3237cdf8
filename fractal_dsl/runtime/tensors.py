"""Layers and joins on tensors of any meaning: arithmetic, products of matrices, attention between given tensors, and
convolutions whose weights are standardised. ``model.py`` files contain the source of these classes."""

from __future__ import annotations

import torch
from torch import nn


class Times(nn.Module):
    """Each number times a fixed factor."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.factor


class Plus(nn.Module):
    """Each number plus a fixed term."""

    def __init__(self, term: float) -> None:
        super().__init__()
        self.term = term

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.term


class Power(nn.Module):
    """Each number to a fixed power."""

    def __init__(self, exponent: float) -> None:
        super().__init__()
        self.exponent = exponent

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.pow(self.exponent)


class Exp(nn.Module):
    """e to the power of each number."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.exp()


class Clamp(nn.Module):
    """Each number, or ``min`` or ``max`` where it is beyond."""

    def __init__(self, min: float | None = None, max: float | None = None) -> None:
        super().__init__()
        if min is None and max is None:
            raise ValueError("one bound must be given")
        self.min, self.max = min, max

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.clamp(self.min, self.max)


class LocalResponseNorm(nn.LocalResponseNorm):
    """Torch's module for volumes, which fails where a layer before it has rearranged their axes."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return super().forward(input.contiguous())


class Shift(nn.Module):
    """A learned term for each of the numbers on an axis, which has ``after`` axes behind it."""

    def __init__(self, features: int, after: int, init: float = 0.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((features,), init))
        self.after = after

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.weight.reshape(-1, *(1,) * self.after)


class Matmul(nn.Module):
    """The product of two matrices for each example: […, n, m] and […, m, k] to […, n, k]."""

    def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return a @ b


class Attend(nn.Module):
    """Attention of queries […, n, d] to keys […, m, d] with values […, m, e]: softmax(q kᵀ · scale + bias) v, […, n, e]
    (Vaswani et al. 2017). ``scale`` is 1 / √d by default. If it is ``causal``, position i sees the first i + 1 keys."""

    def __init__(self, scale: float | None = None, causal: bool = False) -> None:
        super().__init__()
        self.scale, self.causal = scale, causal

    def forward(
        self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, bias: torch.Tensor | None = None
    ) -> torch.Tensor:
        return nn.functional.scaled_dot_product_attention(q, k, v, bias, is_causal=self.causal, scale=self.scale)


class StdConv2d(nn.Module):
    """A convolution of [batch, channels, height, width] whose filters have mean 0 and variance 1 (Qiao et al. 2019).

    With ``gamma``, a filter is then multiplied by a learned gain and gamma / √(its size), as in NFNet (Brock et al.
    2021).
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: tuple[int, int],
        stride: tuple[int, int],
        padding: tuple[int, int],
        dilation: tuple[int, int],
        groups: int = 1,
        bias: bool = True,
        gamma: float | None = None,
        eps: float = 1e-6,
    ) -> None:
        super().__init__()
        if in_channels % groups or out_channels % groups:
            raise ValueError(f"{in_channels} and {out_channels} channels do not divide into {groups} groups")
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels // groups, *kernel_size))
        nn.init.kaiming_uniform_(self.weight, a=5**0.5)
        self.bias = nn.Parameter(torch.zeros(out_channels)) if bias else None
        self.gain = None if gamma is None else nn.Parameter(torch.ones(out_channels, 1, 1, 1))
        self.stride, self.padding, self.dilation, self.groups = stride, padding, dilation, groups
        self.gamma, self.eps = gamma, eps

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        flat = self.weight.reshape(1, self.weight.shape[0], -1)
        scale = None
        if self.gain is not None and self.gamma is not None:
            scale = (self.gain * (self.gamma * flat.shape[2] ** -0.5)).view(-1)
        filters = nn.functional.batch_norm(flat, None, None, scale, None, True, 0.0, self.eps)
        filters = filters.reshape_as(self.weight)
        return nn.functional.conv2d(x, filters, self.bias, self.stride, self.padding, self.dilation, self.groups)
