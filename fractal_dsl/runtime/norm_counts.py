"""Counts mini-batches for all batch norms of a plan at once.

Each of torch's batch norms adds one to its ``num_batches_tracked``, and on a GPU that is a kernel of its own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any, cast

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from fractal_dsl.runtime.batchnorm import ROUTED
from fractal_dsl.runtime.slim import hooked

_KINDS = {nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, *ROUTED.values()}


class Norm:
    """Calls a batch norm whose mini-batch ``count`` has counted."""

    def __init__(self, module: nn.BatchNorm2d) -> None:
        self.module = module
        self.modules = (module,)

    @property
    def apart(self) -> bool:
        """Whether the count is a step of its own: the norm counts now, and nothing reads or replaces its call."""
        norm = self.module
        counts = norm.training and norm.track_running_stats and norm.num_batches_tracked is not None
        return counts and norm.momentum is not None and "forward" not in vars(norm) and not hooked(norm)

    def __call__(self, x: Tensor) -> Tensor:
        norm = self.module
        if isinstance(x, fx.Proxy) or not self.apart:
            return norm(x)
        norm._check_input_dim(x)  # pyright: ignore[reportPrivateUsage]
        return F.batch_norm(
            x, norm.running_mean, norm.running_var, norm.weight, norm.bias, True, norm.momentum or 0.0, norm.eps
        )


def norm_call(module: nn.Module) -> Norm | None:
    """The call of a batch norm without its count. None for other modules."""
    return Norm(module) if type(module) in _KINDS else None  # pyright: ignore[reportArgumentType]


def count(norms: Iterable[Norm]) -> None:
    """Add one mini-batch to the counts of batch norms, for each time that they are given."""
    times = Counter([norm.module for norm in norms if norm.apart])
    if times:
        with torch.no_grad():
            cast(Any, torch)._foreach_add_([norm.num_batches_tracked for norm in times], [*times.values()])
