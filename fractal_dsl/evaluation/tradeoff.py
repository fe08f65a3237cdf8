"""The cost of accuracy: for each column, for the whole net, and for stopping at the first confident answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from time import perf_counter
from typing import Any

import torch
from torch import Tensor

from fractal_dsl.data import ImageSet, Part, in_order
from fractal_dsl.plans.plan import Plan
from fractal_dsl.runs.plots import BLACK, BLUE, Drawing, colour
from fractal_dsl.runtime.anytime import Anytime
from fractal_dsl.runtime.module import FractalModule

THRESHOLDS = (0.5, 0.7, 0.8, 0.9, 0.95, 0.99, 0.999)
_REPEATS = (5, 50)  # at least, and at most
_SECONDS = 5.0  # time limit for the repeats
_BATCH = 256


def measure_tradeoff(model: FractalModule, images: ImageSet, part: Part) -> dict[str, Any]:
    """The accuracy, latency and multiply-accumulates per image of each way to answer, in eval mode.

    ``networks`` are each column by itself and the whole net (``column`` None). ``policies`` ask the columns from
    shallow to deep, then the whole net, until the softmax's largest probability reaches ``confidence``; ``answered`` is
    the share of images that each of them answered. ``ms`` is the latency of one image at a time, a median over
    ``repeats``; a policy's latency is averaged over the images. ``threads`` counts torch's CPU threads.
    """
    planned = Anytime(model.eval())
    sure, right = _answers(planned, images, part)
    alone, chained, repeats = _latencies(planned, images, part)
    macs = torch.tensor([p.macs for p in planned.increments], dtype=torch.float64).cumsum(0)
    networks = [
        {"column": p.column, "accuracy": right[i].mean().item(), "ms": alone[i], "macs": p.alone}
        for i, p in enumerate(planned.increments)
    ]
    policies: list[dict[str, Any]] = []
    for threshold in THRESHOLDS if len(networks) > 1 else ():
        satisfied = sure >= threshold
        satisfied[-1] = True
        first = satisfied.int().argmax(0)
        policies.append(
            {
                "confidence": threshold,
                "accuracy": right.gather(0, first[None]).mean().item(),
                "ms": torch.tensor(chained, dtype=torch.float64)[first].mean().item(),
                "macs": macs[first].mean().item(),
                "answered": (first.bincount(minlength=len(macs)) / len(first)).tolist(),
            }
        )
    return {
        "device": next(model.parameters()).device.type,
        "batch": 1,
        "repeats": repeats,
        "threads": torch.get_num_threads(),
        "networks": networks,
        "policies": policies,
    }


def _answers(planned: Anytime, images: ImageSet, part: Part) -> tuple[Tensor, Tensor]:
    """The confidence of each answer for each image, and whether it is right, both [answers, images]."""
    sure: list[Tensor] = []
    right: list[Tensor] = []
    for x, y in images.batches(part, in_order(len(part), _BATCH)):
        answers = list(planned(x))
        sure.append(torch.stack([a.confidence for a in answers]).cpu())
        right.append(torch.stack([a.logits.argmax(1) == y for a in answers]).cpu().double())
    return torch.cat(sure, 1), torch.cat(right, 1)


def _latencies(planned: Anytime, images: ImageSet, part: Part) -> tuple[list[float], list[float], int]:
    """Milliseconds for one image, by network and by number of answers, and the number of repeats."""
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
    if x.device.type != "cpu":
        torch.accelerator.synchronize(x.device)
    return 1000 * (perf_counter() - start)


def tradeoff_svg(tradeoff: Mapping[str, Any]) -> str:
    """Draw accuracy against latency and against multiply-accumulates."""
    networks: Sequence[Mapping[str, Any]] = tradeoff["networks"]
    policies: Sequence[Mapping[str, Any]] = tradeoff["policies"]
    with Drawing(2, "anytime") as drawing:
        for axes, key, unit in zip(drawing.axes, ("ms", "macs"), (1, 1e6), strict=True):
            for i, row in enumerate(networks):
                whole = row["column"] is None
                axes.plot(
                    row[key] / unit,
                    100 * row["accuracy"],
                    color=BLACK if whole else colour(i),
                    marker="s" if whole else "o",
                    ms=8,
                    ls="",
                    label="whole net" if whole else f"column {row['column']}",
                )
            x, y = [row[key] / unit for row in policies], [100 * row["accuracy"] for row in policies]
            if policies:
                axes.plot(x, y, color=BLUE, marker=".", lw=1.4, label="first answer of this confidence (%)")
            room = 0.06 * max(row[key] / unit for row in networks)  # a label's width
            right = -room
            for px, py, row in zip(x, y, policies, strict=True):
                if px - right >= room:
                    axes.annotate(f"{100 * row['confidence']:g}", (px, py), (0, 6), textcoords="offset points", size=8)
                    right = px
            axes.set(ylabel="images classified correctly (%)")
            axes.set_xlim(left=0)
            axes.margins(y=0.12)
        latency, macs = drawing.axes
        latency.set(title="Latency", xlabel=f"ms per image, one at a time (median of {tradeoff['repeats']})")
        macs.set(title="Work", xlabel="million multiply-accumulates per image")
        drawing.figure.legend(*latency.get_legend_handles_labels(), loc="outside lower center", ncols=5)
    return drawing.svg
