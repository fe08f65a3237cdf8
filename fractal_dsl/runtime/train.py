"""The training loop.

Every draw is a function of the seed and counters: the weights of the seed, the order of the images of
(seed, epoch), dropout and the drop-path plan of (seed, step). Nothing depends on what was drawn before.
"""

from __future__ import annotations

import math
import os
import signal
import threading
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor
from torch.nn import functional as F

from fractal_dsl.config import TrainConfig
from fractal_dsl.diagnostics import UserError
from fractal_dsl.driver import Compiled
from fractal_dsl.files import write_text
from fractal_dsl.plan import Plan
from fractal_dsl.runtime.artifact import load_weights
from fractal_dsl.runtime.data import ImageSet, batch_order, load, seed_for
from fractal_dsl.runtime.evaluate import choose_device, measure_all
from fractal_dsl.runtime.module import FractalModule, build
from fractal_dsl.runtime.plots import require_matplotlib
from fractal_dsl.runtime.report import write_report
from fractal_dsl.runtime.run_folder import RunResult, RunWriter, Status

_ONE_THREAD_MACS = 2_000_000_000
"""Multiply-accumulates of a mini-batch's forward pass below which a second thread costs more than it brings."""


def train(
    compiled: Compiled,
    config: TrainConfig,
    out: Path | None = None,
    *,
    device: str | None = None,
    console: Console | None = None,
    picture: str | None = None,
) -> RunResult:
    """Train a net and leave a run folder: ``out``, or the next free ``runs/NET-1``.

    ``picture`` is the net as SVG, for the report. CUDA is used when present, unless ``device`` says otherwise.
    Ctrl-C ends the run after the step it is in, and the run is finished as usual. Raises UserError if the data
    do not fit the net, the folder is taken, or the loss stops being a number (the last good weights are kept).
    """
    require_matplotlib()
    place = choose_device(device)
    program = compiled.program
    images = load(config, program.net, program.input, program.output, place)
    model = build(compiled, config.seed).to(place)
    run = RunWriter(compiled, config, out)
    try:
        run.normalisation(images.mean, images.std)
        return _train(run, compiled, config, model, images, place, console or Console(), picture)
    except BaseException:
        run.abandon()
        raise


def _train(
    run: RunWriter,
    compiled: Compiled,
    config: TrainConfig,
    model: FractalModule,
    images: ImageSet,
    place: torch.device,
    console: Console,
    picture: str | None,
) -> RunResult:
    if picture:
        write_text(run.folder / "graph.svg", picture)
    start = time.perf_counter()
    with _surroundings(compiled.summary.macs * config.batch, place), _View(config, console) as view:
        view.line(f"training {compiled.program.net} on {images.describe()}; {place}; into {run.folder}")
        history = _fit(model, images, config, run, view)
    load_weights(model, [run.folder / "best.safetensors"])
    result = RunResult(
        run.folder,
        history.status,
        epochs=len(history.epochs),
        best_epoch=history.best_epoch,
        **measure_all(model, images, images.test),
        seconds=time.perf_counter() - start,
        images_per_second=sum(e["images_per_second"] for e in history.epochs) / max(1, len(history.epochs)),
    )
    run.result({key: value for key, value in asdict(result).items() if key != "folder"})
    write_report(run.folder)
    run.seal(history.status)
    best = f"the weights of epoch {result.best_epoch}" if result.best_epoch else "untrained weights"
    view.line(f"test images, with {best}: {_shares(asdict(result))}")
    view.line(f"report: {run.folder / 'report.html'}")
    return result


@dataclass
class _History:
    """A line of ``metrics.jsonl`` for each epoch; epoch 0 is before training."""

    epochs: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    status: Status = "running"
    best_epoch: int = 0
    best: tuple[float, float] = (-1.0, -math.inf)


