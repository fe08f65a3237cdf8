"""The paper's results in small, on the 1,797 packaged digits of 8 by 8 pixels, beside the paper's own figures.

    python benchmarks/replicate_small.py                       # three seeds; about an hour on two cores
    python benchmarks/replicate_small.py                       # again after a kill: it goes on
    python benchmarks/replicate_small.py --quick --out out/q   # one seed, few epochs: only tests that it runs
    python benchmarks/replicate_small.py --choose --out out/c  # how the rates were chosen: validation errors

Errors in % on the package's 359 test digits, mean and standard deviation over the seeds. Tables 1 and 2 train on 200
digits, which each seed draws: with few images, drop-path shows an effect without augmentation. Tables 3 and 4 train on
1,294. "+" shifts digits by up to a pixel. Digits are not mirrored.

The recipe is the paper's: Xavier, SGD with momentum 0.9, and a tenth of the rate each time the remaining epochs halve.
There is no weight decay and no dropout, so drop-path is the only regulariser, and the comparison with the paper's nets,
which have both, is of the effect only. The last weights are tested, with the batch-norm statistics of training; tables
2 and 3 also have re-estimated ones. The nets of tables 3 and 4 train for 2,560 steps, and their rate rises over the
first 160, because the 48 layers need that (docs/evidence.md). The rate of `columns=all` is that of deep_column.py.
Every other kind of net has the best of four rates by `--choose`, found without that rise: it uses another seed and
validation digits but no test digit (plain nets: the mean of 24 and 48 layers; drop-path: the mean of the whole net and
its columns). Training runs in processes of one thread each.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import numpy as np
from evidence.trainings import Training, run_all
from rich import box
from rich.console import Console
from rich.table import Table

from fractal_dsl.base.errors import UserError
from fractal_dsl.base.files import replacing
from fractal_dsl.data.arrays import digits

EXAMPLES = Path(__file__).parent.parent / "examples"
MIXED = "drop_path(local=15%, global=50%), "  # as in the examples
ALL = "drop_path(local=15%, columns=all), "
LAYERS = (3, 6, 12, 24, 48)  # of columns 1 to 5: 3 blocks of 2^(k-1)


@dataclass(frozen=True)
class Regime:
    """The data and the recipe of a training."""

    images: int | None
    batch: int
    epochs: int
    quick_epochs: int
    warmup: float = 0.0


FEW = Regime(images=200, batch=20, epochs=80, quick_epochs=10)
DEEP = Regime(images=None, batch=32, epochs=64, quick_epochs=1, warmup=4.0)


@dataclass(frozen=True)
class Net:
    """A net of examples/, its drop-path, and its training."""

    file: str
    params: Mapping[str, str]
    drop_path: str
    regime: Regime
    rate: float
    moved: bool = False
    anytime: bool = False


NETS = {  # the slowest first, so that two workers end together
    "columns=all": Net("digits", {"columns": "5"}, ALL, DEEP, 0.00125, anytime=True),
    "mixed": Net("digits", {"columns": "5"}, MIXED, DEEP, 0.005, anytime=True),
    **{f"plain {n}": Net("plain", {"length": str(n // 3)}, "", DEEP, 0.00125) for n in reversed(LAYERS)},
    "few": Net("digits", {}, "", FEW, 0.02),
    "few+": Net("digits", {}, "", FEW, 0.02, moved=True),
    "few, mixed": Net("digits", {}, MIXED, FEW, 0.005),
    "few+, mixed": Net("digits", {}, MIXED, FEW, 0.005, moved=True),
}
FRACTAL = ("mixed", "columns=all")
RATES = (0.00125, 0.005, 0.02, 0.08)
CHOOSING = ("columns=all", "mixed", "plain 48", "plain 24", "few", "few, mixed")  # the nets that choose the rates
CHOOSING_SEED = 100  # no table uses it


Figures = dict[str, float]


def training_of(name: str, seed: int, options: argparse.Namespace, rate: float | None = None) -> Training:
    """The training of a net for the tables, or at another rate for `--choose`."""
    net = NETS[name]
    regime, choosing, out = net.regime, rate is not None, Path(options.out)
    data = archive(regime.images, seed, choosing, out)
    settings = {
        "dataset": {"name": "npz", "path": str(data)},
        "augment": {"name": "translate", "pixels": 1, "mirror": False} if net.moved else "none",
        "optimizer": {"name": "sgd", "lr": rate or net.rate, "momentum": 0.9, "weight_decay": 0.0},
        "schedule": {"name": "halving", "gamma": 0.1, "warmup": 0.0 if options.quick else regime.warmup},
        "validation": 0.0,  # the last weights, as in the paper
        "recalibrate": "none",
        "channels_last": False,
        "batch": regime.batch,
        "epochs": regime.quick_epochs if options.quick else regime.epochs,
    }
    text = (EXAMPLES / f"{net.file}.frac").read_text("utf-8").replace(MIXED, net.drop_path)
    at = f"-rate-{rate:g}" if choosing else ""
    folder = str(out / f"{name.replace(', ', '_').replace(' ', '-')}{at}-{seed}")
    return Training(
        name, text, settings, seed, folder, net.params, anytime=net.anytime and not choosing, device=options.device
    )


def archive(images: int | None, seed: int, choosing: bool, out: Path) -> Path:
    """The digits to train on and those to measure on, which are the package's test digits, or other digits while
    choosing a rate. Each seed draws its ``images`` training digits; None takes all."""
    place = out / f"digits-{images or 'all'}-{seed}{'-choosing' if choosing else ''}.npz"
    if place.exists():
        return place
    (source, kept), (_, held), (_, tests) = digits().rows(0.1)
    if images is not None:
        order = np.random.RandomState(seed).permutation(kept)
        kept, held = order[:images], np.concatenate([order[images:], held])
    measured, (x, y) = held if choosing else tests, (source.inputs, source.targets)
    with replacing(place) as temporary, temporary.open("wb") as file:
        np.savez(file, x_train=x[kept], y_train=y[kept], x_test=x[measured], y_test=y[measured])
    return place


def flat(figures: Mapping[str, Any]) -> Figures:
    """The figures that the tables use: errors as trained, re-estimated ones, and those of anytime answers."""
    made: Figures = dict(figures["trained"])
    made |= {f"{name}, re-estimated": value for name, value in figures["re-estimated"].items()}
    for row in figures["anytime"] or ():
        made |= {f"MMACs, {row['answer']}": row["MMACs"], f"error, {row['answer']}": row["error"]}
    return made


# --- results


@dataclass(frozen=True)
class Cell:
    """A figure of a table: one value for each seed."""

    table: str
    row: str
    column: str
    values: tuple[float, ...]
    unit: str = "error, %"

    @property
    def mean(self) -> float:
        """The mean over the seeds."""
        return fmean(self.values)

    @property
    def spread(self) -> float | None:
        """The standard deviation of a sample; None for one seed."""
        return stdev(self.values) if len(self.values) > 1 else None

    def __str__(self) -> str:
        return f"{self.mean:.2f}" + (f" ± {self.spread:.2f}" if self.spread is not None else "")

    def as_json(self) -> dict[str, Any]:
        """The cell as plain data for ``--json``."""
        facts = {"table": self.table, "row": self.row, "column": self.column, "unit": self.unit}
        spread = None if self.spread is None else round(self.spread, 4)
        return {**facts, "mean": round(self.mean, 4), "spread": spread, "seeds": [round(v, 4) for v in self.values]}


Seed = Mapping[str, Figures]
"""The figures of one seed, by net."""


def tables(seeds: list[Seed]) -> list[Cell]:
    """The figures of the four tables."""
    cells: list[Cell] = []

    def add(table: str, row: str, column: str, net: str, figure: str = "whole net", unit: str = "error, %") -> None:
        cells.append(Cell(table, row, column, tuple([seed[net][figure] for seed in seeds]), unit))

    for data, title in (("few", "200 digits"), ("few+", "200 digits+")):
        add("1", "fractal net of 12 layers", title, data)
        add("1", "with drop-path", title, f"{data}, mixed")
        add("1", "its deepest column alone", title, f"{data}, mixed", "column 3")
        for net, how in ((data, "without drop-path"), (f"{data}, mixed", "mixed drop-path")):
            for k, layers in enumerate(LAYERS[:3], start=1):
                add("2", f"{title}, {how}", f"column {k} ({layers} layers)", net, f"column {k}")
            add("2", f"{title}, {how}", "whole net", net)
    for layers in LAYERS:
        add("3", "plain", f"{layers} layers", f"plain {layers}")
    for net in FRACTAL:
        for kind in ("", ", re-estimated"):
            for k, layers in enumerate(LAYERS, start=1):
                add("3", f"column, {net}{kind}", f"{layers} layers", net, f"column {k}{kind}")
            add("3", f"column, {net}{kind}", "whole net", net, f"whole net{kind}")
        for figure in seeds[0][net]:
            what, _, answer = figure.partition(", ")
            if what in ("MMACs", "error"):
                add("4", answer, f"{what}, {net}", net, figure, "MMACs per image" if what == "MMACs" else "error, %")
    return cells


@dataclass(frozen=True)
class Claim:
    """A result of the paper, as a difference of errors in points. It holds if the difference is above ``least``."""

    title: str
    paper: str
    gain: Callable[[Seed], float]
    least: float = 0.0

    def cell(self, seeds: list[Seed]) -> Cell:
        """The difference, for each seed."""
        return Cell("claims", self.title, "points", tuple([self.gain(seed) for seed in seeds]), "points")

    def verdict(self, cell: Cell) -> str:
        """Whether it holds here: on all seeds, on some, or on none."""
        holding, seeds = sum(v > self.least for v in cell.values), len(cell.values)
        return "agrees" if holding == seeds else f"on {holding} of {seeds} seeds" if holding else "does not agree"


def gain(seed: Seed, data: str) -> float:
    """The reduction of the error by drop-path."""
    return seed[data]["whole net"] - seed[f"{data}, mixed"]["whole net"]


def least_step(figures: Figures) -> float:
    """The smallest gain of an answer over the previous one."""
    answers = [*[figures[f"column {k}"] for k in range(1, len(LAYERS) + 1)], figures["whole net"]]
    return min(before - after for before, after in pairwise(answers))


def best_plain(seed: Seed) -> float:
    """The error of the plain net of 48 layers, with the better statistics."""
    return min(seed["plain 48"][answer] for answer in ("whole net", "whole net, re-estimated"))


CLAIMS = [
    Claim(
        "1. drop-path lowers the error without augmentation",
        "C10 10.18 to 7.33, C100 35.34 to 28.20",
        lambda seed: gain(seed, "few"),
    ),
    Claim(
        "1. with augmentation it gains less",
        "C10+ 5.22 to 4.60, C100+ 23.30 to 23.73",
        lambda seed: gain(seed, "few") - gain(seed, "few+"),
    ),
    Claim(
        "2. the deepest column is worse by at most a point",
        "C10 7.27 for 7.33, C100 29.05 for 28.20",
        lambda seed: seed["few, mixed"]["whole net"] - seed["few, mixed"]["column 3"],
        -1.0,
    ),
    Claim(
        "3. the deepest plain net is worse than one of half its depth",
        "38.84 for 31.31 *",
        lambda seed: seed["plain 48"]["whole net"] - seed["plain 24"]["whole net"],
    ),
]
for net in FRACTAL:
    CLAIMS += [
        *[
            Claim(
                f"3. (c) it is better as a column, {net}{kind}",
                "31.75 for 38.84 *",
                lambda seed, net=net, kind=kind: best_plain(seed) - seed[net][f"column 5{kind}"],
            )
            for kind in ("", ", re-estimated")
        ],
        Claim(
            f"3. the whole net is better than any plain one, {net}",
            "27.38 for 31.31 *",
            lambda seed, net=net: min(seed[f"plain {n}"]["whole net"] for n in LAYERS) - seed[net]["whole net"],
        ),
        Claim(
            f"4. no answer is a point worse than the previous one, {net}",
            "37.23, 32.85, 31.31, 31.75, 27.38 *",
            lambda seed, net=net: least_step(seed[net]),
            -1.0,
        ),
    ]

TITLES = {
    "1": "1. Drop-path with few images (the paper's table 1). Error in %",
    "2": "2. Each column alone, and the whole net. Error in %",
    "3": "3. Plain networks, and the same networks as columns of a fractal net (the paper's table 4). Error in %",
    "4": "4. Anytime answers: error in %, and million MACs per image, including those of earlier answers",
    "validation": "Validation error in %",
}
PAPER = {
    "1": "The paper, C10 and C10+: 10.18, 5.22; with drop-path and dropout 7.33, 4.60; its deepest column 7.27, 4.68.",
    "3": "The paper *, C100++, 5, 10, 20, 40 layers: plain 36.62, 32.47, 31.31, 38.84; columns 37.23, 32.85, 31.31, "
    "31.75; whole net 27.38.",
}


def show(console: Console, cells: list[Cell]) -> None:
    """Print the tables, with the paper's figures below."""
    for number in dict.fromkeys(c.table for c in cells):
        mine = [c for c in cells if c.table == number]
        columns = list(dict.fromkeys(c.column for c in mine))
        texts = {(c.row, c.column): str(c) for c in mine}
        rows = [[row, *[texts.get((row, c), "") for c in columns]] for row in dict.fromkeys(c.row for c in mine)]
        draw(console, TITLES[number], ["", *columns], rows)
        if number in PAPER:
            console.print(PAPER[number], end="\n\n")


