"""The progress that users see during training: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import math
import sys
import time
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.text import Text
from torch import Tensor

from fractal_dsl.base.escaping import terminal
from fractal_dsl.base.texts import duration, folded, memory_text
from fractal_dsl.runs.tasks import Figures
from fractal_dsl.training.waiting import Waiting, waiting_text

_LOOK, _GLANCE = 0.5, 1.0
_LINE = 60.0
_WIDE = 120  # columns of a terminal that has room for everything
_WORTH = 60.0  # seconds of training that are worth an estimate


class ProgressView:
    """Adds up the figures of the steps and shows them.

    The sums stay on the device. They are read twice a second on a terminal; elsewhere once a second, with one printed
    line per minute.
    """

    def __init__(self, console: Console, device: torch.device) -> None:
        self.console, self.device = console, device
        self.every = _LOOK if console.is_terminal else _GLANCE
        self.bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24 if console.width >= _WIDE else 8),
            MofNCompleteColumn(),
            TextColumn("{task.fields[figures]}"),
            console=console,
            transient=True,
            refresh_per_second=2,
            disable=not console.is_terminal,
        )
        self.task = self.bar.add_task("", total=None, figures="")

    def __enter__(self) -> ProgressView:
        self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.stop()

    def run(self, steps: int, done: int, figures: Figures) -> None:
        """Begin a run of a task with these figures, of whose ``steps`` steps ``done`` are done."""
        self.shown = figures
        self.steps, self.first, self.done = steps, done, done
        self.start = time.perf_counter()
        self.warm, self.estimated = self.start, False
        self.bar.update(self.task, total=steps, completed=done)

    def epoch(self, title: str, loss: Tensor, figure: Tensor, images: int, seconds: float, waiting: Waiting) -> None:
        """Begin an epoch, or continue one with its previous sums."""
        self.title, self.loss, self.figure, self.images, self.waiting = title, loss, figure, images, waiting
        self.began = time.perf_counter() - seconds
        self.looked = self.printed = time.perf_counter()
        self.bar.update(self.task, description=title)

    def add(self, loss: Tensor, figure: Tensor, images: int) -> bool:
        """Add a finished step. Return False if the loss, which is read only now and then, is NaN or infinite."""
        self.loss.add_(loss, alpha=images)
        self.figure.add_(figure)
        self.images, self.done = self.images + images, self.done + 1
        now = time.perf_counter()
        if self.done == self.first + 1:
            self.warm = now
        if now - self.looked < self.every:
            return True
        self.looked = now
        figures = self.figures()
        running, pace = self.shown.running, f"{figures['images_per_second']:,.0f} {self.shown.examples}/s"
        shown = [
            f"loss {figures['train_loss']:.4f}",
            f"{running.label} {running.text(figures[f'train_{running.key}'])}",
            pace,
            waiting_text(figures["waiting"]),
            self.left(),
            memory_text(figures["memory"]),
        ]
        text = "  ".join(filter(None, shown))
        self._estimate(now)
        if self.console.is_terminal:
            self.bar.update(self.task, completed=self.done, figures=self._fitting(shown))
        elif now - self.printed > _LINE:
            self.printed = now
            self.line(f"{self.title}  step {self.done:,} of {self.steps:,}  {text}")
        return math.isfinite(figures["train_loss"])

    def figures(self) -> dict[str, Any]:
        """The figures of the epoch so far. ``waiting`` is the share of the time spent waiting for data, and ``memory``
        the peak memory in bytes."""
        loss = float(self.loss) / max(1, self.images)
        seconds = time.perf_counter() - self.began
        return {
            "train_loss": loss,
            f"train_{self.shown.running.key}": float(self.figure) / max(1, self.images),
            "seconds": seconds,
            "images_per_second": self.images / seconds,
            "waiting": min(1.0, self.waiting.seconds / seconds),
            "memory": peak_memory(self.device),
        }

    def _fitting(self, shown: list[str]) -> str:
        """As many of the figures as fit beside the bar: waiting, memory, pace and the score go first, in this order."""
        bar = 24 if self.console.width >= _WIDE else 8
        room = self.console.width - len(self.title) - bar - 2 * len(f"{self.steps:,}") - 5
        kept = list(shown)
        for i in (3, 5, 2, 1, 4):
            if len("  ".join(filter(None, kept))) > room:
                kept[i] = ""
        return "  ".join(filter(None, kept))

    def _estimate(self, now: float) -> None:
        """Say once how long the training will take and what memory it needs, measured on steps after the first."""
        measured = self.done - self.first - 1
        if self.estimated or measured < 1:
            return
        self.estimated = True
        seconds = (now - self.warm) / measured * (self.steps - self.done)
        if seconds > _WORTH:
            memory = memory_text(peak_memory(self.device))
            needs = f", and {memory}" if memory else ""
            steps = f"{measured} step{'s' * (measured > 1)}"
            self.line(f"training will take about {duration(seconds)}{needs}: measured on {steps}")

    def left(self) -> str:
        """The estimated remaining time, from the pace so far."""
        done = self.done - self.first
        if not done:
            return ""
        return f"{duration((self.steps - self.done) * (time.perf_counter() - self.start) / done)} left"

    def line(self, text: str, *, whole: bool = False) -> None:
        """Print a line that stays, folded at the width of the terminal, or at 80 columns in a file. ``whole``: do not
        fold it, because it has a command or a path to copy, or is a table."""
        shown = terminal(text)
        for line in [shown] if whole else folded(shown, self.console.width):
            self.console.print(Text(line), soft_wrap=True)


def peak_memory(device: torch.device) -> int:
    """The peak memory so far in bytes: the device's on CUDA, else the process's; 0 if unknown."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if sys.platform == "win32":
        return 0
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
