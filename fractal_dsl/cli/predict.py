"""The command predict, which asks a trained net."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated, NamedTuple

import typer

from fractal_dsl.base.escaping import one_line
from fractal_dsl.cli.grouped import RunOptions, with_group
from fractal_dsl.cli.options import JSON, RunArgument, finite
from fractal_dsl.cli.say import say

TYPE_CHECKING = False
if TYPE_CHECKING:
    from fractal_dsl.evaluation.continuation import Continuation
    from fractal_dsl.evaluation.predict import Prediction

_ONLY_PROMPT = ("temperature", "seed", "length")


class PromptOptions(NamedTuple):
    """How a net continues a text."""

    prompt: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Continue a text, with a net that was trained on `text`.")
    ] = None
    length: Annotated[int, typer.Option(min=1, metavar="N", help="Bytes to add to the prompt.")] = 200
    temperature: Annotated[
        float,
        typer.Option(
            min=0,
            callback=finite,
            metavar="T",
            help="Sampling temperature: below 1 favours probable bytes, 0 picks the most probable one.",
        ),
    ] = 1.0
    seed: Annotated[int, typer.Option(min=0, metavar="N", help="Seed of the sampling.")] = 0


class AnswerOptions(NamedTuple):
    """Which columns answer."""

    column: Annotated[int | None, typer.Option(min=1, metavar="K", help="Use only column K; 1 is the shallowest.")] = (
        None
    )
    confidence: Annotated[
        float | None,
        typer.Option(
            min=0, max=1, callback=finite, metavar="P", help="Stop at the first answer with at least this confidence."
        ),
    ] = None
    budget_ms: Annotated[
        float | None,
        typer.Option(
            min=0, callback=finite, metavar="MS", help="Time limit for an input. Start no answer that would exceed it."
        ),
    ] = None


@with_group
def predict(
    *,
    context: typer.Context,
    run: RunArgument,
    inputs: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="INPUT",
            help="Image files, .csv tables, or .npy or .npz files of inputs.",
            show_default=False,
        ),
    ] = None,
    generation: PromptOptions,
    answering: AnswerOptions,
    top: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Number of classes to print, for classification; by default 1."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="DIR", help="Write the masks of segmentation into a folder."),
    ] = None,
    json_: JSON = False,
    options: RunOptions,
) -> None:
    """Predict classes, labels, values, masks or the bytes after a prompt.

    By default the whole net answers. With --confidence or --budget-ms, its columns answer first, shallowest first.
    """
    _check_usage(context, inputs, generation.prompt)
    if generation.prompt is not None:
        continued = _continued(run, generation.prompt, generation, answering, options)
        say(json.dumps(continued.as_json(), indent=2) if json_ else continued.text())
        return
    from fractal_dsl.evaluation.predict import predict as answers

    rows = answers(
        options.open(run),
        inputs or [],
        **answering._asdict(),
        top=top,
        output=output,
        weights=options.weights.value,
        device=options.device,
    )
    if json_:
        say(json.dumps([row.as_json() for row in rows], indent=2))
        return
    for row in rows:
        say(_line(row, answering.budget_ms))


def _continued(
    run: Path, prompt: str, generation: PromptOptions, answering: AnswerOptions, options: RunOptions
) -> Continuation:
    """The text after a prompt."""
    from fractal_dsl.evaluation.continuation import continue_prompt

    return continue_prompt(
        options.open(run),
        os.fsencode(prompt),
        length=generation.length,
        temperature=generation.temperature,
        seed=generation.seed,
        **answering._asdict(),
        weights=options.weights.value,
        device=options.device,
    )


def _check_usage(context: typer.Context, inputs: list[Path] | None, prompt: str | None) -> None:
    """Refuse options that do not go together."""
    given = {
        name
        for name in (*_ONLY_PROMPT, "top", "output")
        if (source := context.get_parameter_source(name)) is not None and source.name == "COMMANDLINE"
    }
    if prompt is None:
        if not inputs:
            raise typer.BadParameter("give files of inputs or, for a net trained on text, --prompt", param_hint="INPUT")
        if lone := next((name for name in _ONLY_PROMPT if name in given), None):
            raise typer.BadParameter("this option needs --prompt", param_hint=f"--{lone}")
        return
    if inputs:
        raise typer.BadParameter("give files of inputs or a prompt, not both", param_hint="--prompt")
    if other := next((name for name in ("top", "output") if name in given), None):
        raise typer.BadParameter("this option does not apply to --prompt", param_hint=f"--{other}")


def _line(row: Prediction, budget_ms: float | None) -> str:
    """A prediction on one line."""
    who = "whole net" if row.column is None else f"column {row.column}"
    late = "   over budget" if budget_ms is not None and row.ms > budget_ms else ""
    written = "".join(f"   {one_line(str(path))}" for path in row.files or ())
    return f"{one_line(row.file)}   {row.reading.text()}   {who}, {row.ms:.2f} ms{late}{written}"
