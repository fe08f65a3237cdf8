"""The task of a net with several outputs: a task for each output that is trained, and the weights of their losses."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Self, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fractal_dsl import ops
from fractal_dsl.base.errors import UserError, help_text, suggesting
from fractal_dsl.config import TrainConfig
from fractal_dsl.config.losses import LOSSES, LossName, OutputLoss, TaskName
from fractal_dsl.runs.data_record import TargetRecord
from fractal_dsl.runs.tasks import TokenUnit
from fractal_dsl.runtime.arguments import Inputs
from fractal_dsl.runtime.world import World
from fractal_dsl.tasks.infer import infer
from fractal_dsl.tasks.metrics import Meter
from fractal_dsl.tasks.targets import Targets
from fractal_dsl.tasks.task import Task

Outputs = Inputs
"""The outputs of a net, or their targets: a tuple with a tensor for each of several."""


@dataclass(frozen=True)
class Head:
    """An output that is trained: its name, its number from 0, its task, and the weight of its loss."""

    name: str
    at: int
    task: Task
    weight: float

    def converted(self, targets: Targets) -> NDArray[Any]:
        """The targets as its task takes them. Raises UserError, which names the output and the first wrong one."""
        with _about(self.name):
            return self.task.converted(targets)

    def output(self, outputs: Outputs) -> Tensor:
        """Its tensor among the outputs of the net."""
        return outputs[self.at]


@dataclass(frozen=True)
class Several:
    """The loss is the weighed sum of those of the ``heads``. The first head decides: the figure that is shown in
    training, the confidence, and the metrics beside the loss are its own.

    Targets are a tensor that all heads share, or a tuple with one for each head.
    """

    heads: tuple[Head, ...]

    @property
    def main(self) -> Head:
        """The head that decides."""
        return self.heads[0]

    def pairs(self, outputs: Outputs, targets: Outputs) -> list[tuple[Head, Tensor, Tensor]]:
        """Each head with its output and its targets."""
        own = targets if isinstance(targets, tuple) else [targets] * len(self.heads)
        return [(head, head.output(outputs), y) for head, y in zip(self.heads, own, strict=True)]

    @property
    def name(self) -> TaskName:
        """The name of the first head's task."""
        return self.main.task.name

    @property
    def loss_name(self) -> LossName:
        """The name of the first head's loss."""
        return self.main.task.loss_name

    def numbered(self) -> tuple[str, ...]:
        """The names of the first head's classes or labels."""
        return self.main.task.numbered()

    def record(self) -> TargetRecord:
        """The record of the first head's targets."""
        return self.main.task.record()

    def converted(self, targets: Targets) -> NDArray[Any]:
        """The targets that all heads share. Raises UserError if they do not mean the same for each head."""
        first, *others = [head.converted(targets) for head in self.heads]
        for head, other in zip(self.heads[1:], others, strict=True):
            if first.dtype != other.dtype or not np.array_equal(first, other):
                raise UserError(
                    f"the outputs `{self.main.name}` ({self.main.task.name}) and `{head.name}` ({head.task.name}) "
                    "cannot share their targets: give each its own"
                )
        return first

    def fitted(self, train: NDArray[Any] | Sequence[NDArray[Any]] | None, device: torch.device) -> Self:
        """The task, adapted to the converted training targets of each head, or to those that all share."""
        own = [train] * len(self.heads) if train is None or isinstance(train, np.ndarray) else train
        heads = [replace(head, task=head.task.fitted(y, device)) for head, y in zip(self.heads, own, strict=True)]
        return replace(self, heads=tuple(heads))

    def unseen(self, train: NDArray[Any]) -> int | None:
        """The first class or label of the first head that no target has."""
        return self.main.task.unseen(train)

    def loss(self, output: Tensor, targets: Tensor) -> Tensor:
        """The weighed sum of the losses, a float32 scalar."""
        return self._sum(lambda head, x, y: head.task.loss(x, y), output, targets)

    def losses(self, output: Tensor, targets: Tensor) -> Tensor:
        """The weighed sum of the losses of each example [batch]."""
        return self._sum(lambda head, x, y: head.task.losses(x, y), output, targets)

    def distillation(self, output: Tensor, teacher: Tensor, targets: Tensor, temperature: float) -> Tensor:
        """The weighed sum of how far the outputs are from those of a teacher."""
        return self._sum(
            lambda head, x, y: head.task.distillation(x, head.output(teacher), y, temperature), output, targets
        )

    def _sum(self, loss: Callable[[Head, Tensor, Tensor], Tensor], output: Tensor, targets: Tensor) -> Tensor:
        first, *others = [loss(head, x, y) * head.weight for head, x, y in self.pairs(output, targets)]
        return sum(others, first)

    def running(self, output: Tensor, targets: Tensor) -> Tensor:
        """The sum over examples of the first head's figure."""
        head, x, y = self.pairs(output, targets)[0]
        return head.task.running(x, y)

    def confidence(self, output: Tensor) -> Tensor | None:
        """How sure the first head is of each example [batch]."""
        return self.main.task.confidence(self.main.output(output))

    def meter(self) -> Meter:
        """A meter of the loss, the first head's metrics, and under ``outputs`` the loss and metrics of each head."""
        return cast(Meter, SeveralMeter(self))