def _fit(model: FractalModule, images: ImageSet, config: TrainConfig, run: RunWriter, view: _View) -> _History:
    """The loop itself. ``last.safetensors`` and ``best.safetensors`` are whole at every moment."""
    history = _History()
    _save(model, run, history, best=True)
    optimizer = torch.optim.SGD(model.parameters(), **config.optimizer.model_dump(exclude={"name"}))
    step = 0
    with _interruptible() as interrupted:
        for epoch in range(config.epochs):
            order = batch_order(len(images.train), config.batch, config.seed, epoch)
            view.begin(epoch, len(order))
            lr = 0.0
            for i, rows in enumerate(order):
                lr = config.optimizer.lr * config.schedule.factor(epoch + i / len(order), config.epochs)
                for group in optimizer.param_groups:
                    group["lr"] = lr
                loss, right = _step(model, optimizer, *images.batch(images.train, rows), config.seed, step)
                view.add(loss, right, len(rows))
                step += 1
                if not view.finite:
                    _diverged(run, history, config)
                if interrupted.is_set() and _finite(model):
                    history.status = "interrupted"
                    _save(model, run, history, best=not config.validation)
                    saved = run.folder / "last.safetensors"
                    view.line(f"stopped by Ctrl-C in epoch {epoch + 1}, after step {step}: the weights are in {saved}")
                    return history
            figures: dict[str, Any] = {"epoch": epoch + 1, "step": step, "lr": lr, **view.end()}
            figures["validation"] = measure_all(model, images, images.validation) if len(images.validation) else None
            if not (view.finite and _finite(model)):
                _diverged(run, history, config)
            history.epochs.append(figures)
            score = _score(figures)
            better = score >= history.best
            if better:
                history.best, history.best_epoch = score, epoch + 1
            _save(model, run, history, better)
            view.line(_epoch_line(figures, config.epochs))
    history.status = "finished"
    return history


def _step(
    model: FractalModule, optimizer: torch.optim.Optimizer, x: Tensor, y: Tensor, seed: int, step: int
) -> tuple[Tensor, Tensor]:
    """One mini-batch: the loss under the step's (first) plan, and how many images it got right."""
    torch.manual_seed(seed_for("dropout", seed, step))
    model.train()
    optimizer.zero_grad()
    first: tuple[Tensor, Tensor] | None = None
    for plan, weight in _plans(model, seed, step):
        logits = model.run(x, plan)
        loss = F.cross_entropy(logits, y)
        (loss * weight).backward()  # gradients add up: one pass at a time is in memory
        first = first or (loss.detach(), (logits.detach().argmax(1) == y).sum())
    optimizer.step()
    assert first is not None
    return first


def _plans(model: FractalModule, seed: int, step: int) -> Iterator[tuple[Plan, float]]:
    """The plans of a step and the weights of their losses: with ``columns=all`` a local one and every column."""
    yield model.plan(seed, step), 1.0
    if model.drop_path and model.drop_path.all_columns:
        for k in range(1, model.n_columns + 1):
            yield model.column_plan(k), 1 / model.n_columns


def _save(model: FractalModule, run: RunWriter, history: _History, best: bool) -> None:
    run.metrics(history.epochs)
    run.weights("last", model)
    if best:
        run.weights("best", model)
    run.seal(history.status)


def _score(figures: dict[str, Any]) -> tuple[float, float]:
    """What the best weights have most of: validation accuracy, then less loss. Without validation: the epoch."""
    validation = figures["validation"]
    return (validation["accuracy"], -validation["loss"]) if validation else (figures["epoch"], 0.0)


def _finite(model: FractalModule) -> bool:
    return all(bool(p.isfinite().all()) for p in model.parameters())


def _diverged(run: RunWriter, history: _History, config: TrainConfig) -> None:
    run.seal("diverged")
    epoch, saved = len(history.epochs), run.folder / "last.safetensors"
    raise UserError(
        f"training diverged in epoch {epoch + 1}: the loss is not a number any more. "
        f"{saved} has the weights {f'after epoch {epoch}' if epoch else 'from before training'}. "
        f"Try a lower rate: --set optimizer.lr={config.optimizer.lr / 10:g}"
    )


