"""What every task can do."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from fractal_dsl.config.losses import TaskName
from fractal_dsl.runtime.world import World


class Meter(Protocol):
    """Adds up what the metrics need, over mini-batches and processes."""

    def update(self, output: Tensor, targets: Tensor) -> None:
        """Add the outputs and targets [batch, …] of a mini-batch."""
        ...

    def compute(self, world: World) -> dict[str, float]:
        """``loss`` and the metrics, by key, over all examples of all processes, which must call this together."""
        ...


class Task(Protocol):
    """How a net's outputs are judged by targets. Outputs are raw, before any softmax or sigmoid.

    Losses are means over examples of each example's mean over its elements, so that parts of a mini-batch, and the
    shares of processes, add up to the whole.
    """

    @property
    def name(self) -> TaskName:
        """The name of the task."""
        ...

    def loss(self, output: Tensor, targets: Tensor) -> Tensor:
        """The loss that training minimises, a float32 scalar."""
        ...

    def losses(self, output: Tensor, targets: Tensor) -> Tensor:
        """The loss of each example [batch] in float32, without smoothing and weights of classes."""
        ...

    def running(self, output: Tensor, targets: Tensor) -> Tensor:
        """The sum over examples of the figure that is shown in training, a scalar."""
        ...

    def scores(self, output: Tensor, targets: Tensor) -> Tensor:
        """How good the output is for each example [batch]; the higher the better."""
        ...

    def confidence(self, output: Tensor) -> Tensor | None:
        """How sure the net is of each output [batch], from 0 to 1 and not calibrated; None if outputs do not tell."""
        ...

    def meter(self) -> Meter:
        """A new meter of the task's metrics."""
        ...
