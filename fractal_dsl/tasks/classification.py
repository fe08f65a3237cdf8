"""Classification: each example has one of the net's classes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from fractal_dsl import ops
from fractal_dsl.base.errors import UserError
from fractal_dsl.config import TrainConfig
from fractal_dsl.config.losses import LossName, TaskName
from fractal_dsl.runs.data_record import TargetRecord
from fractal_dsl.tasks.class_weights import EVEN, ClassWeights
from fractal_dsl.tasks.distillation import class_divergence
from fractal_dsl.tasks.metrics import Meter, metric
from fractal_dsl.tasks.targets import Targets

if TYPE_CHECKING:
    from torchmetrics import Metric


@dataclass(frozen=True)
class Classification:
    """Outputs [batch, classes] are logits, targets int64 [batch]."""

    classes: int
    smoothing: float = 0.0
    weights: ClassWeights = EVEN

    @classmethod
    def of(cls, config: TrainConfig, net: str, out: ops.Tensor) -> Self:
        """The task of a net. Raises UserError if its output does not fit."""
        if len(out.shape) != 1 or out.dtype != "f32" or out.shape[0] < 2:
            raise UserError(f"training needs one number for each class, f32[classes], but net {net} gives {out}")
        return cls(out.shape[0], config.label_smoothing, ClassWeights.of(config.loss, out.shape[0]))

    @property
    def name(self) -> TaskName:
        """``classification``."""
        return "classification"

    @property
    def loss_name(self) -> LossName:
        """``cross_entropy``."""
        return "cross_entropy"

    def numbered(self) -> tuple[str, ...]:
        """The numbers of the classes, as names."""
        return tuple(map(str, range(self.classes)))

    def record(self) -> TargetRecord:
        """The shape."""
        return TargetRecord([])

    def converted(self, targets: Targets) -> NDArray[Any]:
        """The classes, int64 [n]. A row with a single 1 becomes the position of the 1. Raises UserError for others."""
        y = targets.values
        if targets.each == (1,):
            targets = replace(targets, values=(y := y[:, 0]))
        if targets.each == (self.classes,) and targets.binary:
            targets.require(np.repeat((y.sum(1) == 1)[:, None], self.classes, 1), "a class needs a row with a single 1")
            return y.argmax(1).astype(np.int64)
        if targets.each or not targets.whole:
            raise UserError(f"a class for each input must be a whole number from 0, but targets are {targets.text()}")
        targets.require((y >= 0) & (y < self.classes), f"the net has classes 0 to {self.classes - 1}")
        return y.astype(np.int64)

    def fitted(self, train: NDArray[Any] | None, device: torch.device) -> Self:
        """The task, adapted to the training targets, which are None if they are not in memory."""
        counts = None if train is None else np.bincount(train, minlength=self.classes)
        return replace(self, weights=self.weights.fitted(counts, device))

    def unseen(self, train: NDArray[Any]) -> int | None:
        """The first class that no target of training has."""
        counts = np.bincount(train, minlength=self.classes)
        return next(iter(np.flatnonzero(counts == 0).tolist()), None)

    def loss(self, output: Tensor, targets: Tensor) -> Tensor:
        """The mean cross-entropy in nats per example."""
        if self.weights.values is None:
            return F.cross_entropy(output.float(), targets, label_smoothing=self.smoothing)
        weights, smoothing = self.weights.values, self.smoothing
        return F.cross_entropy(output.float(), targets, weights, reduction="none", label_smoothing=smoothing).mean()

    def losses(self, output: Tensor, targets: Tensor) -> Tensor:
        """The cross-entropy of each example [batch]."""
        return F.cross_entropy(output.float(), targets, reduction="none")

    def distillation(self, output: Tensor, teacher: Tensor, targets: Tensor, temperature: float) -> Tensor:
        """The mean divergence from a teacher in nats per example, at a temperature."""
        return class_divergence(output, teacher, temperature).mean()

    def running(self, output: Tensor, targets: Tensor) -> Tensor:
        """The number of examples that are classified correctly."""
        return (output.argmax(1) == targets).sum()

    def confidence(self, output: Tensor) -> Tensor:
        """The largest softmax probability of each example [batch]."""
        return output.float().softmax(1).amax(1)

    def meter(self) -> Meter:
        """A meter of loss, accuracy, top-5 accuracy for more than 5 classes, and macro F1."""
        return Meter(self)

    def metrics(self) -> dict[str, Metric]:
        """The metrics by name. Macro F1 is the mean over the classes that occur."""
        made = {"accuracy": metric("MulticlassAccuracy", self.classes, average="micro", validate_args=False)}
        if self.classes > 5:
            made["top5"] = metric("MulticlassAccuracy", self.classes, 5, average="micro", validate_args=False)
        return made | {"macro_f1": metric("MulticlassF1Score", self.classes, average="macro", validate_args=False)}

    def measured(self, output: Tensor, targets: Tensor) -> dict[str, tuple[Tensor, ...]]:
        """Predictions and targets for each metric."""
        best = output.argmax(1)
        needed = {"accuracy": (best, targets), "top5": (output.float(), targets), "macro_f1": (best, targets)}
        return needed if self.classes > 5 else {name: needed[name] for name in ("accuracy", "macro_f1")}

    def figures(self, values: dict[str, float]) -> dict[str, float]:
        """The values of the metrics, unchanged."""
        return values