def draw(console: Console, title: str, columns: list[str], rows: list[list[str]]) -> None:
    """Print a table whose first column is text."""
    table = Table(box=box.SIMPLE_HEAD)
    for i, column in enumerate(columns):
        table.add_column(column, justify="right" if i else "left")
    for row in rows:
        table.add_row(*row)
    console.print(title, table)


def choose(options: argparse.Namespace) -> list[Cell]:
    """The validation errors at each rate of the nets that choose it."""
    keys = [(name, rate) for name in CHOOSING for rate in RATES]
    done = run_all([training_of(name, CHOOSING_SEED, options, rate) for name, rate in keys], options.workers)
    return [
        Cell("validation", f"rate {rate:g}", name, (judged(name, figures["trained"]),))
        for (name, rate), figures in zip(keys, done, strict=True)
    ]


def judged(name: str, figures: Figures) -> float:
    """The error that chooses a rate: the mean over the whole net and, as in ``train``, the columns trained alone."""
    columns = [value for key, value in figures.items() if key.startswith("column ")]
    return fmean([figures["whole net"], *(columns if NETS[name].drop_path else ())])


def replicate(options: argparse.Namespace) -> list[Seed]:
    """Train every net with every seed."""
    seeds = range(1 if options.quick else options.seeds)
    trainings = [training_of(name, seed, options) for seed in seeds for name in NETS]
    done = [*zip(trainings, run_all(trainings, options.workers), strict=True)]
    return [{t.name: flat(figures) for t, figures in done if t.seed == seed} for seed in seeds]


