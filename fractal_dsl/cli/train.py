"""Commands that train and show what came of it: train, report, compare."""

from __future__ import annotations

import enum
import json
import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from fractal_dsl.base.errors import UserError
from fractal_dsl.base.escaping import command, one_line
from fractal_dsl.cli.given import given_spec
from fractal_dsl.cli.options import STDIN, AllowPython, MaxLayers, Net, Params, ParamsFile, pairs, parameters
from fractal_dsl.cli.say import say
from fractal_dsl.cli.settings import (
    Accumulate,
    Batch,
    ChannelsLast,
    CheckpointLevels,
    Compile,
    DataSet,
    Download,
    Epochs,
    MaxMinutes,
    Precision,
    Rate,
    SkipUnreadable,
    Tensorboard,
    settings_of,
)
from fractal_dsl.compiled import MAX_LAYERS
from fractal_dsl.language.diagnostics import FracError
from fractal_dsl.program.literals import literal
from fractal_dsl.stored.kinds import kind_of

if TYPE_CHECKING:
    from fractal_dsl.compiled import Compiled


class Parallel(enum.StrEnum):
    """How processes share the work."""

    ddp = "ddp"
    fsdp = "fsdp"
    pipeline = "pipeline"


Runs = Annotated[list[Path], typer.Argument(help="Folders of training runs.", show_default=False)]


def train(
    context: typer.Context,
    spec: Annotated[
        str | None,
        typer.Argument(
            metavar="SPEC",
            help="The .frac file, - for standard input, or a compiled folder, whose weights and seed are used.",
            show_default=False,
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="The run's folder; runs/NET-N if not given.")] = None,
    resume: Annotated[
        Path | None, typer.Option(metavar="RUN", help="Go on with a run that was stopped or killed.")
    ] = None,
    epochs: Epochs = None,
    batch: Batch = None,
    lr: Rate = None,
    seed: Annotated[
        int | None, typer.Option(help="The seed of every random draw; a compiled folder keeps its weights.")
    ] = None,
    dataset: DataSet = None,
    download: Download = False,
    skip_unreadable: SkipUnreadable = False,
    precision: Precision = None,
    channels_last: ChannelsLast = False,
    compile: Compile = False,
    checkpoint_levels: CheckpointLevels = None,
    accumulate: Accumulate = None,
    max_minutes: MaxMinutes = None,
    track_columns: Annotated[
        bool, typer.Option("--track-columns", help="Each column's loss, and gradients by depth, at each epoch.")
    ] = False,
    plain: Annotated[
        int | None, typer.Option(metavar="K", min=1, help="Train column K's architecture alone, too, to compare.")
    ] = None,
    tensorboard: Tensorboard = False,
    profile: Annotated[bool, typer.Option("--profile", help="Profile ten steps: a table and a trace.")] = False,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Any setting, as in the train block; none unsets one.",
        ),
    ] = None,
    param: Params = None,
    params: ParamsFile = None,
    net: Net = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1, …; CUDA where there is one.")] = None,
    parallel: Annotated[
        Parallel | None, typer.Option(help="How the processes that torchrun has started share the work.")
    ] = None,
    max_layers: MaxLayers = MAX_LAYERS,
    allow_python: AllowPython = False,
) -> None:
    """Train a net by the settings of its train block, and write a run folder with a report."""
    if resume is not None:
        _only_for_resume(context)
        from fractal_dsl.training.train import resume as go_on

        result = go_on(
            resume,
            max_layers,
            device=device,
            max_minutes=max_minutes,
            allow_python=allow_python,
            parallel=_value(parallel),
        )
        raise typer.Exit(130 if result.status == "interrupted" else 0)
    if spec is None:
        raise typer.BadParameter("give a .frac file, a compiled folder, or --resume RUN", param_hint="SPEC")
    if spec == STDIN and "RANK" in os.environ:
        raise typer.BadParameter("processes of torchrun cannot share standard input: give a file", param_hint="SPEC")
    from fractal_dsl.config import merge, parse_config

    given = pairs(set_, "--set")
    flags = {
        "epochs": epochs,
        "batch": batch,
        "lr": lr,
        "seed": seed,
        "dataset": dataset,
        "download": download,
        "skip_unreadable": skip_unreadable,
        "precision": precision,
        "channels_last": channels_last,
        "compile": compile,
        "checkpoint_levels": checkpoint_levels,
        "accumulate": accumulate,
        "max_minutes": max_minutes,
        "track_columns": track_columns,
        "plain": plain,
        "tensorboard": tensorboard,
        "profile": profile,
    }
    overrides = {key: literal(text, key) for key, text in given.items()} | settings_of(flags, given)
    with _told_once():
        _refuse_runs(Path(spec))
        compiled, stored = given_spec("train", spec, parameters(param, params), net, max_layers, allow_python)
        drawn = {"seed": stored.network.seed} if stored and not stored.trained else {}
        config = parse_config(merge({**compiled.program.train, **drawn}, overrides.items()))
    if drawn and drawn["seed"] != config.seed and _rank() == 0:
        say(
            f"note: the weights in {one_line(spec)} were drawn with seed {drawn['seed']} and stay; seed {config.seed} "
            f"draws the rest: images, drop-path, dropout. `compile --seed {config.seed}` draws weights with it, too",
            error=True,
        )
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # else DDP warns that it looks for what a plan leaves out

    from fractal_dsl.runtime.artifact import network_of
    from fractal_dsl.training.train import train as run

    result = run(
        compiled,
        config,
        out,
        device=device,
        picture=_picture(compiled) if _rank() == 0 else None,
        allow_python=allow_python,
        parallel=_value(parallel),
        start=network_of(stored) if stored else None,
    )
    if result.status == "interrupted":
        raise typer.Exit(130)


