"""A training step on an H100 by analysis, without a GPU: kernels, bytes and FLOPs, and when launches dominate.

    python benchmarks/roofline.py [--quick] [--json]

A step runs on fake tensors, which have shapes but no values. An operation that computes counts as one kernel, and
`convolution_backward` as two. Its bytes are those of inputs and outputs, its FLOPs those of torch's FlopCounterMode.
The optimizer is SGD with momentum: fused, torch launches it for 48 tensors, or 320 pieces of 65,536 numbers, at a time.
An addition to many small tensors at once is launched for 110 of them at a time.
`loop` is its kernels without that, three for each tensor.

An operation takes the longest of FLOPs / peak, bytes / bandwidth, and the shortest time of a kernel. A step takes the
longer of the sum of its operations and of its launches. The figures of the GPU (H100 SXM, NVIDIA's data sheet, dense):
67 TFLOP/s in float32, 494 in TF32, 989 in bf16; 3.35 TB/s. Costs assumed for each kernel: 6 us to launch it from Python
forward and backward, 1.5 us in a CUDA graph, and at least 2 us to run. Real kernels do not reach the peaks, so real
steps are slower; the batch from which launches no longer dominate is therefore an upper bound.

`fp32` means float32 everywhere. Torch itself computes convolutions of float32 in TF32 on such GPUs.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode, flop_registry

from fractal_dsl import FractalModule, build, compile_file
from fractal_dsl.plans.plan import Plan

EXAMPLES = Path(__file__).parent.parent / "examples"
NETS = {
    "FractalNet-20": ("fractalnet20_cifar", 3),
    "deep, C = 4": ("fractalnet_deep", 4),
    "deep, C = 6": ("fractalnet_deep", 6),
}
BATCHES = (32, 128, 512)
PEAK = {"fp32": 67e12, "tf32": 494e12, "bf16": 989e12}
BANDWIDTH = 3.35e12
LAUNCH, REPLAY, SHORTEST = 6e-6, 1.5e-6, 2e-6
FUSED_TENSORS, FUSED_PIECES, PIECE, FOREACH_TENSORS = 48, 320, 65_536, 110


@dataclass(frozen=True)
class Work:
    """The work of an operation: linear in the batch, as (constant, for each example)."""

    name: str
    kernels: int
    bytes: tuple[float, float]
    flops: tuple[float, float]

    def seconds(self, batch: int, precision: str) -> float:
        """The time on the device."""
        bytes, flops = (a + b * batch for a, b in (self.bytes, self.flops))
        return max(flops / PEAK[precision], bytes / BANDWIDTH, SHORTEST * self.kernels)


class Counted(TorchDispatchMode):
    """Collects the name, kernels, bytes and FLOPs of each operation that computes."""

    def __init__(self) -> None:
        super().__init__()
        self.done: list[tuple[str, int, int, int]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        if not (
            func.namespace == "prim" or func.is_view or name in _FREE or name.startswith(("empty", "new_empty", "sym_"))
        ):
            moved = [t for t in tree_leaves((args, kwargs, out)) if isinstance(t, torch.Tensor)]
            flops = flop_registry.get(func.overloadpacket, lambda *_, **__: 0)(*args, **(kwargs or {}), out_val=out)
            kernels = 2 if name == "convolution_backward" else 1
            if name.startswith("_foreach"):
                kernels = ceil(len(args[0]) / FOREACH_TENSORS)
            self.done.append((name, kernels, sum(t.numel() * t.element_size() for t in moved), flops))
        return out


_FREE = {"detach", "lift_fresh", "_unsafe_view", "_local_scalar_dense", "view", "is_same_size"}
"""Operations that only change how a tensor is seen."""


def works(model: FractalModule, plan: Plan, classes: int, precision: str) -> list[Work]:
    """The operations of a step under a plan, forward and backward."""
    once, twice = (_counted(model, plan, classes, precision, batch) for batch in (2, 4))
    result = []
    for (name, kernels, *a), (_, _, *b) in zip(once, twice, strict=True):
        (bytes, flops) = ((2 * x - y, (y - x) / 2) for x, y in zip(a, b, strict=True))
        result.append(Work(name, kernels, bytes, flops))
    return result


def _counted(
    model: FractalModule, plan: Plan, classes: int, precision: str, batch: int
) -> list[tuple[str, int, int, int]]:
    from torch._subclasses.fake_tensor import FakeTensorMode

    def step() -> None:
        x = torch.empty(batch, 3, 32, 32).contiguous(memory_format=torch.channels_last)  # takes no way that is a CPU's
        y = torch.empty(batch, dtype=torch.int64)
        with torch.autocast("cpu", torch.bfloat16) if precision == "bf16" else nullcontext():
            output = model.run(x, plan)
        F.cross_entropy(output.float(), y).backward()
        model.zero_grad()

    with FakeTensorMode(allow_non_fake_inputs=True):
        with Counted() as counted:
            step()
        with FlopCounterMode(display=False) as flops:  # hooks all modules, so ours would not run their own functions
            step()
    assert flops.get_total_flops() == sum(done[3] for done in counted.done)
    return counted.done


def optimizer(model: FractalModule) -> tuple[Work, int]:
    """SGD with momentum in fused kernels, and the number of kernels for each tensor by itself."""
    sizes = [p.numel() for p in model.parameters()]
    pieces = sum(ceil(size / PIECE) for size in sizes)
    kernels = max(ceil(len(sizes) / FUSED_TENSORS), ceil(pieces / FUSED_PIECES))
    return Work("optimizer", kernels, (5 * 4 * sum(sizes), 0), (0, 0)), 3 * len(sizes)


def crossing(done: Sequence[Work], precision: str, cost: float) -> int:
    """The smallest batch for which the device takes longer than the launches, up to a million."""
    launches = cost * sum(work.kernels for work in done)
    low, high = 0, 2**20
    while high - low > 1:
        middle = (low + high) // 2
        if sum(work.seconds(middle, precision) for work in done) < launches:
            low = middle
        else:
            high = middle
    return high


def measure(name: str, precisions: Sequence[str]) -> dict[str, Any]:
    """The figures of a net."""
    file, columns = NETS[name]
    compiled = compile_file(EXAMPLES / f"{file}.frac", {"columns": str(columns), "drops": "[0%, 0%, 0%, 0%, 0%]"})
    model, classes = build(compiled).train(), compiled.program.output.shape[0]
    update, loop = optimizer(model)
    plans = {"whole net": model.full_plan(), f"column {columns}": model.column_plan(columns)}
    rows, kernels = [], {}
    for precision in precisions:
        for title, plan in plans.items():
            done = [*works(model, plan, classes, precision), update]
            kernels.setdefault(title, {})[precision] = sum(work.kernels for work in done)
            rows += [_row(title, precision, batch, done) for batch in BATCHES]
    once = works(model, plans["whole net"], classes, "fp32")
    most = Counter[str]()
    for work in once:
        most[work.name] += work.kernels
    flops, bytes = (sum(getattr(work, key)[1] for work in once) for key in ("flops", "bytes"))
    return {
        "net": name,
        "parameters": sum(p.numel() for p in model.parameters()),
        "GFLOPs per example": round(flops / 1e9, 3),
        "MB per example": round(bytes / 1e6, 2),
        "kernels": kernels,
        "optimizer kernels": {"fused": update.kernels, "loop": loop},
        "most kernels": dict(most.most_common(8)),
        "steps": rows,
    }


def _row(plan: str, precision: str, batch: int, done: Sequence[Work]) -> dict[str, Any]:
    device, kernels = sum(work.seconds(batch, precision) for work in done), sum(work.kernels for work in done)
    return {
        "plan": plan,
        "precision": precision,
        "batch": batch,
        "device ms": round(1e3 * device, 2),
        "launch ms": round(1e3 * LAUNCH * kernels, 2),
        "graph ms": round(1e3 * REPLAY * kernels, 2),
        "images per second": round(batch / max(device, LAUNCH * kernels)),
        "with a graph": round(batch / max(device, REPLAY * kernels)),
        "launches dominate below": crossing(done, precision, LAUNCH),
    }


def main() -> None:
    """Count and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="FractalNet-20 in bf16")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    precisions = ["bf16"] if options.quick else list(PEAK)
    results = [measure(name, precisions) for name in list(NETS)[: 1 if options.quick else None]]
    if options.json:
        print(json.dumps(results, indent=2))
        return
    for result in results:
        rows = result.pop("steps")
        print("\n".join(f"{key}: {value}" for key, value in result.items()))
        print("  ".join(rows[0]))
        for row in rows:
            print("  ".join(f"{row[key]!s:>{len(key)}}" for key in row))
        print()


if __name__ == "__main__":
    main()
