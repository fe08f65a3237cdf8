"""A running average of the weights."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor, nn


class Average:
    """An exponential moving average of the parameters and floating-point buffers of a model.

    After n steps the decay is at most (1 + n) / (10 + n), so that the average soon forgets the first weights.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        followed = {name: value for name, value in model.state_dict().items() if value.is_floating_point()}
        self.tensors = {name: value.clone() for name, value in followed.items()}
        self._followed, self._values = [list(map(local, own.values())) for own in (followed, self.tensors)]

    @torch.no_grad()
    def update(self, steps: int) -> None:
        """Update the average after the model's ``steps``-th step."""
        decay = min(self.decay, (1 + steps) / (10 + steps))
        cast(Any, torch)._foreach_lerp_(self._values, self._followed, 1 - decay)

    @torch.no_grad()
    def load(self, tensors: dict[str, Tensor]) -> None:
        """Load a saved average."""
        for name, value in self.tensors.items():
            value.copy_(tensors[name])

    @contextmanager
    def applied(self) -> Generator[None]:
        """Give the model the averaged weights within the block."""
        own = [value.clone() for value in self._followed]
        self._put(self._values)
        try:
            yield
        finally:
            self._put(own)

    @torch.no_grad()
    def _put(self, values: list[Tensor]) -> None:
        cast(Any, torch)._foreach_copy_(self._followed, values)


def local(value: Any) -> Tensor:
    """This process's part of a tensor that several share (a DTensor)."""
    return value.to_local() if hasattr(value, "to_local") else value
