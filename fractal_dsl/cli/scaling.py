"""The command scaling."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from fractal_dsl.base.errors import UserError
from fractal_dsl.base.texts import aligned
from fractal_dsl.cli.given import given_spec
from fractal_dsl.cli.grouped import SpecOptions, with_group
from fractal_dsl.cli.options import JSON, ParallelMode, finite
from fractal_dsl.cli.say import say

if TYPE_CHECKING:
    from fractal_dsl.training.scaling import StepCost

_USUAL = (1, 2, 4, 8, 16, 32, 64)


@with_group
def scaling(
    *,
    processes: Annotated[
        str | None,
        typer.Option(
            "-n",
            "--processes",
            metavar="N,N,…",
            help="Numbers of processes; by default 1, 2, 4, … 64 as far as they fit.",
        ),
    ] = None,
    parallel: Annotated[ParallelMode, typer.Option(help="How the processes share the work.")] = ParallelMode.ddp,
    batch: Annotated[int | None, typer.Option(min=1, help="Examples in a mini-batch, over all processes.")] = None,
    accumulate: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Run each mini-batch in this many parts.")
    ] = None,
    tflops: Annotated[
        float, typer.Option(min=1e-9, callback=finite, help="Speed of a process, in 10^12 operations per second.")
    ] = 50,
    gigabytes: Annotated[
        float, typer.Option(min=1e-9, callback=finite, help="Bandwidth of a process, in 10^9 bytes per second.")
    ] = 25,
    json_: JSON = False,
    options: SpecOptions,
) -> None:
    """Estimate the cost of a training step on N processes: work, communication and memory of each."""
    from fractal_dsl.config import parse_config
    from fractal_dsl.training.scaling import cost_of_step

    numbers = _numbers(processes) if processes is not None else None
    compiled, stored = given_spec("scaling", options)
    given = {key: value for key, value in (("batch", batch), ("accumulate", accumulate)) if value}
    config = parse_config({**(stored.settings if stored else compiled.program.train), **given})
    costs: list[StepCost] = []
    for number in numbers or _USUAL:
        try:
            costs.append(cost_of_step(compiled, config, parallel.value, number))
        except UserError:
            if numbers or number == 1:
                raise
    rows = [_row(c, config.batch, tflops, gigabytes) for c in costs]
    if json_:
        say(json.dumps(rows, indent=2))
    else:
        say("\n".join(aligned([list(rows[0]), *[[_shown(value) for value in row.values()] for row in rows]], ">")))


def _row(cost: StepCost, batch: int, tflops: float, gigabytes: float) -> dict[str, float | None]:
    """The figures of a number of processes, by their titles."""
    work, messages = 2 * cost.macs / tflops / 1e12 / (1 - cost.idle), cost.sent / gigabytes / 1e9
    return {
        "processes": cost.processes,
        "GMACs": cost.macs / 1e9,
        "idle %": 100 * cost.idle,
        "MB sent": cost.sent / 1e6,
        "MB state": cost.state / 1e6,
        "MB activations": cost.activations / 1e6,
        "ms work": 1000 * work,
        "ms messages": 1000 * messages,
        "examples/s": batch / (work + messages) if work + messages else None,
    }


def _numbers(text: str) -> list[int]:
    try:
        numbers = [int(part) for part in text.split(",")]
    except ValueError:
        numbers = [0]
    if min(numbers) < 1:
        raise typer.BadParameter(f"{text!r} is not a list of numbers such as 1,8,64", param_hint="--processes")
    return numbers


def _shown(value: float | None) -> str:
    if value is None:
        return "any"
    return f"{value:,.4g}" if value < 1000 else f"{value:,.0f}"
