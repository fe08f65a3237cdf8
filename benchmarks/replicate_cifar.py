"""The paper's claims on CIFAR-10 of 16 by 16 pixels: 5,000 training images, B = 3, C = 3, all 10,000 test images.

    python benchmarks/replicate_cifar.py --data cifar16.npz --out out/cifar          # three seeds; two hours, two cores
    python benchmarks/replicate_cifar.py --data cifar16.npz --out out/cifar          # again after a kill: it goes on
    python benchmarks/replicate_cifar.py --data cifar16.npz --out out/cifar --report # tables of the seeds that are done
    python benchmarks/replicate_cifar.py --data cifar16.npz --out out/quick --quick  # five minutes: tests that it runs
    python benchmarks/replicate_cifar.py --out out/paper --paper --device cuda       # FractalNet-20's own sizes
    python benchmarks/replicate_cifar.py --paper --estimate --tflops 30              # the GPU hours of that

``--data`` is an archive with x_train, y_train, x_val, y_val, x_test and y_test: uint8 images, [count, 16, 16, 3], and
labels. CIFAR-10 shrunk by averaging 2 by 2 pixels is one. Each seed draws its training images from x_train, balanced
over the classes: with 20,000 of them, seeds share few. About 500 validation images are enough: they draw the curves,
and choose nothing. ``--paper`` uses the data set ``cifar10`` as ``train`` does.

The recipe is the paper's: Xavier, SGD with momentum 0.9, rate 0.02, a tenth of the rate each time the remaining epochs
halve, no augmentation, no weight decay. Dropout is element-wise, 0, 10 and 20% by block. The last weights are tested,
with the batch-norm statistics of training and with re-estimated ones (docs/batchnorm.md).

Steps are 3,000 to 12,000 by net, times a factor that makes the whole fit into ``--hours`` by the step times that are
measured at first, or times ``--factor``. The plan stays the same when the experiment is resumed. Trainings run in
``--workers`` processes of one thread each. With a GPU, ``--device cuda --workers 14 --factor 1`` takes minutes.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from evidence.cifar_nets import NETS, PAPER, QUICK, SMALL, Sizes, archive, step_operations, step_seconds, training
from evidence.cifar_report import report
from evidence.goals import Seed
from evidence.trainings import Training, run_all, workers_of_one_thread

from fractal_dsl.base.errors import UserError

_OVERHEAD, _MEASURING = 1.3, 40.0
"""The time of an epoch with its validation in that of its steps, and the seconds of the tests after a training."""
_LONGEST = 2.0
"""The largest factor of the steps."""


@dataclass(frozen=True)
class Schedule:
    """The epochs of each net, and the seconds that a training of it should take."""

    epochs: Mapping[str, int]
    seconds: Mapping[str, float]

    def hours(self, seeds: int, workers: int) -> float:
        """The time of the whole experiment."""
        return sum(self.seconds.values()) * seeds / workers / 3600


def scheduled(steps: Mapping[str, float], sizes: Sizes, options: argparse.Namespace) -> Schedule:
    """The schedule that fits into the hours, from the seconds of a step of each net."""
    if options.quick:
        epochs = dict.fromkeys(NETS, 3)
    elif options.paper:
        epochs = dict.fromkeys(NETS, 400)
    else:
        fixed = _MEASURING * len(NETS)
        free = options.hours * 3600 * options.workers / options.seeds - fixed
        wanted = sum(_OVERHEAD * steps[name] * net.steps for name, net in NETS.items())
        factor = options.factor or min(_LONGEST, max(0.05, free / wanted))
        epochs = {name: max(8, round(factor * net.steps / sizes.epoch)) for name, net in NETS.items()}
    seconds = {name: _MEASURING + _OVERHEAD * steps[name] * epochs[name] * sizes.epoch for name in NETS}
    return Schedule(epochs, seconds)


def measured_steps(sizes: Sizes, options: argparse.Namespace) -> dict[str, float]:
    """The seconds of a step of each net, while all workers measure the same."""
    with workers_of_one_thread(options.workers) as pool:
        futures = {
            n: [pool.submit(step_seconds, n, sizes, options.device) for _ in range(options.workers)] for n in NETS
        }
        return {name: fmean(future.result() for future in several) for name, several in futures.items()}


def schedule_of(sizes: Sizes, options: argparse.Namespace) -> Schedule:
    """The schedule of an experiment that is resumed, or a new one, which is written down."""
    place, given = Path(options.out) / "plan.json", [options.quick, options.paper, options.seeds, options.factor]
    if place.exists():
        plan = json.loads(place.read_text("utf-8"))
        if plan["given"] != given:
            sys.exit(f"{options.out} has an experiment with other options: choose another folder with --out")
        return Schedule(plan["epochs"], plan["seconds"])
    schedule = scheduled(measured_steps(sizes, options), sizes, options)
    place.parent.mkdir(parents=True, exist_ok=True)
    plan = {"given": given, "epochs": schedule.epochs, "seconds": schedule.seconds}
    place.write_text(json.dumps(plan, indent=1) + "\n", "utf-8")
    return schedule


def trainings_of(sizes: Sizes, schedule: Schedule, options: argparse.Namespace) -> list[Training]:
    """All trainings: seed by seed, and of a seed the longest first."""
    out, trainings = Path(options.out), list[Training]()
    names = sorted(NETS, key=lambda name: -schedule.seconds[name])
    for seed in range(options.seeds):
        if sizes.images is None:
            dataset: object = "cifar10"
        else:
            tests = 1000 if options.quick else None
            dataset = {"name": "npz", "path": str(archive(Path(options.data), seed, sizes.images, tests, out))}
        trainings += [
            training(name, sizes, schedule.epochs[name], seed, dataset, out, options.device) for name in names
        ]
    return trainings


def announce(sizes: Sizes, schedule: Schedule, options: argparse.Namespace) -> None:
    """Print the plan and its estimate before it starts."""
    print(f"{'net':28}{'steps':>8}{'minutes':>9}")
    for name, epochs in schedule.epochs.items():
        print(f"{name:28}{epochs * sizes.epoch:8,}{schedule.seconds[name] / 60:9.1f}")
    hours = schedule.hours(options.seeds, options.workers)
    print(f"{options.seeds} seeds, {options.workers} workers: about {hours:.1f} hours", flush=True)


def estimate_gpu(options: argparse.Namespace) -> None:
    """Print the GPU hours of the paper's sizes at a sustained speed."""
    epochs = 400
    print(f"Hours at {options.tflops:g} TFLOP/s sustained, {epochs} epochs of 50,000 images, one seed:")
    hours = {n: step_operations(n, PAPER) * PAPER.epoch * epochs / (options.tflops * 3.6e15) for n in NETS}
    for name, time in hours.items():
        print(f"{name:28}{time:8.1f}")
    print(f"{'all, ' + str(options.seeds) + ' seeds':28}{options.seeds * sum(hours.values()):8.1f}")


