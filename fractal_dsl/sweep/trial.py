"""Runs one trial: a training run in its own process, watched epoch by epoch."""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fractal_dsl.base.errors import UserError
from fractal_dsl.base.parts import read_json
from fractal_dsl.language.diagnostics import FracError
from fractal_dsl.pipeline import compile_file
from fractal_dsl.runs.parts import CHECKPOINTS, discard
from fractal_dsl.sweep.checks import configured
from fractal_dsl.sweep.folder import Sweep, SweepFolder, lines_of
from fractal_dsl.sweep.forks import Forks, Process
from fractal_dsl.sweep.ledger import Claim, Ledger

_LOOK = 0.2


@dataclass(frozen=True)
class Resources:
    """The resources of trials. The result of a sweep does not depend on them.

    ``workers`` trials run at once, each on ``processes`` processes.
    """

    workers: int = 1
    processes: int = 1
    device: str | None = None
    allow_python: bool = False


class Stop:
    """A request to stop trials: first to save and end, then to end at once."""

    def __init__(self) -> None:
        self.asked, self.at_once = threading.Event(), threading.Event()


def run_trial(
    folder: SweepFolder, sweep: Sweep, ledger: Ledger, claim: Claim, resources: Resources, forks: Forks, stop: Stop
) -> str | None:
    """Run or resume a trial, record its outcome, and return it as text; None if it was stopped, to resume later.

    After an error the trial has failed, and the text says why.
    """
    number, params, settings = claim.number, *split_values(sweep, claim.params)
    try:
        spec, allow_python = folder.spec(sweep), resources.allow_python
        compiled = compile_file(spec, params, sweep.net, sweep.max_layers, allow_python=allow_python)
        configured(compiled.program.train, settings)
    except (FracError, UserError) as error:
        claim.log.write(f"{error}\n".encode())
        ledger.fail(number, _first(error), final=True)
        return f"failed: {_first(error)}"
    summary = compiled.summary
    ledger.note(number, {"params": summary.params, "macs": summary.macs, "depth": summary.depth})
    watched = _Watched(folder.trial(number), sweep, lambda epoch, value: ledger.report(number, epoch, value))
    if _status(watched.folder) != "finished":
        if not _saved(watched.folder):  # a process was killed before its first checkpoint
            discard(watched.folder, compiled.spec_files(compiled.stored))
        words = trial_command(folder, number, params, settings, sweep, resources)
        before = folder.log(number).stat().st_size
        code, pruned = watched.train(forks.start(words, claim.log.fileno()), stop)
        if stop.asked.is_set() and _status(watched.folder) != "finished":
            return None
        if pruned:
            ledger.note(number, {"seconds": watched.seconds()})
            ledger.prune(number)
            return f"pruned after epoch {watched.epochs[-1]['epoch']}: {sweep.objective} {watched.shown()}"
        if code != 0:
            message = _last_words(folder.log(number).read_bytes()[before:], code)
            ledger.fail(number, message, final=_status(watched.folder) == "diverged")
            return f"failed: {message}"
    watched.look()
    if not watched.epochs:
        ledger.fail(number, "it was stopped before its first epoch ended", final=False)
        return "failed: it was stopped before its first epoch ended"
    ledger.note(number, {"seconds": watched.seconds()})
    size = [getattr(summary, sweep.minimize)] if sweep.minimize else []
    ledger.complete(number, [watched.best(), *size])
    return f"{sweep.objective} {watched.shown()}"


def split_values(sweep: Sweep, values: dict[str, Any]) -> tuple[dict[str, str], dict[str, str]]:
    """The parameters and the settings of a trial, as texts in the language's literals."""
    varied = {
        kind: {a.name: a.text(values[a.key]) for a in sweep.space if a.kind == kind} for kind in ("param", "setting")
    }
    return {**sweep.params, **varied["param"]}, {**sweep.settings, **varied["setting"]}


