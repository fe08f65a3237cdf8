"""Distillation from the whole net to the columns that a step trains: the setting ``distill``."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor

from fractal_dsl.base.errors import UserError
from fractal_dsl.config import TrainConfig
from fractal_dsl.graph.graph import JoinGraph
from fractal_dsl.plans.plan import FULL, Plan
from fractal_dsl.runtime.graph_to_fx import routes_apart
from fractal_dsl.tasks import Task
from fractal_dsl.training.mixing import MixedTargets, loss_of

TEMPERATURE = 2.0
"""The default. Regression has no temperature."""


def teaches(config: TrainConfig, plans: Iterable[Plan]) -> bool:
    """Whether a step with these plans needs the outputs of the whole net."""
    return config.distill is not None and any(plan.route != FULL for plan in plans)


def distilled_loss(
    task: Task, config: TrainConfig, output: Tensor, targets: MixedTargets, teacher: Tensor | None
) -> Tensor:
    """The loss of outputs [batch, …], a float32 scalar: that of the targets and, with a teacher, of its outputs too."""
    loss = loss_of(task, output, targets)
    if teacher is None or config.distill is None:
        return loss
    weight, temperature = config.distill.weight, config.distill.temperature or TEMPERATURE
    apart = task.distillation(output, teacher, targets[0][0], temperature)  # mixed targets have all elements
    return (1 - weight) * loss + weight * apart


def check_distillation(config: TrainConfig, graph: JoinGraph) -> None:
    """Raise UserError if ``distill`` is set for a net without columns that learn, or without a whole net that does."""
    if config.distill is None:
        return
    ways = "write `with drop_path(columns=all)`, or `global` below 100%, or set distill=none"
    if not routes_apart(graph):
        raise UserError(
            f"`distill` teaches the columns that steps train, but training of net {graph.net} runs no single columns: "
            f"{ways}"
        )
    drop_path = graph.drop_path
    if drop_path is not None and not drop_path.all_columns and drop_path.global_ == 1:
        raise UserError(f"`distill` needs a teacher, but no step trains the whole net {graph.net}: {ways}")
