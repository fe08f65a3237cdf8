"""The processes that torchrun started, and the three ways in which they share the work."""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import torch

from fractal_dsl.base.errors import UserError
from fractal_dsl.config import TrainConfig
from fractal_dsl.runtime.module import FractalModule
from fractal_dsl.runtime.world import ALONE, World, joined
from fractal_dsl.tasks import Task
from fractal_dsl.training.parallel import ParallelKind
from fractal_dsl.training.step import Stepper


@contextmanager
def processes(parallel: ParallelKind | None, device: torch.device) -> Generator[World]:
    """The processes of this run: those that torchrun started, or this one alone.

    Raises UserError if torchrun started some but ``parallel`` is not set, or the other way round.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if parallel is None and size > 1:
        if os.environ.get("RANK") != "0":
            raise SystemExit(1)  # one message is enough
        raise UserError(f"torchrun started {size} processes: add --parallel ddp, fsdp or pipeline")
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
    """The GPU of this process, if there are several and none is named."""
    local = os.environ.get("LOCAL_RANK")
    several = local is not None and name in (None, "cuda") and torch.cuda.is_available()
    return f"cuda:{local}" if several else name


def make_stepper(
    parallel: ParallelKind | None,
    model: FractalModule,
    task: Task,
    config: TrainConfig,
    device: torch.device,
    world: World,
) -> Stepper:
    """The stepper for this kind of parallel training. Raises UserError for settings that it does not support."""
    match parallel:
        case None:
            return Stepper(model, task, config, device)
        case "ddp":
            from fractal_dsl.training.parallel.ddp import ReplicatedStepper as Chosen
        case "fsdp":
            from fractal_dsl.training.parallel.fsdp import ShardedStepper as Chosen
        case "pipeline":
            from fractal_dsl.training.parallel.pipeline import PipelineStepper as Chosen
    if parallel != "ddp":
        for key in ("compile", "track_columns", "freeze"):
            if getattr(config, key):
                raise UserError(f"`{key}` needs the whole net in each process: use --parallel ddp, or omit it")
    return Chosen(model, task, config, device, world)


def to_restart(out: Path | None) -> bool:
    """Whether torchrun restarted the processes, so that an existing run should resume.

    Raises UserError if torchrun may do so (``--max-restarts``) but the run's folder is not named.
    """
    if out is None and int(os.environ.get("TORCHELASTIC_MAX_RESTARTS", "0")):
        raise UserError("--max-restarts needs --out FOLDER, where the restarted processes find the run")
    again = int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) > 0
    return again and out is not None and any((out / "checkpoints").glob("step-*"))
