"""All figures that have goals, in one table, before and now: training steps, compilation, commands, and the rest.

    python benchmarks/everything.py all.json                # measures what the file lacks, then prints the table
    python benchmarks/everything.py all.json --minutes 4    # the same, but starts nothing after four minutes
    python benchmarks/everything.py all.json --print        # prints the table of what the file has
    python benchmarks/everything.py all.json --quick        # tiny batches and few rounds: does it run?

Each piece is a process of its own, and its figures are stored when it ends. So a run that was stopped goes on with the
next piece. Training steps run on one thread: oneDNN's threads spin while they wait for each other, which counts as CPU
time where other work delays one of them. `before` are the figures of commit 3d63c53, before work on speed began: those
of training steps are on two threads, with channels first.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from compile_time import GOALS as COMPILATION
from growth import GOALS as GROWTH
from input import GOAL as IMAGES

HERE = Path(__file__).parent
NETS = ("deep, C = 4", "deep, C = 6", "FractalNet-20")
PARTS = ("whole", "columns", "mixed", "bf16", "memory", "inference")
ROUNDS = 5
BEFORE: dict[str, dict[str, str]] = {
    "deep, C = 4": {"none / naive, float32": "1.05", "columns": "1.10 1.09 1.05"},
    "deep, C = 6": {"none / naive, float32": "1.04", "columns": "1.15 1.13 1.12"},
    "FractalNet-20": {
        "none / naive, float32": "1.03",
        "columns": "1.08 1.04 1.02",
        "peak memory / naive, float32": "0.79",
        "inference, batch 1": "0.70",
        "inference, batch 32": "0.95",
    },
    "": {
        "compile": "1.6 to 3.0",
        "check digits.frac": "0.19",
        "report": "9",
        "trial": "34 ms at 1,000",
        "swept": "1.3",
    },
}
"""What was known before, by net and figure."""


class Row(NamedTuple):
    """A line of the table."""

    net: str
    figure: str
    before: str
    now: float
    goal: float | None

    @property
    def text(self) -> str:
        """The line in Markdown."""
        verdict = "" if self.goal is None else "met" if round(self.now, 3) <= round(self.goal, 3) else "MISSED"
        goal = "" if self.goal is None else f"{self.goal:.3f}"
        return f"| {self.net} | {self.figure} | {self.before} | {self.now:.3f} | {goal} | {verdict} |"


def pieces(quick: bool) -> dict[str, list[str]]:
    """The command of each piece by name, without the interpreter. ``FILE`` stands for a file that takes its figures,
    and ``FOLDER`` for one that is deleted afterwards."""
    fast = ["--quick"] * quick
    result: dict[str, list[str]] = {}
    for net in NETS:
        for part in PARTS:
            if quick and (part == "memory" or net == "deep, C = 6"):
                continue
            words = [
                "train_step.py",
                "--net",
                net,
                "--only",
                part,
                "--rounds",
                str(ROUNDS),
                "--json",
                "FILE",
                *fast,
                "--threads",
                "1",
            ]
            result[f"{net}: {part}"] = words
    result["compilation"] = ["compile_time.py", "--only", "slope", "--json", *fast]
    result["commands"] = ["check_time.py", "--json", *fast]
    result["growth"] = ["growth.py", "--json", *fast]
    result["input"] = ["input.py", "--only", "augmentation", "--json", *fast]
    if not quick:
        result["large"] = ["compile_time.py", "--only", "large", "--json"]
        onnx = ["--runtimes", "onnx", "--batch", "1", "--folder", "FOLDER", "--json"]
        result["deploy column"] = ["deploy.py", "--net", "fractalnet20", "--nets", "column3", *onnx]
        result["deploy anytime"] = ["deploy.py", "--net", "digits", "--nets", "anytime,whole", *onnx]
    return result


def measure(command: list[str]) -> Any:
    """What the process of a piece measured."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "figures.json"
        places = {"FILE": str(file), "FOLDER": str(Path(folder) / "exports")}
        words = [sys.executable, str(HERE / command[0]), *[places.get(word, word) for word in command[1:]]]
        done = subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True)
        return json.loads(file.read_text("utf-8") if file.exists() else done.stdout)


