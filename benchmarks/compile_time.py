"""The time from a net's text to a GraphModule on the meta device, compared with constructing its modules.

    python benchmarks/compile_time.py [--quick] [--json]

The deep net of the paper (B = 5) at C = 3 to 12 columns, up to 20,475 base layers. CPU seconds, the median of the
rounds; each round measures both. `modules` constructs the same torch modules in a list, with the same arguments.
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from fractal_dsl import build, compile_text
from fractal_dsl.runtime.graph_to_fx import make_module

TEXT = (Path(__file__).parent.parent / "examples" / "fractalnet_deep.frac").read_text("utf-8")


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
    parser.add_argument("--quick", action="store_true", help="up to C = 8, one round")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    rows = []
    for columns in range(3, 9 if options.quick else 13):
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

        def modules(plans: dict = plans) -> list[nn.Module]:
            with torch.device("meta"):
                return [make_module(construction, mask) for construction, mask in plans.values()]

        def ours(params: dict[str, str] = params) -> nn.Module:
            return build(compile_text(TEXT, params), device="meta")

        times = [(seconds(ours), seconds(modules)) for _ in range(1 if options.quick or columns > 10 else 3)]
        whole, bare = (statistics.median(t) for t in zip(*times, strict=True))
        layers = compiled.summary.base_layers
        rows.append({"columns": columns, "layers": layers, "seconds": whole, "modules": bare, "ratio": whole / bare})
        if not options.json:
            last = rows[-1]
            per_layer = 1e6 * last["seconds"] / last["layers"]
            print(
                f"C = {columns:<3} {layers:>7,} layers   {last['seconds']:7.2f} s   modules {last['modules']:7.2f} s"
                f"   ratio {last['ratio']:.2f}   {per_layer:5.0f} microseconds per layer",
                flush=True,
            )
    if options.json:
        print(json.dumps(rows, indent=2))


def _columns(module: nn.Module) -> int:
    """The columns that a batch norm keeps statistics for, as a bit mask."""
    names = [name for name, _ in module.named_buffers(recurse=False) if name.startswith("running_mean_column")]
    return sum(1 << int(name.removeprefix("running_mean_column")) - 1 for name in names)


if __name__ == "__main__":
    main()
