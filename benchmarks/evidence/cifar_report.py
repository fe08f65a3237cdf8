"""The tables and the page of the CIFAR replication, beside the paper's figures."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean

from evidence.cifar_nets import NETS
from evidence.goals import BY_COLUMNS, GOALS, WITH_DROP_PATH, Estimate, Seed, deepest, whole
from rich import box
from rich.console import Console
from rich.table import Table

from fractal_dsl.base.files import write_text
from fractal_dsl.runs.page import figure, page
from fractal_dsl.runs.page import table as html_table
from fractal_dsl.runs.plots import Drawing, colour

TITLE = "FractalNet on small CIFAR-10"
KINDS = ("trained", "re-estimated")
Rows = Mapping[str, Sequence[str]]
PAPER = {
    "nets": "The paper, 32x32, 50,000 training images: CIFAR-10 10.18, with drop-path and dropout 7.33, its deepest "
    "column alone 7.27; CIFAR-100 35.34, 28.20, 29.05.",
    "plain": "The paper (recalled), CIFAR-100++, 5, 10, 20, 40 layers: plain 36.62, 32.47, 31.31, 38.84; as columns "
    "37.23, 32.85, 31.31, 31.75; the whole net 27.38.",
    "columns": "The paper (recalled), CIFAR-100++, 1 to 6 columns: 37.32, 30.71, 27.69, 27.38, 26.46, 27.38.",
}


def report(seeds: Sequence[Seed], out: Path, *, quick: bool) -> None:
    """Print the tables, and write them to ``report.html`` and ``cells.json`` in a folder."""
    tables = [nets_table(seeds), plain_table(seeds), columns_table(seeds), anytime_table(seeds), goals_table(seeds)]
    console = Console(width=150, highlight=False)
    warning = "--quick: the nets are hardly trained, and the figures mean nothing." if quick else ""
    intro = f"Mean and standard error over {len(seeds)} seeds. Errors on the test images in %."
    console.print(warning or intro, end="\n\n")
    for title, head, rows, note in tables:
        _print(console, title, head, rows, note)
    parts = [f"<h1>{TITLE}</h1>", f"<p>{warning or intro}</p>", curves(seeds), anytime_curve(seeds)]
    for title, head, rows, note in tables:
        parts += [f"<h2>{title}</h2>", html_table(rows, head), f'<p class="note">{note}</p>' if note else ""]
    write_text(out / "report.html", page(TITLE, parts, "72rem"))
    cells = {
        title: {name: dict(zip(head, row, strict=True)) for name, row in rows.items()}
        for title, head, rows, _ in tables
    }
    write_text(out / "cells.json", json.dumps(cells, indent=1, ensure_ascii=False) + "\n")
    console.print(f"{out / 'report.html'}: the tables, with curves")


def _print(console: Console, title: str, head: Sequence[str], rows: Rows, note: str) -> None:
    made = Table(box=box.SIMPLE_HEAD)
    made.add_column("")
    for column in head:
        made.add_column(column, justify="right")
    for name, row in rows.items():
        made.add_row(name, *row)
    console.print(title, made)
    if note:
        console.print(note, end="\n\n")


Made = tuple[str, Sequence[str], Rows, str]
"""The title of a table, its head, its rows and a note."""


def nets_table(seeds: Sequence[Seed]) -> Made:
    """Each net: its steps, its training error, and its test errors."""
    head = ["steps", "training error", "whole net", "re-estimated", "deepest column", "re-estimated "]
    rows: dict[str, list[str]] = {}
    for name, net in NETS.items():
        figures = [seed[name] for seed in seeds]
        cells = [f"{figures[0]['steps']:,}", str(Estimate(tuple([f["training error"] for f in figures])))]
        cells += [str(Estimate(tuple([whole(seed, name, kind) for seed in seeds]))) for kind in KINDS]
        fractal = [
            str(Estimate(tuple([deepest(seed, name, kind) for seed in seeds]))) for kind in KINDS if not net.layers
        ]
        rows[name] = cells + (fractal or ["", ""])
    note = "The training error is that of the last epoch, under drop-path and dropout. " + PAPER["nets"]
    return "1. Nets of three columns, of two and four, and plain nets", head, rows, note


def plain_table(seeds: Sequence[Seed]) -> Made:
    """Plain nets, and the same nets as columns, with re-estimated statistics."""
    rows: dict[str, list[str]] = {}
    for dropout in ("", ", dropout"):
        cells = [Estimate(tuple([whole(s, f"plain {n}{dropout}", "re-estimated") for s in seeds])) for n in (3, 6, 12)]
        rows[f"plain{dropout}"] = [*map(str, cells), ""]
    for net in ("none", "dropout", "drop-path", *WITH_DROP_PATH):
        figures = [[s[net]["re-estimated"][name] for s in seeds] for name in ("column 1", "column 2", "column 3")]
        last = [whole(s, net, "re-estimated") for s in seeds]
        rows[f"column of: {net}"] = [str(Estimate(tuple(values))) for values in (*figures, last)]
    head = ["3 layers", "6 layers", "12 layers", "whole net"]
    return "2. Plain nets, and the same nets as columns (re-estimated)", head, rows, PAPER["plain"]


def columns_table(seeds: Sequence[Seed]) -> Made:
    """Whole nets by their number of columns."""
    rows = {
        kind: [str(Estimate(tuple([whole(s, net, kind) for s in seeds]))) for net in BY_COLUMNS.values()]
        for kind in KINDS
    }
    head = [f"C = {n}" for n in BY_COLUMNS]
    return "3. Drop-path and dropout, by the number of columns", head, rows, PAPER["columns"]


def anytime_table(seeds: Sequence[Seed]) -> Made:
    """The error and the work of each answer, and of stopping at the first confident one."""
    rows: dict[str, list[str]] = {}
    for i, first in enumerate(seeds[0][WITH_DROP_PATH[0]]["anytime"]):
        cells: list[str] = []
        for net in WITH_DROP_PATH:
            answers = [seed[net]["anytime"][i] for seed in seeds]
            cells += [str(Estimate(tuple([a[key] for a in answers]))) for key in ("MMACs", "error")]
        rows[first["answer"]] = cells
    head = [f"{what}, {net}" for net in WITH_DROP_PATH for what in ("MMACs", "error")]
    return "4. Anytime answers (re-estimated): million multiply-accumulates per image, and error", head, rows, ""


def goals_table(seeds: Sequence[Seed]) -> Made:
    """Each goal as met or refuted."""
    rows: dict[str, list[str]] = {}
    for goal in GOALS:
        made = [goal.estimate(seeds, kind) for kind in KINDS]
        bound = f"at least {goal.least:g}" + (" - SE" if goal.tolerant else "")
        rows[f"({goal.letter}) {goal.title}"] = [bound, *[f"{e}: {goal.verdict(e)}" for e in made]]
    note = "Differences in points are paired over the seeds; SE is their standard error."
    return "5. Goals", ["bound", *KINDS], rows, note


def curves(seeds: Sequence[Seed]) -> str:
    """The validation errors over the steps: of whole nets, and of their deepest columns if training runs them alone."""
    names = [name for name, net in NETS.items() if not net.layers and net.columns == 3]
    with Drawing(2, "curves") as drawing:
        for axes, answer, title in zip(
            drawing.axes, ("whole net", "column 3"), ("whole net", "deepest column"), strict=True
        ):
            for i, name in enumerate(names):
                points = [*zip(*[seed[name]["curve"] for seed in seeds], strict=True)]
                if answer in points[0][0]:
                    steps = [p[0]["step"] for p in points]
                    drawing.line(axes, steps, [fmean(c[answer] for c in p) for p in points], name, color=colour(i))
            axes.set_xlabel("step")
            axes.set_ylabel(f"{title}: validation error in %, statistics as trained")
    return figure(drawing.svg, "Validation errors over the steps, mean over the seeds")


def anytime_curve(seeds: Sequence[Seed]) -> str:
    """Error against work, for the answers and for stopping early."""
    with Drawing(1, "anytime") as drawing:
        (axes,) = drawing.axes
        for i, net in enumerate(WITH_DROP_PATH):
            rows = [*zip(*[seed[net]["anytime"] for seed in seeds], strict=True)]
            for early in (False, True):
                some = [r for r in rows if r[0]["answer"].startswith("first") == early]
                points = sorted((fmean(a["MMACs"] for a in r), fmean(a["error"] for a in r)) for r in some)
                label = f"{net}, first confident answer" if early else f"{net}, columns and whole net"
                style = {"color": colour(2 * i + early), "marker": "o", "ls": "-" if early else ":"}
                drawing.line(axes, [x for x, _ in points], [y for _, y in points], label, **style)
        axes.set_xlabel("million multiply-accumulates per image")
        axes.set_ylabel("test error in %")
    return figure(drawing.svg, "Error against work, mean over the seeds")