def rows(figures: dict[str, Any]) -> Iterator[Row]:
    """The table of what was measured."""
    for name, measured in figures.items():
        net, _, part = name.partition(": ")
        match name:
            case "compilation":
                yield Row(
                    "",
                    "slope of compilation / of construction",
                    before("", "compile"),
                    measured["slope"],
                    COMPILATION["slope"],
                )
            case "commands":
                for command in ("--help", "check bare.frac", "check digits.frac"):
                    goal = 0.10 if command == "--help" else 0.12
                    yield Row("", f"`{command}`, s", before("", command), measured[command]["median"], goal)
            case "growth":
                yield Row("", "a report over ten runs, s", before("", "report"), measured["report"], GROWTH["report"])
                yield Row(
                    "",
                    "a trial of a sweep after 1,000 trials / after 50",
                    before("", "trial"),
                    measured["growth"],
                    GROWTH["growth"],
                )
                shown = "a trial of a sweep / the same run as a command"
                yield Row("", shown, before("", "swept"), measured["swept"] / measured["command"], None)
            case "input":
                (row,) = [r for r in measured["augmentation"] if r["augment"] == "translate" and r["batch"] == 100]
                shown = "microseconds for an image, moved and mirrored"
                yield Row("", shown, "", 1e6 / row["images per second"], 1e6 / IMAGES)
            case "large":
                yield Row("", "compiling 100,000 layers, s", "", measured["large"]["seconds"], COMPILATION["seconds"])
                yield Row("", "memory for that, GB", "", measured["large"]["gigabytes"], COMPILATION["gigabytes"])
            case "deploy column" | "deploy anytime":
                for goal in measured["goals"]:
                    yield Row("", goal["goal"], "", goal["found"], goal["limit"])
            case _:
                yield from _steps(net, part, measured)


def _steps(net: str, part: str, measured: Any) -> Iterator[Row]:
    for parts in measured.values():
        columns = iter(before(net, "columns").split())
        for row in parts[part]["ratios"]:
            title = row["title"]
            known = before(net, title)
            if part == "columns" and title.endswith("/ plain, float32"):
                known = next(columns, "")
            if part == "inference":
                known = before(net, f"inference, {title.rpartition(', ')[2]}")
            yield Row(net, title, known, row["ratio"], row["goal"])


def before(net: str, figure: str) -> str:
    """What was known of a figure before; empty if nothing was."""
    return BEFORE.get(net, {}).get(figure, "")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, help="the JSON file of the figures")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="start nothing after this time")
    parser.add_argument("--print", action="store_true", help="measure nothing")
    parser.add_argument("--quick", action="store_true", help="tiny batches, few rounds")
    options = parser.parse_args()
    figures: dict[str, Any] = json.loads(options.file.read_text("utf-8")) if options.file.exists() else {}
    planned, start = pieces(options.quick), time.monotonic()
    for name, command in planned.items():
        if name in figures or options.print:
            continue
        if time.monotonic() - start > 60 * options.minutes:
            print(f"{len(planned) - len(figures)} pieces are left: run the command again", file=sys.stderr)
            return
        print(name, file=sys.stderr, flush=True)
        figures[name] = measure(command)
        fresh = options.file.with_suffix(".new")
        fresh.write_text(json.dumps(figures, indent=2) + "\n", "utf-8")
        fresh.replace(options.file)
    print("| net | figure | before | now | goal | |\n|---|---|---|---|---|---|")
    for row in rows({name: figures[name] for name in planned if name in figures}):
        print(row.text)


if __name__ == "__main__":
    main()
