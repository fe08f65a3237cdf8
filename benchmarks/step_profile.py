"""Where the time of a step goes, by kind of operation: our net beside the naive one."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Callable

from rivals import Naive
from step_parts import FIRST, LAST, Arena
from torch.profiler import ProfilerActivity, profile

_KINDS = (
    ("convolution, backward", ("convolution_backward", "ConvolutionBackward")),
    ("convolution, forward", ("convolution", "aten::conv2d")),
    ("batch norm", ("batch_norm", "BatchNorm")),
    ("max pooling", ("max_pool", "MaxPool")),
    ("ReLU", ("clamp", "threshold", "relu", "Relu", "RELU")),
    ("joins", ("cat", "stack", "sum", "div", "mean", "Mean", "Stack", "aten::add")),
    ("copies and zeros", ("copy", "fill", "zero", "contiguous", "clone", "aten::to")),
)
_ROUNDS = 5


def print_profile(arena: Arena) -> None:
    """Print the CPU time of operations by kind, in ms, the medians of a few steps without drop-path.

    The time of an operation excludes that of those that it calls. `copies and zeros` include those within others.
    """
    full = arena.reference.full_plan()
    times: dict[str, dict[str, list[float]]] = {}
    steps = {}
    for layout in (FIRST, LAST):
        ours, x = arena.placed(arena.net.build(), layout)
        naive, _ = arena.placed(Naive(arena.net), layout)
        steps[f"ours, {layout}"] = arena.step(ours, layout, lambda _, m=ours, x=x: m.run(x, full))
        steps[f"naive, {layout}"] = arena.step(naive, layout, lambda _, m=naive, x=x: m(x, full))
    for number in range(1 + _ROUNDS):
        for name, step in steps.items():
            kinds = _profiled(lambda step=step, number=number: step(number))
            if number:
                for kind, milliseconds in kinds.items():
                    times.setdefault(kind, {}).setdefault(name, []).append(milliseconds)
    print(f"\n{arena.net.title}: milliseconds by kind of operation, under the profiler")
    print(f"  {'':<24}" + "".join(f"{name:>22}" for name in steps))
    for kind in (*[kind for kind, _ in _KINDS], "other", "sum"):
        row = times.get(kind, {})
        print(f"  {kind:<24}" + "".join(f"{statistics.median(row.get(name, [0.0])):>22.1f}" for name in steps))


def _profiled(work: Callable[[], object]) -> dict[str, float]:
    """The milliseconds of one call by kind of operation."""
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        work()
    sums: dict[str, float] = defaultdict(float)
    for event in profiler.key_averages():
        kind = next((kind for kind, parts in _KINDS if any(part in event.key for part in parts)), "other")
        sums[kind] += event.self_cpu_time_total / 1000
    return {**sums, "sum": sum(sums.values())}
