"""Segmentation: each pixel has one of the net's classes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from fractal_dsl import ops
from fractal_dsl.base.errors import UserError
from fractal_dsl.config import TrainConfig
from fractal_dsl.config.losses import TaskName
from fractal_dsl.tasks.class_weights import ClassWeights
from fractal_dsl.tasks.elements import Elements
from fractal_dsl.tasks.metrics import Meter, metric
from fractal_dsl.tasks.targets import Targets

if TYPE_CHECKING:
    from torchmetrics import Metric

IGNORED_PIXEL = 255
"""The value of pixels that do not count, by default, as in PASCAL VOC."""


@dataclass(frozen=True)
class Segmentation(Elements):
    """Outputs [batch, classes, height, width] are logits, targets int64 [batch, height, width]."""

    axis: ClassVar[int] = 1

    @classmethod
    def of(cls, config: TrainConfig, net: str, out: ops.Tensor, ignored: int | None) -> Self:
        """The task of a net. Raises UserError if its output does not fit."""
        if len(out.shape) != 3 or out.dtype != "f32" or out.shape[0] < 2:
            raise UserError(f"segmentation needs a net that gives f32[classes, height, width], but {net} gives {out}")
        classes, shape = out.shape[0], out.shape[1:]
        value = ignored if ignored is not None else IGNORED_PIXEL if classes <= IGNORED_PIXEL else -1
        return cls(classes, shape, value, config.label_smoothing, ClassWeights.of(config.loss, classes))

    @property
    def name(self) -> TaskName:
        """``segmentation``."""
        return "segmentation"

    def numbered(self) -> tuple[str, ...]:
        """The numbers of the classes, as names."""
        return tuple(map(str, range(self.classes)))

    def converted(self, targets: Targets) -> NDArray[Any]:
        """The masks, int64 [n, height, width]. Raises UserError for other sizes and values."""
        if len(targets.each) == 3 and 1 in (targets.each[0], targets.each[2]):
            axis = 1 if targets.each[0] == 1 else 3
            targets = replace(targets, values=targets.values.squeeze(axis))
        if len(targets.each) != 2 or not targets.whole:
            raise UserError(f"a mask has a whole number for each pixel, but targets are {targets.text()}")
        if targets.each != self.shape:
            (height, width), (rows, columns) = self.shape, targets.each
            raise UserError(
                f"{targets.name(0)} is a mask of {rows} x {columns} pixels, but the net gives {height} x {width}"
            )
        return self._whole(targets)

    def unseen(self, train: NDArray[Any]) -> int | None:
        """The first class that no pixel of training has."""
        absent = (c for c in np.flatnonzero(self._counts(train) == 0).tolist() if c != self.ignored)
        return next(absent, None)

    def meter(self) -> Meter:
        """A meter of loss, mean IoU and pixel accuracy."""
        return Meter(self)

    def metrics(self) -> dict[str, Metric]:
        """The metrics by name. Mean IoU (Jaccard index) is a mean over classes that occur, each over all pixels."""
        ignored = self.ignored
        options = {"num_classes": self.classes, "ignore_index": ignored, "validate_args": False}
        return {
            "mean_iou": metric("MulticlassJaccardIndex", **options),
            "pixel_accuracy": metric("MulticlassAccuracy", average="micro", **options),
        }

    def measured(self, output: Tensor, targets: Tensor) -> dict[str, tuple[Tensor, ...]]:
        """Predictions and targets for each metric."""
        pair = output.argmax(1), targets
        return {"mean_iou": pair, "pixel_accuracy": pair}
