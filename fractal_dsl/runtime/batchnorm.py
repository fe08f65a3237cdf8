"""Batch norm with separate running statistics for each route.

A column's activations have other statistics than the full net's, so one set for all routes would make a column useless
by itself. Scale and shift are shared.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import fx, nn
from torch.nn import functional as F

from fractal_dsl.plans.plan import FULL

if TYPE_CHECKING:
    _Base = nn.BatchNorm2d
else:
    _Base = nn.Module

_MEAN, _VAR = "running_mean_column", "running_var_column"


class Routed(_Base):
    """A mixin for torch's batch norms. The full net's statistics keep torch's names. Column k's are named
    ``running_mean_column{k}`` and ``running_var_column{k}``."""

    def add_routes(self, columns: Sequence[int]) -> None:
        """Create the buffers of columns."""
        for k in columns:
            self.register_buffer(f"{_MEAN}{k}", torch.zeros(self.num_features))
            self.register_buffer(f"{_VAR}{k}", torch.ones(self.num_features))

    def has_route(self, column: int) -> bool:
        """Whether a column has statistics of its own."""
        return f"{_MEAN}{column}" in self._buffers

    def routes(self) -> tuple[int, ...]:
        """The columns that have statistics of their own."""
        return tuple([int(name.removeprefix(_MEAN)) for name in self._buffers if name.startswith(_MEAN)])

    def keep_route(self, column: int) -> None:
        """Turn into an ordinary batch norm with the statistics of a column, in place."""
        if self.has_route(column):
            self.running_mean, self.running_var = (self.get_buffer(f"{name}{column}") for name in (_MEAN, _VAR))
        for k in self.routes():
            del self._buffers[f"{_MEAN}{k}"], self._buffers[f"{_VAR}{k}"]
        self.__class__ = _PLAIN.get(type(self), type(self))

    def reset_running_stats(self) -> None:
        """Reset the statistics of every route."""
        super().reset_running_stats()
        self.counts: dict[int, int] = {}
        for k in self.routes():
            self.get_buffer(f"{_MEAN}{k}").zero_()
            self.get_buffer(f"{_VAR}{k}").fill_(1)

    def share(self, route: int) -> float:
        """The weight of the next mini-batch in a column's statistics.

        It is the momentum. Without one, the statistics are the average over the mini-batches since the last reset.
        Their count is not part of the state.
        """
        if self.momentum is not None:
            return self.momentum
        self.counts[route] = self.counts.get(route, 0) + 1
        return 1 / self.counts[route]

    def forward(self, input: torch.Tensor, route: int = FULL) -> torch.Tensor:
        recorded = isinstance(input, fx.Proxy)
        if route == FULL:
            return self._recorded(cast(fx.Proxy, input)) if recorded else super().forward(input)
        if not recorded:
            self._check_input_dim(input)
        return F.batch_norm(
            input,
            self.get_buffer(f"{_MEAN}{route}"),
            self.get_buffer(f"{_VAR}{route}"),
            self.weight,
            self.bias,
            self.training,
            self.share(route) if self.training else 0.0,
            self.eps,
        )

    @property
    def full(self) -> nn.Module:
        """torch's own batch norm with this one's parameters and the statistics of the full net, all of them shared."""
        kind = next(plain for routed, plain in _PLAIN.items() if isinstance(self, routed))
        plain = cast(nn.Module, cast(Any, kind)(self.num_features, self.eps, self.momentum, self.affine, device="meta"))
        for own in (plain._parameters, plain._buffers):  # pyright: ignore[reportPrivateUsage]
            own.update({name: getattr(self, name) for name in own})
        return plain.train(self.training)

    def _recorded(self, input: fx.Proxy) -> torch.Tensor:
        """A call of ``full`` in a graph that torch.fx traces: its passes fold and quantize torch's own classes only."""
        tracer = cast(fx.Tracer, input.tracer)
        return cast(Any, tracer).create_proxy("call_module", f"{tracer.path_of_module(self)}.full", (input,), {})


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

_PLAIN: dict[type, type] = {
    RoutedBatchNorm1d: nn.BatchNorm1d,
    RoutedBatchNorm2d: nn.BatchNorm2d,
    RoutedBatchNorm3d: nn.BatchNorm3d,
}
