"""Regression: each example has numbers of the net's output shape."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Self, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from fractal_dsl import ops
from fractal_dsl.base.errors import UserError
from fractal_dsl.config import TrainConfig
from fractal_dsl.config.losses import Huber, LossName, Squared, TaskName
from fractal_dsl.runs.data_record import TargetRecord
from fractal_dsl.tasks.metrics import Meter, metric
from fractal_dsl.tasks.targets import Targets

if TYPE_CHECKING:
    from torchmetrics import Metric


@dataclass(frozen=True)
class Regression:
    """Outputs and targets are [batch, …] of one shape. The net's outputs are in standard units.

    ``mean`` and ``std`` [channels, 1, …] are those of the targets of training, by channel, the first axis. A prediction
    is ``output * std + mean``. So a loss does not depend on the unit of the targets. Outputs of nets that are
    ``restored`` are predictions already.
    """

    shape: tuple[int, ...]
    error: LossName = "squared"
    delta: float = 1.0
    mean: Tensor | None = None
    std: Tensor | None = None
    restored: bool = False

    @classmethod
    def of(cls, config: TrainConfig, net: str, out: ops.Tensor) -> Self:
        """The task of a net. Raises UserError if its output does not fit."""
        if out.dtype != "f32":
            raise UserError(f"regression needs a net that gives numbers, f32[…], but {net} gives {out}")
        loss = config.loss or Squared()
        return cls(out.shape, loss.name, loss.delta if isinstance(loss, Huber) else 1.0)

    @property
    def name(self) -> TaskName:
        """``regression``."""
        return "regression"

    @property
    def loss_name(self) -> LossName:
        """The error that the settings name."""
        return self.error

    def numbered(self) -> tuple[str, ...]:
        """No names: values are not named."""
        return ()

    def record(self) -> TargetRecord:
        """The shape and the moments."""
        if self.mean is None or self.std is None:
            return TargetRecord(list(self.shape))
        mean, std = (cast(list[float], m.flatten().tolist()) for m in (self.mean, self.std))
        return TargetRecord(list(self.shape), mean=mean, std=std)

    def converted(self, targets: Targets) -> NDArray[Any]:
        """The targets as float32 [n, …] in the shape of the output. An axis of length 1 may be missing or extra.

        Raises UserError for other shapes, and for numbers that are not finite.
        """
        fits = [size for size in targets.each if size != 1] == [size for size in self.shape if size != 1]
        if not fits or targets.values.dtype.kind not in "buif":
            raise UserError(f"the net gives f32{list(self.shape)}, but the targets are {targets.text()}")
        y = targets.values.astype(np.float32) if targets.values.dtype.kind in "bui" else targets.values
        limit = np.finfo(np.float32).max
        targets.require(np.isfinite(y) & (np.abs(y) <= limit), "a target must be a finite number of float32")
        return y.astype(np.float32).reshape(len(y), *self.shape)

    def fitted(self, train: NDArray[Any] | None, device: torch.device) -> Self:
        """The task with the moments of the targets of training. Unknown targets keep their unit."""
        if train is None:
            return self
        axes, last = (0, *range(2, train.ndim)), (1,) * max(0, train.ndim - 2)
        moments = train.mean(axes, dtype=np.float64), train.std(axes, dtype=np.float64)
        mean, std = (torch.from_numpy(np.atleast_1d(m).astype(np.float32)) for m in moments)
        return self.standardised(mean.reshape(-1, *last), std.reshape(-1, *last), device)

    def standardised(self, mean: Tensor, std: Tensor, device: torch.device) -> Self:
        """The task with these moments [channels, 1, …]. Constant targets keep their unit."""
        return replace(self, mean=mean.to(device), std=torch.where(std > 0, std, 1).to(device))

    def unseen(self, train: NDArray[Any]) -> int | None:
        """None: there are no classes."""
        return None

    def values(self, output: Tensor) -> Tensor:
        """Outputs [batch, …] in the unit of the targets."""
        return output if self.restored or self.mean is None or self.std is None else output * self.std + self.mean

    def _outputs(self, output: Tensor) -> Tensor:
        """Outputs [batch, …] in standard units."""
        return self._standard(output) if self.restored else output

    def _standard(self, targets: Tensor) -> Tensor:
        return targets if self.mean is None or self.std is None else (targets - self.mean) / self.std

    def loss(self, output: Tensor, targets: Tensor) -> Tensor:
        """The mean error in standard units."""
        return self.losses(output, targets).mean()

    def losses(self, output: Tensor, targets: Tensor) -> Tensor:
        """The mean error of each example [batch] in standard units."""
        return self._errors(self._outputs(output.float()), self._standard(targets))

    def _errors(self, output: Tensor, targets: Tensor) -> Tensor:
        """The mean error of each example [batch]; both arguments are in standard units."""
        if self.error == "absolute":
            errors = F.l1_loss(output, targets, reduction="none")
        elif self.error == "huber":
            errors = F.huber_loss(output, targets, reduction="none", delta=self.delta)
        else:
            errors = F.mse_loss(output, targets, reduction="none")
        return errors.flatten(1).mean(1)

    def distillation(self, output: Tensor, teacher: Tensor, targets: Tensor, temperature: float) -> Tensor:
        """The mean error against a teacher in standard units. A temperature has no meaning for numbers."""
        return self._errors(self._outputs(output.float()), self._outputs(teacher.float())).mean()

    def running(self, output: Tensor, targets: Tensor) -> Tensor:
        """The sum over examples of the mean absolute error, in the unit of the targets."""
        return (self.values(output.float()) - targets).abs().flatten(1).mean(1).sum()

    def confidence(self, output: Tensor) -> None:
        """None: the output is no measure of how sure the net is."""
        return None

    def meter(self) -> Meter:
        """A meter of loss, RMSE, MAE and R²."""
        return Meter(self)

    def metrics(self) -> dict[str, Metric]:
        """The metrics by name. R² is the mean over channels, each with all its elements."""
        return {
            "rmse": metric("MeanSquaredError", squared=False),
            "mae": metric("MeanAbsoluteError"),
            "r2": metric("R2Score"),
        }

    def measured(self, output: Tensor, targets: Tensor) -> dict[str, tuple[Tensor, ...]]:
        """Predictions and targets for each metric: R² does not depend on the unit, so its are in standard units."""
        output, targets = output.double(), targets.double()
        pair = self.values(output).flatten(), targets.flatten()
        standard = self._outputs(output), self._standard(targets)
        by_channel = [x.movedim(1, -1).reshape(-1, x.shape[1]).squeeze(1) for x in standard]
        return {"rmse": pair, "mae": pair, "r2": (by_channel[0], by_channel[1])}

    def figures(self, values: dict[str, float]) -> dict[str, float]:
        """The values of the metrics, unchanged."""
        return values
