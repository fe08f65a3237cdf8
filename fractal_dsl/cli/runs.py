"""Commands on runs: train, eval, extract."""

from __future__ import annotations

import enum
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fractal_dsl import driver
from fractal_dsl.cli.options import AllowPython, MaxLayers, Net, Params, ParamsFile, Spec, pairs, parameters
from fractal_dsl.driver import MAX_LAYERS

if TYPE_CHECKING:
    from fractal_dsl.driver import Compiled

Run = Annotated[Path, typer.Argument(help="The folder of a training run.", show_default=False)]

Device = Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1, …; CUDA where there is one.")]


class Weights(enum.StrEnum):
    """Which weights of a run."""

    best = "best"
    last = "last"


def train(
    spec: Spec,
    out: Annotated[Path | None, typer.Option(help="The run's folder; runs/NET-N if not given.")] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Passes over the training images.")] = None,
    seed: Annotated[int | None, typer.Option(help="The seed of every random draw.")] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Override a training setting: --set optimizer.lr=0.1"),
    ] = None,
    param: Params = None,
    params: ParamsFile = None,
    net: Net = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1, …; CUDA where there is one.")] = None,
    max_layers: MaxLayers = MAX_LAYERS,
    allow_python: AllowPython = False,
) -> None:
    """Train a net by the settings of its train block, and write a run folder with a report."""
    from fractal_dsl.config import merge, parse_config

    overrides: list[tuple[str, Any]] = [(k, driver.literal(v, k)) for k, v in pairs(set_, "--set").items()]
    overrides += [(key, value) for key, value in (("epochs", epochs), ("seed", seed)) if value is not None]
    compiled = driver.compile_file(spec, parameters(param, params), net, max_layers, allow_python=allow_python)
    config = parse_config(merge(compiled.program.train, overrides))

    from fractal_dsl.runtime.train import train as run

    result = run(compiled, config, out, device=device, picture=_picture(compiled))
    if result.status == "interrupted":
        raise typer.Exit(130)


def _picture(compiled: Compiled) -> str | None:
    """The net as SVG, if it is small enough to be looked at and Graphviz is there."""
    if compiled.summary.base_layers > 500:
        return None
    from fractal_dsl.dot_to_picture import drawn
    from fractal_dsl.graph_to_dot import graph_to_dot

    return drawn(graph_to_dot(compiled.graph))


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
