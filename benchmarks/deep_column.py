"""Why is the 48-layer column of a fractal net worse than the plain 48-layer net, and what helps?

    python benchmarks/deep_column.py --out out/deep                       # every variant, one seed; an hour on a core
    python benchmarks/deep_column.py --out out/deep --only "mixed;clip"   # some of them
    python benchmarks/deep_column.py --out out/quick --steps 40           # only tests that it runs
    python benchmarks/deep_column.py --before                             # gradients before training only: seconds
    python benchmarks/deep_column.py --list                               # what each variant changes

The net is examples/digits.frac with five columns of 3, 6, 12, 24 and 48 layers, on the packaged digits with batches of
32. Each variant changes one thing of ``mixed``: drop_path(local=15%, global=50%), Xavier, SGD of rate 0.005 and
momentum 0.9, a tenth of the rate each time the remaining epochs halve. Errors are in % on the test digits, with
re-estimated batch-norm statistics, mean and standard error over the seeds. A killed experiment goes on.

Then, for the 48 layers alone and by depth, on 256 training digits: the standard deviation of the outputs of layers, the
norm of the gradient of a weight over the norm of the weight, and how far the running mean that the column has is from
the mean of the digits, in standard deviations. They are measured before training and after it.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from evidence.deep_probe import Depths, first_gradients, probe
from evidence.goals import Estimate
from evidence.trainings import Figures, Training, run_all
from rich import box
from rich.console import Console
from rich.table import Table

EXAMPLES = Path(__file__).parent.parent / "examples"
MIXED = "drop_path(local=15%, global=50%), "
IMAGES, BATCH = 1437, 32
LAYERS = (3, 6, 12, 24, 48)


@dataclass(frozen=True)
class Variant:
    """What differs from ``mixed``. ``plain`` means the plain net of 48 layers."""

    about: str
    drop_path: str = MIXED
    init: str = 'init("xavier")'
    conv: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict[str, Any])
    plain: bool = False


def sgd(rate: float, **more: Any) -> dict[str, Any]:
    """The optimizer with another rate."""
    return {"optimizer": {"name": "sgd", "lr": rate, "momentum": 0.9, "weight_decay": 0.0, **more}}


ALL = "drop_path(local=15%, columns=all), "
DEEP = "drop_path(local=15%, global=50%, columns=[1, 2, 4, 8, 16]), "
WARM_UP = {"schedule": {"name": "halving", "gamma": 0.1, "warmup": 4.0}}
VARIANTS: dict[str, Variant] = {
    "mixed": Variant("the paper's mixture"),
    "plain": Variant("the plain net of 48 layers", plain=True),
    "plain, clip": Variant("the same, with clip = 1", plain=True, settings={"clip": 1.0}),
    "plain, rate 0.00125": Variant("the same, with a quarter of the rate", plain=True, settings=sgd(0.00125)),
    "plain, rate 0.00125, warm-up": Variant(
        "the same, and four epochs of warm-up", plain=True, settings={**sgd(0.00125), **WARM_UP}
    ),
    "plain, warm-up": Variant("the plain net, with four epochs of warm-up", plain=True, settings=WARM_UP),
    "clip": Variant("clip = 1: gradients of at most norm 1", settings={"clip": 1.0}),
    "clip 0.1": Variant("clip = 0.1", settings={"clip": 0.1}),
    "rate 0.02": Variant("four times the rate", settings=sgd(0.02)),
    "rate 0.02, clip": Variant("four times the rate, and clip = 1", settings={**sgd(0.02), "clip": 1.0}),
    "rate 0.00125": Variant("a quarter of the rate", settings=sgd(0.00125)),
    "warm-up": Variant("four epochs of warm-up", settings=WARM_UP),
    "deep columns": Variant("global steps draw column k by 2^k", DEEP),
    "deep columns, clip": Variant("the same, and clip = 1", DEEP, settings={"clip": 1.0}),
    "global": Variant("all steps are global", "drop_path(local=15%, global=100%), "),
    "moving": Variant("dropped weights keep moving by momentum", settings=sgd(0.005, move_dropped=True)),
    "no momentum": Variant("no momentum, ten times the rate", settings=sgd(0.05, momentum=0.0)),
    "xavier in": Variant('init("xavier", fan="in")', init='init("xavier", fan="in")'),
    "kaiming": Variant('init("kaiming")', init='init("kaiming")'),
    "orthogonal": Variant('init("orthogonal")', init='init("orthogonal")'),
    "no affine": Variant("batch norms without scale and shift", conv="affine=false"),
    "all": Variant("columns=all", ALL),
    "all, warm-up": Variant("columns=all, four epochs of warm-up", ALL, settings=WARM_UP),
    "all, rate 0.00125": Variant("columns=all, a quarter of the rate", ALL, settings=sgd(0.00125)),
    "all, rate 0.00125, warm-up": Variant("the same, and warm-up", ALL, settings={**sgd(0.00125), **WARM_UP}),
    "all, clip": Variant("columns=all, and clip = 1", ALL, settings={"clip": 1.0}),
    "distill": Variant("columns also learn the whole net's outputs", settings={"distill": "distill"}),
    "all, distill": Variant("columns=all, and the same", ALL, settings={"distill": "distill"}),
    "all, moving": Variant("columns=all, dropped weights move", ALL, settings=sgd(0.005, move_dropped=True)),
}
BEFORE = ("mixed", "plain", "xavier in", "kaiming", "orthogonal", "no affine")
"""The variants that differ before training."""


def training(name: str, seed: int, steps: int, out: Path, device: str = "cpu") -> Training:
    """The training of a variant."""
    variant = VARIANTS[name]
    text = (EXAMPLES / ("plain.frac" if variant.plain else "digits.frac")).read_text("utf-8")
    text = text.replace(MIXED, variant.drop_path).replace('init("xavier")', variant.init)
    text = text.replace("batchnorm2d", f"batchnorm2d({variant.conv})" if variant.conv else "batchnorm2d")
    settings = {
        **sgd(0.005),
        "schedule": {"name": "halving", "gamma": 0.1},
        "validation": 0.0,
        "batch": BATCH,
        "epochs": max(1, round(steps / (IMAGES // BATCH))),
        "recalibrate": "none",
        "channels_last": False,
        **variant.settings,
    }
    params = {"length": "16"} if variant.plain else {"columns": "5"}
    folder = str(out / f"{name.replace(', ', '_').replace(' ', '-')}-{steps}-{seed}")
    return Training(name, text, settings, seed, folder, params, device=device)


def errors_table(trainings: Sequence[Training], done: Sequence[Figures]) -> Table:
    """The errors of each answer, by variant."""
    table = Table(box=box.SIMPLE_HEAD, title="Test errors in %, statistics re-estimated")
    for column in ("", "steps", "whole net", *(f"{n} layers" for n in LAYERS), "48, as trained"):
        table.add_column(column, justify="left" if not column else "right")
    for name in dict.fromkeys(t.name for t in trainings):
        mine = [f for f in done if f["name"] == name]

        def cell(answer: str, kind: str = "re-estimated", mine: list[Figures] = mine) -> str:
            values = [f[kind][answer] for f in mine if answer in f[kind]]
            return str(Estimate(tuple(values))) if values else ""

        columns = [cell(f"column {k}") for k in range(1, 6)]
        last = cell("column 5", "trained")
        if VARIANTS[name].plain:
            columns, last = ["", "", "", "", cell("whole net")], cell("whole net", "trained")
        whole = "" if VARIANTS[name].plain else cell("whole net")
        table.add_row(name, f"{mine[0]['steps']:,}", whole, *columns, last)
    return table


def depths_table(title: str, rows: Mapping[str, Depths]) -> Table:
    """A quantity by depth."""
    at = [0, 7, 15, 23, 31, 39, 47]
    table = Table(box=box.SIMPLE_HEAD, title=title)
    table.add_column("layer")
    for i in at:
        table.add_column(str(i + 1), justify="right")
    for name, values in rows.items():
        table.add_row(name, *[f"{values[i]:.3g}" for i in at])
    return table


def gradients_table(out: Path) -> Table:
    """The largest gradient over its weight before training, by initialisation and by plan."""
    table = Table(box=box.SIMPLE_HEAD, title="Before training: the largest gradient of a weight over the weight")
    rows = {name: first_gradients(training(name, 0, 1, out)) for name in BEFORE}
    head = [f"{n} layers" for n in LAYERS] + ["local", "whole net"]
    for column in ("", *head):
        table.add_column(column, justify="right" if column else "left")
    for name, ratios in rows.items():
        table.add_row(name, *[f"{ratios[column]:.3g}" if column in ratios else "" for column in head])
    return table


def main() -> None:
    """Train the variants, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", metavar="FOLDER", default="out/deep", help="folder of the experiment")
    parser.add_argument("--only", metavar="NAMES", help="variants, separated by semicolons")
    parser.add_argument("--steps", type=int, default=2816, metavar="N", help="training steps")
    parser.add_argument("--seeds", type=int, default=1, choices=range(1, 9), metavar="N")
    parser.add_argument("--workers", type=int, default=1, choices=range(1, 65), metavar="N")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--probe", default="plain;mixed;clip", metavar="NAMES", help="variants to look into")
    parser.add_argument("--before", action="store_true", help="only gradients before training")
    parser.add_argument("--list", action="store_true", help="list the variants")
    options = parser.parse_args()
    console = Console(width=130, highlight=False)
    if options.list:
        for name, variant in VARIANTS.items():
            console.print(f"{name:20}{variant.about}")
        return
    if options.before:
        console.print(gradients_table(Path(options.out)))
        return
    names = [name.strip() for name in options.only.split(";")] if options.only else [*VARIANTS]
    if unknown := [name for name in names if name not in VARIANTS]:
        sys.exit(f"there is no variant {', '.join(unknown)}: --list names them")
    trainings = [
        training(n, s, options.steps, Path(options.out), options.device) for n in names for s in range(options.seeds)
    ]
    done = run_all(trainings, options.workers)
    console.print(errors_table(trainings, done))
    looked = {t.name: probe(t) for t in trainings if t.seed == 0 and t.name in options.probe.split(";")}
    for title in ("standard deviation of outputs", "gradient over weight", "distance of running means"):
        rows = {f"{n}, {when}": d for n, by in looked.items() for (when, what), d in by.items() if what == title}
        if rows:
            console.print(depths_table(f"48 layers alone: {title}", rows))


if __name__ == "__main__":
    main()
