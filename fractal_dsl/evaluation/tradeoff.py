"""The cost of a better score: for each column, for the whole net, and for stopping at the first confident answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from time import perf_counter
from typing import Any

import torch
from torch import Tensor

from fractal_dsl.data import ImageSet, Part, in_order
from fractal_dsl.evaluation.measure import batch_for, finite_figures
from fractal_dsl.plans.plan import Plan
from fractal_dsl.runs.plots import BLACK, BLUE, Drawing, colour
from fractal_dsl.runs.tasks import CONFIDENCES, TASKS
from fractal_dsl.runtime.anytime import Anytime
from fractal_dsl.runtime.arguments import each, merged, tensors_in
from fractal_dsl.runtime.module import FractalModule
from fractal_dsl.runtime.world import ALONE

THRESHOLDS = (0.5, 0.7, 0.8, 0.9, 0.95, 0.99, 0.999)
_REPEATS = (5, 50)  # at least, and at most
_SECONDS = 5.0  # time limit for the repeats


def measure_tradeoff(model: FractalModule, images: ImageSet, part: Part) -> dict[str, Any]:
    """The metrics of the task, the latency and the multiply-accumulates per example of each answer, in eval mode.

    ``networks`` are each column by itself and the whole net (``column`` None). ``policies`` ask the columns from
    shallow to deep, then the whole net, until the confidence of an answer reaches ``confidence``; ``answered`` is
    the share of examples that each of them answered. Tasks whose outputs have no confidence have no policies. ``ms`` is
    the latency of one example at a time, a median over ``repeats``; a policy's latency is averaged over the examples.
    ``threads`` counts torch's CPU threads.
    """
    planned = Anytime(model.eval())
    figures, chosen = _answers(planned, images, part)
    alone, chained, repeats = _latencies(planned, images, part)
    increments = planned.increments
    macs = torch.tensor([p.macs for p in increments], dtype=torch.float64).cumsum(0)
    networks = [{"column": p.column, **figures[i], "ms": alone[i], "macs": p.alone} for i, p in enumerate(increments)]
    policies: list[dict[str, Any]] = []
    for threshold, first, measured in zip(THRESHOLDS, chosen, figures[len(increments) :], strict=False):
        policies.append(
            {
                "confidence": threshold,
                **measured,
                "ms": torch.tensor(chained, dtype=torch.float64)[first].mean().item(),
                "macs": macs[first].mean().item(),
                "answered": (first.bincount(minlength=len(macs)) / len(first)).tolist(),
            }
        )
    return {
        "task": images.task.name,
        "device": next(model.parameters()).device.type,
        "batch": 1,
        "repeats": repeats,
        "threads": torch.get_num_threads(),
        "networks": networks,
        "policies": policies,
    }


def _answers(planned: Anytime, images: ImageSet, part: Part) -> tuple[list[dict[str, Any]], list[Tensor]]:
    """The figures of each answer and then of each policy, and for each policy the position of each example's answer."""
    answers, task = len(planned.increments), images.task
    thresholds = THRESHOLDS if answers > 1 and task.name in CONFIDENCES else ()
    meters = [task.meter() for _ in range(answers + len(thresholds))]
    chosen: list[list[Tensor]] = [[] for _ in thresholds]
    for x, y in images.batches(part, in_order(len(part), batch_for(planned.model))):
        outputs = [answer.logits for answer in planned(x)]
        stacked = merged(outputs, torch.stack)
        for meter, output in zip(meters, outputs, strict=False):
            meter.update(output, y)
        sure = [task.confidence(output) for output in outputs] if thresholds else []
        for i, threshold in enumerate(thresholds):
            satisfied = torch.stack([s >= threshold for s in sure if s is not None])
            satisfied[-1] = True
            first = satisfied.int().argmax(0)
            meters[answers + i].update(each(lambda all, first=first: _picked(all, first), stacked), y)
            chosen[i].append(first.cpu())
    figures = [finite_figures(meter.compute(ALONE), task) for meter in meters]
    return figures, [torch.cat(parts) for parts in chosen]


def _picked(outputs: Tensor, answer: Tensor) -> Tensor:
    """Of outputs [answers, batch, …], those of one answer for each example [batch]."""
    return outputs[answer, torch.arange(len(answer), device=answer.device)]


def _latencies(planned: Anytime, images: ImageSet, part: Part) -> tuple[list[float], list[float], int]:
    """Milliseconds for one example, by network and by number of answers, and the number of repeats."""
    model = planned.model
    plans = [model.full_plan() if p.column is None else model.column_plan(p.column) for p in planned.increments]
    alone: list[list[float]] = []
    chained: list[list[float]] = []
    start = perf_counter()
    for i in range(_REPEATS[1] + 1):
        if i > _REPEATS[0] and perf_counter() - start > _SECONDS:
            break
        x, _ = images.batch(part, slice(i % len(part), i % len(part) + 1))
        alone.append([_milliseconds(model, x, plan) for plan in plans])
        chained.append([1000 * answer.seconds for answer in planned(x)])
    medians = [[median(run[i] for run in runs[1:]) for i in range(len(plans))] for runs in (alone, chained)]
    return medians[0], medians[1], len(alone) - 1  # the first run warms up


def _milliseconds(model: FractalModule, x: Tensor, plan: Plan) -> float:
    start = perf_counter()
    with torch.no_grad():
        model.run(x, plan)
    device = tensors_in(x)[0].device
    if device.type != "cpu":
        torch.accelerator.synchronize(device)
    return 1000 * (perf_counter() - start)


def tradeoff_svg(tradeoff: Mapping[str, Any]) -> str:
    """Draw the score against latency and against multiply-accumulates."""
    score = TASKS[tradeoff["task"]].score
    networks: Sequence[Mapping[str, Any]] = tradeoff["networks"]
    policies: Sequence[Mapping[str, Any]] = tradeoff["policies"]
    with Drawing(2, "anytime") as drawing:
        for axes, key, unit in zip(drawing.axes, ("ms", "macs"), (1, 1e6), strict=True):
            for i, row in enumerate(networks):
                whole = row["column"] is None
                axes.plot(
                    row[key] / unit,
                    score.plotted(row[score.key]),
                    color=BLACK if whole else colour(i),
                    marker="s" if whole else "o",
                    ms=8,
                    ls="",
                    label="whole net" if whole else f"column {row['column']}",
                )
            x, y = [row[key] / unit for row in policies], [score.plotted(row[score.key]) for row in policies]
            if policies:
                axes.plot(x, y, color=BLUE, marker=".", lw=1.4, label="first answer of this confidence (%)")
            room = 0.06 * max(row[key] / unit for row in networks)  # a label's width
            right = -room
            for px, py, row in zip(x, y, policies, strict=True):
                if px - right >= room:
                    axes.annotate(f"{100 * row['confidence']:g}", (px, py), (0, 6), textcoords="offset points", size=8)
                    right = px
            axes.set(ylabel=score.axis)
            axes.set_xlim(left=0)
            axes.margins(y=0.12)
        latency, macs = drawing.axes
        latency.set(title="Latency", xlabel=f"ms per example, one at a time (median of {tradeoff['repeats']})")
        macs.set(title="Work", xlabel="million multiply-accumulates per example")
    return drawing.svg
