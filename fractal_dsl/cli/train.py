"""The command train."""

from __future__ import annotations

import os
import sys
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from fractal_dsl.base.errors import UserError
from fractal_dsl.base.escaping import command, one_line
from fractal_dsl.cli.given import Given, given_spec
from fractal_dsl.cli.grouped import SpecOptions
from fractal_dsl.cli.options import (
    STDIN,
    AllowPython,
    Device,
    MaxLayers,
    Net,
    ParallelMode,
    Params,
    ParamsFile,
    only,
    pairs,
)
from fractal_dsl.cli.say import say
from fractal_dsl.cli.settings import TRAINING, Flags, settings_of, with_flags
from fractal_dsl.compiled import MAX_LAYERS
from fractal_dsl.config import TrainConfig, merge, parse_config
from fractal_dsl.language.diagnostics import FracError
from fractal_dsl.program.literals import literal
from fractal_dsl.stored.kinds import kind_of

if TYPE_CHECKING:
    from fractal_dsl.compiled import Compiled
    from fractal_dsl.training.train import RunResult


@with_flags(
    *TRAINING,
    "dataset.skip_unreadable",
    "seed",
    "init_from",
    "distill.weight",
    "max_minutes",
    "track_columns",
    "plain",
    "profile",
)
def train(
    context: typer.Context,
    *,
    spec: Annotated[
        str | None,
        typer.Argument(
            metavar="SPEC",
            help="A .frac file, - for standard input, or a compiled folder, whose weights training starts from.",
            show_default=False,
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option(metavar="RUN", help="Folder to write; by default runs/NET-N.")] = None,
    resume: Annotated[
        Path | None,
        typer.Option(
            metavar="RUN", help="Resume a run. --epochs N trains it for longer, --max-minutes inf lifts its limit."
        ),
    ] = None,
    flags: Flags,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="Any setting of the train block. KEY=none unsets it. Repeat for more."
        ),
    ] = None,
    param: Params = None,
    params: ParamsFile = None,
    net: Net = None,
    device: Device = None,
    parallel: Annotated[
        ParallelMode | None, typer.Option(help="How the processes started by torchrun share the work.")
    ] = None,
    max_layers: MaxLayers = MAX_LAYERS,
    allow_python: AllowPython = False,
) -> None:
    """Train a net with the settings of its train block, and write a run folder with a report."""
    mode = None if parallel is None else parallel.value
    if resume is not None:
        allowed = {"resume", "epochs", "device", "max_minutes", "allow_python", "parallel", "max_layers"}
        only(context, allowed, "a resumed run keeps its spec and its settings")
        from fractal_dsl.training.train import resume as go_on

        result = go_on(
            resume,
            max_layers,
            device=device,
            max_minutes=flags.get("max_minutes"),
            epochs=flags.get("epochs"),
            allow_python=allow_python,
            parallel=mode,
            command=_command(),
        )
    elif spec is None:
        raise typer.BadParameter("give a .frac file, a compiled folder, or --resume RUN", param_hint="SPEC")
    else:
        options = SpecOptions(spec, param, params, net, max_layers, allow_python)
        given, config = _spec_and_config(options, pairs(set_, "--set"), flags)
        result = _run(given, config, out, device, mode, allow_python)
    if result.status == "interrupted":
        raise typer.Exit(130)


def _spec_and_config(options: SpecOptions, texts: Mapping[str, str], flags: Flags) -> tuple[Given, TrainConfig]:
    """The checked spec and the settings of its training; ``texts`` are those of --set."""
    settings = {key: literal(text, key) for key, text in texts.items()} | settings_of(flags, texts)
    with _errors_once():
        _check_spec(options.spec)
        given = given_spec("train", options)
        return given, _configured(given, settings)


def _check_spec(spec: str) -> None:
    """Refuse a SPEC that cannot be trained."""
    if spec == STDIN and "RANK" in os.environ:
        raise typer.BadParameter(
            "the processes of torchrun cannot share standard input: give a file", param_hint="SPEC"
        )
    _refuse_runs(Path(spec))
    _refuse_missing_folders(Path(spec))


def _refuse_runs(spec: Path) -> None:
    if spec.is_dir() and kind_of(spec) == "training run":
        resume, compiles = (
            command("fractal-dsl", *words, str(spec)) for words in (("train", "--resume"), ("compile",))
        )
        raise UserError(
            f"{spec} is a training run: `{resume}` resumes it. To start a new run from its best weights, compile it "
            f"with `{compiles}`, then train the folder that this writes"
        )


def _refuse_missing_folders(spec: Path) -> None:
    file = Path(f"{spec}.frac")
    if not spec.exists() and file.is_file():
        trains, compiles = (command("fractal-dsl", word, str(file)) for word in ("train", "compile"))
        raise UserError(f"there is no {spec}: `{trains}` trains its spec, and `{compiles}` creates the folder")


def _configured(given: Given, settings: Mapping[str, Any]) -> TrainConfig:
    """The settings of the run. A compiled folder that was never trained gives the seed that drew its weights."""
    stored = given.stored
    block = given.compiled.program.train
    if stored is None or stored.trained:
        return parse_config(merge(block, settings.items()))
    seed = stored.network.seed
    parse_config(block)  # a seed that is no number is an error, though the folder's seed takes its place
    config = parse_config(merge({**block, "seed": seed}, settings.items()))
    if seed != config.seed and _rank() == 0:
        say(
            f"note: the weights in {one_line(str(stored.folder))} were drawn with seed {seed} and are kept. Seed "
            f"{config.seed} draws the rest: the order of examples, drop-path, dropout. To draw the weights with it "
            f"too, run `compile --seed {config.seed}`",
            error=True,
        )
    return config


def _run(
    given: Given,
    config: TrainConfig,
    out: Path | None,
    device: str | None,
    parallel: Literal["ddp", "fsdp", "pipeline"] | None,
    allow_python: bool,
) -> RunResult:
    """Train the net from its first weights, or from those of its folder."""
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # else DDP warns about layers that a plan leaves out

    from fractal_dsl.runtime.artifact import trainable_of
    from fractal_dsl.training.train import train as run

    return run(
        given.compiled,
        config,
        out,
        device=device,
        picture=_picture(given.compiled) if _rank() == 0 else None,
        allow_python=allow_python,
        parallel=parallel,
        start=trainable_of(given.stored) if given.stored else None,
        command=_command(),
    )


def _command() -> str:
    """The command line of this process, for the report."""
    return command("fractal-dsl", *sys.argv[1:])


def _rank() -> int:
    """The rank of this process under torchrun; 0 without it."""
    return int(os.environ.get("RANK", "0"))


@contextmanager
def _errors_once() -> Generator[None]:
    """All processes find the same errors in a spec or its settings. Only the first one prints them."""
    try:
        yield
    except (FracError, UserError):
        if _rank():
            raise typer.Exit(1) from None
        raise


def _picture(compiled: Compiled) -> str | None:
    """The net as SVG, if it is small enough to read and Graphviz is installed."""
    if compiled.summary.base_layers > 500:
        return None
    from fractal_dsl.picture.dot_to_picture import drawn
    from fractal_dsl.picture.graph_to_dot import graph_to_dot

    return drawn(graph_to_dot(compiled.graph))