def by_seed(trainings: Sequence[Training]) -> list[Seed]:
    """The figures of the seeds of which all trainings are done."""
    seeds: dict[int, dict[str, object]] = {}
    for one in trainings:
        place = Path(one.folder) / "figures.json"
        if place.exists():
            seeds.setdefault(one.seed, {})[one.name] = json.loads(place.read_text("utf-8"))
    return [figures for _, figures in sorted(seeds.items()) if figures.keys() == NETS.keys()]


def main() -> None:
    """Run the experiment, or what is left of it, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", metavar="FILE", help="an archive of images")
    parser.add_argument("--out", metavar="FOLDER", default="out/cifar", help="folder of the experiment")
    parser.add_argument("--seeds", type=int, default=3, choices=range(1, 9), metavar="N")
    parser.add_argument("--workers", type=int, default=2, choices=range(1, 65), metavar="N", help="processes at a time")
    parser.add_argument("--hours", type=float, default=1.9, metavar="H", help="the time that the whole should take")
    parser.add_argument("--factor", type=float, metavar="F", help="the factor of the steps, instead of --hours")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--quick", action="store_true", help="two seeds, few images: only tests that it runs")
    parser.add_argument("--paper", action="store_true", help="the paper's sizes: a GPU's work for days")
    parser.add_argument("--estimate", action="store_true", help="only print the plan")
    parser.add_argument("--tflops", type=float, default=10.0, metavar="T", help="sustained speed of a GPU, for --paper")
    parser.add_argument("--report", action="store_true", help="only write the report of the seeds that are done")
    options = parser.parse_args()
    options.seeds = min(options.seeds, 2) if options.quick else options.seeds
    sizes = PAPER if options.paper else QUICK if options.quick else SMALL
    if options.paper:
        estimate_gpu(options)
        if options.estimate:
            return
    elif not options.data:
        parser.error("--data is missing: the docstring of this file says what it must have")
    schedule = schedule_of(sizes, options)
    announce(sizes, schedule, options)
    if options.estimate:
        return
    try:
        trainings = trainings_of(sizes, schedule, options)
    except (UserError, OSError) as problem:
        sys.exit(str(problem))
    if not options.report:
        run_all(trainings, options.workers, schedule.seconds)
    if not (seeds := by_seed(trainings)):
        sys.exit("no seed is done yet")
    report(seeds, Path(options.out), quick=options.quick)


if __name__ == "__main__":
    main()
