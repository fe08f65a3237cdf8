"""Several runs side by side: as a table, and as a page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fractal_dsl.base.errors import UserError
from fractal_dsl.base.escaping import markup
from fractal_dsl.base.files import write_text
from fractal_dsl.base.texts import aligned, duration, memory_text
from fractal_dsl.runs.exploration import (
    PARALLEL,
    RING,
    Explored,
    Setting,
    number_or_text,
    parallel_svg,
    settings_svgs,
)
from fractal_dsl.runs.files import RunFiles
from fractal_dsl.runs.page import Cell, TextRows, figure, sorted_table
from fractal_dsl.runs.plots import require_matplotlib
from fractal_dsl.runs.report import comparison_html, pictures, report_html, write_report


def write_page(folders: Sequence[Path], output: Path | None) -> Path:
    """Write the report of one run again, or a page that compares several runs. Return its path.

    Raises UserError if a folder is not a run.
    """
    require_matplotlib()
    if len(folders) == 1:
        if output is None:
            return write_report(folders[0])
        run = RunFiles.read(folders[0])
        write_text(output, report_html(run, pictures(run)))
        return output
    runs = [RunFiles.read(folder) for folder in folders]
    comparison = compare_runs(runs)
    page = output or Path("comparison.html")
    parts = [*_table(runs, comparison["settings"]), *_pictures(runs, comparison["settings"])]
    write_text(page, comparison_html(runs, comparison["figures"], comparison["settings"], parts))
    return page


def _table(runs: Sequence[RunFiles], settings: TextRows) -> list[str]:
    """The runs as rows of a table that a click on a heading sorts."""
    scores = [run.figures.score for run in runs]
    name = f"test {scores[0].label}" if len({score.key for score in scores}) == 1 else "test score"
    head = ["run", name, *settings, "training time"]
    rows: list[tuple[str, list[Cell]]] = []
    for i, (run, score) in enumerate(zip(runs, scores, strict=True)):
        measured = run.result[score.key] if run.result else None
        seconds = run.result["seconds"] if run.result else None
        cells = [Cell(markup(run.name), run.name)]
        cells.append(Cell("" if measured is None else markup(score.text(measured)), measured))
        cells += [Cell(markup(v[i]), number_or_text(v[i]) if v[i] else None) for v in settings.values()]
        rows.append(("", [*cells, Cell("" if seconds is None else duration(seconds), seconds)]))
    return ["<h2>Runs</h2>", sorted_table(head, rows)]


def _pictures(runs: Sequence[RunFiles], settings: TextRows) -> list[str]:
    """The score against each setting in which the runs differ, if three runs or more have one score."""
    done = [i for i, run in enumerate(runs) if run.result is not None]
    if len(done) < 3 or len({runs[i].figures.score.key for i in done}) > 1:
        return []
    score = runs[done[0]].figures.score
    axes = [Setting(name, tuple([number_or_text(texts[i]) for i in done])) for name, texts in settings.items()]
    scores = [(runs[i].result or {})[score.key] for i in done]
    explored = Explored(tuple([runs[i].name for i in done]), tuple(axes), tuple(scores), score, "test")
    if not explored.varying():
        return []
    parallel = figure(parallel_svg(explored, "parallel"), PARALLEL)
    return ["<h2>Each setting</h2>", *[figure(svg, RING) for svg in settings_svgs(explored, "setting")], parallel]


def compare_runs(runs: Sequence[RunFiles]) -> dict[str, Any]:
    """Compare runs: their names (``runs``), and ``figures`` and ``settings``, which map a name to a text for each run.

    ``settings`` has only those in which the runs differ. Raises UserError for fewer than two runs.
    """
    if len(runs) < 2:
        raise UserError("give two runs or more to compare")
    figures, settings = [_figures(run) for run in runs], [run.settings() for run in runs]
    rows = {key: [f.get(key, "") for f in figures] for key in _keys(figures)}
    differing = {key: [s.get(key, "") for s in settings] for key in _keys(settings)}
    return {
        "runs": [run.name for run in runs],
        "figures": rows,
        "settings": {key: values for key, values in differing.items() if len(set(values)) > 1},
    }


def comparison_table(comparison: dict[str, Any]) -> list[str]:
    """The result of ``compare_runs`` as lines for a terminal."""
    rows = [("", *comparison["runs"]), *((key, *values) for key, values in comparison["figures"].items())]
    settings = [(key, *values) for key, values in comparison["settings"].items()]
    lines = aligned([*rows, *settings])
    return [*lines[: len(rows)], *["", "settings that differ", *lines[len(rows) :]] * bool(settings)]


def _keys(rows: Sequence[dict[str, str]]) -> list[str]:
    """All keys, in the order of their first appearance."""
    return list(dict.fromkeys(key for row in rows for key in row))


def _figures(run: RunFiles) -> dict[str, str]:
    figures = {"net": run.given.net, "status": run.status, "epochs": str(len(run.epochs))}
    score = run.figures.score
    if run.result is not None:
        result = run.result
        figures |= {f"test {m.label}": m.text(result[m.key]) for m in run.figures.of(result)}
        for name, own in run.figures.others.items():
            measured = result["outputs"][name]
            figures |= {f"{name}, test {m.label}": m.text(measured[m.key]) for m in own.of(measured)}
        figures["test loss"] = f"{result['loss']:.4f}"
        for column in result["columns"]:
            figures[f"column {column['column']}, test {score.label}"] = score.text(column[score.key])
        if result["plain"]:
            figures[f"column {result['plain']['column']} trained alone"] = score.text(result["plain"][score.key])
        figures["best epoch"] = str(result["best_epoch"])
        figures["training time"] = duration(result["seconds"])
        figures[f"{run.figures.examples}/s"] = f"{result['images_per_second']:,.0f}"
    if run.epochs:
        last = run.epochs[-1]
        figures["last training loss"] = f"{last['train_loss']:.4f}"
        if last["validation"]:
            figures[f"last validation {score.label}"] = score.text(last["validation"][score.key])
        figures["memory"] = memory_text(last["memory"])
    return figures
