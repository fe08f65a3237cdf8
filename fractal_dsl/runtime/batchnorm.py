"""Batch norm with running statistics of its own for each route.

One set for all routes makes a column useless by itself: its activations have other statistics than the
full net's (measured in design/paper.md). Scale and shift are shared.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional as F

from fractal_dsl.plans.plan import FULL

if TYPE_CHECKING:
    _Base = nn.BatchNorm2d
else:
    _Base = nn.Module


class Routed(_Base):
    """Mixed into torch's batch norms. The full net's statistics keep torch's names, column k's are
    ``running_mean_column{k}`` and ``running_var_column{k}``."""

    def add_routes(self, columns: Sequence[int]) -> None:
        """Make buffers for columns."""
        for k in columns:
            self.register_buffer(f"running_mean_column{k}", torch.zeros(self.num_features))
            self.register_buffer(f"running_var_column{k}", torch.ones(self.num_features))

    def has_route(self, column: int) -> bool:
        """Whether a column has statistics of its own."""
        return f"running_mean_column{column}" in self._buffers

    def forward(self, input: torch.Tensor, route: int = FULL) -> torch.Tensor:
        if route == FULL:
            return super().forward(input)
        self._check_input_dim(input)
        return F.batch_norm(
            input,
            self.get_buffer(f"running_mean_column{route}"),
            self.get_buffer(f"running_var_column{route}"),
            self.weight,
            self.bias,
            self.training,
            self.momentum or 0.0,
            self.eps,
        )


class RoutedBatchNorm1d(Routed, nn.BatchNorm1d):
    """[batch, features] or [batch, features, length]"""


class RoutedBatchNorm2d(Routed, nn.BatchNorm2d):
    """[batch, channels, height, width]"""


class RoutedBatchNorm3d(Routed, nn.BatchNorm3d):
    """[batch, channels, depth, height, width]"""


ROUTED: dict[str, Callable[..., Routed]] = {
    "nn.BatchNorm1d": RoutedBatchNorm1d,
    "nn.BatchNorm2d": RoutedBatchNorm2d,
    "nn.BatchNorm3d": RoutedBatchNorm3d,
}
