"""The arithmetic, and the layout of images in memory, by a short measurement before a run begins."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch

from fractal_dsl.compiled import Compiled
from fractal_dsl.config import TrainConfig
from fractal_dsl.config.losses import TaskName
from fractal_dsl.graph.graph import Layer
from fractal_dsl.runtime.arguments import tensors_in
from fractal_dsl.runtime.build import build
from fractal_dsl.runtime.channels_last import lay_channels_last
from fractal_dsl.runtime.module import FractalModule
from fractal_dsl.training.parallel import ParallelKind
from fractal_dsl.training.precision import Precision, precise
from fractal_dsl.training.surroundings import surroundings

SMALL_STEP = 2_000_000_000
"""Multiply-accumulates of a mini-batch's forward pass. Below it, neither a layout nor a second thread pays."""
_MEASURED = 8_000_000_000
"""Multiply-accumulates of a forward pass that is long enough to measure."""
_ROUNDS = 3
_CLEARLY = 0.95
"""The share of the time below which a run leaves the usual way, so that chance rarely decides."""


@dataclass(frozen=True)
class Way:
    """A way to compute a step."""

    precision: Precision
    channels_last: bool


def with_way(
    compiled: Compiled,
    config: TrainConfig,
    place: torch.device,
    threads: int,
    parallel: ParallelKind | None,
    tasks: Collection[TaskName],
) -> TrainConfig:
    """The settings with ``precision`` and ``channels_last`` decided where they are ``auto``.

    A large net takes the way whose step is clearly the fastest, else float32 with channels first. On CUDA, bf16 with
    channels last is among the ways, but not for regression, whose outputs would have three digits. Small nets, compiled
    nets, CUDA graphs and split models are not measured, so their runs never depend on a measurement. If low precision
    is set on CUDA, convolutions of images take channels last.
    """
    fixed = config.compile or config.cuda_graphs or parallel in ("fsdp", "pipeline")
    if fixed or compiled.summary.macs * config.batch < SMALL_STEP:
        ways = _ways(config, place, tasks, False)[:1]
    else:
        ways = _ways(config, place, tasks, _convolves(compiled))
    chosen = ways[0]
    if place.type == "cuda" and config.precision in ("bf16", "fp16"):
        chosen = ways[-1]
    elif len(ways) > 1:
        with surroundings(threads, config, place):
            seconds = seconds_by_way(compiled, config, place, ways)
        best = min(ways, key=seconds.__getitem__)
        chosen = best if seconds[best] < _CLEARLY * seconds[chosen] else chosen
    return config.model_copy(update={"precision": chosen.precision, "channels_last": chosen.channels_last})


def _ways(config: TrainConfig, place: torch.device, tasks: Collection[TaskName], convolves: bool) -> list[Way]:
    """The ways that settings, device and task leave open, the usual one first."""
    layouts = [False, True] if convolves else [False]
    if config.channels_last != "auto":
        layouts = [config.channels_last]
    if config.precision != "auto":
        return [Way(config.precision, last) for last in layouts]
    low = place.type == "cuda" and "regression" not in tasks
    low = low and torch.cuda.is_bf16_supported(including_emulation=False)
    return [*(Way("fp32", last) for last in layouts), *[Way("bf16", layouts[-1])] * low]


def _convolves(compiled: Compiled) -> bool:
    """Whether the net takes images and has convolutions, whose layout in memory matters."""
    names = {node.spec.name.lower() for _, node in compiled.graph.items() if isinstance(node, Layer)}
    images = any(len(one.tensor.shape) == 3 for one in compiled.program.inputs)
    return images and any("conv" in name and name.endswith("2d") for name in names)


def seconds_by_way(
    compiled: Compiled, config: TrainConfig, place: torch.device, ways: Sequence[Way]
) -> dict[Way, float]:
    """Seconds of a forward and a backward pass of the whole net, in each way."""
    model = build(compiled, config.seed).to(place).train()
    rows = min(config.batch // config.accumulate, max(2, _MEASURED // max(1, compiled.summary.macs)))
    inputs = [
        torch.zeros((max(2, rows), *one.shape), dtype=torch.int64 if one.dtype == "i64" else None, device=place)
        for one in model.inputs.values()
    ]
    times: dict[Way, list[float]] = {way: [] for way in ways}
    for _ in range(1 + _ROUNDS):
        for way in ways:
            layout = torch.channels_last if way.channels_last else torch.contiguous_format
            if way == Way("fp32", True):
                lay_channels_last(model)
            else:
                cast(Any, model).to(memory_format=layout)
            drawn = [x.normal_() if x.is_floating_point() else x for x in inputs]
            laid = [x.contiguous(memory_format=layout) if x.dim() == 4 else x for x in drawn]
            times[way].append(_seconds(model, tuple(laid), way, place))
    return {way: min(rounds[1:]) for way, rounds in times.items()}  # the first round warms up


def _seconds(model: FractalModule, x: tuple[torch.Tensor, ...], way: Way, place: torch.device) -> float:
    model.zero_grad()
    _wait(place)
    start = time.perf_counter()
    with precise(way.precision, place):
        output = model.run(x, model.full_plan())
    torch.stack([one.float().sum() for one in tensors_in(output)]).sum().backward()
    _wait(place)
    return time.perf_counter() - start


def _wait(place: torch.device) -> None:
    if place.type == "cuda":
        torch.cuda.synchronize(place)