class SeveralMeter:
    """A meter for each head."""

    def __init__(self, task: Several) -> None:
        self.task = task
        self.meters = [head.task.meter() for head in task.heads]

    def update(self, output: Tensor, targets: Tensor) -> None:
        """Add the outputs and targets of a mini-batch."""
        for meter, (_, x, y) in zip(self.meters, self.task.pairs(output, targets), strict=True):
            meter.update(x, y)

    def compute(self, world: World) -> dict[str, Any]:
        """``loss``, the metrics of the first head, and ``outputs`` with those of each, over all processes."""
        measured = [meter.compute(world) for meter in self.meters]
        loss = sum(head.weight * row["loss"] for head, row in zip(self.task.heads, measured, strict=True))
        outputs = {head.name: row for head, row in zip(self.task.heads, measured, strict=True)}
        return measured[0] | {"loss": loss, "outputs": outputs}


def heads_of(task: Task) -> tuple[Head, ...]:
    """The outputs that are trained, with their tasks. A net with one output calls it ``output``."""
    return task.heads if isinstance(task, Several) else (Head("output", 0, task, 1.0),)


def trained_outputs(config: TrainConfig, net: str, outputs: Sequence[str]) -> dict[str, OutputLoss]:
    """The outputs of a net that have a loss. Raises UserError for unknown ones, or if the first one has none."""
    if config.losses and len(outputs) == 1:
        raise UserError(f"`losses` weighs several outputs, but net {net} has one: set `loss` instead")
    if unknown := next((name for name in config.losses if name not in outputs), None):
        there = "its outputs are " + ", ".join(f"`{one}`" for one in outputs)
        hint = help_text(suggesting(unknown, outputs, there))
        raise UserError(f"`losses` names `{unknown}`, but net {net} has no such output: {hint}")
    every = {name: config.losses.get(name, OutputLoss()) for name in outputs}
    if not every[outputs[0]].weight:
        raise UserError(
            f"`{outputs[0]}`, the first output of net {net}, chooses the best weights, so its loss cannot weigh 0: "
            "declare another output first"
        )
    return {name: one for name, one in every.items() if one.weight}


@contextmanager
def _about(output: str) -> Generator[None]:
    """Name an output in an error."""
    try:
        yield
    except UserError as error:
        raise UserError(f"output `{output}`: {error}") from None


def infer_several(
    config: TrainConfig, net: str, out: Mapping[str, ops.Tensor], targets: Mapping[str, Targets], unit: TokenUnit
) -> Task:
    """The task of a net with these outputs, by the targets of each one that has a loss.

    Raises UserError if outputs, targets and settings do not fit each other, or leave a choice.
    """
    chosen = trained_outputs(config, net, [*out])
    if len(out) == 1:
        ((name, tensor),) = out.items()
        return infer(config, net, tensor, targets[name], unit)
    heads: list[Head] = []
    for at, (name, tensor) in enumerate(out.items()):
        if name in chosen:
            own = _settings_of(config, chosen[name], tensor)
            with _about(name):
                task = infer(own, net, tensor, targets[name], unit)
            heads.append(Head(name, at, task, chosen[name].weight))
    return Several(tuple(heads))


def _settings_of(config: TrainConfig, output: OutputLoss, tensor: ops.Tensor) -> TrainConfig:
    """The settings for one output, whose loss tells its task."""
    if output.loss is None:
        return config
    tasks = [name for name, losses in LOSSES.items() if output.loss.name in losses]
    by_axes: dict[int, TaskName] = {1: "classification", 2: "tokens", 3: "segmentation"}
    task = tasks[0] if len(tasks) == 1 else by_axes.get(len(tensor.shape), "classification")
    smoothing = config.label_smoothing if output.loss.name == "cross_entropy" else 0.0
    return config.model_copy(update={"loss": output.loss, "task": task, "label_smoothing": smoothing})
