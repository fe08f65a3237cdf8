"""Finds the task of a net, from its output, the targets and the settings."""

from __future__ import annotations

from fractal_dsl import ops
from fractal_dsl.base.errors import UserError
from fractal_dsl.config import TrainConfig
from fractal_dsl.tasks.classification import Classification
from fractal_dsl.tasks.task import Task


def infer(config: TrainConfig, net: str, out: ops.Tensor) -> Task:
    """The task of a net with output ``out``. Raises UserError if the output fits no task."""
    if len(out.shape) != 1 or out.dtype != "f32" or out.shape[0] < 2:
        raise UserError(f"training needs one number for each class, f32[classes], but net {net} gives {out}")
    return Classification(config.label_smoothing)
