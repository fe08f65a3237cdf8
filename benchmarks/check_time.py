"""The CPU time of short commands, each as a whole process.

    python benchmarks/check_time.py [--quick] [--json]

CPU seconds of user and system: the least and the median of the runs, and whether the median meets its goal. Commands
are interleaved, so that a busy moment does not affect only one of them. The package is first compiled to bytecode, as
pip does: if PYTHONDONTWRITEBYTECODE is set, each command would compile an editable checkout again. Python alone, and
libraries that commands load, are measured for comparison. `bare.frac` is plain.frac without its train block, whose
settings need pydantic.
"""

from __future__ import annotations

import argparse
import compileall
import json
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
EXAMPLES = ROOT / "examples"
LIBRARIES = ("typer", "lark", "msgspec", "pydantic", "networkx", "rich.table")
GOALS = {"--help": 0.10, "check bare.frac": 0.12}


def main() -> None:
    """Run each command and print its times."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="five runs instead of fifteen")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    compileall.compile_dir(ROOT / "fractal_dsl", quiet=1)
    with tempfile.TemporaryDirectory() as folder:
        bare = Path(folder) / "bare.frac"
        bare.write_text((EXAMPLES / "plain.frac").read_text("utf-8").partition("train {")[0], "utf-8")
        rows = measured(_runs(bare, Path(folder)), 5 if options.quick else 15)
    if options.json:
        print(json.dumps(rows, indent=2))
        return
    for name, row in rows.items():
        goal = "" if row["goal"] is None else f"   goal {row['goal']:.2f}: {'met' if row['met'] else 'MISSED'}"
        print(f"{name:<42} least {row['least']:.3f} s   median {row['median']:.3f} s{goal}")


def _runs(bare: Path, folder: Path) -> dict[str, list[str]]:
    """The arguments of Python for each row of the table."""
    python = {"python": ["-c", "pass"]} | {f"python: import {name}": ["-c", f"import {name}"] for name in LIBRARIES}
    picture = ["-o", str(folder / "net.dot")]
    commands = {"--version": ["--version"], "--help": ["--help"], "check --help": ["check", "--help"]}
    commands |= {"check bare.frac": ["check", str(bare)], "info bare.frac": ["info", str(bare)]}
    commands |= {
        f"check {name}": ["check", str(EXAMPLES / name)] for name in ("plain.frac", "digits.frac", "wine.frac")
    }
    deep = str(EXAMPLES / "fractalnet_deep.frac")
    commands["info fractalnet_deep.frac -p columns=12"] = ["info", deep, "-p", "columns=12", "--json"]
    digits = ["render", str(EXAMPLES / "digits.frac"), *picture]
    commands |= {"render digits.frac --view rule": [*digits, "--view", "rule"], "render digits.frac": digits}
    return python | {name: ["-m", "fractal_dsl", *arguments] for name, arguments in commands.items()}


def measured(runs: dict[str, list[str]], times: int) -> dict[str, dict[str, float | bool | None]]:
    """The least and the median CPU seconds of each process."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(times):
        for name, arguments in runs.items():
            start = _children()
            subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
            seconds[name].append(_children() - start)
    rows: dict[str, dict[str, float | bool | None]] = {}
    for name, values in seconds.items():
        median, goal = statistics.median(values), GOALS.get(name)
        met = None if goal is None else median <= goal
        rows[name] = {"least": round(min(values), 4), "median": round(median, 4), "goal": goal, "met": met}
    return rows


def _children() -> float:
    """CPU seconds of all child processes that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    main()
