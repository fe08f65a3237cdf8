"""Weights of classes in a loss."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fractal_dsl.base.errors import UserError
from fractal_dsl.config.losses import CrossEntropy, Loss


@dataclass(frozen=True)
class ClassWeights:
    """``values`` float32 [classes] on the device, scaled so that their mean over the elements trained on is 1.

    ``given`` are those of the settings. ``balanced`` ones are inverse to the frequency of the classes. None means that
    all classes weigh the same.
    """

    given: tuple[float, ...] | None = None
    balanced: bool = False
    values: Tensor | None = None

    @classmethod
    def of(cls, loss: Loss | None, classes: int) -> Self:
        """The weights that the settings ask for. Raises UserError if their number is not that of the classes."""
        if not isinstance(loss, CrossEntropy):
            return cls()
        if loss.class_weights is not None and len(loss.class_weights) != classes:
            raise UserError(f"`loss.class_weights` has {len(loss.class_weights)} numbers for {classes} classes")
        return cls(None if loss.class_weights is None else tuple(loss.class_weights), loss.balanced)

    def fitted(self, counts: NDArray[Any] | None, device: torch.device) -> Self:
        """The weights for training elements of which ``counts`` [classes] are of each class, None if unknown.

        Raises UserError if balanced weights cannot be computed.
        """
        if self.given is None and not self.balanced:
            return self
        if self.balanced and counts is None:
            raise UserError("`loss.balanced` needs the targets in memory: give `loss.class_weights` instead")
        weights = np.array(self.given, np.float64) if self.given else 1 / np.maximum(1, np.asarray(counts))
        if counts is not None:
            weights = weights * counts.sum() / max(1e-300, float((weights * counts).sum()))
        return replace(self, values=torch.from_numpy(weights.astype(np.float32)).to(device))


EVEN = ClassWeights()
"""All classes weigh the same."""
