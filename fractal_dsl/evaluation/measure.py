"""The loss and the metrics of a net and of each of its columns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import torch
from torch import Tensor

from fractal_dsl.data import ImageSet, Part, in_order
from fractal_dsl.data.parts import workers_explained
from fractal_dsl.evaluation.confusion import Confusion
from fractal_dsl.evaluation.worst import Worst
from fractal_dsl.plans.plan import Plan
from fractal_dsl.runs.tasks import TASKS
from fractal_dsl.runtime.module import FractalModule
from fractal_dsl.runtime.world import ALONE, World
from fractal_dsl.tasks import Task
from fractal_dsl.tasks.several import Several

_BATCH = 256
_NUMBERS = 2**24
_HUGE = torch.finfo(torch.float32).max

Outputs = Callable[[Tensor, Plan], Tensor | None]
"""A function for the outputs of a mini-batch under a plan, or None if another process has them."""


def measure_all(
    model: FractalModule,
    images: ImageSet,
    part: Part,
    columns: bool = True,
    *,
    confusion: bool = False,
    worst: Worst | None = None,
    run: Outputs | None = None,
    shares: World = ALONE,
    world: World | None = None,
    crops: int = 1,
) -> dict[str, Any]:
    """``loss`` and the task's metrics of the whole net, and ``columns``: the same for each column alone.

    With ``confusion``, and up to 100 classes, ``confusion`` counts the test examples of each class by answer. ``worst``
    collects the worst mistakes of the whole net.

    The processes of ``shares`` divide the mini-batches among them. The figures cover all processes in ``world``, by
    default the same ones.
    """
    numbers = range(1, model.n_columns + 1) if columns else ()
    plans = [model.full_plan(), *map(model.column_plan, numbers)]
    counts = Confusion.of(images.task, len(images.record.classes)) if confusion else None
    world = world or shares
    whole, *alone = _measure(model, images, part, plans, run or model.run, shares, world, crops, counts, worst)
    rows = [{"column": k} | figures for k, figures in zip(numbers, alone, strict=True)]
    return whole | {"columns": rows} | ({} if counts is None else {"confusion": counts.counts(world)})


def measure(model: FractalModule, images: ImageSet, part: Part, plan: Plan) -> dict[str, Any]:
    """``loss`` and the task's metrics in eval mode under a plan. The model keeps its mode.

    A barely trained column may overflow: figures beyond float32 are replaced by the worst float32.
    """
    return _measure(model, images, part, [plan], model.run, ALONE, ALONE)[0]


def _measure(
    model: FractalModule,
    images: ImageSet,
    part: Part,
    plans: Sequence[Plan],
    run: Outputs,
    shares: World,
    world: World,
    crops: int = 1,
    counts: Confusion | None = None,
    worst: Worst | None = None,
) -> list[dict[str, Any]]:
    """The figures under each plan. The images are read once.

    All processes run the same number of mini-batches, because weights may have to be gathered.
    """
    mode = model.training
    model.eval()
    meters = [images.task.meter() for _ in plans]
    order = in_order(len(part), batch_for(model, crops))
    turns = range(shares.rank, -(-len(order) // shares.size) * shares.size, shares.size)
    mine = [order[min(turn, len(order) - 1)] for turn in turns]
    with torch.no_grad() if world.size > 1 else torch.inference_mode(), workers_explained():
        for turn, (x, y) in zip(turns, images.batches(part, mine), strict=True):
            for i, plan in enumerate(plans):
                output = run(x, plan)
                if output is not None and turn < len(order):
                    meters[i].update(output, y)
                    if i == 0 and counts is not None:
                        counts.update(*main_of(images.task, output, y))
                    if i == 0 and worst is not None:
                        worst.update(order[turn], *main_of(images.task, output, y))
    model.train(mode)
    return [finite_figures(meter.compute(world), images.task) for meter in meters]


def batch_for(model: FractalModule, crops: int = 1) -> int:
    """The number of examples that are measured at once: up to 256, fewer for large outputs, which fill memory."""
    numbers = sum(prod(out.shape) for out in model.outputs.values())
    return max(1, min(_BATCH // crops, _NUMBERS // numbers))


def main_of(task: Task, output: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """The output and the targets [batch, …] that decide: those of the first of several outputs."""
    return task.pairs(output, targets)[0][1:] if isinstance(task, Several) else (output, targets)


def finite_figures(figures: dict[str, Any], task: Task) -> dict[str, Any]:
    """The figures, with the worst float32 in place of those beyond it, also of each of several outputs."""
    worst = {"loss": _HUGE} | {m.key: -_HUGE if m.higher else _HUGE for m in TASKS[task.name].metrics}
    own = {key: value for key, value in figures.items() if key != "outputs"}
    own = {key: value if abs(value) < _HUGE else worst[key] for key, value in own.items()}
    if not isinstance(task, Several):
        return own
    return own | {"outputs": {h.name: finite_figures(figures["outputs"][h.name], h.task) for h in task.heads}}
