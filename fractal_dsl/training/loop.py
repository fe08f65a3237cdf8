"""The training loop: epochs, steps and checkpoints (paper, section 4).

Every draw is a function of the seed and counters: the weights of the seed, the order of the examples of (seed, epoch),
augmentation of (seed, epoch, example), dropout, mixing and the drop-path plan of (seed, step). No draw depends
on earlier ones, so a killed and resumed run is bit-identical to an uninterrupted one.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import closing, contextmanager, nullcontext
from statistics import fmean
from typing import Any

import torch

from fractal_dsl.base.errors import UserError
from fractal_dsl.config import TrainConfig
from fractal_dsl.config.recalibration import AtEnd, EachEpoch
from fractal_dsl.data import ImageSet
from fractal_dsl.data.parts import Batch, workers_explained
from fractal_dsl.evaluation.introspect import Tracker
from fractal_dsl.evaluation.run import Weights
from fractal_dsl.runs.tasks import Figures, Metric
from fractal_dsl.runtime.arguments import size_of
from fractal_dsl.runtime.compiling import CompileClock
from fractal_dsl.runtime.graph_to_fx import routes_apart
from fractal_dsl.training.checkpoint import Checkpoint, Ended, Progress
from fractal_dsl.training.profiling import Profiler
from fractal_dsl.training.progress import ProgressView
from fractal_dsl.training.step import Stepper
from fractal_dsl.training.store import Store
from fractal_dsl.training.waiting import Waiting, waiting_text

_SHARE = 50
"""After an epoch the state is saved if the time since the last save is this many times the time of a save."""


class Loop:
    """Trains one net. ``progress`` and ``epochs``, the lines of ``metrics.jsonl``, record what it has done.

    It stops after the current step when ``interrupted`` is set, or after the time ``deadline`` (perf_counter).
    """

    def __init__(
        self,
        stepper: Stepper,
        images: ImageSet,
        config: TrainConfig,
        store: Store,
        view: ProgressView,
        interrupted: threading.Event,
        deadline: float = math.inf,
        on_epoch: Callable[[dict[str, Any]], None] | None = None,
    ) -> None:
        self.stepper, self.model, self.images, self.config = stepper, stepper.model, images, config
        self.store, self.view, self.interrupted, self.deadline = store, view, interrupted, deadline
        self.on_epoch = on_epoch
        self.figures = images.figures
        self.progress = Progress()
        self.epochs: list[dict[str, Any]] = []
        kind = torch.float32 if stepper.device.type == "mps" else torch.float64
        self.loss, self.figure = (torch.zeros((), dtype=kind, device=stepper.device) for _ in range(2))
        tracked = config.track_columns and stepper.world.leads
        self.waiting = Waiting(stepper.device)
        self.tracker = Tracker(self.model, images, config.seed, config.batch) if tracked else None
        self.saved = self.saving = 0.0
        self.profiler: Profiler | None = None
        self.clock: CompileClock | None = None

    def restore(self, checkpoint: Checkpoint) -> None:
        """Restore a saved state."""
        self.progress, self.epochs = p, _ = checkpoint.progress, checkpoint.epochs
        if checkpoint.manifest.config["epochs"] < self.config.epochs and p.ended in ("epochs", "patience"):
            if p.ended == "patience":
                p.patient_from = p.epoch
            p.ended = ""
        tensors = self.stepper.load(checkpoint)
        self.loss.copy_(tensors["epoch/loss"])
        self.figure.copy_(tensors["epoch/figure"])
        self.store.metrics(self.epochs)

    def rewrite(self, names: Sequence[Weights]) -> None:
        """Write these weights again, from the restored state."""
        if names:
            with self._evaluated():
                self.store.weights(names, self.stepper.weights(), self.progress.epoch)
            self.store.flush()

    def load_best(self) -> None:
        """Load the best weights. With ``recalibrate = "end"``, re-estimate the statistics of all kept weights first."""
        store, p = self.store, self.progress
        if isinstance(self.config.recalibrate, AtEnd):
            same = not self.config.validation or (not p.batch and p.best_epoch == p.epoch)
            kept: list[tuple[Weights, ...]] = [("last", "best")] if same else [("last",), ("best",)]
            for names in kept:
                epoch = store.epoch_of(names[0])
                self.stepper.load_weights(store.folder / f"{names[0]}.safetensors")
                with self.stepper.recalibrated(self.images):
                    store.weights(names, self.stepper.weights(), epoch)
            store.flush()
        self.stepper.load_weights(store.folder / "best.safetensors")

    def run(self) -> Progress:
        """Train until the epochs are done or something else ends the run; ``progress.ended`` gives the reason.

        Raises UserError if the loss becomes NaN or infinite, or the disk is full. The last good state is kept.
        """
        p = self.progress
        if p.ended in ("epochs", "patience"):
            return p
        p.ended = ""
        self.saved, self.start = time.perf_counter(), time.perf_counter() - p.seconds
        steps = len(self._order())
        self.view.run(steps * self.config.epochs, p.step, self.figures)
        if p.step == 0:
            self._first()
        profiled = self.config.profile and self.stepper.world.leads
        with (
            Profiler(self.store.folder) if profiled else nullcontext() as self.profiler,
            CompileClock() if self.config.compile else nullcontext() as self.clock,
        ):
            while not p.ended:
                self._epoch()
        return p

    def _order(self) -> tuple[torch.Tensor, ...]:
        return self.stepper.order(len(self.images.train), self.progress.epoch)

    def _first(self) -> None:
        """Before training, write everything that is needed to resume and open the run."""
        with self.store.kept():
            self.store.metrics([])
        self.store.weights(("best", "last"), self.stepper.weights(), 0)
        self._save()

    def _epoch(self) -> None:
        p, config, order = self.progress, self.config, self._order()
        if p.batch == 0:
            self.loss.zero_()
            self.figure.zero_()
            p.images, p.epoch_seconds, p.epoch_waited = 0, 0.0, 0.0
        self.stepper.train()
        title = f"epoch {p.epoch + 1}/{config.epochs}"
        self.waiting.start(p.epoch_waited)
        self.view.epoch(title, self.loss, self.figure, p.images, p.epoch_seconds, self.waiting)
        with self._readers_explained(), closing(self._batches(order[p.batch :])) as batches:
            rate = self._steps(batches, len(order))
        if not p.ended:
            self._epoch_done(rate)

    def _steps(self, batches: Generator[Batch], count: int) -> float:
        """Train on the mini-batches, which end an epoch of ``count`` of them. Return the last learning rate."""
        p, config, rate = self.progress, self.config, 0.0
        for x, y in self.waiting.watched(batches):
            rate = config.optimizer.lr * config.schedule.factor(p.epoch + p.batch / count, config.epochs)
            loss, figure = self.stepper.step(x, y, p.step, rate)
            images = size_of(y) * self.stepper.shares.size
            p.step, p.batch, p.images = p.step + 1, p.batch + 1, p.images + images
            diverged = not self.view.add(loss, figure, images)
            diverged, ended, due = self._agreed(diverged, 60 * config.save_minutes)
            if diverged:
                self._diverged()
            if self.profiler is not None and self.profiler.step():
                self.view.line(self.profiler.table, whole=True)
            if p.batch < count:
                p.ended = ended
                if ended or due:
                    self._mid_epoch()
                if p.ended:
                    break
        return rate

    def _batches(self, order: Sequence[torch.Tensor]) -> Generator[Batch]:
        with self.store.kept():  # a file may not be an image
            yield from self.images.batches(self.images.train, order, self.progress.epoch)

    @contextmanager
    def _readers_explained(self) -> Generator[None]:
        """If a process that reads data ends, which torch may report during a step, tell the user how to resume."""
        try:
            yield
        except RuntimeError:
            with self.store.kept(), workers_explained():
                raise

    def _agreed(self, diverged: bool, pause: float) -> tuple[bool, Ended, bool]:
        """Whether the loss diverged, why the run should stop, and whether a save is due.

        A save is due after ``pause`` seconds. All processes agree, although each has its own clock.
        """
        now, every = time.perf_counter(), self.config.save_steps
        due = every is not None and self.progress.step % every == 0
        diverged, interrupted, over, due = self.stepper.world.any(
            diverged,
            self.interrupted.is_set(),
            now > self.deadline,
            due or now - self.saved > pause,
        )
        return diverged, "interrupted" if interrupted else "minutes" if over else "", due

    def _mid_epoch(self) -> None:
        p, seconds = self.progress, self.view.figures()["seconds"]
        if not self._finite():
            self._diverged()
        p.epoch_seconds, p.epoch_waited = seconds, self.waiting.seconds
        if p.ended:
            with self._evaluated():
                judged = self.config.validation and p.epoch  # the best weights come from the end of an epoch
                names: tuple[Weights, ...] = ("last",) if judged else ("last", "best")
                self.store.weights(names, self.stepper.weights(), p.epoch)
        self._save()

    def _epoch_done(self, rate: float) -> None:
        p, config = self.progress, self.config
        figures: dict[str, Any] = {"epoch": p.epoch + 1, "step": p.step, "lr": rate, **self.view.figures()}
        if not self._finite():
            self._diverged()
        with self._evaluated():
            images = self.images
            measured = len(images.validation) > 0
            each = self._measures_columns()
            figures["validation"] = self.stepper.measure(images, images.validation, each) if measured else None
            if self.tracker is not None:
                figures["training"] = self.tracker.measure()
            if self.clock is not None:  # parts of the net may first run in validation
                figures["compile_seconds"], self.clock.seconds = self.clock.seconds, 0.0
            p.epoch, p.batch = p.epoch + 1, 0
            self.epochs.append(figures)
            score = _score(figures, self.figures.score, routes_apart(self.model.join_graph))
            better = score >= p.best
            if better:
                p.best, p.best_epoch = score, p.epoch
            self.store.weights(("last", "best") if better else ("last",), self.stepper.weights(), p.epoch)
        with self.store.kept():
            self.store.metrics(self.epochs)
        p.ended, due = self._end()
        if due:
            self._save()
        else:
            with self.store.kept():
                self.store.seal("running")
        if self.on_epoch is not None:
            self.on_epoch(figures)
        self.view.line(
            epoch_line(figures, config.epochs, self.figures) + (f"  {self.view.left()}" if not p.ended else "")
        )

    def _measures_columns(self) -> bool:
        """Whether validation measures each column, too: if columns are trained to stand alone, or tracked.

        A run of an earlier version, which measured columns of every net, continues to do so.
        """
        before = self.epochs[0]["validation"] if self.epochs else None
        so_far = bool(before and before["columns"])
        return so_far or self.config.track_columns or routes_apart(self.model.join_graph)

    def _end(self) -> tuple[Ended, bool]:
        """Why the run should stop at the end of an epoch, and whether its state should be saved."""
        p, patience = self.progress, self.config.patience
        if p.epoch == self.config.epochs:
            return "epochs", True
        if patience is not None and p.epoch - max(p.best_epoch, p.patient_from) >= patience:
            return "patience", True
        _, ended, due = self._agreed(False, min(60 * self.config.save_minutes, _SHARE * self.saving))
        return ended, due or bool(ended)

    def _save(self) -> None:
        """Write everything that is needed to resume and open the run."""
        p, began = self.progress, time.perf_counter()
        p.seconds, p.scaler = began - self.start, self.stepper.scaler.state_dict()
        tensors = {**self.stepper.tensors(), "epoch/loss": self.loss, "epoch/figure": self.figure}
        with self.store.kept():
            if self.config.track_columns:
                self.store.gradients(lambda: self.tracker.norms if self.tracker else {})
            self.store.flush()
            self.store.checkpoint(p, tensors, self.epochs, self.stepper.sharded)
            self.store.seal("running")
        self.saved = time.perf_counter()
        self.saving = self.saved - began

    @contextmanager
    def _evaluated(self) -> Generator[None]:
        """Use what is measured and kept: the average of the weights, if there is one, and re-estimated statistics."""
        average, each = self.stepper.average, isinstance(self.config.recalibrate, EachEpoch)
        with (
            average.applied() if average is not None else nullcontext(),
            self.stepper.recalibrated(self.images) if each else nullcontext(),
        ):
            yield

    def _finite(self) -> bool:
        return not self.stepper.world.any(not (self.loss.isfinite().item() and self.stepper.finite()))[0]

    def _diverged(self) -> None:
        p = self.progress
        with self.store.kept():
            self.store.flush()
        self.store.seal("diverged")
        saved = self.store.folder / "last.safetensors"
        raise UserError(
            f"training diverged in epoch {p.epoch + 1}: the loss is no longer a number. "
            f"{saved} has the weights {f'after epoch {p.epoch}' if p.epoch else 'from before training'}. "
            f"Try a lower learning rate, --set optimizer.lr={self.config.optimizer.lr / 10:g}, "
            "bounded gradients, --set clip=1, or a warm-up, --set schedule.warmup=1"
        )


def _score(figures: dict[str, Any], score: Metric, columns: bool) -> list[float]:
    """What the best weights maximise: the task's score in validation, then low loss; without validation, the epoch.

    If columns are trained to stand alone, each counts as much as the whole net.
    """
    whole = figures["validation"]
    if not whole:
        return [figures["epoch"], 0.0]
    judged = [whole, *(whole["columns"] if columns else ())]
    return [fmean(score.merit(v[score.key]) for v in judged), -fmean(v["loss"] for v in judged)]


def epoch_line(measured: dict[str, Any], epochs: int, figures: Figures) -> str:
    """An epoch's figures as a line for people."""
    running, score = figures.running, figures.score
    line = (
        f"epoch {measured['epoch']:>{len(str(epochs))}}/{epochs}  loss {measured['train_loss']:.4f}  "
        f"{running.label} {running.text(measured[f'train_{running.key}']):>6}"
    )
    if measured["validation"]:
        label = "" if score.key == running.key else f"{score.label} "
        line += f"  validation {label}{scores(measured['validation'], figures)}"
    line += f"  rate {measured['lr']:.2g}  {measured['images_per_second']:,.0f} {figures.examples}/s"
    if waiting := waiting_text(measured["waiting"]):
        line += f"  {waiting}"
    compiling = measured.get("compile_seconds", 0)
    return line + (f"  ({compiling:.1f} s compiling)" if compiling else "")


def scores(measured: dict[str, Any], figures: Figures) -> str:
    """The score of the whole net, of each column that was measured, and of further outputs."""
    score = figures.score
    columns = " ".join(score.short(c[score.key]) for c in measured["columns"])
    each = measured.get("outputs", {})
    others = [f"{name} {own.score.text(each[name][own.score.key])}" for name, own in figures.others.items()]
    inside = ", ".join([f"columns {columns}"] * bool(columns) + others)
    return f"{score.text(measured[score.key]):>6}" + (f" ({inside})" if inside else "")
