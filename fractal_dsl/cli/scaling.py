"""The command scaling: what training on many processes would cost."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from fractal_dsl.base.errors import UserError
from fractal_dsl.base.texts import aligned
from fractal_dsl.cli.given import given_spec
from fractal_dsl.cli.options import (
    AllowPython,
    MaxLayers,
    Net,
    ParallelMode,
    Params,
    ParamsFile,
    Spec,
    finite,
    parameters,
)
from fractal_dsl.cli.say import say
from fractal_dsl.compiled import MAX_LAYERS

_USUAL = (1, 2, 4, 8, 16, 32, 64)


def scaling(
    spec: Spec,
    processes: Annotated[
        str | None,
        typer.Option("-n", "--processes", metavar="N,N,…", help="How many; powers of two that fit if not given."),
    ] = None,
    parallel: Annotated[ParallelMode, typer.Option(help="How they share the work.")] = ParallelMode.ddp,
    batch: Annotated[int | None, typer.Option(min=1, help="Images in a mini-batch, of all processes.")] = None,
    accumulate: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Parts that a mini-batch is run in.")
    ] = None,
    tflops: Annotated[
        float, typer.Option(min=1e-9, callback=finite, help="What one of them computes, in 10^12 operations a second.")
    ] = 50,
    gigabytes: Annotated[
        float, typer.Option(min=1e-9, callback=finite, help="What one of them sends, in 10^9 bytes a second.")
    ] = 25,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    param: Params = None,
    params: ParamsFile = None,
    net: Net = None,
    max_layers: MaxLayers = MAX_LAYERS,
    allow_python: AllowPython = False,
) -> None:
    """Print what a training step would cost each of N processes: work, messages, memory, from the net's own numbers."""
    from fractal_dsl.config import parse_config
    from fractal_dsl.training.scaling import Cost, cost

    numbers = _numbers(processes) if processes is not None else None
    compiled, stored = given_spec("scaling", spec, parameters(param, params), net, max_layers, allow_python)
    given = {key: value for key, value in (("batch", batch), ("accumulate", accumulate)) if value}
    config = parse_config({**(stored.settings if stored else compiled.program.train), **given})
    costs: list[Cost] = []
    for number in numbers or _USUAL:
        try:
            costs.append(cost(compiled, config, parallel.value, number))
        except UserError:
            if numbers or number == 1:
                raise
    rows: list[dict[str, float | None]] = []
    for c in costs:
        work, messages = 2 * c.macs / tflops / 1e12 / (1 - c.idle), c.sent / gigabytes / 1e9
        rows.append(
            {
                "processes": c.processes,
                "GMACs": c.macs / 1e9,
                "idle %": 100 * c.idle,
                "MB sent": c.sent / 1e6,
                "MB state": c.state / 1e6,
                "MB activations": c.activations / 1e6,
                "ms work": 1000 * work,
                "ms messages": 1000 * messages,
                "images/s": config.batch / (work + messages) if work + messages else None,
            }
        )
    if json_:
        say(json.dumps(rows, indent=2))
    else:
        say("\n".join(aligned([list(rows[0]), *[[_shown(value) for value in row.values()] for row in rows]], ">")))


def _numbers(text: str) -> list[int]:
    try:
        numbers = [int(part) for part in text.split(",")]
    except ValueError:
        numbers = [0]
    if min(numbers) < 1:
        raise typer.BadParameter(f"{text!r} is no list of numbers such as 1,8,64", param_hint="--processes")
    return numbers


def _shown(value: float | None) -> str:
    if value is None:
        return "any"
    return f"{value:,.4g}" if value < 1000 else f"{value:,.0f}"
