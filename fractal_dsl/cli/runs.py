"""Commands on runs: eval, extract."""

from __future__ import annotations

import enum
import json
from pathlib import Path
from typing import Annotated

import typer

from fractal_dsl.cli.options import AllowPython

Run = Annotated[Path, typer.Argument(help="The folder of a training run.", show_default=False)]

Device = Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1, …; CUDA where there is one.")]


class Weights(enum.StrEnum):
    """Which weights of a run."""

    best = "best"
    last = "last"


def eval(
    run: Run,
    columns: Annotated[bool, typer.Option("--columns", help="Each column by itself, too.")] = False,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    weights: Annotated[Weights, typer.Option(help="Which weights of the run.")] = Weights.best,
    device: Device = None,
    allow_python: AllowPython = False,
) -> None:
    """Loss and accuracy of a trained net on the test images."""
    from fractal_dsl.runtime.evaluate import evaluate
    from fractal_dsl.runtime.run_folder import Run as RunFolder

    result = evaluate(RunFolder.open(run, allow_python=allow_python), columns, weights.value, device)
    if json_:
        print(json.dumps(result, indent=2))
        return
    print(f"whole net   loss {result['loss']:.4f}   accuracy {result['accuracy']:.2%}")
    for row in result.get("columns", ()):
        print(f"column {row['column']:<4} loss {row['loss']:.4f}   accuracy {row['accuracy']:.2%}")


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
    allow_python: AllowPython = False,
) -> None:
    """Write one column as a plain network of its own, with its trained weights."""
    from fractal_dsl.runtime import extract as runtime

    done = runtime.extract(
        run,
        column,
        output,
        recalibrate_bn=recalibrate_bn,
        fold=fuse,
        weights=weights.value,
        device=device,
        allow_python=allow_python,
    )
    if done.recalibration:
        found = done.recalibration
        print(
            f"batch-norm statistics from {found.images:,} training images of {found.dataset}; test images: "
            f"accuracy {found.before['accuracy']:.2%} before, {found.after['accuracy']:.2%} after; "
            f"loss {found.before['loss']:.4f} before, {found.after['loss']:.4f} after"
        )
    if done.folded is not None:
        print(f"batch norms folded: {done.folded}" + (f"; left as they are: {done.left}" if done.left else ""))
    print(f"{output}: column {column} of {done.net}; see {output / 'model.py'}")
