"""A training step, forward and backward, without the optimizer: our nets, a naive dense net, and plain columns.

    python benchmarks/train_step.py                # FractalNet-20 and the deep nets; about an hour on two cores
    python benchmarks/train_step.py --quick        # FractalNet-20 and C = 4, small batches, few rounds
    python benchmarks/train_step.py --device cuda  # time on the device instead of CPU seconds

CPU seconds on 2 threads, the median of the rounds. One run interleaves all contestants. `mixed` is half local and half
global drop-path: half the time of a local step plus half the mean over the columns, so that the figures do not depend
on the draws. `naive` does what ports of the paper do: it computes everything, stacks the columns of a join, and masks
the dropped ones. `plain` is a column written by hand as an `nn.Sequential`. Memory is the growth of a process from the
built net to the peak of its steps. The nets have no dropout. The seed determines plans, weights and images.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("OMP_NUM_THREADS", "2")

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fractal_dsl import FractalModule, build, compile_file
from fractal_dsl.plans.plan import Plan, local_plan
from fractal_dsl.plans.space import PlanSpace

EXAMPLES = Path(__file__).parent.parent / "examples"
NO_DROPOUT = {"drops": "[0%, 0%, 0%, 0%, 0%]"}
DROP = 0.15


@dataclass(frozen=True)
class Net:
    """A net of examples/ and a batch."""

    title: str
    file: str
    columns: int
    widths: tuple[int, ...]
    classes: int
    batch: int

    def build(self, device: str = "cpu") -> FractalModule:
        given = {**NO_DROPOUT, "columns": str(self.columns)}
        return build(compile_file(EXAMPLES / f"{self.file}.frac", given), device=device)


WIDE, THIN = (64, 128, 256, 512, 512), (16, 32, 64, 128, 128)
NETS = [
    Net("FractalNet-20, batch 32", "fractalnet20_cifar", 3, WIDE, 10, 32),
    Net("deep, C = 4, batch 32", "fractalnet_deep", 4, THIN, 100, 32),
    Net("deep, C = 4, batch 100", "fractalnet_deep", 4, THIN, 100, 100),
    Net("deep, C = 6, batch 32", "fractalnet_deep", 6, THIN, 100, 32),
    Net("deep, C = 6, batch 100", "fractalnet_deep", 6, THIN, 100, 100),
]
QUICK = [
    Net("FractalNet-20, batch 8", "fractalnet20_cifar", 3, WIDE, 10, 8),
    Net("deep, C = 4, batch 8", "fractalnet_deep", 4, THIN, 100, 8),
]
CUDA = [
    Net("FractalNet-20, batch 128", "fractalnet20_cifar", 3, WIDE, 10, 128),
    Net("FractalNet-20, batch 512", "fractalnet20_cifar", 3, WIDE, 10, 512),
    Net("deep, C = 4, batch 128", "fractalnet_deep", 4, THIN, 100, 128),
    Net("deep, C = 4, batch 512", "fractalnet_deep", 4, THIN, 100, 512),
    Net("deep, C = 6, batch 128", "fractalnet_deep", 6, THIN, 100, 128),
]


# --- the contestants


def conv(into: int, out: int) -> list[nn.Module]:
    """The base layer."""
    return [nn.Conv2d(into, out, 3, padding=1, bias=False), nn.BatchNorm2d(out), nn.ReLU()]


def plain(net: Net, k: int) -> nn.Module:
    """Column k by hand."""
    layers: list[nn.Module] = []
    into = 3
    for width in net.widths:
        for _ in range(2 ** (k - 1)):
            layers += conv(into, width)
            into = width
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(into, net.classes))


class NaiveBlock(nn.Module):
    """f_C in 2^(C-1) rows. Each row has the columns with a layer there, and one join of them all."""

    def __init__(self, into: int, out: int, columns: int) -> None:
        super().__init__()
        self.rows = 2 ** (columns - 1)
        self.columns = nn.ModuleList(nn.ModuleDict() for _ in range(columns))
        for row in range(1, self.rows + 1):
            for c, column in enumerate(self.columns):
                if row % (every := self.rows >> c) == 0:
                    column[str(row)] = nn.Sequential(*conv(into if row == every else out, out))
        self.pool = nn.MaxPool2d(2)

    def forward(self, x: Tensor, masks: list[tuple[bool, ...]]) -> Tensor:
        values = [x] * len(self.columns)
        for row in range(1, self.rows + 1):
            here = [c for c, column in enumerate(self.columns) if str(row) in column]
            outs = [self.columns[c][str(row)](values[c]) for c in here]
            if row == self.rows:
                outs = [self.pool(out) for out in outs]
            joined = self.join(outs, masks.pop(0)) if len(outs) > 1 else outs[0]
            for c in here:
                values[c] = joined
        return values[-1]

    def join(self, outs: list[Tensor], mask: tuple[bool, ...]) -> Tensor:
        stacked = torch.stack(outs)
        if all(mask):
            return stacked.mean(0)
        flags = torch.tensor(mask[::-1], dtype=stacked.dtype, device=stacked.device)
        return (stacked * flags.view(-1, 1, 1, 1, 1)).sum(0) / flags.sum()


class Naive(nn.Module):
    """The whole net, dense. The masks of a plan are in our order of joins, with the deepest column first."""

    def __init__(self, net: Net) -> None:
        super().__init__()
        sizes = zip((3, *net.widths), net.widths, strict=False)
        self.blocks = nn.ModuleList(NaiveBlock(into, out, net.columns) for into, out in sizes)
        self.head = nn.Linear(net.widths[-1], net.classes)

    def forward(self, x: Tensor, plan: Plan) -> Tensor:
        masks = list(plan.live)
        for block in self.blocks:
            x = block(x, masks)
        return self.head(x.flatten(1))


def contestants(net: Net, device: torch.device, compiled: bool) -> dict[str, Callable[[int], float]]:
    """The contestants by name: each runs the step of a number and returns its seconds."""
    ours = net.build().to(device).train()
    naive = Naive(net).to(device).train()
    assert sum(p.numel() for p in ours.parameters()) == sum(p.numel() for p in naive.parameters())
    bf16 = net.build().to(device, memory_format=torch.channels_last).train()
    images = torch.randn(net.batch, 3, 32, 32, device=device)
    labels = torch.randint(net.classes, (net.batch,), device=device)
    last = images.contiguous(memory_format=torch.channels_last)
    arities = PlanSpace.of(ours.join_graph).arities

    def local(step: int) -> Plan:
        from random import Random

        return local_plan(arities, DROP, Random(step))

    def timed(model: nn.Module, forward: Callable[[int], Tensor], low: bool = False) -> Callable[[int], float]:
        def step(number: int) -> float:
            model.zero_grad(set_to_none=True)
            start = _now(device)
            with torch.autocast(device.type, torch.bfloat16, enabled=low):
                loss = F.cross_entropy(forward(number).float(), labels)
            loss.backward()
            seconds = _now(device) - start
            model.zero_grad(set_to_none=True)
            return seconds

        return step

    def summed(model: FractalModule, x: Tensor, at_once: bool) -> Callable[[int], float]:
        def step(number: int) -> float:
            model.zero_grad(set_to_none=True)
            plans = [local(number), *map(model.column_plan, range(1, net.columns + 1))]
            start = _now(device)
            if at_once:
                outs = model.run_together(x, plans)
                torch.stack([F.cross_entropy(out, labels) for out in outs]).sum().backward()
            else:
                for plan in plans:
                    F.cross_entropy(model.run(x, plan), labels).backward()
            return _now(device) - start

        return step

    def family(model: FractalModule, x: Tensor, low: bool) -> dict[str, Callable[[int], float]]:
        full, columns = model.full_plan(), [model.column_plan(k) for k in range(1, net.columns + 1)]
        steps = {
            "none": timed(model, lambda _: model.run(x, full), low),
            "local": timed(model, lambda n: model.run(x, local(n)), low),
        }
        for k, plan in enumerate(columns, 1):
            steps[f"column {k}"] = timed(model, lambda _, plan=plan: model.run(x, plan), low)
        return steps

    steps = {f"ours, float32: {name}": step for name, step in family(ours, images, False).items()}
    steps["ours, float32: local and all columns, one after another"] = summed(ours, images, False)
    steps["ours, float32: local and all columns at once"] = summed(ours, images, True)
    steps |= {f"ours, bf16 channels-last: {name}": step for name, step in family(bf16, last, True).items()}
    if compiled:
        quick = net.build().to(device, memory_format=torch.channels_last).train()
        quick.compile()
        steps |= {f"ours, bf16 channels-last compiled: {name}": s for name, s in family(quick, last, True).items()}
    steps["naive dense, float32: none"] = timed(naive, lambda _: naive(images, ours.full_plan()))
    steps["naive dense, float32: mixed"] = timed(naive, lambda n: naive(images, local(n)))
    for k in range(1, net.columns + 1):
        one = plain(net, k).to(device).train()
        steps[f"plain, float32: column {k}"] = timed(one, lambda _, one=one: one(images))
        low = plain(net, k).to(device, memory_format=torch.channels_last).train()
        steps[f"plain, bf16 channels-last: column {k}"] = timed(low, lambda _, low=low: low(last), True)
    return steps


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        return time.perf_counter()
    return time.process_time()


# --- measuring


def measure(net: Net, rounds: int, device: torch.device, compiled: bool) -> dict[str, float]:
    """The median seconds of each contestant, including the computed `mixed`."""
    torch.manual_seed(0)
    steps = contestants(net, device, compiled)
    for step in steps.values():
        step(0)
    times: dict[str, list[float]] = {name: [] for name in steps}
    for number in range(rounds):
        for name, step in steps.items():
            times[name].append(step(number))
    seconds = {name: statistics.median(t) for name, t in times.items()}
    for kind in {name.partition(":")[0] for name in seconds if name.startswith("ours")}:
        local = statistics.mean(times[f"{kind}: local"])
        columns = statistics.mean([seconds[f"{kind}: column {k}"] for k in range(1, net.columns + 1)])
        seconds[f"{kind}: mixed"] = (local + columns) / 2
    return seconds


def goals(net: Net, s: dict[str, float], memory: dict[str, float]) -> list[tuple[str, float, float]]:
    """The name, the ratio, and the ratio to reach."""
    f, b, naive = "ours, float32", "ours, bf16 channels-last", "naive dense, float32"
    many = net.columns >= 6
    ratios = [
        (f"column {k} / plain", s[f"{f}: column {k}"] / s[f"plain, float32: column {k}"], 1.05)
        for k in range(1, net.columns + 1)
    ]
    ratios += [
        ("local / none", s[f"{f}: local"] / s[f"{f}: none"], 0.88),
        ("mixed, float32 / naive mixed", s[f"{f}: mixed"] / s[f"{naive}: mixed"], 0.54 if many else 0.62),
        ("mixed, bf16 channels-last / naive mixed", s[f"{b}: mixed"] / s[f"{naive}: mixed"], 0.40 if many else 0.45),
        ("none / naive none", s[f"{f}: none"] / s[f"{naive}: none"], 0.95),
    ]
    return ratios + ([("peak memory, none / naive", memory["ours"] / memory["naive"], 0.85)] if memory else [])


def peak(net: Net, which: str) -> float:
    """The growth of a separate process in two steps of the whole net, in MiB."""
    code = f"import train_step as t; print(t.grown(t.Net(*{tuple(vars(net).values())!r}), {which!r}))"
    paths = os.pathsep.join([str(Path(__file__).parent), str(EXAMPLES.parent), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": paths}
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, env=environment)
    return float(done.stdout)


def grown(net: Net, which: str) -> float:
    """The growth of this process, which ``peak`` starts."""
    plan = net.build(device="meta").full_plan()
    model = net.build().train() if which == "ours" else Naive(net).train()
    small, images = torch.randn(2, 3, 32, 32), torch.randn(net.batch, 3, 32, 32)

    def step(x: Tensor) -> None:
        out = model.run(x, plan) if isinstance(model, FractalModule) else model(x, plan)
        out.square().sum().backward()

    step(small)  # initialises libraries and allocates gradients
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
    before = _status("VmRSS")
    for _ in range(2):
        step(images)
    return (_status("VmHWM") - before) / 1024


def _status(key: str) -> int:
    """A figure of this process in KiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(key))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small batches, three rounds")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--only", default="", help="only nets whose title contains this text")
    parser.add_argument("--compiled", action="store_true", help="also compiled segments; compiling takes minutes")
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    device = torch.device(options.device)
    torch.set_num_threads(2)
    everything = []
    for net in QUICK if options.quick else CUDA if device.type == "cuda" else NETS:
        if options.only not in net.title:
            continue
        rounds = 3 if options.quick else options.rounds
        seconds = measure(net, rounds, device, options.compiled or device.type == "cuda")
        memory = (
            {} if options.quick or device.type == "cuda" else {which: peak(net, which) for which in ("ours", "naive")}
        )
        ratios = goals(net, seconds, memory)
        everything.append({"net": net.title, "seconds": seconds, "peak_mib": memory, "ratios": ratios})
        if options.json:
            continue
        print(f"\n{net.title}: seconds per step ({'device' if device.type == 'cuda' else 'CPU'}), {rounds} rounds")
        for name, value in seconds.items():
            print(f"  {name:<57} {value:8.3f} {net.batch / value:10,.0f} images/s")
        for which, mib in memory.items():
            print(f"  peak memory, {which:<44} {mib:8.0f} MiB")
        for name, ratio, goal in ratios:
            print(f"  {name:<57} {ratio:8.2f}   goal {goal:.2f} {'' if ratio <= goal else 'MISSED'}")
    if options.json:
        print(json.dumps(everything, indent=2))


if __name__ == "__main__":
    main()
