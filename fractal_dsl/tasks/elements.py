"""What segmentation and token models share: a class for each element of the output, unless it is ignored."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from fractal_dsl.config.losses import LossName
from fractal_dsl.runs.data_record import TargetRecord
from fractal_dsl.tasks.class_weights import EVEN, ClassWeights
from fractal_dsl.tasks.distillation import class_divergence
from fractal_dsl.tasks.targets import Targets


@dataclass(frozen=True)
class Elements:
    """Outputs have an axis of logits for the classes; targets int64 [batch, …] lack it. ``shape`` is theirs.

    Elements equal to ``ignored`` count neither in losses nor in figures. An example with none left has loss 0.
    """

    axis: ClassVar[int]
    """The axis of the classes in the output."""
    classes: int
    shape: tuple[int, ...]
    ignored: int
    smoothing: float = 0.0
    weights: ClassWeights = EVEN

    @property
    def loss_name(self) -> LossName:
        """``cross_entropy``."""
        return "cross_entropy"

    def record(self) -> TargetRecord:
        """The shape and the ignored value."""
        return TargetRecord(list(self.shape), ignored=self.ignored)

    def _whole(self, targets: Targets) -> NDArray[Any]:
        """Whole numbers of the right shape as int64. Raises UserError for values that are no class."""
        y = targets.values
        wanted = f"the net has classes 0 to {self.classes - 1}, and {self.ignored} is ignored"
        targets.require(((y >= 0) & (y < self.classes)) | (y == self.ignored), wanted)
        return y.astype(np.int64)

    def fitted(self, train: NDArray[Any] | None, device: torch.device) -> Self:
        """The task with the weights of classes, by their frequency in the targets of training."""
        counts = None if train is None else self._counts(train)
        return replace(self, weights=self.weights.fitted(counts, device))

    def _counts(self, targets: NDArray[Any]) -> NDArray[np.int64]:
        """The number of elements of each class, without ignored ones."""
        return np.bincount(targets[targets != self.ignored].ravel(), minlength=self.classes)

    def _elements(self, output: Tensor, targets: Tensor, **options: Any) -> Tensor:
        """The cross-entropy of each element [batch, …] in nats; 0 where it is ignored."""
        logits = output.float().movedim(self.axis, 1)
        return F.cross_entropy(logits, targets, ignore_index=self.ignored, reduction="none", **options)

    def _by_example(self, values: Tensor, targets: Tensor) -> Tensor:
        """The mean over the elements of each example that are not ignored, where their values are 0: [batch]."""
        counted = (targets != self.ignored).flatten(1).sum(1)
        return values.flatten(1).sum(1) / counted.clamp(min=1)

    def loss(self, output: Tensor, targets: Tensor) -> Tensor:
        """The mean over examples of the cross-entropy in nats per element."""
        weights, smoothing = self.weights.values, self.smoothing
        values = self._elements(output, targets, weight=weights, label_smoothing=smoothing)
        return self._by_example(values, targets).mean()

    def losses(self, output: Tensor, targets: Tensor) -> Tensor:
        """The mean cross-entropy of the elements of each example [batch]."""
        return self._by_example(self._elements(output, targets), targets)

    def distillation(self, output: Tensor, teacher: Tensor, targets: Tensor, temperature: float) -> Tensor:
        """The mean over examples of the divergence from a teacher in nats per element, at a temperature."""
        values = class_divergence(output, teacher, temperature, self.axis)
        return self._by_example(values.where(targets != self.ignored, 0), targets).mean()

    def running(self, output: Tensor, targets: Tensor) -> Tensor:
        """The sum over examples of the share of elements that are classified correctly."""
        right = (output.argmax(self.axis) == targets) & (targets != self.ignored)
        return self._by_example(right.float(), targets).sum()

    def confidence(self, output: Tensor) -> Tensor:
        """The mean over elements of the largest softmax probability, for each example [batch]."""
        return output.float().softmax(self.axis).amax(self.axis).flatten(1).mean(1)

    def figures(self, values: dict[str, float]) -> dict[str, float]:
        """The values of the metrics, unchanged."""
        return values
