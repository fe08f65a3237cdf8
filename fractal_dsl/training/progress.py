"""What a user sees while a net trains: a bar on a terminal, plain lines elsewhere."""

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
from fractal_dsl.base.texts import duration, memory_text

_LOOK, _GLANCE = 0.5, 1.0
_LINE = 60.0


class View:
    """Counts what the steps report and shows it.

    The sums stay on the device; they are looked at twice a second on a terminal and once a second elsewhere, where
    a line is printed once a minute.
    """

    def __init__(self, console: Console, device: torch.device) -> None:
        self.console, self.device = console, device
        self.every = _LOOK if console.is_terminal else _GLANCE
        self.bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[figures]}"),
            console=console,
            transient=True,
            refresh_per_second=2,
            disable=not console.is_terminal,
        )
        self.task = self.bar.add_task("", total=None, figures="")

    def __enter__(self) -> View:
        self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.stop()

    def run(self, steps: int, done: int) -> None:
        """A run, or the rest of one, begins: ``steps`` in all, ``done`` of them."""
        self.steps, self.first, self.done = steps, done, done
        self.start = time.perf_counter()
        self.bar.update(self.task, total=steps, completed=done)

    def epoch(self, title: str, loss: Tensor, right: Tensor, images: int, seconds: float) -> None:
        """An epoch begins, or goes on with the sums that it had."""
        self.title, self.loss, self.right, self.images = title, loss, right, images
        self.began = time.perf_counter() - seconds
        self.looked = self.said = time.perf_counter()
        self.bar.update(self.task, description=title)

    def add(self, loss: Tensor, right: Tensor, images: int) -> bool:
        """A step is done. False if the loss was found not to be a number: it is looked at now and then only."""
        self.loss.add_(loss, alpha=images)
        self.right.add_(right)
        self.images, self.done = self.images + images, self.done + 1
        now = time.perf_counter()
        if now - self.looked < self.every:
            return True
        self.looked = now
        figures = self.figures()
        text = (
            f"loss {figures['train_loss']:.4f}  accuracy {figures['train_accuracy']:.2%}  "
            f"{figures['images_per_second']:,.0f} images/s  {self.left()}  {memory_text(figures['memory'])}"
        )
        if self.console.is_terminal:
            self.bar.update(self.task, completed=self.done, figures=text)
        elif now - self.said > _LINE:
            self.said = now
            self.line(f"{self.title}  step {self.done:,} of {self.steps:,}  {text}")
        return math.isfinite(figures["train_loss"])

    def figures(self) -> dict[str, Any]:
        """The figures of the epoch so far. ``memory`` is the most that was in use, in bytes."""
        loss = float(self.loss) / max(1, self.images)
        seconds = time.perf_counter() - self.began
        return {
            "train_loss": loss,
            "train_accuracy": float(self.right) / max(1, self.images),
            "seconds": seconds,
            "images_per_second": self.images / seconds,
            "memory": peak_memory(self.device),
        }

    def left(self) -> str:
        """How long the rest will take, at the pace so far."""
        done = self.done - self.first
        if not done:
            return ""
        return f"{duration((self.steps - self.done) * (time.perf_counter() - self.start) / done)} left"

    def line(self, text: str) -> None:
        """A line that stays."""
        self.console.print(Text(terminal(text)), soft_wrap=True)


def peak_memory(device: torch.device) -> int:
    """The most memory in use so far, in bytes: the device's on CUDA, else the whole process's; 0 where unknown."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if sys.platform == "win32":
        return 0
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
