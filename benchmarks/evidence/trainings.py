"""Trains many nets, several at a time, in processes of one thread each. Whatever kills them, the next call goes on.

Each training has a folder: ``run``, an ordinary run that resumes to the same bits, and ``figures.json`` once it is
done. Errors are in %.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from typing import Any

from rich.console import Console

from fractal_dsl.base.errors import UserError
from fractal_dsl.base.files import replacing
from fractal_dsl.config import merge, parse_config
from fractal_dsl.evaluation.evaluate import evaluate
from fractal_dsl.evaluation.run import Run, Weights
from fractal_dsl.language.source import Source
from fractal_dsl.pipeline import check
from fractal_dsl.runtime.anytime import Anytime
from fractal_dsl.training.train import resume, train

Figures = dict[str, Any]


@dataclass(frozen=True)
class Training:
    """A net, its settings, and the folder of its results. ``anytime`` asks for the figures of anytime answers.

    ``weights`` are those that are tested, ``last`` or ``best``.
    """

    name: str
    text: str
    settings: Mapping[str, Any]
    seed: int
    folder: str
    params: Mapping[str, str] = field(default_factory=dict[str, str])
    anytime: bool = False
    device: str = "cpu"
    weights: Weights = "last"


def outcome(training: Training) -> Figures:
    """The figures of a training, which is begun, resumed, or done already.

    ``trained`` and ``re-estimated`` have the test errors with the statistics of training and with re-estimated ones:
    ``whole net``, ``column 1``, and so on. ``curve`` has the step and the validation errors of each epoch.
    """
    folder = Path(training.folder)
    result, start = folder / "figures.json", time.perf_counter()
    if result.exists():
        return json.loads(result.read_text("utf-8"))
    run = _trained(training, folder / "run")
    trained = _errors(run, training, recalibrate=False)
    fitted = _errors(run, training, recalibrate=True)
    lines = [json.loads(line) for line in (run.folder / "metrics.jsonl").read_text("utf-8").splitlines()]
    figures: Figures = {
        "name": training.name,
        "seed": training.seed,
        "steps": lines[-1]["step"],
        "training error": error(lines[-1]["train_accuracy"]),
        "trained": trained,
        "re-estimated": {name: value for name, value in fitted.items() if name != "anytime"},
        "anytime": fitted.get("anytime"),
        "macs": run.compiled.summary.macs,
        "curve": [{"step": e["step"]} | by_name(e["validation"]) for e in lines if e["validation"]],
        "seconds": sum(e["seconds"] for e in lines) + time.perf_counter() - start,
    }
    with replacing(result) as temporary:
        temporary.write_text(json.dumps(figures, indent=1) + "\n", "utf-8")
    return figures


def _trained(training: Training, folder: Path) -> Run:
    """The finished run. Raises KeyboardInterrupt if it was stopped, because it is not to be measured yet."""
    quiet = Console(quiet=True)
    if (folder / "checkpoints").is_dir() and any((folder / "checkpoints").iterdir()):
        if (folder / "result.json").exists() and Run.open(folder).manifest.status == "finished":
            return Run.open(folder)
        result = resume(folder, device=training.device, console=quiet)
    else:
        shutil.rmtree(folder, ignore_errors=True)
        compiled = check(Source(training.name, training.text), dict(training.params))[-1]
        settings = {**training.settings, "seed": training.seed, "save_minutes": 1.0}
        config = parse_config(merge(compiled.program.train, list(settings.items())))
        result = train(compiled, config, folder, device=training.device, console=quiet)
    if result.status != "finished":
        raise KeyboardInterrupt
    return Run.open(folder)


def _errors(run: Run, training: Training, *, recalibrate: bool) -> Figures:
    """The test errors, and the anytime figures if they are wanted: the work of an answer includes the earlier ones."""
    columns, anytime = bool(run.compiled.summary.columns), training.anytime and recalibrate
    measured = evaluate(
        run, columns, training.weights, training.device, anytime=anytime, recalibrate=recalibrate, say=lambda text: None
    )
    errors = by_name(measured)
    if anytime:
        networks, policies = measured["anytime"]["networks"], measured["anytime"]["policies"]
        costs = [*accumulate(step.macs for step in Anytime(run.load()).increments), *[p["macs"] for p in policies]]
        rows = zip([*networks, *policies], costs, strict=True)
        errors["anytime"] = [{"MMACs": c / 1e6, "error": error(r["accuracy"])} | _answer(r) for r, c in rows]
    return errors


def _answer(row: Mapping[str, Any]) -> dict[str, str]:
    if "confidence" in row:
        return {"answer": f"first of confidence {row['confidence']:g}"}
    return {"answer": f"column {row['column']}" if row["column"] else "whole net"}


def by_name(measured: Mapping[str, Any]) -> Figures:
    """The errors of the whole net and of each column."""
    columns = {f"column {c['column']}": error(c["accuracy"]) for c in measured["columns"]}
    return {"whole net": error(measured["accuracy"])} | columns


def error(accuracy: float) -> float:
    """The error in %, as in the paper's tables."""
    return 100 * (1 - accuracy)


def _follow_parent() -> None:
    """End this process when its parent is gone, even if that was killed. Its training resumes from its last state."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def workers_of_one_thread(count: int) -> ProcessPoolExecutor:
    """Processes of one thread each, which end soon after this one."""
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    os.environ["OMP_NUM_THREADS"] = "1"
    return ProcessPoolExecutor(count, multiprocessing.get_context("spawn"), initializer=_follow_parent)


def run_all(trainings: Sequence[Training], workers: int, expected: Mapping[str, float] | None = None) -> list[Figures]:
    """The figures of all trainings, in their order. ``expected`` are seconds by name, for the time that is left.

    Prints a line on standard error when a training ends. Ctrl-C or SIGTERM saves what runs, and ends the program.
    """
    expected = expected or {}
    done: dict[int, Figures] = {}
    start, total, earned = time.perf_counter(), sum(expected.get(t.name, 0) for t in trainings), 0.0
    with workers_of_one_thread(workers) as pool:
        futures = {pool.submit(outcome, training): i for i, training in enumerate(trainings)}
        try:
            for future in as_completed(futures):
                i = futures[future]
                done[i], training, passed = future.result(), trainings[i], time.perf_counter() - start
                if done[i]["seconds"] > 0:
                    earned += expected.get(training.name, 0)
                left = f", about {(total - earned) * passed / earned / 60:.0f} min left" if earned else ""
                whole = done[i]["re-estimated"]["whole net"]
                line = f"{passed / 60:5.1f} min  {len(done)}/{len(trainings)}  {training.name}, seed {training.seed}: "
                print(f"{line}{whole:.1f}%{left}", file=sys.stderr, flush=True)
        except UserError as problem:
            pool.shutdown(cancel_futures=True)
            sys.exit(str(problem))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return [done[i] for i in range(len(trainings))]
