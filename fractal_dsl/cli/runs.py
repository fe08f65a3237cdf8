"""The command eval, which measures a trained net."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

import typer

from fractal_dsl.base.parts import write_part
from fractal_dsl.base.texts import aligned, counted
from fractal_dsl.cli.grouped import RunOptions, with_group
from fractal_dsl.cli.options import JSON, Recalibrate, RunArgument
from fractal_dsl.cli.say import say
from fractal_dsl.runs.tasks import CONFIDENCES, TASKS, Metric


@with_group
def eval(
    *,
    run: RunArgument,
    columns: Annotated[bool, typer.Option("--columns", help="Also evaluate each column by itself.")] = False,
    anytime: Annotated[
        bool,
        typer.Option("--anytime", help="Compare scores with latency and work, and draw RUN/anytime.svg."),
    ] = False,
    crops: Annotated[
        Literal["1", "10"],
        typer.Option(
            help="Crops of each image file: 1 is the centre; 10 averages the softmax over the centre and the corners, "
            "each also mirrored."
        ),
    ] = "1",
    recalibrate: Recalibrate = False,
    json_: JSON = False,
    options: RunOptions,
) -> None:
    """Print the loss and the metrics of a trained net on the test examples."""
    from fractal_dsl.evaluation.evaluate import evaluate
    from fractal_dsl.evaluation.tradeoff import tradeoff_svg
    from fractal_dsl.runs.plots import require_matplotlib

    if anytime and crops != "1":
        raise typer.BadParameter("--anytime takes one example at a time: leave one option out", param_hint="--crops")
    if anytime:
        require_matplotlib()
    opened = options.open(run)
    result = evaluate(
        opened,
        columns,
        options.weights.value,
        options.device,
        anytime=anytime,
        ten_crops=crops == "10",
        recalibrate=recalibrate,
        allow_python=options.allow_python,
    )
    if anytime:
        write_part(run, "anytime.svg", tradeoff_svg(result["anytime"]))
    if json_:
        say(json.dumps(result, indent=2))
        return
    rows = [("whole net", result), *((f"column {row['column']}", row) for row in result["columns"])]
    cells: list[tuple[str, ...]] = []
    for output, task in opened.data().tasks.items():
        for name, row in rows:
            prefix = f"{output}, " if "outputs" in row else ""
            own = row["outputs"][output] if prefix else row
            shown = [f"{m.label} {m.text(own[m.key])}" for m in TASKS[task].of(own)]
            cells.append((prefix + name, f"loss {own['loss']:.4f}", *shown))
    if "outputs" in result:
        cells.insert(0, ("weighted sum", f"loss {result['loss']:.4f}"))
    width = max(map(len, cells))
    say("\n".join(aligned([(*row, *[""] * (width - len(row))) for row in cells], "<")))
    if anytime:
        say("\n".join(["", *_tradeoff(result["anytime"]), "", f"drawn in {run / 'anytime.svg'}"]))


def _tradeoff(facts: dict[str, Any]) -> list[str]:
    """The table of scores against their cost, as lines."""
    score = TASKS[facts["task"]].score
    names = [*(f"column {row['column']}" for row in facts["networks"][:-1]), "whole net"]
    rows = [("", score.label, "ms per example", "MACs per example", "answered by")]
    rows += [(name, *_costs(row, score), "") for name, row in zip(names, facts["networks"], strict=True)]
    for row in facts["policies"]:
        shares = [f"{name} {share:.1%}" for name, share in zip(names, row["answered"], strict=True) if share]
        rows.append((f"confidence >= {100 * row['confidence']:g} %", *_costs(row, score), ", ".join(shares)))
    threads = f", {counted(facts['threads'], 'thread')}" if facts["device"] == "cpu" else ""
    return [
        *aligned(rows, "<>>><"),
        f"Latency: one example at a time on {facts['device']}{threads}, median of {facts['repeats']}."
        + (f" Confidence: {CONFIDENCES[facts['task']]}, not calibrated." if facts["policies"] else ""),
    ]


def _costs(row: dict[str, Any], score: Metric) -> tuple[str, str, str]:
    return score.text(row[score.key]), f"{row['ms']:.2f}", f"{row['macs']:,.0f}"
