"""The confusion matrix: the classes that a net takes for each class."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor

from fractal_dsl.runtime.world import World
from fractal_dsl.tasks import Task
from fractal_dsl.tasks.metrics import metric

_MOST = 100  # classes: the matrix is stored as text


class Confusion:
    """Counts examples, or pixels, by their class and by the net's answer."""

    def __init__(self, classes: int, ignored: int | None, axis: int) -> None:
        self.axis = axis
        self.metric = metric("MulticlassConfusionMatrix", classes, ignore_index=ignored, validate_args=False)

    @classmethod
    def of(cls, task: Task, classes: int) -> Confusion | None:
        """The counts for a task with up to 100 classes; None for others."""
        if task.name not in ("classification", "segmentation") or classes > _MOST:
            return None
        return cls(classes, task.record().ignored, 1)

    def update(self, output: Tensor, targets: Tensor) -> None:
        """Add the outputs and targets of a mini-batch."""
        self.metric.to(output.device).update(output.argmax(self.axis), targets)

    def counts(self, world: World) -> list[list[int]]:
        """A row for each class, a column for each answer, over all processes, which call this together."""
        own = cast(Tensor, self.metric.confmat)
        return cast(list[list[int]], world.sum(own.to("cpu", torch.int64)).tolist())
