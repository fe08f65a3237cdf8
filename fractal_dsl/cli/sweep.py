"""The command that trains a spec at many values of its parameters and settings."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from fractal_dsl.base.errors import UserError
from fractal_dsl.cli.options import AllowPython, MaxLayers, Net, ParamsFile, pairs, parameters
from fractal_dsl.cli.say import warn
from fractal_dsl.cli.settings import (
    Accumulate,
    Batch,
    ChannelsLast,
    CheckpointLevels,
    Compile,
    DataSet,
    Download,
    Epochs,
    Precision,
    Rate,
    Tensorboard,
    settings_of,
)
from fractal_dsl.compiled import MAX_LAYERS
from fractal_dsl.program.literals import param_text
from fractal_dsl.stored.kinds import kind_of


def sweep(
    context: typer.Context,
    spec: Annotated[
        str, typer.Argument(metavar="SPEC|FOLDER", help="The .frac file, or the folder of a sweep to go on with.")
    ],
    param: Annotated[
        list[str] | None,
        typer.Option(
            "-p",
            "--param",
            metavar="NAME[=VALUES]",
            help="A parameter: 2..5, 16..64:step=16, 1e-3..0.1:log, 16|32, {16, 32}, or one value; without any, its "
            "whole domain.",
        ),
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUES", help="A setting of the train block: optimizer.lr=0.01..0.1:log"),
    ] = None,
    epochs: Epochs = None,
    batch: Batch = None,
    lr: Rate = None,
    dataset: DataSet = None,
    download: Download = False,
    precision: Precision = None,
    channels_last: ChannelsLast = False,
    compile: Compile = False,
    checkpoint_levels: CheckpointLevels = None,
    accumulate: Accumulate = None,
    tensorboard: Tensorboard = False,
    trials: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="How many in all; every combination, if not given.")
    ] = None,
    sampler: Annotated[
        Literal["grid", "random", "tpe"] | None,
        typer.Option(help="By default the grid, where it is no larger than --trials, else TPE."),
    ] = None,
    objective: Annotated[
        Literal["accuracy", "loss"], typer.Option(help="Of the best epoch, on the validation images.")
    ] = "accuracy",
    minimize: Annotated[
        Literal["macs", "params"] | None, typer.Option(help="Make the net small at the same time.")
    ] = None,
    prune: Annotated[
        int | None,
        typer.Option(min=1, metavar="EPOCH", help="From this epoch on, stop trials that are below the median."),
    ] = None,
    seed: Annotated[int, typer.Option(help="The seed of what is tried; trainings have theirs: --set seed=1")] = 0,
    workers: Annotated[int, typer.Option(min=1, metavar="N", help="Trials at once.")] = 1,
    nproc_per_trial: Annotated[
        int, typer.Option(min=1, metavar="N", help="Processes of each trial: torchrun with DDP.")
    ] = 1,
    out: Annotated[Path | None, typer.Option(help="The sweep's folder; sweeps/NET-N if not given.")] = None,
    show: Annotated[bool, typer.Option("--show", help="Print the table of FOLDER, and train nothing.")] = False,
    params: ParamsFile = None,
    net: Net = None,
    device: Annotated[str | None, typer.Option(help="As for train; workers share the GPUs, if not given.")] = None,
    max_layers: MaxLayers = MAX_LAYERS,
    allow_python: AllowPython = False,
) -> None:
    """Train a spec at many values of its parameters and settings, and compare; what was begun goes on."""
    begun = Path(spec).is_dir()
    if begun:
        _refuse_networks(Path(spec))
        _only(context, {"spec", "trials", "workers", "nproc_per_trial", "device", "max_layers", "allow_python", "show"})
    elif show:
        raise typer.BadParameter("it is for the folder of a sweep", param_hint="--show")

    from fractal_dsl.sweep import run
    from fractal_dsl.sweep.trial import Means

    if show:
        run.show(Path(spec))
        return
    means = Means(workers, nproc_per_trial, device, allow_python)
    if begun:
        done = run.go_on(Path(spec), trials=trials, max_layers=max_layers, means=means)
    else:
        values = parameters([text for text in param or () if "=" in text], params)
        names = [text.partition("=")[0].strip() for text in param or ()]
        given = {name: values.get(name) for name in [*names, *values]}
        settings = pairs(set_, "--set")
        flags = {
            "epochs": epochs,
            "batch": batch,
            "lr": lr,
            "dataset": dataset,
            "download": download,
            "precision": precision,
            "channels_last": channels_last,
            "compile": compile,
            "checkpoint_levels": checkpoint_levels,
            "accumulate": accumulate,
            "tensorboard": tensorboard,
        }
        done = run.sweep(
            spec,
            given,
            settings | {key: param_text(value) for key, value in settings_of(flags, settings).items()},
            out,
            trials=trials,
            sampler=sampler,
            objective=objective,
            minimize=minimize,
            prune=prune,
            seed=seed,
            net=net,
            max_layers=max_layers,
            means=means,
            warn=warn,
        )
    if not done:
        raise typer.Exit(130)


def _refuse_networks(folder: Path) -> None:
    if (kind := kind_of(folder)) not in (None, "sweep"):
        raise UserError(
            f"{folder} is a {kind}, and a sweep trains networks of its own, from their first weights: "
            "give the .frac file, or the folder of a sweep to go on with"
        )


def _only(context: typer.Context, allowed: set[str]) -> None:
    """A sweep that goes on keeps what it does."""
    for parameter in context.command.params:
        given = context.get_parameter_source(str(parameter.name))
        if parameter.name not in allowed and given is not None and given.name == "COMMANDLINE":
            raise typer.BadParameter("a sweep that goes on keeps what it does", param_hint=parameter.opts[0])
