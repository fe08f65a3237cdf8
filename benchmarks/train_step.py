"""A training step, forward and backward, without the optimizer, beside naive nets, another port, and plain columns.

    python benchmarks/train_step.py                           # everything: about half an hour on two cores
    python benchmarks/train_step.py --quick                   # tiny batches and one round: does it run?
    python benchmarks/train_step.py --net 20 --only columns   # one part, in a minute or two
    python benchmarks/train_step.py --json steps.json         # merges what it measured into a file
    python benchmarks/train_step.py --table before.json steps.json   # prints files side by side
    python benchmarks/train_step.py --profile --net C         # where the time of a step goes
    python benchmarks/train_step.py --return-memory           # with glibc's defaults, as outside of training
    python benchmarks/train_step.py --device cuda             # time on the device instead of CPU seconds

CPU seconds on 2 threads, or --threads, the median of the rounds; the contestants of a part run interleaved in one
process. A ratio is the median of the rounds' ratios, which changes of the machine's speed affect less. `floor` is the
ratio of multiply-accumulates. Memory is the growth of a process from the built net to the peak of its steps, in which
glibc returns large blocks when they are freed: otherwise the growth of equal steps differs by half. The nets have no
dropout. `rivals.py` has the rivals, `step_parts.py` has the parts, and `step_goals.py` has the goals.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ["OMP_NUM_THREADS"] = "2"

import torch
from rivals import CUDA, NETS, QUICK, Naive, Net
from step_goals import goals
from step_parts import FIRST, LAST, PARTS, Arena, contestants
from step_profile import print_profile
from torch import Tensor

from fractal_dsl import FractalModule
from fractal_dsl.runtime.kept_memory import memory_kept

Times = dict[str, list[float]]
"""The figures of each contestant by round."""


def measure(arena: Arena, part: str, rounds: int) -> Times:
    """The seconds of each contestant of a part in each round, or its memory in MiB."""
    if part == "memory":
        return {f"{w}, {l}: memory": [peak(arena.net, w, l)] for l in (FIRST, LAST) for w in ("ours", "naive")}
    torch.manual_seed(0)
    steps = contestants(arena, part)
    for step in steps.values():
        step(0)
    times: Times = {name: [] for name in steps}
    for number in range(rounds):
        for name, step in steps.items():
            times[name].append(step(number))
    columns = [f"column {k}" for k in arena.ks]
    for kind in sorted({name.partition(":")[0] for name in steps}):
        if f"{kind}: local" in times and f"{kind}: column 1" in times:
            local = statistics.mean(times[f"{kind}: local"])
            each = zip(*[times[f"{kind}: {column}"] for column in columns], strict=True)
            times[f"{kind}: mixed"] = [(local + statistics.mean(row)) / 2 for row in each]
    return times


def ratios(arena: Arena, part: str, times: Times) -> list[dict[str, Any]]:
    """The ratios of a part, with their goals. Rivals that are not installed have none."""
    result: list[dict[str, Any]] = []
    rounds = len(next(iter(times.values())))
    for goal in goals(arena, part, rounds):
        if goal.top in times and goal.bottom in times:
            pairs = zip(times[goal.top], times[goal.bottom], strict=True)
            ratio = statistics.median(a / b for a, b in pairs)
            if "floor" in goal.title and "local" in goal.title:  # each round has a plan of its own
                ratio = statistics.mean(times[goal.top]) / statistics.mean(times[goal.bottom])
            result.append({"title": goal.title, "ratio": ratio, "goal": goal.most})
    return result


def peak(net: Net, which: str, layout: str) -> float:
    """The growth of a separate process in two steps of the whole net, in MiB."""
    code = f"import train_step as t; print(t.grown(t.Net(*{tuple(vars(net).values())!r}), {which!r}, {layout!r}))"
    here = Path(__file__).parent
    paths = os.pathsep.join([str(here), os.environ.get("PYTHONPATH", ""), str(here.parent)])
    environment = {**os.environ, "PYTHONPATH": paths, "MALLOC_MMAP_THRESHOLD_": "65536"}
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, env=environment)
    return float(done.stdout)


def grown(net: Net, which: str, layout: str) -> float:
    """The growth of this process, which ``peak`` starts."""
    arena = Arena(net, torch.device("cpu"))
    model, images = arena.placed(net.build() if which == "ours" else Naive(net), layout)
    plan = arena.reference.full_plan()

    def step(x: Tensor) -> None:
        out = model.run(x, plan) if isinstance(model, FractalModule) else model(x, plan)
        out.square().sum().backward()

    step(images[:2])  # initialises libraries and allocates gradients
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
    before = _status("VmRSS")
    for _ in range(2):
        step(images)
    return (_status("VmHWM") - before) / 1024


def _status(key: str) -> int:
    """A figure of this process in KiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(key))


