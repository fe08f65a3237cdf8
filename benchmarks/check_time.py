"""The time of `fractal-dsl check` for each example, as a whole process, and of `info` at C = 12.

    python benchmarks/check_time.py [--quick] [--json]

Wall seconds, the median of the runs. Commands are interleaved, so that a busy moment does not affect only one of them.
The package is first compiled to bytecode, as pip does: if PYTHONDONTWRITEBYTECODE is set, each command would compile an
editable checkout again. Python alone, and the libraries that every command loads, are measured for comparison.
"""

from __future__ import annotations

import argparse
import compileall
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
EXAMPLES = ROOT / "examples"


def main() -> None:
    """Run each command and print its median."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="three runs instead of nine")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    compileall.compile_dir(ROOT / "fractal_dsl", quiet=1)
    libraries = ("pydantic, typer", "networkx", "rich.table")
    python = {"python": ["-c", "pass"]} | {f"python: {names}": ["-c", f"import {names}"] for names in libraries}
    commands = {f"check {f.name}": ["check", str(f)] for f in sorted(EXAMPLES.glob("*.frac"))}
    deep = str(EXAMPLES / "fractalnet_deep.frac")
    commands["info fractalnet_deep.frac -p columns=12"] = ["info", deep, "-p", "columns=12", "--json"]
    runs = python | {name: ["-m", "fractal_dsl", *arguments] for name, arguments in commands.items()}
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(3 if options.quick else 9):
        for name, arguments in runs.items():
            start = time.perf_counter()
            subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
            seconds[name].append(time.perf_counter() - start)
    medians = {name: round(statistics.median(times), 3) for name, times in seconds.items()}
    if options.json:
        print(json.dumps(medians, indent=2))
    else:
        for name, median in medians.items():
            print(f"{name:<42} {median:.3f} s")


if __name__ == "__main__":
    main()
