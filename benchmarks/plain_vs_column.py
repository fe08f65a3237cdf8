"""The paper's table 4 in small: a plain network 48 layers deep against the same network as column 5 of a fractal net.

    python benchmarks/plain_vs_column.py            # three seeds; about 20 minutes on two cores
    python benchmarks/plain_vs_column.py --quick    # one seed, three epochs

Both are trained by the same recipe, that of examples/digits.frac; test accuracy in %, of the weights that were best
on the validation images. Mixed drop-path (local 15%, global 50%) runs each column alone in a tenth of the steps;
`columns=all` runs every column on every mini-batch.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

from rich.console import Console

from fractal_dsl.config import merge, parse_config
from fractal_dsl.driver import check
from fractal_dsl.runtime.train import train
from fractal_dsl.source import Source

EXAMPLES = Path(__file__).parent.parent / "examples"
MIXED = "drop_path(local=15%, global=50%)"
RUNS = {
    "plain, 48 layers": ("plain", {"length": "16"}, MIXED),
    "fractal, mixed drop-path": ("digits", {"columns": "5"}, MIXED),
    "fractal, columns=all": ("digits", {"columns": "5"}, "drop_path(local=15%, columns=all)"),
    "plain, 24 layers": ("plain", {"length": "8"}, MIXED),
}


def measure(name: str, params: dict[str, str], drop_path: str, seed: int, epochs: int | None) -> dict[str, object]:
    """Train one net in a folder of its own; accuracies in %."""
    text = (EXAMPLES / f"{name}.frac").read_text("utf-8").replace(MIXED, drop_path)
    compiled = check(Source(name, text), params)[-1]
    overrides: list[tuple[str, object]] = [("seed", seed), *([("epochs", epochs)] if epochs else [])]
    config = parse_config(merge(compiled.program.train, overrides))
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        result = train(compiled, config, Path(folder) / "run", console=Console(quiet=True))
        seconds = time.perf_counter() - start
    columns = [round(100 * c["accuracy"], 2) for c in result.columns]
    return {"seed": seed, "net": round(100 * result.accuracy, 2), "columns": columns, "seconds": round(seconds, 1)}


def main() -> None:
    """Run, print a line for each training, then the medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one seed, three epochs")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    rows: list[dict[str, object]] = []
    for seed in range(1 if options.quick else options.seeds):
        for title, (name, params, drop_path) in RUNS.items():
            row = {"run": title, **measure(name, params, drop_path, seed, 3 if options.quick else None)}
            rows.append(row)
            if not options.json:
                columns = " ".join(f"{c:6.2f}" for c in row["columns"])  # type: ignore[attr-defined]
                print(
                    f"{title:<26} seed {seed}   net {row['net']:6.2f}   columns {columns}   {row['seconds']} s",
                    flush=True,
                )
    if options.json:
        print(json.dumps(rows, indent=2))


if __name__ == "__main__":
    main()
