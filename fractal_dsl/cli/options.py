"""Options that several commands share."""

from __future__ import annotations

import enum
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from fractal_dsl.base.errors import UserError
from fractal_dsl.base.escaping import one_line
from fractal_dsl.language.read import read
from fractal_dsl.language.source import MAX_SOURCE_BYTES, Source

STDIN = "-"
PLANS = "full, column:K, local:SEED, global:SEED, mixed:SEED (:STEP may follow SEED), or the text of a plan"


class ParallelMode(enum.StrEnum):
    """How processes share the work of training."""

    ddp = "ddp"
    fsdp = "fsdp"
    pipeline = "pipeline"


class WeightsOption(enum.StrEnum):
    """Which weights of a run: those of its best epoch, or of its last one."""

    best = "best"
    last = "last"


def _allow(allowed: bool) -> bool:
    """Let Python find code in the current folder, as ``python -m`` does."""
    if allowed and "" not in sys.path:
        sys.path.insert(0, "")
    return allowed


Spec = Annotated[
    str,
    typer.Argument(
        metavar="SPEC",
        help="A .frac file, - for standard input, a compiled folder, or a training run.",
        show_default=False,
    ),
]
RunArgument = Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a training run.", show_default=False)]
Device = Annotated[
    str | None, typer.Option(metavar="DEVICE", help="cpu, cuda, cuda:1, …; by default CUDA if it is available.")
]
WhichWeights = Annotated[WeightsOption, typer.Option(help="Use the weights of the best or the last epoch.")]
Recalibrate = Annotated[
    bool,
    typer.Option(
        "--recalibrate",
        help="Re-estimate the batch-norm statistics of the whole net and of each column on training examples, with "
        "all paths live and without dropout.",
    ),
]
JSON = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def finite(number: float | None) -> float | None:
    """Refuse an infinite number or NaN as an option."""
    if number is not None and not math.isfinite(number):
        raise typer.BadParameter(f"{number} is not a finite number")
    return number


Params = Annotated[
    list[str] | None,
    typer.Option("-p", "--param", metavar="NAME=VALUE", help="Set a parameter of the file. Repeat for more."),
]
ParamsFile = Annotated[
    Path | None, typer.Option("--params", metavar="FILE.toml", help="Read parameters from a file; -p overrides it.")
]
Net = Annotated[str | None, typer.Option(metavar="NAME", help="Net of the file to use; by default the last.")]
AllowPython = Annotated[
    bool,
    typer.Option(
        "--allow-python", callback=_allow, help="Allow Python code to be loaded. Use it only with code you trust."
    ),
]
Watch = Annotated[bool, typer.Option("--watch", help="Run again whenever a file changes, until Ctrl-C.")]
MaxLayers = Annotated[int, typer.Option(help="Refuse nets with more base layers.", min=1)]


def read_spec(spec: str) -> Source:
    """Read a file, or standard input for ``-``. Raises FracError or UserError if it is missing or not text."""
    if spec != STDIN:
        return read(spec)
    if sys.stdin is None:  # pyright: ignore[reportUnnecessaryComparison]
        raise UserError("standard input is closed: give a file")
    data = sys.stdin.buffer.read(MAX_SOURCE_BYTES + 1)
    if len(data) > MAX_SOURCE_BYTES:
        raise UserError(f"standard input is larger than the limit of {MAX_SOURCE_BYTES:,} bytes")
    try:
        return Source("<stdin>", data.decode("utf-8").removeprefix("\ufeff"))
    except UnicodeDecodeError:
        raise UserError("standard input is not UTF-8 text") from None


def pairs(given: Sequence[str] | None, option: str) -> dict[str, str]:
    """Parse ``NAME=VALUE`` texts into a dict. A malformed or repeated one is wrong usage."""
    result: dict[str, str] = {}
    for text in given or ():
        if any("\ud800" <= c <= "\udfff" for c in text):
            raise typer.BadParameter(f"{one_line(text)} is not UTF-8 text", param_hint=option)
        name, equals, value = text.partition("=")
        if not equals or not name.strip():
            raise typer.BadParameter(f"{text!r} is not NAME=VALUE", param_hint=option)
        if name.strip() in result:
            raise typer.BadParameter(f"{name.strip()} is given twice", param_hint=option)
        result[name.strip()] = value.strip()
    return result


def only(context: typer.Context, allowed: set[str], reason: str) -> None:
    """Refuse all options on the command line but those ``allowed``, for this reason."""
    for parameter in context.command.params:
        source = context.get_parameter_source(str(parameter.name))
        if parameter.name not in allowed and source is not None and source.name == "COMMANDLINE":
            shown = parameter.opts[0] if parameter.opts[0].startswith("-") else "SPEC"
            raise typer.BadParameter(reason, param_hint=shown)


def parameters(given: Sequence[str] | None, file: Path | None) -> dict[str, str]:
    """Parameters by name, as literals of the language, from ``--params`` and ``-p``, which overrides it.

    A TOML table holds the parameters of an imported file: ``[base]`` those of ``import … as base``.
    """
    if file is None:
        return pairs(given, "-p")
    from fractal_dsl.cli.params_file import params_of_file

    return {**params_of_file(file), **pairs(given, "-p")}
