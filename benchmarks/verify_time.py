"""The share of compile time that verifying the join graph after every pass takes.

    python benchmarks/verify_time.py [--quick] [--json]

Compiling goes from the text to a GraphModule with its weights, as `fractal-dsl compile` does. The nets are
FractalNet-20 and the deep net of the paper (B = 5) at 4 to 8 columns, up to 1,275 base layers. CPU seconds, medians.
Each round compiles once with and once without verification, in alternating order. `ratio` is with / without - 1, the
median over the rounds. `inside` is the time inside the verifier over the rest of the same compilation, which other work
on the machine affects less.
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import time
from pathlib import Path
from unittest.mock import patch

from fractal_dsl import build, compile_file
from fractal_dsl.graph import passes
from fractal_dsl.graph.graph import JoinGraph

EXAMPLES = Path(__file__).parent.parent / "examples"
DEEP = [(f"deep net, C = {c}", EXAMPLES / "fractalnet_deep.frac", {"columns": c}) for c in range(4, 9)]
NETS = [("FractalNet-20", EXAMPLES / "fractalnet20_cifar.frac", {}), *DEEP]
VERIFY = passes.verify


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="5 rounds instead of 25")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    rows = [measured(*net, rounds=5 if options.quick else 25) for net in NETS]
    if options.json:
        print(json.dumps(rows, indent=2))
        return
    for row in rows:
        print(
            f"{row['net']:<18} with {row['with']:.4f} s   without {row['without']:.4f} s   ratio {row['ratio']:+.1%}"
            f"   inside {row['inside']:.1%}"
        )


def measured(name: str, path: Path, params: dict[str, int], rounds: int) -> dict[str, str | float]:
    """The medians for one net."""
    compiled(path, params, verify=True)  # a warm-up, which loads and caches
    pairs = []
    for i in range(rounds):
        times = {
            verify: compiled(path, params, verify=verify) for verify in ((True, False) if i % 2 else (False, True))
        }
        pairs.append((times[True], times[False]))
    middle = statistics.median
    return {
        "net": name,
        "with": middle(whole for (whole, _), _ in pairs),
        "without": middle(bare for _, (bare, _) in pairs),
        "ratio": middle(whole / bare - 1 for (whole, _), (bare, _) in pairs),
        "inside": middle(inside / (whole - inside) for (whole, inside), _ in pairs),
    }


def compiled(path: Path, params: dict[str, int], *, verify: bool) -> tuple[float, float]:
    """The CPU seconds for compiling one net, and those of them inside the verifier."""
    inside = 0.0

    def timed(graph: JoinGraph) -> None:
        nonlocal inside
        start = time.process_time()
        VERIFY(graph)
        inside += time.process_time() - start

    gc.collect()
    with patch.object(passes, "verify", timed if verify else lambda graph: None):
        start = time.process_time()
        kept = build(compile_file(path, params), seed=0)
        done = time.process_time() - start
    del kept
    return done, inside


if __name__ == "__main__":
    main()
