"""The memory that recomputing sub-fractals saves in the backward pass, and its cost in time, by depth and level.

    python benchmarks/memory.py [--quick] [--json]

The deep net of the paper (B = 5), batch 32. `kept` are the tensors that a forward pass keeps for the backward pass.
`peak` is the growth of a separate process in a step. Times are CPU seconds per step, the median of three.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import torch

from fractal_dsl import FractalModule, build, compile_file

SPEC = Path(__file__).parent.parent / "examples" / "fractalnet_deep.frac"
NO_DROPOUT = "[0%, 0%, 0%, 0%, 0%]"


def measure(columns: int, level: int | None, batch: int) -> dict[str, float]:
    """The figures of one configuration, in a separate process."""
    code = f"import memory; print(memory.step({columns}, {level}, {batch}))"
    paths = os.pathsep.join([str(Path(__file__).parent), str(SPEC.parent.parent), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, env=environment)
    return json.loads(done.stdout)


def step(columns: int, level: int | None, batch: int) -> str:
    """The figures of forward and backward passes, as JSON."""
    model = build(compile_file(SPEC, {"columns": str(columns), "drops": NO_DROPOUT})).train()
    model.checkpoint(level)
    plan = model.full_plan()
    images = torch.randn(batch, 3, 32, 32)
    model.run(images[:2], plan).sum().backward()
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
    before = status("VmRSS")
    times = []
    for _ in range(3):
        start = time.process_time()
        model.run(images, plan).square().mean().backward()
        times.append(time.process_time() - start)
    peak = (status("VmHWM") - before) / 1024
    return json.dumps({"peak_mib": peak, "kept_mib": kept(model, images) / 2**20, "seconds": statistics.median(times)})


def status(key: str) -> int:
    """A figure of this process in KiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(key))


def kept(model: FractalModule, images: torch.Tensor) -> int:
    """Bytes of the tensors that a forward pass keeps, without the weights."""
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
    sizes: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            sizes[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        out = model.run(images, model.full_plan())
    del out
    return sum(sizes.values())


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="up to C = 4, batch 8")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    rows = []
    for columns in (3, 4) if options.quick else (3, 4, 5, 6):
        for level in (None, *range(1, columns + 1)):
            row = {"columns": columns, "depth": 5 * 2 ** (columns - 1), "level": level}
            rows.append(row | measure(columns, level, 8 if options.quick else 32))
            if not options.json:
                row = rows[-1]
                whole = next(r for r in rows if r["columns"] == columns and r["level"] is None)
                print(
                    f"C = {columns} ({row['depth']:>3} layers)  "
                    f"{'all kept       ' if level is None else f'recompute f_{level}  '} "
                    f" kept {row['kept_mib']:7.1f} MiB ({row['kept_mib'] / whole['kept_mib']:.2f})"
                    f"  peak {row['peak_mib']:7.1f} MiB ({row['peak_mib'] / max(1, whole['peak_mib']):.2f})"
                    f"  {row['seconds']:6.2f} s ({row['seconds'] / whole['seconds']:.2f})",
                    flush=True,
                )
    if options.json:
        print(json.dumps(rows, indent=2))


if __name__ == "__main__":
    main()
