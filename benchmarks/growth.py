"""What grows with the number of runs and trials: reports, sweeps, and validation of columns.

    python benchmarks/growth.py [--quick] [--json]

report: `fractal-dsl report` over ten runs of 60 epochs, as a whole process. trial: what a sweep at random spends on the
choice and the record of a trial, after 50 trials and after 1,000 (with --quick 200). validation: a pass over the
validation examples of the digits net with its columns, and without them, as for nets that do not train them alone.
sweep: a trial of a sweep of ten, one epoch of the digits net, and the same run as a command of its own. CPU seconds.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from rich.console import Console

from fractal_dsl import build, compile_file
from fractal_dsl.config import merge, parse_config
from fractal_dsl.data import load, net_ends
from fractal_dsl.evaluation.measure import measure_all
from fractal_dsl.sweep.folder import Sweep, SweepFolder
from fractal_dsl.sweep.ledger import Ledger
from fractal_dsl.sweep.space import axis
from fractal_dsl.training.train import train

DIGITS = Path(__file__).parent.parent / "examples" / "digits.frac"
RUNS, EPOCHS = 10, 60
GOALS = {"report": 3.0, "growth": 1.5}
"""Seconds for the report; how much longer a trial may take after many than after 50."""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    many = 200 if options.quick else 1000
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        seconds = report(_runs(folder))
        early, late = trials(folder / "sweep", many)
        swept, command = sweep(folder)
    every, alone = validation()
    result = {"report": seconds, "early": early, "late": late, "growth": late / early, "every": every, "alone": alone}
    result |= {"swept": swept, "command": command}
    if options.json:
        print(json.dumps(result, indent=2))
        return
    print(f"report over {RUNS} runs: {seconds:.2f} s   {_goal('report', seconds)}")
    print(
        f"trial: {1e3 * early:.1f} ms after 50, {1e3 * late:.1f} ms after {many:,}, ratio {late / early:.2f}"
        f"   {_goal('growth', late / early)}"
    )
    print(f"sweep: {swept:.2f} s a trial, {command:.2f} s as a command")
    print(f"validation: {1e3 * every:.0f} ms with columns, {1e3 * alone:.0f} ms without")


def _goal(name: str, value: float) -> str:
    return f"goal {GOALS[name]:g}: {'met' if value <= GOALS[name] else 'MISSED'}"


def _runs(folder: Path) -> list[Path]:
    """Copies of a run of the digits net, with the figures of its last epoch for each of ``EPOCHS`` epochs."""
    compiled = compile_file(DIGITS)
    first = folder / "run-0"
    settings = parse_config(merge(compiled.program.train, [("epochs", 1)]))
    train(compiled, settings, first, device="cpu", console=Console(quiet=True))
    last = json.loads((first / "metrics.jsonl").read_text().splitlines()[-1])
    lines = [json.dumps(last | {"epoch": epoch}) for epoch in range(1, EPOCHS + 1)]
    (first / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    return [first, *(Path(shutil.copytree(first, folder / f"run-{i}")) for i in range(1, RUNS))]


def report(runs: list[Path]) -> float:
    """The time of the page that compares these runs."""
    page = runs[0].parent / "page.html"
    return _seconds("report", *map(str, runs), "-o", str(page))


def sweep(folder: Path) -> tuple[float, float]:
    """The time of a trial of a sweep of ten, and of the same run as a command."""
    rates = "|".join(str(rate / 100) for rate in range(1, 11))
    settings = [str(DIGITS), "--set", "epochs=1", "--device", "cpu"]
    whole = _seconds("sweep", *settings, "--set", f"optimizer.lr={rates}", "--out", str(folder / "swept"))
    return whole / 10, _seconds("train", *settings, "--out", str(folder / "alone"))


def _seconds(*words: str) -> float:
    """The CPU seconds of a command with all its processes."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-m", "fractal_dsl", *words], check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def trials(path: Path, many: int) -> tuple[float, float]:
    """The time that the ledger takes for a trial: the median of 50 trials after the first 50, and of the last 50."""
    space = (axis("setting", "optimizer.lr", "0.001..0.1:log"), axis("param", "columns", "2..5", "int"))
    sweep = Sweep("N", space, {}, {}, 1000, "accuracy", None, "random", 0, None, many, "net.frac")
    folder = SweepFolder(path)
    folder.create(sweep, {"net.frac": "net N(x: f32[2]) -> f32[2] = id\n"})
    ledger = Ledger(folder, sweep)
    ledger.plan()
    seconds: list[float] = []
    for number in range(many):
        start = time.process_time()
        claim = ledger.take()
        assert claim is not None
        ledger.note(claim.number, {"params": 1, "macs": 1, "depth": 1})
        ledger.report(claim.number, 1, 0.5)
        ledger.complete(claim.number, [number / many])
        claim.lock.release()
        seconds.append(time.process_time() - start)
    return statistics.median(seconds[50:100]), statistics.median(seconds[-50:])


def validation() -> tuple[float, float]:
    """The time of a pass over the validation examples, with columns and without: the median of five."""
    torch.set_num_threads(1)
    compiled = compile_file(DIGITS)
    program = compiled.program
    images = load(parse_config(program.train), program.net, *net_ends(program), torch.device("cpu"))
    model = build(compiled).eval()
    times: dict[bool, list[float]] = {True: [], False: []}
    for _ in range(6):
        for columns, taken in times.items():
            start = time.process_time()
            measure_all(model, images, images.validation, columns)
            taken.append(time.process_time() - start)
    every, alone = (statistics.median(taken[1:]) for taken in times.values())
    return every, alone


if __name__ == "__main__":
    main()