# --- around the loop


@contextmanager
def _surroundings(macs: int, device: torch.device) -> Generator[None]:
    """One thread for work too small to share, unless the user has set OMP_NUM_THREADS. The caller's threads
    and torch's global generators are left as they were. Failures that a user can put right are UserErrors."""
    threads = torch.get_num_threads()
    if macs < _ONE_THREAD_MACS and "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(1)
    try:
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            yield
    except torch.OutOfMemoryError:
        raise UserError("the device is out of memory: lower `batch`") from None
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):
            raise
        raise UserError("batch norm cannot train on mini-batches of one value per channel: raise `batch`") from None
    finally:
        torch.set_num_threads(threads)


@contextmanager
def _interruptible() -> Generator[threading.Event]:
    """An event that the first Ctrl-C sets; the second one ends the program as ever."""
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return
    before = signal.getsignal(signal.SIGINT)

    def note(*_: object) -> None:
        asked.set()
        signal.signal(signal.SIGINT, before)

    signal.signal(signal.SIGINT, note)
    try:
        yield asked
    finally:
        signal.signal(signal.SIGINT, before)


def _epoch_line(figures: dict[str, Any], epochs: int) -> str:
    line = (
        f"epoch {figures['epoch']:>{len(str(epochs))}}/{epochs}  loss {figures['train_loss']:.4f}  "
        f"accuracy {figures['train_accuracy']:6.2%}"
    )
    if figures["validation"]:
        line += f"  validation {_shares(figures['validation'])}"
    return line + f"  rate {figures['lr']:.2g}  {figures['images_per_second']:,.0f} images/s"


def _shares(measured: dict[str, Any]) -> str:
    columns = " ".join(f"{c['accuracy']:.1%}" for c in measured["columns"])
    return f"{measured['accuracy']:6.2%} (columns {columns})"


class _View:
    """Counts what the steps report and shows it: a bar on a terminal, and a line for each epoch anywhere."""

    def __init__(self, config: TrainConfig, console: Console) -> None:
        self.config, self.console = config, console
        self.finite, self.steps = True, 0
        self.bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[figures]}"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self.task = self.bar.add_task("", total=None, figures="")

    def __enter__(self) -> _View:
        self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.stop()

    def begin(self, epoch: int, steps: int) -> None:
        """An epoch starts."""
        self.loss: Tensor | float = 0.0
        self.right: Tensor | float = 0.0
        self.images, self.shown = 0, 0.0
        self.start = time.perf_counter()
        if epoch == 0:
            self.bar.update(self.task, total=steps * self.config.epochs)
        self.bar.update(self.task, description=f"epoch {epoch + 1}/{self.config.epochs}")

    def add(self, loss: Tensor, right: Tensor, images: int) -> None:
        """A step is done. The figures stay on the device; they are looked at ten times a second."""
        self.loss, self.right = self.loss + loss * images, self.right + right
        self.images, self.steps = self.images + images, self.steps + 1
        now = time.perf_counter()
        if now - self.shown > 0.1:
            self.shown = now
            figures = self.end()
            text = "loss {train_loss:.4f}  accuracy {train_accuracy:.2%}  {images_per_second:,.0f} images/s"
            self.bar.update(self.task, completed=self.steps, figures=text.format(**figures))

    def end(self) -> dict[str, float]:
        """The figures of the epoch so far."""
        seconds = time.perf_counter() - self.start
        loss = float(self.loss) / self.images
        self.finite = math.isfinite(loss)
        return {
            "train_loss": loss,
            "train_accuracy": float(self.right) / self.images,
            "seconds": seconds,
            "images_per_second": self.images / seconds,
        }

    def line(self, text: str) -> None:
        """A line that stays."""
        self.console.print(text, highlight=False, soft_wrap=True)