def trial_command(
    folder: SweepFolder,
    number: int,
    params: dict[str, str],
    settings: dict[str, str],
    sweep: Sweep,
    resources: Resources,
) -> list[str]:
    """Python's arguments for a trial: a new run, or a resumed one if it has a checkpoint."""
    run = folder.trial(number)
    several = resources.processes > 1
    launch = ["-m", "fractal_dsl"]
    if several:
        per_node = ["--nproc-per-node", str(resources.processes)]
        launch = ["-m", "torch.distributed.run", "--standalone", *per_node, *launch]
    limit = ["--max-layers", str(sweep.max_layers)]
    if _saved(run):
        arguments = ["--resume", str(run), *limit]
    else:
        arguments = [str(folder.spec(sweep)), "--out", str(run), "--net", sweep.net, *limit]
        arguments += [part for name, text in params.items() for part in ("-p", f"{name}={text}")]
        arguments += [part for name, text in settings.items() for part in ("--set", f"{name}={text}")]
    arguments += ["--parallel", "ddp"] * several
    arguments += ["--device", resources.device] if resources.device else []
    arguments += ["--allow-python"] * resources.allow_python
    return [*launch, "train", *arguments]


def trial_environment(resources: Resources, worker: int) -> dict[str, str]:
    """The environment of a worker's trials, with their share of the GPUs or CPU cores."""
    shared = dict(os.environ)
    if resources.device is None and (gpus := _gpus()):
        first = worker * resources.processes
        mine = [gpus[(first + i) % len(gpus)] for i in range(resources.processes)]
        shared["CUDA_VISIBLE_DEVICES"] = ",".join(dict.fromkeys(mine))
    if resources.workers > 1 and "OMP_NUM_THREADS" not in shared:
        shared["OMP_NUM_THREADS"] = str(max(1, (os.cpu_count() or 1) // (resources.workers * resources.processes)))
    return shared


def _gpus() -> list[str]:
    import torch

    count = torch.cuda.device_count()
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    return given.split(",")[:count] if given else [str(i) for i in range(count)]


class _Watched:
    """A run in progress, watched by its files. ``on_epoch`` gets an epoch and its objective, and may ask to stop."""

    def __init__(self, folder: Path, sweep: Sweep, on_epoch: Callable[[int, float], bool]) -> None:
        self.folder, self.sweep, self.on_epoch = folder, sweep, on_epoch
        self.epochs: list[dict[str, Any]] = []

    def train(self, process: Process, stop: Stop) -> tuple[int, bool]:
        """Wait for the end of the run's process, or stop it. Return its exit code and whether it was pruned."""
        stopping = pruned = False
        try:
            while True:
                pruned = pruned or self.look()
                if (pruned or stop.asked.is_set()) and not stopping:
                    process.terminate()  # like Ctrl-C: it saves and ends
                    stopping = True
                if stop.at_once.is_set():
                    process.kill()
                try:
                    code = process.wait(_LOOK)
                    return code, pruned and code != 0
                except subprocess.TimeoutExpired:
                    pass
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()

    def look(self) -> bool:
        """Read the new epochs. Return whether one of them asks to stop."""
        fresh = list(lines_of(self.folder / "metrics.jsonl"))[len(self.epochs) :]
        self.epochs += fresh
        asked = [self.on_epoch(e["epoch"], e["validation"][self.sweep.objective]) for e in fresh]
        return any(asked)

    def best(self) -> float:
        """The objective of the best epoch."""
        return max([e["validation"][self.sweep.objective] for e in self.epochs], key=self.sweep.aim.merit)

    def shown(self) -> str:
        """``best`` as text for people."""
        return self.sweep.aim.text(self.best())

    def seconds(self) -> float:
        """The training time in seconds."""
        return sum(e["seconds"] for e in self.epochs)


def _saved(folder: Path) -> bool:
    """Whether a run has a checkpoint to resume from."""
    return any((folder / CHECKPOINTS).glob("step-*"))


def _status(folder: Path) -> str | None:
    """The status of a run, by its result or else by its manifest."""
    for name in ("result.json", "manifest.json"):
        try:
            return read_json(folder, name)["status"]
        except (OSError, ValueError, KeyError, TypeError):
            pass
    return None


def _first(error: FracError | UserError) -> str:
    """The first line of an error."""
    if isinstance(error, FracError):
        return f"{error.diagnostics[0].code}: {error.diagnostics[0].message}"
    return str(error).splitlines()[0]


def _last_words(printed: bytes, code: int) -> str:
    """The reason why a process failed, from its output."""
    lines = printed.decode("utf-8", "replace").splitlines()
    reason = next((line for line in reversed(lines) if "error" in line.lower()), "")
    ended = f"its process was killed by signal {-code}" if code < 0 else f"its process ended with code {code}"
    return reason.removeprefix("error: ") or ended
