"""The processes that torchrun has started, and the three ways in which they share the work."""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import torch

from fractal_dsl.base.errors import UserError
from fractal_dsl.config import TrainConfig
from fractal_dsl.runtime.module import FractalModule
from fractal_dsl.runtime.world import ALONE, World, joined
from fractal_dsl.training.step import Stepper

Parallel = Literal["ddp", "fsdp", "pipeline"]


@contextmanager
def processes(parallel: Parallel | None, device: torch.device) -> Generator[World]:
    """The processes of this run: those that torchrun has started, or this one alone.

    Raises UserError if torchrun has started some and ``parallel`` does not say what for, or the other way round.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if parallel is None and size > 1:
        if os.environ.get("RANK") != "0":
            raise SystemExit(1)  # one of them is enough to say it
        raise UserError(f"torchrun has started {size} processes: add --parallel ddp, fsdp or pipeline")
    if parallel is not None and "RANK" not in os.environ:
        raise UserError(
            f"--parallel {parallel} is for processes that torchrun starts: "
            f"torchrun --standalone --nproc-per-node 2 -m fractal_dsl train … --parallel {parallel}"
        )
    if parallel is None:
        yield ALONE
    else:
        with joined(device) as world:
            yield world


def device_of(name: str | None) -> str | None:
    """Of several GPUs the one of this process, unless another one is named."""
    local = os.environ.get("LOCAL_RANK")
    several = local is not None and name in (None, "cuda") and torch.cuda.is_available()
    return f"cuda:{local}" if several else name


def make_stepper(
    parallel: Parallel | None, model: FractalModule, config: TrainConfig, device: torch.device, world: World
) -> Stepper:
    """What trains a model in that way. Raises UserError for settings that it cannot follow."""
    match parallel:
        case None:
            return Stepper(model, config, device)
        case "ddp":
            from fractal_dsl.training.parallel.ddp import ReplicatedStepper as Chosen
        case "fsdp":
            from fractal_dsl.training.parallel.fsdp import ShardedStepper as Chosen
        case "pipeline":
            from fractal_dsl.training.parallel.pipeline import PipelineStepper as Chosen
    if parallel != "ddp":
        for key in ("compile", "track_columns"):
            if getattr(config, key):
                raise UserError(f"`{key}` needs a whole net in each process: use --parallel ddp, or leave it out")
    return Chosen(model, config, device, world)


def to_restart(out: Path | None) -> bool:
    """Whether torchrun has started the processes anew, and a run that began is to go on.

    Raises UserError if torchrun may do so (``--max-restarts``) and the run's folder has no name to find it by.
    """
    if out is None and int(os.environ.get("TORCHELASTIC_MAX_RESTARTS", "0")):
        raise UserError("with --max-restarts name the run's folder, by --out: the processes that start anew look there")
    again = int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) > 0
    return again and out is not None and any((out / "checkpoints").glob("step-*"))
