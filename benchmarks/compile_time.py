"""The time from a net's text to a module, compared with constructing its modules, and a net of 100,000 layers.

    python benchmarks/compile_time.py [--quick] [--only slope|large] [--json]

slope: the deep net of the paper (B = 5) at C = 3 to 12 columns, up to 20,475 base layers, on the meta device. CPU
seconds, the median of the rounds; each round measures both. `modules` constructs the same torch modules in a list, with
the same arguments. The slope is that of the line through the points, in seconds per layer.
large: 25 fractals of 12 columns of linear layers with 4 features, on the CPU with initial weights, in a process of its
own. Its memory includes torch. Training runs by plans, so this leaves out the code of the whole net, which fx generates
when it is first needed.
"""

from __future__ import annotations

import argparse
import gc
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from fractal_dsl import build, compile_text
from fractal_dsl.runtime.graph_to_fx import make_module

TEXT = (Path(__file__).parent.parent / "examples" / "fractalnet_deep.frac").read_text("utf-8")


LARGE = """
from "std:fractal" import fractal
layer unit(w: int) = linear(w) >> relu
net Large(x: f32[4]) -> f32[4] with drop_path(local=15%, global=50%), init("xavier")
    = seq(fractal[12](unit(w)) for w in WIDTHS)
"""
GOALS = {"slope": 1.25, "seconds": 20.0, "gigabytes": 4.0}


def seconds(work: Callable[[], object]) -> float:
    """CPU seconds of one call."""
    gc.collect()
    start = time.process_time()
    kept = work()
    done = time.process_time() - start
    del kept
    return done


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="up to C = 8, one round; a large net of 20,475 layers")
    parser.add_argument(
        "--only", choices=["slope", "large", "here"], help="measure only this; here: large in this process"
    )
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if options.only == "here":
        print(json.dumps(large(5 if options.quick else 25)))
        return
    result: dict[str, object] = {}
    if options.only != "large":
        rows = [_row(columns, options.quick) for columns in range(3, 9 if options.quick else 13)]
        ours, modules = (_slope(rows, key) for key in ("seconds", "modules"))
        result |= {"rows": rows, "ours": ours, "modules": modules, "slope": ours / modules}
    if options.only != "slope":
        command = [sys.executable, __file__, "--only", "here", *["--quick"] * options.quick]
        result |= {"large": json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)}
    print(json.dumps(result, indent=2) if options.json else _text(result))


def _row(columns: int, quick: bool) -> dict[str, float]:
    """The time of one net, and of its modules alone."""
    params = {"columns": str(columns)}
    compiled = compile_text(TEXT, params)
    model = build(compiled, device="meta")
    masks = {name: _columns(module) for name, module in model.named_modules()}
    graph = compiled.graph
    plans = {
        node.module: (construction, masks[node.module])
        for number, node in graph.items()
        if (construction := graph.construction(number)) is not None and masks.get(node.module) is not None
    }

    def modules() -> list[nn.Module]:
        with torch.device("meta"):
            return [make_module(construction, mask) for construction, mask in plans.values()]

    def ours() -> nn.Module:
        return build(compile_text(TEXT, params), device="meta")

    times = [(seconds(ours), seconds(modules)) for _ in range(1 if quick or columns > 10 else 3)]
    whole, bare = (statistics.median(t) for t in zip(*times, strict=True))
    layers = compiled.summary.base_layers
    return {"columns": columns, "layers": layers, "seconds": whole, "modules": bare, "ratio": whole / bare}


def _slope(rows: list[dict[str, float]], key: str) -> float:
    """Seconds for each further layer, by least squares."""
    return statistics.linear_regression([row["layers"] for row in rows], [row[key] for row in rows]).slope


def large(blocks: int) -> dict[str, float]:
    """Compile and build a large net with its weights: its layers, CPU seconds, and the peak of the memory."""
    start = time.process_time()
    compiled = compile_text(LARGE.replace("WIDTHS", str([4] * blocks)))
    build(compiled, seed=1)
    taken = time.process_time() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    return {"layers": compiled.summary.base_layers, "seconds": taken, "gigabytes": peak}


def _text(result: dict) -> str:
    lines = [
        f"C = {row['columns']:<3} {row['layers']:>7,} layers   {row['seconds']:7.2f} s"
        f"   modules {row['modules']:7.2f} s   ratio {row['ratio']:.2f}"
        f"   {1e6 * row['seconds'] / row['layers']:5.0f} microseconds per layer"
        for row in result.get("rows", ())
    ]
    if "slope" in result:
        lines.append(
            f"slope: {1e6 * result['ours']:.0f} microseconds per layer, modules {1e6 * result['modules']:.0f}, ratio "
            f"{result['slope']:.2f}   {_goal('slope', result['slope'])}"
        )
    if net := result.get("large"):
        lines.append(
            f"{net['layers']:,} layers with weights: {net['seconds']:.1f} s   {_goal('seconds', net['seconds'])}"
            f"   {net['gigabytes']:.1f} GB   {_goal('gigabytes', net['gigabytes'])}"
        )
    return "\n".join(lines)


def _goal(name: str, value: float) -> str:
    return f"goal {GOALS[name]:g}: {'met' if value <= GOALS[name] else 'MISSED'}"


def _columns(module: nn.Module) -> int:
    """The columns that a batch norm keeps statistics for, as a bit mask."""
    names = [name for name, _ in module.named_buffers(recurse=False) if name.startswith("running_mean_column")]
    return sum(1 << int(name.removeprefix("running_mean_column")) - 1 for name in names)


if __name__ == "__main__":
    main()
