"""Commands that show finished runs: report, compare."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from fractal_dsl.base.escaping import one_line
from fractal_dsl.cli.options import JSON
from fractal_dsl.cli.say import say

Runs = Annotated[list[Path], typer.Argument(metavar="RUN", help="Folders of training runs.", show_default=False)]


def report(
    runs: Runs,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", metavar="PAGE", help="Page to write; by default RUN/report.html, or comparison.html."
        ),
    ] = None,
) -> None:
    """Write the report of a run, or one page that compares several runs. Pages open offline."""
    from fractal_dsl.runs.comparison import write_page

    say(one_line(str(write_page(runs, output))))


def compare(runs: Runs, json_: JSON = False) -> None:
    """Compare the results of runs, and the settings in which they differ."""
    from fractal_dsl.runs.comparison import compare_runs, comparison_table
    from fractal_dsl.runs.files import RunFiles

    comparison = compare_runs([RunFiles.read(folder) for folder in runs])
    say(json.dumps(comparison, indent=2) if json_ else "\n".join(comparison_table(comparison)))
