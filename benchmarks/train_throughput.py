"""Images per second of the training loop and of the bare model step: the cost of the loop, the data and the logging.

    python benchmarks/train_throughput.py [--quick] [--json]

The loop of `fractal-dsl train` trains a net without validation. Clocks run during the bare model step: zero_grad,
forward under the step's plan, loss, backward, optimizer. Both figures are thus of the same steps, and other work on the
machine slows both. `loop` adds the work around the steps: order, normalisation and augmentation of images, plans,
dropout seeds, schedule, counting and printing figures. `saved` is the whole run from the first step to the last,
including the files that it writes: metrics, weights, checkpoints. CPU seconds of one thread, medians of the rounds.
`overhead` is the excess over bare.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from io import StringIO
from pathlib import Path
from statistics import median
from typing import Any
from unittest.mock import patch

import torch
from rich.console import Console

import fractal_dsl.training.step
from fractal_dsl.compiled import Compiled
from fractal_dsl.config import TrainConfig, merge, parse_config
from fractal_dsl.data import ImageSet, load, net_ends
from fractal_dsl.pipeline import compile_file
from fractal_dsl.runtime import build
from fractal_dsl.tasks.classification import Classification
from fractal_dsl.training.loop import Loop
from fractal_dsl.training.progress import ProgressView
from fractal_dsl.training.run_writer import RunWriter
from fractal_dsl.training.step import Stepper

EXAMPLES = Path(__file__).parent.parent / "examples"
CPU = torch.device("cpu")
SYNTHETIC = [("dataset", {"name": "synthetic", "size": 1250}), ("augment", "translate")]
NETS: dict[str, tuple[str, dict[str, str], list[tuple[str, Any]], int]] = {
    "digits, batch 32": ("digits", {}, [], 10),
    "deep net C = 4, batch 100": ("fractalnet_deep", {"columns": "4"}, [*SYNTHETIC, ("batch", 100)], 4),
    "FractalNet-20, batch 32": ("fractalnet20_cifar", {}, [*SYNTHETIC, ("batch", 32)], 3),
}


class Clocks:
    """CPU seconds by activity."""

    def __init__(self) -> None:
        self.seconds = {"bare": 0.0, "writing": 0.0}

    def on(self, what: str, call: Callable[..., Any]) -> Callable[..., Any]:
        """The call, with its time added to an activity."""

        def timed(*args: Any, **options: Any) -> Any:
            start = time.process_time()
            try:
                return call(*args, **options)
            finally:
                self.seconds[what] += time.process_time() - start

        return timed


def trained(compiled: Compiled, config: TrainConfig, images: ImageSet, folder: Path) -> dict[str, float]:
    """The CPU seconds of a training run: of its bare steps, of the loop, and with the files that it writes."""
    run = RunWriter(folder, compiled, config, "cpu", 1)
    run.begin()
    stepper = Stepper(build(compiled, config.seed), Classification(10), config, CPU)
    clocks = Clocks()
    with ProgressView(Console(file=StringIO(), force_terminal=True), CPU) as view, ExitStack() as patches:
        loop = Loop(stepper, images, config, run.store(), view, threading.Event())
        for owner, name in [
            (stepper.optimizer, "zero_grad"),
            (stepper, "_output"),
            (fractal_dsl.training.step, "loss_of"),
            (torch.Tensor, "backward"),
            (stepper.optimizer, "step"),
        ]:
            patches.enter_context(patch.object(owner, name, clocks.on("bare", getattr(owner, name))))
        for name in ("metrics", "weights", "gradients", "flush", "checkpoint", "seal"):
            setattr(loop.store, name, clocks.on("writing", getattr(loop.store, name)))
        start = time.process_time()
        loop.run()
        whole = time.process_time() - start
    return {"bare": clocks.seconds["bare"], "loop": whole - clocks.seconds["writing"], "saved": whole}


def measure(name: str, quick: bool) -> dict[str, Any]:
    """The figures of one net."""
    file, params, settings, epochs = NETS[name]
    compiled = compile_file(EXAMPLES / f"{file}.frac", params)
    config = parse_config(merge(compiled.program.train, [*settings, ("validation", 0), ("epochs", epochs)]))
    program = compiled.program
    images = load(config, program.net, *net_ends(program), CPU)
    count = epochs * (len(images.train) // config.batch) * config.batch
    with tempfile.TemporaryDirectory() as folder:
        trained(compiled, config.model_copy(update={"epochs": 1}), images, Path(folder) / "warm")
        rounds = [trained(compiled, config, images, Path(folder) / str(i)) for i in range(1 if quick else 5)]
    speeds = {key: round(count / median(r[key] for r in rounds), 1) for key in rounds[0]}
    return {
        "net": name,
        "images": count,
        **{f"{key}_images_per_second": speed for key, speed in speeds.items()},
        "overhead": round(median(r["loop"] / r["bare"] for r in rounds) - 1, 4),
        "overhead_saved": round(median(r["saved"] / r["bare"] for r in rounds) - 1, 4),
    }


def main() -> None:
    """Measure each net and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="the two smaller nets, one round")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = [measure(name, options.quick) for name in list(NETS)[: 2 if options.quick else 3]]
    if options.json:
        print(json.dumps(rows, indent=2))
        return
    print(f"{'images per second (CPU, 1 thread)':<40}{'bare':>9}{'loop':>9}{'saved':>9}{'overhead':>10}{'saved':>8}")
    for row in rows:
        speeds = "".join(f"{row[f'{key}_images_per_second']:>9,.0f}" for key in ("bare", "loop", "saved"))
        print(f"{row['net']:<40}{speeds}{row['overhead']:>10.1%}{row['overhead_saved']:>8.1%}")


if __name__ == "__main__":
    main()
