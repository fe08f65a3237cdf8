"""Images a second of the training loop against the bare model step: what the loop, the data and the logging take.

    python benchmarks/train_throughput.py [--quick] [--json]

Bare: zero_grad, forward under the step's plan, cross-entropy, backward and optimizer, on mini-batches that are there
already. Loop: the same steps with the same plans by `fractal-dsl train` without validation: the order and the
normalisation of images, augmentation, seeds of dropout, schedule, counting and showing figures. Saved: the loop with
what it writes at the end of each epoch (weights, metrics, a checkpoint; it waits for the disk). CPU seconds of one
thread, the least of several rounds in which bare and loop take turns; `overhead` is how much more than bare.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import threading
import time
from io import StringIO
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from torch.nn import functional as F

from fractal_dsl.config import TrainConfig, merge, parse_config
from fractal_dsl.driver import Compiled, compile_file
from fractal_dsl.runtime import build
from fractal_dsl.runtime.data import ImageSet, batch_order, load
from fractal_dsl.runtime.loop import Loop
from fractal_dsl.runtime.optimizers import make_optimizer
from fractal_dsl.runtime.progress import View
from fractal_dsl.runtime.run_writer import RunWriter
from fractal_dsl.runtime.step import Stepper

EXAMPLES = Path(__file__).parent.parent / "examples"
CPU = torch.device("cpu")
SYNTHETIC = [("dataset", {"name": "synthetic", "size": 1250}), ("augment", "translate")]
NETS: dict[str, tuple[str, dict[str, str], list[tuple[str, Any]], int]] = {
    "digits, batch 32": ("digits", {}, [], 2),
    "deep net C = 4, batch 100": ("fractalnet_deep", {"columns": "4"}, [*SYNTHETIC, ("batch", 100)], 1),
    "FractalNet-20, batch 32": ("fractalnet20_cifar", {}, [*SYNTHETIC, ("batch", 32)], 1),
}


def bare(compiled: Compiled, config: TrainConfig, images: ImageSet) -> float:
    """CPU seconds of the steps alone."""
    model = build(compiled, config.seed).train()
    optimizer = make_optimizer(model, config.optimizer)
    order = batch_order(len(images.train), config.batch, config.seed, 0)
    batches = [images.batch(images.train, rows) for rows in order]
    start = time.process_time()
    for step in range(config.epochs * len(order)):
        x, y = batches[step % len(order)]
        optimizer.zero_grad()
        F.cross_entropy(model.run(x, model.plan(config.seed, step)), y).backward()
        optimizer.step()
    return time.process_time() - start


def loop(compiled: Compiled, config: TrainConfig, images: ImageSet, home: Path) -> tuple[float, float]:
    """CPU seconds of the same steps by the training loop, without and with what it writes."""
    run = RunWriter.new(compiled, config, home, "cpu", 1)
    stepper = Stepper(build(compiled, config.seed), config, CPU)
    writing = 0.0
    with View(Console(file=StringIO(), force_terminal=True), CPU) as view:
        trained = Loop(stepper, images, config, run.store(), view, threading.Event())

        def timed(inner: Any) -> Any:
            def outer(*args: Any) -> Any:
                nonlocal writing
                start = time.process_time()
                result = inner(*args)
                writing += time.process_time() - start
                return result

            return outer

        for name in ("metrics", "weights", "checkpoint", "seal"):
            setattr(trained.store, name, timed(getattr(trained.store, name)))
        start = time.process_time()
        trained.run()
        total = time.process_time() - start
    return total - writing, total


def measure(name: str, quick: bool) -> dict[str, Any]:
    """The figures of one net; the smaller it is, the more rounds it takes to see past a busy machine."""
    file, params, settings, epochs = NETS[name]
    rounds = (3 if quick else 7) * (5 if name.startswith("digits") else 1)
    compiled = compile_file(EXAMPLES / f"{file}.frac", params)
    overrides = [*settings, ("validation", 0), ("epochs", epochs)]
    config = parse_config(merge(compiled.program.train, overrides))
    program = compiled.program
    images = load(config, program.net, program.input, program.output, CPU)
    count = epochs * (len(images.train) // config.batch) * config.batch
    seconds: dict[str, list[float]] = {"bare": [], "loop": [], "saved": []}
    with tempfile.TemporaryDirectory() as home:
        for number in range(rounds + 1):
            one = bare(compiled, config, images)
            other, whole = loop(compiled, config, images, Path(home) / str(number))
            if number:  # the first round warms up
                for key, value in zip(seconds, (one, other, whole), strict=True):
                    seconds[key].append(value)
    least = {key: min(values) for key, values in seconds.items()}
    return {
        "net": name,
        "images": count,
        **{f"{key}_images_per_second": round(count / value, 1) for key, value in least.items()},
        "overhead": round(least["loop"] / least["bare"] - 1, 4),
        "overhead_saved": round(least["saved"] / least["bare"] - 1, 4),
    }


def main() -> None:
    """Measure each net, print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="the two smaller nets, fewer rounds")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = [measure(name, options.quick) for name in list(NETS)[: 2 if options.quick else 3]]
    if options.json:
        print(json.dumps(rows, indent=2))
        return
    print(
        f"{'images a second (CPU seconds, 1 thread)':<40}{'bare':>9}{'loop':>9}{'saved':>9}{'overhead':>10}{'saved':>8}"
    )
    for row in rows:
        speeds = "".join(f"{row[f'{key}_images_per_second']:>9,.0f}" for key in ("bare", "loop", "saved"))
        print(f"{row['net']:<40}{speeds}{row['overhead']:>10.1%}{row['overhead_saved']:>8.1%}")


if __name__ == "__main__":
    main()
