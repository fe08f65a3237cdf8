"""The layout of images in memory, by a short measurement before a run begins."""

from __future__ import annotations

import time
from typing import Any, cast

import torch
from torch import nn

from fractal_dsl.compiled import Compiled
from fractal_dsl.config import TrainConfig
from fractal_dsl.runtime.build import build
from fractal_dsl.runtime.module import FractalModule
from fractal_dsl.training.parallel import ParallelKind
from fractal_dsl.training.surroundings import surroundings

SMALL_STEP = 2_000_000_000
"""Multiply-accumulates of a mini-batch's forward pass. Below it, neither a layout nor a second thread pays."""
_MEASURED = 8_000_000_000
"""Multiply-accumulates of a forward pass that is long enough to measure."""
_ROUNDS = 3
_CLEARLY = 0.95
"""The share of the time below which the layout changes, so that chance rarely decides."""


def with_layout(
    compiled: Compiled, config: TrainConfig, place: torch.device, threads: int, parallel: ParallelKind | None
) -> TrainConfig:
    """The settings with ``channels_last`` decided if it is ``auto``.

    It is true for a large net of images if a step is clearly faster with channels last. Compiled nets, CUDA graphs and
    split models keep channels first, and so do small nets, whose runs thus never depend on a measurement. Lower
    precision on CUDA takes channels last, as its convolutions do.
    """
    if config.channels_last != "auto":
        return config
    fixed = config.compile or config.cuda_graphs or parallel in ("fsdp", "pipeline")
    small = compiled.summary.macs * config.batch < SMALL_STEP
    if fixed or small or len(compiled.program.input.shape) != 3:
        chosen = False
    elif place.type == "cuda" and config.precision != "fp32":
        chosen = True
    else:
        with surroundings(threads, config, place):
            first, last = layout_seconds(compiled, config, place)
        chosen = last < _CLEARLY * first
    return config.model_copy(update={"channels_last": chosen})


def layout_seconds(compiled: Compiled, config: TrainConfig, place: torch.device) -> tuple[float, float]:
    """Seconds of a forward and a backward pass of the whole net with channels first, and with channels last."""
    model = build(compiled, config.seed).to(place).train()
    if not any(isinstance(module, nn.Conv2d | nn.ConvTranspose2d) for module in model.modules()):
        return 1.0, 1.0
    rows = min(config.batch // config.accumulate, max(2, _MEASURED // max(1, compiled.summary.macs)))
    shape = (max(2, rows), *compiled.program.input.shape)
    layouts = (torch.contiguous_format, torch.channels_last)
    times: dict[torch.memory_format, list[float]] = {layout: [] for layout in layouts}
    for _ in range(1 + _ROUNDS):
        for layout in layouts:
            cast(Any, model).to(memory_format=layout)
            x = torch.zeros(shape, device=place).normal_().contiguous(memory_format=layout)
            times[layout].append(_seconds(model, x, place))
    first, last = (min(times[layout][1:]) for layout in layouts)  # the first round warms up
    return first, last


def _seconds(model: FractalModule, x: torch.Tensor, place: torch.device) -> float:
    model.zero_grad()
    _wait(place)
    start = time.perf_counter()
    model.run(x, model.full_plan()).sum().backward()
    _wait(place)
    return time.perf_counter() - start


def _wait(place: torch.device) -> None:
    if place.type == "cuda":
        torch.cuda.synchronize(place)
