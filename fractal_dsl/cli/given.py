"""The net that SPEC names: a .frac file, standard input, a compiled folder or a training run."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import typer

from fractal_dsl import pipeline
from fractal_dsl.base.errors import UserError
from fractal_dsl.base.escaping import command as shell
from fractal_dsl.cli.grouped import SpecOptions
from fractal_dsl.cli.options import STDIN, read_spec
from fractal_dsl.cli.say import warn
from fractal_dsl.compiled import MAX_LAYERS, Compiled
from fractal_dsl.language.read import read
from fractal_dsl.stored.spec import Stored, open_stored, stored_kind


class Given(NamedTuple):
    """The net that SPEC names. ``stored`` is its folder; None for a file or standard input."""

    compiled: Compiled
    stored: Stored | None


def given_spec(command: str, options: SpecOptions, *, settings: bool = True) -> Given:
    """Read the net that SPEC names, for a command that takes whole nets, and print the warnings about it.

    ``settings`` is false if the settings of training do not matter. Raises FracError or UserError if the spec has
    errors. A parameter or another net for a folder is wrong usage.
    """
    if options.is_folder():
        stored = given_folder(options, settings=settings).whole(command)
        warn(stored.compiled.warnings)
        return Given(stored.compiled, stored)
    compiled = given_file(options, settings=settings)
    warn(compiled.warnings)
    return Given(compiled, None)


def given_file(options: SpecOptions, *, settings: bool = True) -> Compiled:
    """Compile the file, or standard input, that SPEC names. Raises FracError or UserError if it has errors."""
    params, source = options.params(), read_spec(options.spec)
    nets = pipeline.check(source, params, options.max_layers, allow_python=options.allow_python, settings=settings)
    return pipeline.pick(nets, options.net)


def given_folder(options: SpecOptions, *, settings: bool = True) -> Stored:
    """Open the compiled folder or run that SPEC names. It keeps its own parameters and net."""
    spec, params = options.spec, options.params()
    stored = open_stored(Path(spec), options.max_layers, allow_python=options.allow_python, settings=settings)
    if params:
        raise typer.BadParameter(
            f"{spec} is a {stored.kind} and keeps its parameters: use the .frac file to change them", param_hint="-p"
        )
    net = stored.compiled.program.net
    if options.net not in (None, net):
        raise typer.BadParameter(
            f"{spec} is a {stored.kind} of net {net}: use the .frac file for another net", param_hint="--net"
        )
    return stored


def place_beside(spec: str, ending: str, output: str) -> Path:
    """The default place of output: beside the file or folder, with its name and another ending.

    Raises FracError or UserError if SPEC is no spec, or if a link is at that place: it may have come with somebody
    else's files, so only a link that the user names is followed.
    """
    path = Path(spec)
    if spec == STDIN:
        raise typer.BadParameter(f"standard input has no name: choose a place for {output} with -o", param_hint="SPEC")
    if path.is_dir():
        stored_kind(path)
    else:
        read(path)
    stem = path.stem if path.suffix == ".frac" else path.name
    if not stem.strip(".") or path.with_name(stem + ending) == path:
        reason = "" if path.is_dir() or spec.endswith(".frac") else "does not end in .frac, so it "
        message = f"{spec} {reason}gives no name for {output}: choose a place with -o"
        raise typer.BadParameter(message, param_hint="SPEC")
    place = path.with_name(stem + ending)
    if place.is_symlink():
        raise UserError(f"{place} is a link: choose another place with -o, or follow the link with -o {place}")
    return place


def command_line(command: str, place: Path, compiled: Compiled, allow_python: bool, *more: str) -> str:
    """The command to run next on a folder or a file, quoted for a shell, with the options that the spec needs."""
    words = ["fractal-dsl", command, f"./{place}" if str(place).startswith("-") else str(place), *more]
    words += ["--max-layers", str(compiled.max_layers)] if compiled.max_layers != MAX_LAYERS else []
    words += ["--allow-python"] * allow_python
    return shell(*words)
