"""Multi-label classification: each example has or lacks each of the net's labels."""

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
from fractal_dsl.config.losses import BinaryCrossEntropy, LossName, TaskName
from fractal_dsl.runs.data_record import TargetRecord
from fractal_dsl.tasks.distillation import label_divergence
from fractal_dsl.tasks.metrics import Meter, metric
from fractal_dsl.tasks.targets import Targets

if TYPE_CHECKING:
    from torchmetrics import Metric


@dataclass(frozen=True)
class Multilabel:
    """Outputs [batch, labels] are logits, targets float32 [batch, labels] of 0 and 1.

    ``ones`` float32 [labels] weigh the ones of each label in the loss.
    """

    labels: int
    given: tuple[float, ...] | None = None
    balanced: bool = False
    ones: Tensor | None = None

    @classmethod
    def of(cls, config: TrainConfig, net: str, out: ops.Tensor) -> Self:
        """The task of a net. Raises UserError if its output does not fit."""
        if len(out.shape) != 1 or out.dtype != "f32":
            raise UserError(f"multi-label training needs one number for each label, f32[labels], but {net} gives {out}")
        loss = config.loss if isinstance(config.loss, BinaryCrossEntropy) else BinaryCrossEntropy()
        if loss.pos_weight is not None and len(loss.pos_weight) != out.shape[0]:
            raise UserError(f"`loss.pos_weight` has {len(loss.pos_weight)} numbers for {out.shape[0]} labels")
        return cls(out.shape[0], None if loss.pos_weight is None else tuple(loss.pos_weight), loss.balanced)

    @property
    def name(self) -> TaskName:
        """``multilabel``."""
        return "multilabel"

    @property
    def loss_name(self) -> LossName:
        """``binary_cross_entropy``."""
        return "binary_cross_entropy"

    def numbered(self) -> tuple[str, ...]:
        """The numbers of the labels, as names."""
        return tuple(map(str, range(self.labels)))

    def record(self) -> TargetRecord:
        """The shape."""
        return TargetRecord([self.labels])

    def converted(self, targets: Targets) -> NDArray[Any]:
        """The targets as float32 [n, labels]. Raises UserError for other shapes and values."""
        y = targets.values
        if not targets.each and self.labels == 1:
            targets = replace(targets, values=(y := y[:, None]))
        if targets.each != (self.labels,):
            raise UserError(f"each target must have {self.labels} labels, 0 or 1, but targets are {targets.text()}")
        targets.require((y == 0) | (y == 1), "a label is 0 or 1")
        return y.astype(np.float32)

    def fitted(self, train: NDArray[Any] | None, device: torch.device) -> Self:
        """The task with the weights of labels for the training targets. Raises UserError if none can be computed."""
        weights = None if self.given is None else np.array(self.given, np.float32)
        if self.balanced:
            if train is None:
                raise UserError("`loss.balanced` needs the targets in memory: give `loss.pos_weight` instead")
            ones = train.sum(0, dtype=np.float64)
            weights = ((len(train) - ones) / np.maximum(1, ones)).astype(np.float32)
        return self if weights is None else replace(self, ones=torch.from_numpy(weights).to(device))

    def unseen(self, train: NDArray[Any]) -> int | None:
        """The first label that no target of training has."""
        return next(iter(np.flatnonzero(~train.any(0)).tolist()), None)

    def loss(self, output: Tensor, targets: Tensor) -> Tensor:
        """The mean binary cross-entropy in nats per label."""
        return F.binary_cross_entropy_with_logits(output.float(), targets, pos_weight=self.ones)

    def losses(self, output: Tensor, targets: Tensor) -> Tensor:
        """The mean binary cross-entropy of the labels of each example [batch]."""
        return F.binary_cross_entropy_with_logits(output.float(), targets, reduction="none").mean(1)

    def distillation(self, output: Tensor, teacher: Tensor, targets: Tensor, temperature: float) -> Tensor:
        """The mean divergence from a teacher in nats per label, at a temperature."""
        return label_divergence(output, teacher, temperature).mean()

    def running(self, output: Tensor, targets: Tensor) -> Tensor:
        """The sum over examples of the share of labels that are right, at a probability of one half."""
        return ((output > 0) == targets.bool()).float().mean(1).sum()

    def confidence(self, output: Tensor) -> Tensor:
        """The probability of the most doubtful label of each example [batch], at least one half."""
        return output.float().abs().sigmoid().amin(1)

    def meter(self) -> Meter:
        """A meter of loss, mean average precision and F1, which are means over labels."""
        return Meter(self)

    def metrics(self) -> dict[str, Metric]:
        """The metrics by name."""
        return {
            "mean_average_precision": metric("MultilabelAveragePrecision", self.labels, validate_args=False),
            "f1": metric("MultilabelF1Score", self.labels, validate_args=False),
        }

    def measured(self, output: Tensor, targets: Tensor) -> dict[str, tuple[Tensor, ...]]:
        """Probabilities and targets for each metric."""
        pair = output.double().nan_to_num().sigmoid(), targets.long()
        return {"mean_average_precision": pair, "f1": pair}

    def figures(self, values: dict[str, float]) -> dict[str, float]:
        """The values of the metrics, unchanged."""
        return values
