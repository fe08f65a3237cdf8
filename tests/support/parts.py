"""Python's layers and joins in random programs."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Scaled(nn.Module):
    """``k`` times a learned number, times the input."""

    def __init__(self, k: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((1,), k))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.weight


class Spread(nn.Module):
    """The first of the live operands without the mean of all."""

    def forward(self, *operands: Tensor) -> Tensor:
        return operands[0] - sum(operands[1:], operands[0]) / len(operands)
