"""The environment of a training loop: torch's threads and generators, and the signals that stop it."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Generator
from contextlib import contextmanager, nullcontext
from typing import Any, cast

import torch

from fractal_dsl.base.errors import UserError
from fractal_dsl.config import TrainConfig
from fractal_dsl.runtime.kept_memory import memory_kept


@contextmanager
def surroundings(threads: int, config: TrainConfig, device: torch.device) -> Generator[None]:
    """Set up threads, cuDNN and the memory of a CPU, and restore them and torch's global generators afterwards.

    Failures that a user can fix become UserErrors.
    """
    before, cudnn = torch.get_num_threads(), cast(Any, torch.backends.cudnn)
    chosen = cudnn.deterministic, cudnn.benchmark
    torch.set_num_threads(threads)
    cudnn.deterministic, cudnn.benchmark = config.deterministic, not config.deterministic
    try:
        generators = cast(Any, torch).random.fork_rng(devices=[device] if device.type == "cuda" else [])
        with generators, memory_kept() if device.type == "cpu" else nullcontext():
            yield
    except torch.OutOfMemoryError:
        raise UserError(
            "the device is out of memory: lower `batch`, or raise `accumulate`, which splits a mini-batch into parts"
        ) from None
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):
            raise
        raise UserError(
            "batch norm cannot train on mini-batches of one value per channel: raise `batch`, or lower `accumulate`"
        ) from None
    finally:
        torch.set_num_threads(before)
        cudnn.deterministic, cudnn.benchmark = chosen


class Interruption(threading.Event):
    """A request to stop the run, and its cause: a signal, or the end of ``parent``, torchrun's process.

    A killed torchrun does not tell the processes that it started.
    """

    def __init__(self, parent: int | None) -> None:
        super().__init__()
        self.parent, self.signal = parent, "a signal to another of its processes"

    def is_set(self) -> bool:
        """Whether the run should stop."""
        if self.parent is not None and os.getppid() != self.parent:
            self.parent, self.signal = None, "the end of torchrun"
            self.set()
        return super().is_set()


@contextmanager
def interruptible(asked: Interruption) -> Generator[Interruption]:
    """Set ``asked`` at the first Ctrl-C or SIGTERM. The second one ends the program as usual."""
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def note(number: int, _: object) -> None:
        asked.signal = "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name
        asked.set()
        signal.signal(number, before[signal.Signals(number)])

    for number in before:
        signal.signal(number, note)
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