def main() -> None:
    """Train everything and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", metavar="FOLDER", default="out/small", help="folder of the experiment")
    parser.add_argument("--quick", action="store_true", help="one seed, few epochs")
    parser.add_argument("--seeds", type=int, default=3, choices=range(1, 9), metavar="N")
    workers = "number of trainings at a time, of one thread each"
    parser.add_argument("--workers", type=int, default=2, choices=range(1, 65), metavar="N", help=workers)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--choose", action="store_true", help="validation errors by rate instead of the tables")
    parser.add_argument("--json", action="store_true", help="a list of cells: mean, spread (deviation), seeds")
    options = parser.parse_args()
    try:
        seeds = [] if options.choose else replicate(options)
        cells = choose(options) if options.choose else tables(seeds)
    except UserError as problem:
        sys.exit(str(problem))
    verdicts = [(claim, claim.cell(seeds)) for claim in CLAIMS if seeds and not options.quick]
    if options.json:
        claims = [cell.as_json() | {"paper": claim.paper, "verdict": claim.verdict(cell)} for claim, cell in verdicts]
        print(json.dumps([c.as_json() for c in cells] + claims, indent=2))
        return
    console = Console(width=140, highlight=False)
    if options.quick:
        console.print("--quick: the nets are hardly trained, and the figures mean nothing.\n")
    show(console, cells)
    if verdicts:
        rows = [[claim.title, str(cell), claim.paper, claim.verdict(cell)] for claim, cell in verdicts]
        draw(console, "The paper's results, and the results here", ["", "points", "the paper", "here"], rows)
        console.print("Points are differences of errors by seed. * recalled, not checked against the paper.")


if __name__ == "__main__":
    main()
