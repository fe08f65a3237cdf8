"""Losses over mixed targets: mixup and cutmix. All draws are functions of (seed, step)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random

from torch import Tensor

from fractal_dsl import ops
from fractal_dsl.base.errors import UserError
from fractal_dsl.config import TrainConfig
from fractal_dsl.runtime.arguments import each
from fractal_dsl.tasks import Task
from fractal_dsl.tasks.several import heads_of

MixedTargets = list[tuple[Tensor, float]]
"""Targets [batch, …], each with its weight. The weights add up to 1."""


def shifted(x: Tensor) -> Tensor:
    """A mini-batch [batch, …] rotated by one row."""
    return x.roll(1, 0)


def mix(
    x: Tensor, y: Tensor, config: TrainConfig, step: int, shift: Callable[[Tensor], Tensor] = shifted
) -> tuple[Tensor, MixedTargets]:
    """Mix inputs [batch, …] with their neighbours in the batch, and return them with their soft targets.

    ``shift`` replaces each row by its neighbour, across processes too. Mixup (Zhang et al. 2017) averages the two;
    cutmix (Yun et al. 2019) copies a box of one into the other. If both are on, each step draws one of them.
    """
    if not (config.mixup or config.cutmix):
        return x, [(y, 1.0)]
    rng = Random(f"mixing {config.seed} {step}")
    boxes = config.cutmix > 0 and (config.mixup == 0 or rng.random() < 0.5)
    alpha = config.cutmix if boxes else config.mixup
    kept = rng.betavariate(alpha, alpha)
    if boxes:
        x, kept = _cut(x, shift(x), kept, rng)
    else:
        x = x * kept + shift(x) * (1 - kept)
    return x, [(y, kept), (each(shift, y), 1 - kept)]


def _cut(x: Tensor, neighbours: Tensor, kept: float, rng: Random) -> tuple[Tensor, float]:
    """Copy a box of about ``1 - kept`` of each image from its neighbour. Also return the exact share that is kept."""
    sides = [round(size * (1 - kept) ** (1 / (x.dim() - 2))) for size in x.shape[2:]]
    starts = [rng.randrange(size - side + 1) for size, side in zip(x.shape[2:], sides, strict=True)]
    box = (slice(None), slice(None), *(slice(a, a + side) for a, side in zip(starts, sides, strict=True)))
    result = x.clone()
    result[box] = neighbours[box]
    return result, 1 - result[box][0, 0].numel() / x[0, 0].numel()


def check_mixing(config: TrainConfig, inputs: Sequence[ops.Tensor]) -> None:
    """Raise UserError if these inputs of a net cannot be mixed."""
    if not (config.mixup or config.cutmix):
        return
    if len(inputs) > 1:
        raise UserError("mixup and cutmix are for nets with one input: set mixup=0 and cutmix=0")
    if config.cutmix and len(inputs[0].shape) < 2:
        raise UserError("cutmix cuts boxes out of images, but these inputs have no height and width: set cutmix=0")
    if inputs[0].dtype != "f32":
        raise UserError("tokens cannot be mixed: set mixup=0 and cutmix=0")


def check_mixed_targets(config: TrainConfig, task: Task, outputs: Sequence[ops.Tensor]) -> None:
    """Raise UserError if the targets of a task cannot be mixed like the inputs."""
    names = [name for name in ("mixup", "cutmix") if getattr(config, name)]
    if not names:
        return
    off = " and ".join(f"{name}=0" for name in names)
    for head in heads_of(task):
        kind, out = head.task.name, outputs[head.at]
        if kind in ("segmentation", "tokens"):
            raise UserError(
                f"{names[0]} gives an example two targets, but {kind} has a class for each place: set {off}"
            )
        if kind == "regression" and config.cutmix and len(out.shape) > 1:
            raise UserError(f"cutmix cuts boxes out of images, but not out of targets, {out}: set cutmix=0")


def loss_of(task: Task, output: Tensor, targets: MixedTargets) -> Tensor:
    """The task's loss, a float32 scalar. Its mixed targets count by their weights."""
    return _weighed([(task.loss(output, part), weight) for part, weight in targets])


def running_of(task: Task, output: Tensor, targets: MixedTargets) -> Tensor:
    """The sum over examples of the figure shown in training. Mixed targets count by their weights."""
    return _weighed([(task.running(output, part), weight) for part, weight in targets])


def _weighed(parts: Sequence[tuple[Tensor, float]]) -> Tensor:
    """The sum of values times their weights."""
    if len(parts) == 1:
        return parts[0][0]  # its weight is 1
    return parts[0][0] * parts[0][1] + parts[1][0] * parts[1][1]
