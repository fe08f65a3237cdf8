"""Token models: each position of a sequence has a next token, or a class."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self

from numpy.typing import NDArray
from torch import Tensor

from fractal_dsl import ops
from fractal_dsl.base.errors import UserError
from fractal_dsl.config import TrainConfig
from fractal_dsl.config.losses import TaskName
from fractal_dsl.runs.data_record import TargetRecord
from fractal_dsl.runs.tasks import TokenUnit
from fractal_dsl.tasks.class_weights import ClassWeights
from fractal_dsl.tasks.elements import Elements
from fractal_dsl.tasks.metrics import Meter, metric
from fractal_dsl.tasks.targets import Targets

if TYPE_CHECKING:
    from torchmetrics import Metric

IGNORED_TOKEN = -100
"""The value of positions that do not count, by default, as in torch."""


@dataclass(frozen=True)
class Tokens(Elements):
    """Outputs [batch, length, vocabulary] are logits, targets int64 [batch, length]. ``unit`` is what a token is."""

    axis: ClassVar[int] = 2
    unit: TokenUnit = "token"

    @classmethod
    def of(cls, config: TrainConfig, net: str, out: ops.Tensor, ignored: int | None, unit: TokenUnit) -> Self:
        """The task of a net. Raises UserError if its output does not fit."""
        if len(out.shape) != 2 or out.dtype != "f32" or out.shape[1] < 2:
            raise UserError(f"a token model gives f32[length, vocabulary], but net {net} gives {out}")
        classes, weights = out.shape[1], ClassWeights.of(config.loss, out.shape[1])
        value = IGNORED_TOKEN if ignored is None else ignored
        return cls(classes, out.shape[:1], value, config.label_smoothing, weights, unit)

    @property
    def name(self) -> TaskName:
        """``tokens``."""
        return "tokens"

    def numbered(self) -> tuple[str, ...]:
        """No names: tokens are not named."""
        return ()

    def record(self) -> TargetRecord:
        """The shape, the ignored value and the unit."""
        return TargetRecord(list(self.shape), ignored=self.ignored, unit=self.unit)

    def converted(self, targets: Targets) -> NDArray[Any]:
        """The targets, int64 [n, length]. Raises UserError for other lengths and values."""
        if targets.each != self.shape or not targets.whole:
            raise UserError(
                f"each target must have {self.shape[0]} whole numbers, one for each position of the output, but "
                f"targets are {targets.text()}"
            )
        return self._whole(targets)

    def unseen(self, train: NDArray[Any]) -> int | None:
        """None: a vocabulary may have tokens that never occur."""
        return None

    def meter(self) -> Meter:
        """A meter of loss, perplexity, bits per token or byte, and accuracy."""
        return Meter(self)

    def metrics(self) -> dict[str, Metric]:
        """The metrics by name. ``nats`` is the mean cross-entropy over all positions that count."""
        options = {"num_classes": self.classes, "ignore_index": self.ignored, "validate_args": False}
        return {
            "nats": metric("MeanMetric", nan_strategy="disable"),
            "accuracy": metric("MulticlassAccuracy", average="micro", **options),
        }

    def measured(self, output: Tensor, targets: Tensor) -> dict[str, tuple[Tensor, ...]]:
        """Cross-entropies, and predictions and targets."""
        nats = self._elements(output, targets)[targets != self.ignored].double()
        return {"nats": (nats,), "accuracy": (output.argmax(2), targets)}

    def figures(self, values: dict[str, float]) -> dict[str, float]:
        """Perplexity is the exponential of the mean cross-entropy, and bits are nats divided by ln 2."""
        nats = values["nats"]
        perplexity = math.exp(nats) if nats < 700 else math.inf
        return {"perplexity": perplexity, f"bits_per_{self.unit}": nats / math.log(2), "accuracy": values["accuracy"]}
