"""Finds the task of a net, from its output, the targets and the settings."""

from __future__ import annotations

import numpy as np

from fractal_dsl import ops
from fractal_dsl.base.errors import UserError
from fractal_dsl.config import TrainConfig
from fractal_dsl.config.losses import LOSSES, TaskName
from fractal_dsl.runs.tasks import TokenUnit
from fractal_dsl.tasks.classification import Classification
from fractal_dsl.tasks.multilabel import Multilabel
from fractal_dsl.tasks.regression import Regression
from fractal_dsl.tasks.segmentation import Segmentation
from fractal_dsl.tasks.targets import Targets
from fractal_dsl.tasks.task import Task
from fractal_dsl.tasks.tokens import Tokens


def infer(config: TrainConfig, net: str, out: ops.Tensor, targets: Targets, unit: TokenUnit = "token") -> Task:
    """The task of a net with output ``out``, by the setting ``task`` or else by the targets.

    Raises UserError if the output, the targets and the settings do not fit each other, or leave a choice.
    """
    return make(config, config.task or _name(net, out, targets), net, out, targets.ignored, unit)


def make(
    config: TrainConfig,
    name: TaskName,
    net: str,
    out: ops.Tensor,
    ignored: int | None = None,
    unit: TokenUnit = "token",
) -> Task:
    """The task of that name. Raises UserError if the net's output or the settings do not fit it."""
    if config.loss and config.loss.name not in LOSSES[name]:
        fitting = " or ".join(f"`{loss}`" for loss in LOSSES[name])
        raise UserError(f"net {net} is trained for {name}, whose loss is {fitting}, not `{config.loss.name}`")
    if config.label_smoothing and "cross_entropy" not in LOSSES[name]:
        raise UserError(f"`label_smoothing` is for classes, but net {net} is trained for {name}: set it to 0")
    if name == "regression" and config.distill and config.distill.temperature is not None:
        raise UserError(
            f"`distill.temperature` is for classes and labels, but net {net} is trained for regression: leave it out"
        )
    match name:
        case "classification":
            return Classification.of(config, net, out)
        case "multilabel":
            return Multilabel.of(config, net, out)
        case "regression":
            return Regression.of(config, net, out)
        case "segmentation":
            return Segmentation.of(config, net, out, ignored)
        case "tokens":
            return Tokens.of(config, net, out, ignored, unit)


def _name(net: str, out: ops.Tensor, targets: Targets) -> TaskName:
    """The task that the shapes and types imply."""
    each, axes = targets.each, len(out.shape)
    single = each in ((), (1,))
    if targets.whole and not each and targets.names is not None:
        return "classification"
    if axes == 1 and single and targets.whole and out.shape[0] > 1:
        return "classification"
    if axes == 1 and (each == out.shape or (single and out.shape == (1,))):
        return _of_numbers(net, out, targets)
    if targets.whole and axes == 2 and len(each) == 1:
        return "tokens"
    if targets.whole and axes == 3 and (len(each) == 2 or (len(each) == 3 and 1 in (each[0], each[2]))):
        return "segmentation"
    if [size for size in each if size != 1] == [size for size in out.shape if size != 1]:
        return "regression"
    raise UserError(f"net {net} gives {out}, but targets are {targets.text()}: {_advice(out, targets)}")


def _of_numbers(net: str, out: ops.Tensor, targets: Targets) -> TaskName:
    """The task for one number for each output. Raises UserError if it could be more than one."""
    values = targets.values
    if values.dtype.kind == "b" or (targets.names is not None and targets.whole):
        return "multilabel"
    if not targets.binary or not len(values):
        return "regression"
    if out.shape[0] == 1:
        ways = 'task = "multilabel" for the probability of a 1, task = "regression" for a number, or a net of f32[2]'
    elif targets.whole and not bool((np.asarray(values).sum(1) == 1).all()):
        return "multilabel"
    else:
        ways = 'task = "multilabel" for labels, task = "classification" for a single 1, or task = "regression"'
    raise UserError(
        f"net {net} gives {out}, and all targets are 0 and 1, which can mean more than one task: set {ways}"
    )


def _advice(out: ops.Tensor, targets: Targets) -> str:
    """Advice on a net that would fit the targets."""
    each = targets.each
    if targets.whole and each in ((), (1,)):
        return "training needs one number for each class, f32[classes]"
    if not targets.whole and each in ((), (1,)):
        return "a class for each input must be a whole number from 0, and other numbers need a net that gives f32[1]"
    if targets.whole and len(each) == 1:
        return f"a class for each position needs f32[{each[0]}, classes], and labels need f32[{each[0]}]"
    if targets.whole and len(each) == 2:
        return f"masks need a net that gives f32[classes, {each[0]}, {each[1]}]"
    return f"numbers of this shape need a net that gives f32{list(each)}"
