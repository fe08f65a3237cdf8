"""The protocol of tasks."""

from __future__ import annotations

from typing import Any, Protocol, Self

import torch
from numpy.typing import NDArray
from torch import Tensor

from fractal_dsl.config.losses import LossName, TaskName
from fractal_dsl.runs.data_record import TargetRecord
from fractal_dsl.tasks.metrics import Meter
from fractal_dsl.tasks.targets import Targets


class Task(Protocol):
    """How a net's outputs are judged by targets. Outputs are raw, before any softmax or sigmoid.

    Losses are means over examples of each example's mean over its elements, so that parts of a mini-batch, and the
    shares of processes, add up to the whole.
    """

    @property
    def name(self) -> TaskName:
        """The name of the task."""
        ...

    @property
    def loss_name(self) -> LossName:
        """The name of the loss."""
        ...

    def numbered(self) -> tuple[str, ...]:
        """Names of the classes or labels that have none; empty without classes and labels."""
        ...

    def record(self) -> TargetRecord:
        """What a run records about its targets, as far as the task knows it."""
        ...

    def converted(self, targets: Targets) -> NDArray[Any]:
        """The targets as int64 or float32 [n, …]. Raises UserError, which names the first wrong one."""
        ...

    def fitted(self, train: NDArray[Any] | None, device: torch.device) -> Self:
        """The task, adapted to the converted training targets, which are None if they are not in memory."""
        ...

    def unseen(self, train: NDArray[Any]) -> int | None:
        """The first class or label that no converted target of training has."""
        ...

    def loss(self, output: Tensor, targets: Tensor) -> Tensor:
        """The loss that training minimises, a float32 scalar."""
        ...

    def losses(self, output: Tensor, targets: Tensor) -> Tensor:
        """The loss of each example [batch] in float32, without smoothing and weights of classes."""
        ...

    def distillation(self, output: Tensor, teacher: Tensor, targets: Tensor, temperature: float) -> Tensor:
        """How far outputs are from those of a teacher, which need no gradient: a float32 scalar.

        The targets tell which elements count.
        """
        ...

    def running(self, output: Tensor, targets: Tensor) -> Tensor:
        """The sum over examples of the figure that is shown in training, a scalar."""
        ...

    def confidence(self, output: Tensor) -> Tensor | None:
        """How sure the net is of each output [batch], from 0 to 1 and not calibrated; None without such a measure."""
        ...

    def meter(self) -> Meter:
        """A new meter of the task's metrics."""
        ...
