"""Classification: each example has one of the net's classes."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from fractal_dsl.config.losses import TaskName
from fractal_dsl.runtime.world import World


@dataclass(frozen=True)
class Classification:
    """Outputs [batch, classes] are logits, targets int64 [batch]."""

    smoothing: float = 0.0

    @property
    def name(self) -> TaskName:
        """``classification``."""
        return "classification"

    def loss(self, output: Tensor, targets: Tensor) -> Tensor:
        """The mean cross-entropy in nats per example."""
        return F.cross_entropy(output.float(), targets, label_smoothing=self.smoothing)

    def losses(self, output: Tensor, targets: Tensor) -> Tensor:
        """The cross-entropy of each example [batch]."""
        return F.cross_entropy(output.float(), targets, reduction="none")

    def running(self, output: Tensor, targets: Tensor) -> Tensor:
        """The number of examples that are classified correctly."""
        return (output.argmax(1) == targets).sum()

    def scores(self, output: Tensor, targets: Tensor) -> Tensor:
        """1 for each example that is classified correctly, else 0."""
        return (output.argmax(1) == targets).double()

    def confidence(self, output: Tensor) -> Tensor:
        """The largest softmax probability of each example [batch]."""
        return output.float().softmax(1).amax(1)

    def meter(self) -> ClassificationMeter:
        """A meter of loss and accuracy."""
        return ClassificationMeter(self)


class ClassificationMeter:
    """Adds up the loss and the number of correct answers."""

    def __init__(self, task: Classification) -> None:
        self.task = task
        self.sums = torch.zeros(3, dtype=torch.float64)

    def update(self, output: Tensor, targets: Tensor) -> None:
        """Add the outputs [batch, classes] and targets [batch] of a mini-batch."""
        loss, right = self.task.losses(output, targets).sum(), self.task.running(output, targets)
        self.sums += torch.tensor([float(loss), float(right), len(targets)], dtype=torch.float64)

    def compute(self, world: World) -> dict[str, float]:
        """``loss`` and ``accuracy`` over all examples."""
        sums = world.sum(self.sums.clone())
        return {"loss": float(sums[0] / sums[2]), "accuracy": float(sums[1] / sums[2])}
