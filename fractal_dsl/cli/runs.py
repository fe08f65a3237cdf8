"""Commands on runs: eval, extract."""

from __future__ import annotations

import enum
import json
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from fractal_dsl.base.escaping import one_line
from fractal_dsl.base.parts import write_part
from fractal_dsl.cli.options import AllowPython, MaxLayers, finite
from fractal_dsl.cli.say import say, warn
from fractal_dsl.compiled import MAX_LAYERS

Run = Annotated[Path, typer.Argument(help="The folder of a training run.", show_default=False)]

Device = Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1, …; CUDA where there is one.")]


class Weights(enum.StrEnum):
    """Which weights of a run."""

    best = "best"
    last = "last"


def eval(
    run: Run,
    columns: Annotated[bool, typer.Option("--columns", help="Each column by itself, too.")] = False,
    anytime: Annotated[
        bool,
        typer.Option("--anytime", help="Accuracy against latency and work; draws RUN/anytime.svg."),
    ] = False,
    crops: Annotated[
        Literal["1", "10"],
        typer.Option(help="Of each image file the middle, or the mean softmax over corners and middle, mirrored too."),
    ] = "1",
    json_: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    weights: Annotated[Weights, typer.Option(help="Which weights of the run.")] = Weights.best,
    device: Device = None,
    max_layers: MaxLayers = MAX_LAYERS,
    allow_python: AllowPython = False,
) -> None:
    """Loss and accuracy of a trained net on the test images."""
    from fractal_dsl.evaluation.evaluate import evaluate
    from fractal_dsl.evaluation.run import Run as RunFolder
    from fractal_dsl.evaluation.tradeoff import tradeoff_svg
    from fractal_dsl.runs.plots import require_matplotlib

    if anytime and crops != "1":
        raise typer.BadParameter("--anytime answers one image at a time", param_hint="--crops")
    if anytime:
        require_matplotlib()
    found = RunFolder.open(run, max_layers, allow_python=allow_python)
    warn(found.compiled.warnings)
    result = evaluate(
        found, columns, weights.value, device, anytime=anytime, ten_crops=crops == "10", allow_python=allow_python
    )
    if anytime:
        write_part(run, "anytime.svg", tradeoff_svg(result["anytime"]))
    if json_:
        say(json.dumps(result, indent=2))
        return
    say(f"whole net   loss {result['loss']:.4f}   accuracy {result['accuracy']:.2%}")
    for row in result["columns"]:
        say(f"column {row['column']:<4} loss {row['loss']:.4f}   accuracy {row['accuracy']:.2%}")
    if anytime:
        say("\n".join(["", *_tradeoff(result["anytime"]), "", f"drawn in {run / 'anytime.svg'}"]))


def _tradeoff(found: dict[str, Any]) -> list[str]:
    """The lines of the table of what accuracy costs."""
    lines = [f"{'':22}{'accuracy':>10}{'ms an image':>13}{'MACs an image':>16}   answered by"]
    for row in found["networks"]:
        name = "whole net" if row["column"] is None else f"column {row['column']}"
        lines.append(f"{name:22}{row['accuracy']:>10.2%}{row['ms']:>13.2f}{row['macs']:>16,.0f}")
    names = [f"column {row['column']}" for row in found["networks"][:-1]] + ["whole net"]
    for row in found["policies"]:
        shares = [f"{name} {share:.1%}" for name, share in zip(names, row["answered"], strict=True) if share]
        name = f"confidence >= {100 * row['confidence']:g} %"
        lines.append(f"{name:22}{row['accuracy']:>10.2%}{row['ms']:>13.2f}{row['macs']:>16,.0f}   {', '.join(shares)}")
    threads = f", {found['threads']} thread{'s' if found['threads'] > 1 else ''}" if found["device"] == "cpu" else ""
    lines.append(
        f"Latency: one image at a time on {found['device']}{threads}, median of {found['repeats']}. "
        "Confidence: the softmax's largest probability, not calibrated."
    )
    return lines


def predict(
    run: Run,
    images: Annotated[
        list[Path], typer.Argument(help="Image files, or .npy or .npz files of inputs.", show_default=False)
    ],
    budget_ms: Annotated[
        float | None,
        typer.Option(min=0, callback=finite, help="Begin no answer to an input that would end later than this."),
    ] = None,
    confidence: Annotated[
        float | None,
        typer.Option(min=0, max=1, callback=finite, help="Stop at the first answer whose softmax is so sure."),
    ] = None,
    top: Annotated[int, typer.Option(min=1, help="How many classes to tell.")] = 1,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    weights: Annotated[Weights, typer.Option(help="Which weights of the run.")] = Weights.best,
    device: Device = None,
    max_layers: MaxLayers = MAX_LAYERS,
    allow_python: AllowPython = False,
) -> None:
    """The classes of images: by the whole net, or by its columns, shallow first, until one answer will do."""
    from fractal_dsl.evaluation.predict import predict as answers
    from fractal_dsl.evaluation.run import Run as RunFolder

    opened = RunFolder.open(run, max_layers, allow_python=allow_python)
    warn(opened.compiled.warnings)
    found = answers(
        opened,
        images,
        confidence=confidence,
        budget_ms=budget_ms,
        top=top,
        weights=weights.value,
        device=device,
    )
    if json_:
        say(json.dumps([row.as_json() for row in found], indent=2))
        return
    for row in found:
        classes = ", ".join(one_line(f"{name} {p:.1%}") for name, p in zip(row.names, row.probabilities, strict=True))
        who = "whole net" if row.column is None else f"column {row.column}"
        late = "   over the budget" if budget_ms is not None and row.ms > budget_ms else ""
        say(f"{one_line(str(row.file))}   {classes}   {who}, {row.ms:.2f} ms{late}")


def extract(
    run: Annotated[Path, typer.Argument(help="A training run, or a compiled network.", show_default=False)],
    column: Annotated[int, typer.Option(help="The column, counted from 1, the shallowest.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="The folder to write.")],
    recalibrate_bn: Annotated[
        bool,
        typer.Option("--recalibrate-bn", help="Re-estimate its batch-norm statistics on the training images."),
    ] = False,
    fuse: Annotated[
        bool, typer.Option("--fuse", help="Fold its batch norms into the layers before them, for inference.")
    ] = False,
    weights: Annotated[Weights, typer.Option(help="Which weights of a run.")] = Weights.best,
    device: Device = None,
    max_layers: MaxLayers = MAX_LAYERS,
    allow_python: AllowPython = False,
) -> None:
    """Write one column as a plain network of its own, with its trained weights."""
    from fractal_dsl.deploy import extract as runtime

    done = runtime.extract(
        run,
        column,
        output,
        recalibrate_bn=recalibrate_bn,
        fold=fuse,
        weights=weights.value,
        device=device,
        max_layers=max_layers,
        allow_python=allow_python,
    )
    if done.recalibration:
        found = done.recalibration
        say(
            f"batch-norm statistics from {found.images:,} training images of {found.dataset}; test images: "
            f"accuracy {found.before['accuracy']:.2%} before, {found.after['accuracy']:.2%} after; "
            f"loss {found.before['loss']:.4f} before, {found.after['loss']:.4f} after"
        )
    if done.folded is not None:
        say(f"batch norms folded: {done.folded}" + (f"; left as they are: {done.left}" if done.left else ""))
    say(f"{one_line(str(output))}: column {column} of {done.net}; see {output / 'model.py'}")
