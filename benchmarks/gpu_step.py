"""Training steps on a GPU: images per second by batch, arithmetic and CUDA graphs, beside the estimate of roofline.py.

    python benchmarks/gpu_step.py [--net "C = 4"] [--steps 30] [--json FILE]

A step is that of ``train``, without drop-path and dropout: forward, backward, and SGD with momentum. Seconds are those
until the device has finished. The ways run interleaved, and figures are medians of rounds. ``fp32`` computes
convolutions in TF32, torch's default. Kernels are those that the profiler sees the device run.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import torch
from rivals import EXAMPLES, NO_DROPOUT
from torch.profiler import ProfilerActivity, profile

from fractal_dsl import build, compile_text
from fractal_dsl.config import parse_config
from fractal_dsl.tasks.classification import Classification
from fractal_dsl.training.step import Stepper
from fractal_dsl.training.surroundings import surroundings

NETS = {
    "FractalNet-20": ("fractalnet20_cifar", 3),
    "deep, C = 4": ("fractalnet_deep", 4),
    "deep, C = 6": ("fractalnet_deep", 6),
}
BATCHES = (32, 128, 512)
WAYS: dict[str, dict[str, Any]] = {
    "fp32": {"precision": "fp32", "channels_last": False},
    "fp32, channels last": {"precision": "fp32", "channels_last": True},
    "bf16, channels last": {"precision": "bf16", "channels_last": True},
    "bf16, in a CUDA graph": {"precision": "bf16", "channels_last": True, "cuda_graphs": True},
}
DROP_PATH = "drop_path(local=15%, global=50%), "
PLACE = torch.device("cuda")
Step = Callable[[], None]


def step_of(name: str, batch: int, settings: dict[str, Any]) -> Step:
    """A function that trains for one step on random images."""
    file, columns = NETS[name]
    text = (EXAMPLES / f"{file}.frac").read_text("utf-8")
    assert DROP_PATH in text
    compiled = compile_text(text.replace(DROP_PATH, ""), {**NO_DROPOUT, "columns": str(columns)})
    optimizer = {"name": "sgd", "lr": 1e-3, "momentum": 0.9}
    config = parse_config({**compiled.program.train, "augment": "none", "optimizer": optimizer, **settings})
    classes = compiled.program.output.shape[0]
    stepper = Stepper(build(compiled, 0).to(PLACE).train(), Classification(classes), config, PLACE)
    x, y = torch.randn(batch, 3, 32, 32, device=PLACE), torch.randint(classes, (batch,), device=PLACE)

    def step() -> None:
        with surroundings(1, config, PLACE):
            stepper.step(x, y, 0, 1e-3)

    return step


def seconds(step: Step, steps: int) -> float:
    """The seconds of a step, until the device has finished."""
    torch.cuda.synchronize()
    start = time.perf_counter()
    for _ in range(steps):
        step()
    torch.cuda.synchronize()
    return (time.perf_counter() - start) / steps


def kernels(step: Step) -> int:
    """The kernels and copies that the device runs in a step."""
    with profile(activities=[ProfilerActivity.CUDA]) as profiled:
        step()
        torch.cuda.synchronize()
    return sum(1 for event in profiled.events() if event.device_type == torch.autograd.DeviceType.CUDA)


def measure(name: str, batch: int, steps: int) -> dict[str, Any]:
    """The figures of a net at a batch, by way: images per second and kernels of a step, or why there are none."""
    ready: dict[str, Step] = {}
    row: dict[str, Any] = {}
    try:
        for way, settings in WAYS.items():
            ready[way] = step_of(name, batch, settings)
            for _ in range(5):
                ready[way]()
        for way, step in ready.items():
            row[f"kernels, {way}"] = kernels(step)
        times = {way: [] for way in ready}
        for _ in range(5):
            for way, step in ready.items():
                times[way].append(seconds(step, steps))
        row |= {way: round(batch / median(values)) for way, values in times.items()}
    except torch.OutOfMemoryError:
        row["note"] = "out of memory"
    return row


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--net", default="", help="only nets whose title contains this text")
    parser.add_argument("--steps", type=int, default=20, metavar="N", help="steps of a round")
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args()
    if not torch.cuda.is_available():
        parser.exit(1, "there is no CUDA device: roofline.py estimates without one\n")
    print(torch.cuda.get_device_name(), torch.__version__)
    rows: dict[str, Any] = {}
    for name in NETS:
        for batch in BATCHES:
            if options.net in name:
                rows[f"{name}, batch {batch}"] = row = measure(name, batch, options.steps)
                print(f"{name}, batch {batch}: {row}", flush=True)
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
