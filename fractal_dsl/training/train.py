"""Starts and resumes training runs."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from fractal_dsl.base.errors import UserError
from fractal_dsl.base.parts import is_part, write_part
from fractal_dsl.base.texts import counted, duration, shortened
from fractal_dsl.compiled import MAX_LAYERS, Compiled
from fractal_dsl.config import TrainConfig
from fractal_dsl.config.losses import TaskName
from fractal_dsl.config.paths import absolute
from fractal_dsl.data import ImageSet, load, net_ends, vocabularies_of
from fractal_dsl.evaluation.evaluate import choose_device
from fractal_dsl.evaluation.run import RunResult, Weights, data_of, spec_of_unfinished, unfinished
from fractal_dsl.runs.data_record import compare_records
from fractal_dsl.runs.files import flattened
from fractal_dsl.runs.parts import INITIAL
from fractal_dsl.runs.plots import require_matplotlib
from fractal_dsl.runtime.artifact import load_weights
from fractal_dsl.runtime.build import build
from fractal_dsl.runtime.fuse import count_batchnorms
from fractal_dsl.runtime.module import FractalModule
from fractal_dsl.runtime.world import World
from fractal_dsl.stored.manifests import read_given
from fractal_dsl.tasks.causal import check_causal
from fractal_dsl.tasks.several import heads_of, trained_outputs
from fractal_dsl.training.checkpoint import Checkpoint, require_utf8
from fractal_dsl.training.cuda_graphs import check_graphs
from fractal_dsl.training.distillation import check_distillation
from fractal_dsl.training.finish import finished
from fractal_dsl.training.freezing import check_frozen
from fractal_dsl.training.initial import initial_weights
from fractal_dsl.training.layout import SMALL_STEP, with_way
from fractal_dsl.training.lengthened import lengthened
from fractal_dsl.training.loop import Loop
from fractal_dsl.training.mixing import check_mixed_targets, check_mixing
from fractal_dsl.training.parallel import ParallelKind
from fractal_dsl.training.parallel.launch import device_of, make_stepper, processes, to_restart
from fractal_dsl.training.progress import ProgressView
from fractal_dsl.training.rates import check_rates
from fractal_dsl.training.run_writer import RunWriter, locked, new_folder
from fractal_dsl.training.sessions import note_session
from fractal_dsl.training.sinks import Sinks, require_sinks
from fractal_dsl.training.store import Store
from fractal_dsl.training.surroundings import Interruption, interruptible, surroundings


def train(
    compiled: Compiled,
    config: TrainConfig,
    out: Path | None = None,
    *,
    device: str | None = None,
    console: Console | None = None,
    picture: str | None = None,
    allow_python: bool = False,
    parallel: ParallelKind | None = None,
    start: FractalModule | None = None,
    command: str | None = None,
) -> RunResult:
    """Train a net and write the run's folder: ``out``, or the next free ``runs/NET-1``.

    Training begins with the weights of ``start``, a network of the same spec, or with weights drawn from the seed.
    The setting ``init_from`` replaces those that its source has, and ``initial.json`` records them.
    ``picture`` is the net as SVG, and ``command`` the command line that began the training, for the report. CUDA is
    used if present, unless ``device`` says otherwise. Relative paths of a data set start at the current folder; the run
    stores absolute ones. ``allow_python`` lets the data set be Python code. ``parallel`` says how the processes that
    torchrun started share the work. If torchrun restarts them, they resume the run in ``out``.

    Ctrl-C or SIGTERM ends the run after the current step. The run is saved, measured as usual, and can be resumed.
    Raises UserError if the data do not fit the net, the folder is taken, the disk is full, or the loss becomes NaN or
    infinite (the last good state is kept).
    """
    if parallel in ("fsdp", "pipeline") and out is not None:
        require_utf8(out)
    if parallel and to_restart(out):
        limit = compiled.max_layers
        return resume(
            Path(out or ""),
            limit,
            device=device,
            console=console,
            allow_python=allow_python,
            parallel=parallel,
            command=command,
        )
    place, config = choose_device(device_of(device)), absolute(config)
    with processes(parallel, place) as world:
        _check(compiled, config, place, parallel)
        images = world.lead_first(lambda: _images(compiled, config, place, allow_python))
        threads = _threads(compiled, config)
        config = world.lead(lambda: with_way(compiled, config, place, threads, parallel, _tasks(images)))
        weights, origin = initial_weights(compiled, config, start)
        console = console or Console(quiet=not world.leads)
        if origin is not None:
            console.print(origin.table())
        folder = world.lead(lambda: new_folder(compiled.program.net, out))
        with locked(folder, world):
            number = _processes(parallel, world)
            run = RunWriter(folder, compiled, config, place.type, threads, world, number)
            run.begin(weights, origin)
            job = _Training(run, images, place, console, world, parallel, command, resumed=False)
            return _begin(job, picture)


def _begin(job: _Training, picture: str | None) -> RunResult:
    """Train a new run. Its folder disappears if training does not begin."""
    run = job.run
    try:
        model = _initial(run).to(job.place)
        run.data(job.images.record)
        if picture and job.world.leads:
            write_part(run.folder, "graph.svg", picture)
        return job.train(model, run.config.max_minutes)
    except BaseException:
        run.abandon()
        raise


def resume(
    folder: Path,
    max_layers: int = MAX_LAYERS,
    *,
    device: str | None = None,
    console: Console | None = None,
    max_minutes: float | None = None,
    allow_python: bool = False,
    parallel: ParallelKind | None = None,
    epochs: int | None = None,
    command: str | None = None,
) -> RunResult:
    """Resume a stopped or killed run from its newest undamaged checkpoint.

    The resumed run is bit-identical to an uninterrupted one on the same kind of machine with as many processes. It can
    also resume with another number of processes, or another way to share the work. ``max_minutes`` is the time for
    this part of it, by default the setting's; infinity lifts that. ``epochs`` gives the run more epochs, even if it is
    finished or was stopped early. It then follows the schedule of a run of that length, and is bit-identical to such a
    run if the schedule does not depend on the number of epochs. Raises UserError if the run is finished, cannot
    be resumed, or is being trained by another process.
    """
    if max_minutes is not None and not max_minutes > 0:
        raise UserError(f"max_minutes is a time above 0, not {max_minutes:g}")
    place = choose_device(device_of(device))
    with processes(parallel, place) as world, locked(unfinished(folder), world):
        compiled, config = spec_of_unfinished(folder, max_layers, allow_python=allow_python, epochs=epochs)
        _check(compiled, config, place, parallel)
        run = RunWriter(
            folder,
            compiled,
            config,
            place.type,
            _threads(compiled, config),
            world,
            _processes(parallel, world),
            spec=read_given(folder).spec,
        )
        images = world.lead_first(lambda: _same_images(folder, _images(compiled, config, place, allow_python)))
        model = _initial(run).to(place)
        console = console or Console(quiet=not world.leads)
        job = _Training(run, images, place, console, world, parallel, command, resumed=True)
        return job.train(model, max_minutes if max_minutes is not None else config.max_minutes)


def _check(compiled: Compiled, config: TrainConfig, place: torch.device, parallel: ParallelKind | None) -> None:
    """Check everything that training needs, as far as possible before the data are read."""
    require_matplotlib()
    require_sinks(config)
    into, out = net_ends(compiled.program)
    trained_outputs(config, compiled.program.net, [*out])
    check_mixing(config, [*into.values()])
    check_graphs(config, place, parallel, len(into) + len(out) > 2)
    if parallel == "pipeline" and len(into) + len(out) > 2:
        raise UserError("--parallel pipeline passes one value from process to process: use --parallel ddp or fsdp")
    if config.plain is not None:
        compiled.column(config.plain)
    check_frozen(compiled.graph, config.freeze, config.plain)
    check_rates(compiled.graph, config.lr_scale)
    check_distillation(config, compiled.graph)


def _initial(run: RunWriter) -> FractalModule:
    """The net with the initial weights of a run."""
    model = build(run.compiled, run.config.seed)
    if is_part(run.folder, INITIAL):
        load_weights(model, [run.folder / INITIAL])
    return model


def _processes(parallel: ParallelKind | None, world: World) -> str:
    return "1" if parallel is None else f"{world.size} by {parallel}"


def _images(compiled: Compiled, config: TrainConfig, place: torch.device, allow_python: bool) -> ImageSet:
    net, (into, out) = compiled.program.net, net_ends(compiled.program)
    vocabulary = vocabularies_of(compiled.graph)
    images = load(config, net, into, out, place, vocabulary=vocabulary, allow_python=allow_python)
    check_mixed_targets(config, images.task, [*out.values()])
    if config.dataset is not None and config.dataset.name == "text":
        check_causal(build(compiled, config.seed), net)
    return images


def _tasks(images: ImageSet) -> set[TaskName]:
    return {head.task.name for head in heads_of(images.task)}


def _same_images(folder: Path, images: ImageSet) -> ImageSet:
    """Raise UserError if these are not the data that the run in ``folder`` began with."""
    verdict = compare_records(data_of(folder), images.record, folder, exact=True)
    if "refuse" in verdict:
        raise UserError(verdict["refuse"])
    return images


@dataclass(frozen=True)
class _Training:
    """A run in training: its folder, its data, its device and its processes."""

    run: RunWriter
    images: ImageSet
    place: torch.device
    console: Console
    world: World
    parallel: ParallelKind | None
    command: str | None
    resumed: bool

    def train(self, model: FractalModule, minutes: float | None) -> RunResult:
        """Train for at most ``minutes``, then measure and report."""
        deadline = math.inf if minutes is None else time.perf_counter() + 60 * minutes
        run, images, place = self.run, self.images, self.place
        config, net = run.config, run.compiled.program.net
        with (
            surroundings(run.facts["threads"], config, place),
            ProgressView(self.console, place) as view,
            interruptible(Interruption(os.getppid() if self.parallel else None)) as interrupted,
            Sinks(config, run.folder, _settings(run), view.line) if self.world.leads else nullcontext() as on_epoch,
        ):
            doing = "resuming" if self.resumed else "training"
            view.line(f"{doing} {net} on {images.describe()}; {self._how()}; into {run.folder}")
            if lost := images.record.unreadable:
                view.line(f"skipped because they cannot be read:  {shortened(lost)}")
            if config.batch > len(images.train):
                view.line(
                    f"note: a mini-batch of {config.batch:,} takes all {len(images.train):,} training "
                    f"{images.figures.examples}"
                )
            wanted = "recalibrate" in config.model_fields_set and config.recalibrate.name != "none"
            if wanted and not count_batchnorms(model):
                view.line(f"note: net {net} has no batch norm, so `recalibrate` changes nothing")

            stores = [run.store(part) for part in ("", *["plain"] * (config.plain is not None))]
            saved = [_saved(store, view) if self.resumed else None for store in stores]
            if self.resumed:  # from here on, the folder changes
                run.data(images.record)
                run.lengthen()
            self.world.lead(lambda: note_session(run, place, self.command))

            def fitted(net: FractalModule, part: int, log: Callable[[dict[str, Any]], None] | None) -> Loop:
                stepper = make_stepper(self.parallel, net, images.task, config, place, self.world)
                loop = Loop(stepper, images, config, stores[part], view, interrupted, deadline, log)
                _fit(loop, saved[part], view)
                return loop

            loop = fitted(model, 0, on_epoch)
            plain, ended = None, loop.progress.ended
            if config.plain is not None and ended in ("epochs", "patience"):
                view.line(f"training column {config.plain} alone, from the same initial weights, in the same way")
                alone = _initial(run).extract(config.plain).to(place)
                last = fitted(alone, 1, None)
                ended = last.progress.ended
                last.load_best()
                measured = last.stepper.measure(images, images.test, columns=False)
                plain = {"column": config.plain} | measured
            return finished(run, loop, ended, interrupted.signal, plain, view)

    def _how(self) -> str:
        """The device, and the unusual settings for it."""
        config, words = self.run.config, [str(self.place)]
        words += [f"{self.world.size} processes, {self.parallel}"] * (self.parallel is not None)
        words += [config.precision] * (config.precision != "fp32")
        words += ["channels last"] * (config.channels_last is True) + ["compiled"] * config.compile
        words += ["CUDA graphs"] * config.cuda_graphs + [f"{shortened(config.freeze)} frozen"] * bool(config.freeze)
        return ", ".join(words)


def _settings(run: RunWriter) -> dict[str, str]:
    """The net, its parameters and the settings of a run under dotted names, for other tools."""
    program = run.compiled.program
    parameters = {name: str(value) for name, value in program.params.items()}
    given = {"net": program.net, "parameters": parameters, **run.config.model_dump(mode="json")}
    return dict(flattened(given))


_Saved = tuple[Checkpoint, list[Weights]]
"""The newest checkpoint, and the weights to write again from it."""


def _saved(store: Store, view: ProgressView) -> _Saved | None:
    """The state from which a run, or a part of it, resumes; None for a part that has not begun.

    Raises UserError if it cannot resume, before anything in the run's folder changes.
    """
    checkpoint = store.restored(view.line)
    if checkpoint is not None:
        return checkpoint, store.lost(checkpoint)
    if store.folder == store.run:
        raise UserError(f"{store.run} has no checkpoint to resume from: train again")
    return None


def _fit(loop: Loop, saved: _Saved | None, view: ProgressView) -> None:
    """Train, from the saved state if there is one."""
    if saved is not None:
        checkpoint, lost = saved
        before = checkpoint.manifest.config["epochs"]
        if before < loop.config.epochs:
            view.line(lengthened(loop.config, before, checkpoint.progress))
        loop.restore(checkpoint)
        loop.rewrite(lost)
        loop.store.reopen()
        p = loop.progress
        done = f"{counted(p.epoch, 'epoch')} and {counted(p.batch, 'step')}"
        view.line(f"from step {p.step:,}, {done}, after {duration(p.seconds)}")
    if loop.config.compile:
        view.line("torch.compile: each part of the net is compiled when it first runs, which slows the first epoch")
    loop.run()


def _threads(compiled: Compiled, config: TrainConfig) -> int:
    """One thread for work too small to share, unless OMP_NUM_THREADS is set."""
    small = compiled.summary.macs * config.batch < SMALL_STEP
    return 1 if small and "OMP_NUM_THREADS" not in os.environ else torch.get_num_threads()
