"""Starts, resumes and shows sweeps."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from rich.text import Text

from fractal_dsl.base.errors import UserError
from fractal_dsl.base.escaping import command, terminal
from fractal_dsl.compiled import MAX_LAYERS
from fractal_dsl.language.diagnostics import Diagnostic
from fractal_dsl.runs.plots import require_matplotlib
from fractal_dsl.runs.tasks import TASKS, metric_of
from fractal_dsl.sweep.checks import CheckedSweep
from fractal_dsl.sweep.folder import Sampler, Size, Sweep, SweepFolder, next_free
from fractal_dsl.sweep.forks import Forks
from fractal_dsl.sweep.ledger import Claim, Ledger, require_optuna
from fractal_dsl.sweep.results import Results
from fractal_dsl.sweep.space import combinations
from fractal_dsl.sweep.trial import Resources, Stop, run_trial, trial_environment

_PATIENCE = 0.5


def sweep(
    spec: str,
    params: Mapping[str, str | None],
    settings: Mapping[str, str],
    out: Path | None = None,
    *,
    trials: int | None = None,
    sampler: Sampler | None = None,
    objective: str | None = None,
    minimize: Size | None = None,
    prune: int | None = None,
    seed: int = 0,
    net: str | None = None,
    max_layers: int,
    resources: Resources | None = None,
    console: Console | None = None,
    warn: Callable[[Sequence[Diagnostic]], None] | None = None,
) -> bool:
    """Train a spec at many values of its parameters and training settings. Return whether all trials are done.

    ``params`` and ``settings`` map names to texts: a range, a set, or a fixed value; None for a parameter means its
    whole domain. ``objective`` is a figure of the task, by default its score. ``sampler`` is by default the grid if
    it has at most ``trials`` combinations, else TPE. The folder ``out`` (default ``sweeps/NET-1``) may hold the
    same sweep, which is then resumed. Ctrl-C or SIGTERM stops and saves the running trials. Raises FracError or
    UserError before training for a value outside its domain or a wrong setting, and UserError at the end if every
    trial failed. ``warn`` is called with the warnings about the spec.
    """
    _require()
    resources = resources or Resources()
    checked = CheckedSweep(spec, params, settings, net, max_layers, resources.allow_python)
    if warn is not None:
        warn(checked.warnings)
    if not checked.space:
        raise UserError("nothing is swept: give a range or a set, as in -p columns=2..5 or --set optimizer.lr=0.01|0.1")
    if prune is not None and minimize is not None:
        raise UserError("--prune compares trials by one figure, but --minimize needs two: omit one of them")
    size = combinations(checked.space)
    task = checked.task()
    planned = Sweep(
        checked.net,
        checked.space,
        checked.params,
        checked.settings,
        max_layers,
        objective or TASKS[task].score.key,
        minimize,
        _sampler(sampler, size, trials),
        seed,
        prune,
        trials or size or 0,
        next(iter(checked.texts())),
        task,
    )
    metric_of(task, planned.objective)
    folder = SweepFolder(out or next_free(checked.net))
    if folder.exists():
        folder.check_same(planned, checked.texts())
    folder.create(planned, checked.texts()) if not folder.exists() else folder.write(planned)
    return _run(folder, planned, resources, console or Console())


def _sampler(given: Sampler | None, size: int | None, trials: int | None) -> Sampler:
    """The sampler for a space of ``size`` combinations, None if a range is unbounded. Raises UserError if none fits."""
    if trials is None and size is None:
        raise UserError("a float range is unbounded: give a step or a list, or the number of trials with --trials N")
    if given == "grid" and size is None:
        raise UserError("a grid needs steps: write 0.1..0.5:step=0.1, or a set such as 0.01|0.1")
    return given or ("grid" if size is not None and (trials is None or size <= trials) else "tpe")


def go_on(
    path: Path,
    *,
    trials: int | None = None,
    max_layers: int = MAX_LAYERS,
    resources: Resources | None = None,
    console: Console | None = None,
) -> bool:
    """Resume a stopped or killed sweep, or extend one. Return whether all trials are done.

    ``max_layers`` is not read from the folder, which could be forged.
    """
    _require()
    folder = SweepFolder(path)
    sweep = folder.read()
    if trials is not None:
        sweep = replace(sweep, trials=trials)
        folder.write(sweep)
    return _run(folder, replace(sweep, max_layers=max_layers), resources or Resources(), console or Console())


def print_sweep(path: Path, console: Console | None = None) -> None:
    """Print the table of a sweep, and redraw its picture and page."""
    _require()
    folder = SweepFolder(path)
    results = Results(Ledger(folder, folder.read()))
    results.write(folder.path)
    results.show(console or Console())


def _require() -> None:
    require_optuna()
    require_matplotlib()


def _run(folder: SweepFolder, sweep: Sweep, resources: Resources, console: Console) -> bool:
    ledger, stop = Ledger(folder, sweep), Stop()
    ledger.plan()
    swept, how = ", ".join(f"{a.name}={a.given}" for a in sweep.space), _how(sweep, resources)
    _say(console, f"sweep of {sweep.net} over {swept}: {ledger.total()} trials, {how}; into {folder.path}")
    work = _Work(folder, sweep, ledger, resources, stop, console)
    with _interruptible(stop, console), ThreadPoolExecutor(resources.workers) as pool:
        for future in [pool.submit(work.work, worker) for worker in range(resources.workers)]:
            future.result()
    results = Results(ledger)
    results.write(folder.path)
    results.show(console)
    _say(console, f"picture and table: {folder.path / 'sweep.html'}")
    if stop.asked.is_set():
        _say(console, f"stopped. To resume: {_command(folder, sweep, resources)}")
        return False
    _say(console, results.conclusion(folder))
    return True


class _Work:
    """The work that the workers share."""

    def __init__(
        self, folder: SweepFolder, sweep: Sweep, ledger: Ledger, resources: Resources, stop: Stop, console: Console
    ) -> None:
        self.folder, self.sweep, self.ledger, self.resources = folder, sweep, ledger, resources
        self.stop, self.console = stop, console
        self.mine: set[int] = set()
        self.awaited: set[int] = set()

    def work(self, worker: int) -> None:
        """Run trials until none is left. An error also stops the other workers."""
        try:
            with Forks(trial_environment(self.resources, worker)) as forks:
                while not self.stop.asked.is_set():
                    claim = self.ledger.take()
                    if claim is not None:
                        self._trial(claim, forks)
                    elif running := self.ledger.running():
                        self._wait(running)
                    else:
                        return
        except BaseException:
            self.stop.asked.set()
            raise

    def _trial(self, claim: Claim, forks: Forks) -> None:
        number = claim.number
        self.mine.add(number)
        try:
            values = ", ".join(f"{a.name}={a.shown(claim.params[a.key])}" for a in self.sweep.space)
            _say(self.console, f"trial {number}: {values}")
            outcome = run_trial(self.folder, self.sweep, self.ledger, claim, self.resources, forks, self.stop)
            _say(self.console, f"trial {number}: {outcome or 'saved, to resume later'}")
        finally:
            self.mine.discard(number)
            claim.lock.release()

    def _wait(self, running: list[int]) -> None:
        """Wait for other processes. If one dies, another takes over its trial."""
        others = set(running) - self.mine - self.awaited
        if others and not self.mine:
            self.awaited |= others
            numbers = ", ".join(map(str, sorted(others)))
            _say(self.console, f"waiting for another process to run trial {numbers}")
        self.stop.asked.wait(_PATIENCE)


def _how(sweep: Sweep, resources: Resources) -> str:
    names = {"grid": "a grid", "random": "at random", "tpe": "by TPE"}
    words = [names[sweep.sampler]]
    words += [f"pruned from epoch {sweep.prune}"] if sweep.prune is not None else []
    words += [f"{resources.workers} at once"] * (resources.workers > 1)
    words += [f"{resources.processes} processes each"] * (resources.processes > 1)
    return ", ".join(words)


def _command(folder: SweepFolder, sweep: Sweep, resources: Resources) -> str:
    words = ["fractal-dsl", "sweep", str(folder.path)]
    words += ["--workers", str(resources.workers)] if resources.workers > 1 else []
    words += ["--nproc-per-trial", str(resources.processes)] if resources.processes > 1 else []
    words += ["--device", resources.device] if resources.device else []
    words += ["--max-layers", str(sweep.max_layers)] if sweep.max_layers != MAX_LAYERS else []
    words += ["--allow-python"] * resources.allow_python
    return command(*words)


def _say(console: Console, text: str) -> None:
    console.print(Text(terminal(text)), soft_wrap=True)


@contextmanager
def _interruptible(stop: Stop, console: Console) -> Generator[None]:
    """The first Ctrl-C or SIGTERM saves and stops the trials. The second one kills them."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def note(number: int, frame: object) -> None:
        if stop.asked.is_set():
            stop.at_once.set()
        else:
            _say(console, "stopping: running trials are saved; press Ctrl-C again to kill them")
        stop.asked.set()

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