def _refuse_runs(spec: Path) -> None:
    if spec.is_dir() and kind_of(spec) == "training run":
        go_on, compiles = (command("fractal-dsl", *words, str(spec)) for words in (("train", "--resume"), ("compile",)))
        raise UserError(
            f"{spec} is a training run: `{go_on}` goes on with it. To begin a new run with its best weights, compile "
            f"it with `{compiles}`, and train the folder that this writes"
        )


def _only_for_resume(context: typer.Context) -> None:
    """A run that goes on keeps its spec and its settings."""
    allowed = {"resume", "device", "max_minutes", "allow_python", "parallel", "max_layers"}
    for parameter in context.command.params:
        name = str(parameter.name)
        given = context.get_parameter_source(name)
        if name not in allowed and given is not None and given.name == "COMMANDLINE":
            shown = parameter.opts[0] if parameter.opts[0].startswith("-") else "SPEC"
            raise typer.BadParameter("a run that is resumed keeps its spec and its settings", param_hint=shown)


def _rank() -> int:
    """Which of torchrun's processes this is."""
    return int(os.environ.get("RANK", "0"))


@contextmanager
def _told_once() -> Generator[None]:
    """What is wrong with a spec or its settings is the same for all processes: the first one says it."""
    try:
        yield
    except (FracError, UserError):
        if _rank():
            raise typer.Exit(1) from None
        raise


def _value(parallel: Parallel | None) -> Literal["ddp", "fsdp", "pipeline"] | None:
    return None if parallel is None else parallel.value


def _picture(compiled: Compiled) -> str | None:
    """The net as SVG, if it is small enough to be looked at and Graphviz is there."""
    if compiled.summary.base_layers > 500:
        return None
    from fractal_dsl.picture.dot_to_picture import drawn
    from fractal_dsl.picture.graph_to_dot import graph_to_dot

    return drawn(graph_to_dot(compiled.graph))


def report(
    runs: Runs,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="The page; RUN/report.html, or comparison.html for several.")
    ] = None,
) -> None:
    """Write the report of a run, or one page of several runs side by side; it opens offline."""
    from fractal_dsl.runs.comparison import write_page

    say(one_line(str(write_page(runs, output))))


def compare(
    runs: Runs,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Print the figures of runs side by side, and the settings in which they differ."""
    from rich.console import Console

    from fractal_dsl.runs.comparison import compare_runs, table

    found = compare_runs(runs)
    if json_:
        say(json.dumps(found, indent=2))
    else:
        Console(soft_wrap=True).print(table(found))
