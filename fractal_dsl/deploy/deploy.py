"""Deploys a run as many files: exports each net in each format, and checks and measures it in its runtime."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter

import numpy as np

from fractal_dsl.base.errors import UserError
from fractal_dsl.base.files import remove_temporaries, room_note, writing_into
from fractal_dsl.base.lock import LOCK, Lock, NoLocks
from fractal_dsl.base.texts import counted, duration
from fractal_dsl.compiled import MAX_LAYERS
from fractal_dsl.deploy.children import Exporter, measured_in_runtime
from fractal_dsl.deploy.measure import Job, RuntimeFigures, outputs_in
from fractal_dsl.deploy.nets import ANYTIME, answers_of, classifies, net_names
from fractal_dsl.deploy.opening import begun
from fractal_dsl.deploy.origin import Origin, open_origin
from fractal_dsl.deploy.page import write_shelf_page
from fractal_dsl.deploy.recalibration import recalibrated
from fractal_dsl.deploy.samples import Expected, Samples, agreement, difference, expected, samples_of
from fractal_dsl.deploy.shelf import Shelf, ShelfRow, digest, move_files
from fractal_dsl.deploy.targets import TARGETS, Target
from fractal_dsl.deploy.work import Export, Exported, Exports
from fractal_dsl.evaluation.evaluate import choose_device, to_stderr
from fractal_dsl.evaluation.run import Weights
from fractal_dsl.graph.graph import Layer
from fractal_dsl.runtime.artifact import save_artifact

TOLERANCE = 1e-4
"""The largest difference of a verified float file, relative to the largest output of the input."""
AGREEMENT = 0.9
"""The smallest share of equal answers of a verified int8 file."""
_MEASURING = 5.0  # an estimate of the seconds that a check takes


@dataclass(frozen=True)
class Options:
    """How to deploy. ``targets`` are formats by name; ``columns`` None means all."""

    targets: tuple[str, ...] = tuple(TARGETS)
    int8: bool = False
    columns: tuple[int, ...] | None = None
    batch: int = 1
    threads: int = 1
    confidence: float = 0.9
    weights: Weights = "best"
    recalibrate: bool = False
    max_layers: int = MAX_LAYERS
    allow_python: bool = False


@dataclass(frozen=True)
class Deployed:
    """The shelf, what it is of, the skipped formats with the reason, and what went wrong, by net and format."""

    shelf: Shelf
    origin: Origin
    skipped: dict[str, str] = field(default_factory=dict[str, str])
    failures: dict[str, str] = field(default_factory=dict[str, str])


def deploy(source: Path, folder: Path, options: Options, say: Callable[[str], object] = to_stderr) -> Deployed:
    """Write a shelf: every net of a run, or of a compiled network, in the formats of the options.

    Files that were verified before stay, if they are of the same weights. ``say`` gets lines of progress. Raises
    UserError if the source or its test data cannot be read, the folder belongs to something else or to another net, or
    a file cannot be written: then, too, what was verified before stays. A net whose export or check fails does not stop
    the others.
    """
    origin = opened(source, options, say)
    names = net_names(origin.model.join_graph, options.columns, confident=classifies(origin))
    if options.int8 and not classifies(origin):
        raise UserError("--int8 is checked by the classes that a net gives, and this net does not classify: omit it")
    missing = {name: TARGETS[name].missing() for name in options.targets}
    skipped = {name: reason for name, reason in missing.items() if reason is not None}
    for reason in skipped.values():
        say(f"skipped: {reason}")
    targets = [TARGETS[name] for name in options.targets if name not in skipped]
    if not targets:
        raise UserError(f"nothing can be deployed: {'; '.join(skipped.values())}")
    quantizing = [target.name for target in TARGETS.values() if target.int8]
    if options.int8 and not {*quantizing} & {*options.targets}:
        raise UserError(f"--int8 quantizes nets for {' and '.join(quantizing)} only: add it to --to, or omit --int8")
    samples = samples_of(origin, say, int8=options.int8, allow_python=options.allow_python)
    shelf = begun(folder, origin, batch=options.batch, threads=options.threads, confidence=options.confidence)
    lock = Lock(folder / LOCK)
    try:
        if not lock.claim():
            raise UserError(f"another process deploys into {folder}: wait until it ends, or choose another folder")
    except NoLocks:
        lock = None
    try:
        remove_temporaries(folder)
        shelf.write()
        if origin.trained is not None:
            origin.trained.write(folder)
        failures = _Deployment(origin, shelf, samples, options, say).run(names, targets)
        write_shelf_page(shelf, failures, skipped)
    finally:
        if lock is not None:
            lock.release()
    return Deployed(shelf, origin, skipped, failures)


def opened(source: Path, options: Options, say: Callable[[str], object]) -> Origin:
    """What is deployed, with re-estimated batch-norm statistics on request. Raises UserError as ``deploy`` does."""
    origin = open_origin(source, options.weights, options.max_layers, options.allow_python)
    if origin.running:
        say(f"note: {source} is still training, or was killed: these are its {options.weights} weights so far")
    if not options.recalibrate:
        return origin
    place = choose_device("cpu")
    origin, done = recalibrated(origin, None, place, allow_python=options.allow_python, say=say)
    if done is not None:
        say(done.text())
    return origin


@dataclass(frozen=True)
class _Entry:
    """A file that the shelf should have: a net for a runtime, in a precision."""

    net: str
    target: Target
    precision: str

    @property
    def label(self) -> str:
        """For people: ``column1 by onnx, int8``."""
        return f"{self.net} by {self.target.name}" + (", int8" if self.precision == "int8" else "")

    @property
    def file(self) -> str:
        """The name of the file."""
        return f"{self.net}{'.int8' if self.precision == 'int8' else ''}{self.target.suffix}"


class _Deployment:
    """Fills a shelf."""

    def __init__(
        self, origin: Origin, shelf: Shelf, samples: Samples, options: Options, say: Callable[[str], object]
    ) -> None:
        self.origin, self.shelf, self.samples, self.options, self.say = origin, shelf, samples, options, say
        self.failures: dict[str, str] = {}
        self.answers: dict[str, Expected] = {}
        self.asked = answers_of(origin.model.join_graph, options.columns)
        self.layers = sum(isinstance(node, Layer) for _, node in origin.model.join_graph.items())

    def run(self, names: Sequence[str], targets: Sequence[Target]) -> dict[str, str]:
        """Export, check and measure what is not on the shelf yet. Return what failed, with reasons."""
        entries = [_Entry(name, target, "float32") for target in targets for name in names]
        if self.options.int8:
            entries += [_Entry(n, t, "int8") for t in targets if t.int8 for n in names if n != ANYTIME]
        waiting = [entry for entry in entries if not self._stands(entry)]
        if len(waiting) < len(entries):
            self.say(f"{counted(len(entries) - len(waiting), 'net')} verified before: kept")
        if not waiting:
            return {}
        folder = self.shelf.folder
        with writing_into(folder), tempfile.TemporaryDirectory(dir=folder, prefix=".fractal_dsl-tmp-") as place:
            work = Path(place)
            self._write_inputs(work)
            job = self._job(work, waiting)
            began, expected_before = perf_counter(), 0.0
            total = sum(map(self._estimate, waiting))
            self.say(f"{counted(len(waiting), 'net')} to export, check and measure: about {duration(total)}")
            for number, (entry, exported) in enumerate(zip(waiting, Exporter(job, work), strict=True), 1):
                self._settle(entry, exported, work)
                expected_before += self._estimate(entry)
                pace = (perf_counter() - began) / expected_before
                left = pace * (total - expected_before)
                if number < len(waiting):
                    self.say(f"{number} of {len(waiting)} done, about {duration(left)} left")
        return self.failures

    def _stands(self, entry: _Entry) -> bool:
        """Whether the shelf has a verified file with figures for the same batch and threads."""
        row = self.shelf.row(entry.net, entry.target.name, entry.precision)
        if row is None or not self.shelf.intact(row):
            return False
        options = self.options
        now = min(options.batch, row.largest or options.batch), options.threads
        if entry.net == ANYTIME and (row.answers or self.shelf.manifest.answers) != self.asked:
            return False
        return (row.batch, row.threads) == now and row.confidence in (None, options.confidence)

    def _estimate(self, entry: _Entry) -> float:
        several = len(self.asked) if entry.net == ANYTIME else 1
        return several * entry.target.seconds(self.layers) + _MEASURING

    def _write_inputs(self, work: Path) -> None:
        given = {"checks": self.samples.checks, "tests": self.samples.tests, "training": self.samples.training}
        for name, arrays in given.items():
            for file, array in zip(self._files(work, name), arrays or (), strict=False):
                np.save(file, array)

    def _files(self, work: Path, name: str) -> list[str]:
        """The files with ``checks``, ``tests`` or ``training``, one for each input of the net."""
        return [str(work / f"{name}{number}.npy") for number, _ in enumerate(self.origin.model.inputs)]

    def _job(self, work: Path, entries: Sequence[_Entry]) -> Exports:
        options = self.options
        exports: list[Export] = []
        for number, entry in enumerate(entries):
            (work / str(number)).mkdir()
            file = str(work / str(number) / entry.file)
            exports.append(Export(entry.net, entry.target.name, entry.precision, file))
        calibration = self._files(work, "training") if self.samples.training is not None else None
        return Exports(
            self._copied(work),
            options.max_layers,
            options.allow_python,
            options.batch,
            options.threads,
            calibration,
            exports,
            self.options.columns,
        )

    def _copied(self, work: Path) -> str:
        """A copy of the net for the process that exports it: a run may be training, and replace its weights."""
        origin, folder = self.origin, work / "net"
        save_artifact(origin.compiled, origin.model, folder, facts=origin.facts)
        return str(folder)

    def _settle(self, entry: _Entry, export: tuple[Export, Exported], work: Path) -> None:
        """Check and measure an exported file, and put it on the shelf."""
        job, exported = export
        if exported.error is not None:
            self._failed(entry, exported.error)
            return
        file = Path(job.file)
        result = measured_in_runtime(self._measuring(entry, file, exported, work), work)
        if isinstance(result, str):
            self._failed(entry, result)
            return
        row = self._row(entry, file, exported, result, work)
        self.shelf.put(row)
        if row.verified:
            score = "" if row.score is None else f"{self.shelf.metric.label} {self.shelf.metric.text(row.score)}, "
            self.say(f"{entry.label}: verified, {score}{row.ms:.3g} ms")

    def _failed(self, entry: _Entry, reason: str) -> None:
        reason += room_note(self.shelf.folder)
        self.failures[entry.label] = reason
        self.say(f"{entry.label}: failed: {reason}")

    def _measuring(self, entry: _Entry, file: Path, exported: Exported, work: Path) -> Job:
        options = self.options
        return Job(
            entry.target.name,
            str(file),
            self.asked if entry.net == ANYTIME else [],
            options.threads,
            min(options.batch, exported.largest or options.batch),
            options.confidence,
            self._files(work, "checks"),
            self._files(work, "tests"),
            exported.largest or 256,
        )

    def _row(self, entry: _Entry, file: Path, exported: Exported, figures: RuntimeFigures, work: Path) -> ShelfRow:
        count = len(self.origin.model.outputs)
        outputs, answers = outputs_in(work, "checks", count)
        tested, _ = outputs_in(work, "tests", count)
        right = self.answers.get(entry.net) or self._expected(entry)
        self.answers[entry.net] = right
        confidence = self.options.confidence
        apart = difference(outputs, answers, right, confidence)
        same, verified = None, apart <= TOLERANCE
        if entry.precision == "int8":
            same = agreement(self.origin.model, entry.net, self.samples.tests, tested)
            verified = bool(np.isfinite(apart)) and same >= AGREEMENT
        if not verified:
            bound = f"{same:.1%} of the answers are the module's, less than {AGREEMENT:.0%}" if same is not None else ""
            reason = bound or f"its outputs differ from the module's by {apart:.2g}, more than {TOLERANCE:g}"
            self._failed(entry, f"{reason}; kept in {self.shelf.folder / 'failed'}")
        files = [file, *sorted(other for other in file.parent.iterdir() if other != file)]
        names = move_files(files, self.shelf.folder, failed=not verified)
        return ShelfRow(
            net=entry.net,
            target=entry.target.name,
            precision=entry.precision,
            file=names[0],
            parts=names[1:],
            verified=verified,
            difference=apart if np.isfinite(apart) else None,
            agreement=same,
            score=self.samples.score(tested),
            ms=figures.ms,
            ms_p95=figures.ms_p95,
            ms_mean=figures.ms_mean,
            repeats=figures.repeats,
            warmup=figures.warmup,
            batch=min(self.options.batch, exported.largest or self.options.batch),
            threads=self.options.threads,
            confidence=confidence if entry.net == ANYTIME else None,
            bytes=sum((self.shelf.folder / name).stat().st_size for name in names),
            memory=figures.memory,
            seconds=exported.seconds,
            layout=exported.layout,
            largest=exported.largest,
            sha256=digest(self.shelf.folder, names),
            answers=self.asked if entry.net == ANYTIME else [],
        )

    def _expected(self, entry: _Entry) -> Expected:
        return expected(self.origin.model, entry.net, self.samples.checks, self.options.columns)