# --- printing


def print_part(net: Net, part: str, figures: dict[str, Any]) -> None:
    """Print what a part measured."""
    print(f"\n{net.title}: {part}, {figures['rounds']} rounds")
    for name, value in figures["medians"].items():
        print(f"  {name:<60} {value:9.4f} {'MiB' if part == 'memory' else 's'}")
    for row in figures["ratios"]:
        print(f"  {row['title']:<60} {row['ratio']:9.3f} {_verdict(row)}", flush=True)


def _verdict(row: dict[str, Any]) -> str:
    if row["goal"] is None:
        return ""
    return f"  goal {row['goal']:.3f} {'met' if row['ratio'] <= row['goal'] else 'MISSED'}"


def print_table(files: list[Path]) -> None:
    """Print the ratios in JSON files side by side, as a Markdown table. Goals are those of the last file."""
    everything = [json.loads(file.read_text("utf-8")) for file in files]
    print(f"| | {' | '.join(file.stem for file in files)} | goal | |\n|---|{'---|' * (len(files) + 2)}")
    for net, parts in everything[-1].items():
        for part, figures in parts.items():
            for row in figures["ratios"]:
                cells = [f"{value:.3f}" if (value := _ratio(e, net, part, row)) else "" for e in everything]
                goal = "" if row["goal"] is None else f"{row['goal']:.3f}"
                verdict = _verdict(row).rpartition(" ")[2]
                print(f"| {net}: {row['title']} | {' | '.join(cells)} | {goal} | {verdict} |")


def _ratio(everything: dict[str, Any], net: str, part: str, like: dict[str, Any]) -> float | None:
    title = like["title"].partition(" (")[0]
    rows = everything.get(net, {}).get(part, {}).get("ratios", [])
    return next((row["ratio"] for row in rows if row["title"].partition(" (")[0] == title), None)


def merge(file: Path, net: Net, part: str, figures: dict[str, Any]) -> None:
    """Put the figures of a part into a JSON file, in place of those that it has."""
    known = json.loads(file.read_text("utf-8")) if file.exists() else {}
    known.setdefault(net.title, {})[part] = figures
    file.write_text(json.dumps(known, indent=2) + "\n", "utf-8")


def parse() -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="tiny batches, one round")
    parser.add_argument("--json", type=Path, help="the file that takes the figures")
    parser.add_argument("--table", type=Path, nargs="+", help="print such files, and measure nothing")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--net", default="", help="only nets whose title contains this text")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS[:-1], help="only these parts")
    parser.add_argument("--profile", action="store_true", help="print where the time goes, and measure nothing else")
    parser.add_argument("--threads", type=int, default=2, help="on a busy machine, one disturbs least")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--return-memory", action="store_true", help="let glibc return memory between and in steps")
    return parser.parse_args()


def main() -> None:
    """Measure and print."""
    options = parse()
    device = torch.device(options.device)
    torch.set_num_threads(options.threads)
    if options.table:
        return print_table(options.table)
    with nullcontext() if options.return_memory else memory_kept():
        measure_all(options, device)


def measure_all(options: argparse.Namespace, device: torch.device) -> None:
    """Measure and print each net and part."""
    for net in QUICK if options.quick else CUDA if device.type == "cuda" else NETS:
        if options.net not in net.title:
            continue
        arena = Arena(net, device)
        if options.profile:
            print_profile(arena)
            continue
        for part in options.only:
            if part == "memory" and (options.quick or device.type == "cuda"):
                continue
            times = measure(arena, part, 1 if options.quick else options.rounds)
            medians = {name: statistics.median(values) for name, values in times.items()}
            rounds = max(map(len, times.values()))
            figures = {"rounds": rounds, "medians": medians, "ratios": ratios(arena, part, times)}
            print_part(net, part, figures)
            if part == "whole" and not any(name.startswith("pytorchcv") for name in times):
                print("  pytorchcv is not installed, so its FractalNet is left out: pip install pytorchcv")
            if options.json:
                merge(options.json, net, part, figures)


if __name__ == "__main__":
    main()
