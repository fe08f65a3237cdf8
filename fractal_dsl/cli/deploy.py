"""The command deploy."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fractal_dsl.base.errors import UserError, nearest
from fractal_dsl.base.escaping import one_line
from fractal_dsl.base.texts import aligned
from fractal_dsl.cli.given import place_beside
from fractal_dsl.cli.options import AllowPython, MaxLayers, Recalibrate, WeightsOption, WhichWeights, finite
from fractal_dsl.cli.say import say
from fractal_dsl.compiled import MAX_LAYERS
from fractal_dsl.deploy.targets import TARGETS  # noqa: TID253  (it does not import torch)

if TYPE_CHECKING:
    from fractal_dsl.deploy.deploy import Options
    from fractal_dsl.deploy.origin import Origin
    from fractal_dsl.deploy.shelf import Shelf

_HUB = "hub"
_FORMATS = ", ".join((*TARGETS, _HUB))

Push = Annotated[
    str | None, typer.Option(metavar="NAME", help="Upload FOLDER/hub to the Hugging Face Hub under this name.")
]


def deploy(
    run: Annotated[
        Path, typer.Argument(metavar="RUN", help="A training run or a compiled network.", show_default=False)
    ],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="FOLDER", help="Folder to write; by default RUN-shelf/.")
    ] = None,
    to: Annotated[
        str, typer.Option(metavar="FORMATS", help=f"Formats to write, separated by commas: {_FORMATS}.")
    ] = ",".join(TARGETS),
    int8: Annotated[bool, typer.Option("--int8", help="Also quantize each net to 8 bits.")] = False,
    columns: Annotated[
        str | None,
        typer.Option(metavar="K,…", help="Columns to deploy; by default all. The whole net is always included."),
    ] = None,
    budget_ms: Annotated[
        float | None,
        typer.Option(
            min=0, callback=finite, metavar="MS", help="Link the best net within this latency as FOLDER/best."
        ),
    ] = None,
    batch: Annotated[int, typer.Option(min=1, help="Size of the batches that are timed.")] = 1,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads of the runtimes.")] = 1,
    confidence: Annotated[
        float,
        typer.Option(
            min=0, max=1, callback=finite, metavar="P", help="Confidence at which the anytime net stops in timings."
        ),
    ] = 0.9,
    push: Push = None,
    weights: WhichWeights = WeightsOption.best,
    recalibrate: Recalibrate = False,
    max_layers: MaxLayers = MAX_LAYERS,
    allow_python: AllowPython = False,
) -> None:
    """Export every column, the whole net and the anytime net, check each in its runtime, and measure it there.

    A stopped deployment continues where it stopped, and keeps verified files.
    """
    from fractal_dsl.deploy import deploy as runtime

    place = output or place_beside(str(run), "-shelf", "the shelf")
    targets = _targets(to, push)
    options = runtime.Options(
        tuple([name for name in targets if name != _HUB]),
        int8=int8,
        columns=_columns(columns),
        batch=batch,
        threads=threads,
        confidence=confidence,
        weights=weights.value,
        recalibrate=recalibrate,
        max_layers=max_layers,
        allow_python=allow_python,
    )
    if targets == (_HUB,):
        _refuse_exports_alone(int8=int8, budget_ms=budget_ms)
        _repository(runtime.opened(run, options, lambda text: say(text, error=True)), place, push)
    else:
        _shelve(run, place, options, targets, budget_ms, push)


def _shelve(
    run: Path, place: Path, options: Options, targets: tuple[str, ...], budget_ms: float | None, push: str | None
) -> None:
    """Write the shelf and, if it is a target, the repository for the Hub. Raises UserError for failed exports and
    an unmet budget, when the rest is done."""
    from fractal_dsl.deploy import deploy as runtime

    try:
        done = runtime.deploy(run, place, options, lambda text: say(text, error=True))
    except KeyboardInterrupt:
        say("stopped: what was verified stays, and the same command does the rest", error=True)
        raise
    _report(done.shelf, place)
    problems = [f"{name}: {reason}" for name, reason in done.failures.items()]
    if budget_ms is not None:
        try:
            best = done.shelf.link_best(budget_ms)
            say(f"{one_line(str(place / 'best'))}: {best.label}, {best.ms:.3g} ms")
        except UserError as error:
            problems.append(str(error))
    if _HUB in targets:
        _repository(done.origin, place, push)
    if problems:
        raise UserError("; ".join(problems))


def _report(shelf: Shelf, place: Path) -> None:
    """Print the table of a shelf."""
    from fractal_dsl.deploy.page import shelf_table

    say("\n".join(["", *aligned(shelf_table(shelf), "<<<>>>>>>><"), ""]))
    say(f"{one_line(str(place / 'shelf.html'))}: the table, and accuracy against latency")


def _repository(origin: Origin, place: Path, push: str | None) -> None:
    """Write the whole net as a repository for the Hub, with the table of the shelf, and upload it as ``push``."""
    from fractal_dsl.deploy import hub
    from fractal_dsl.deploy.opening import shelf_at

    hub.write_hub(origin, shelf_at(place, origin), place / _HUB)
    say(f"{one_line(str(place / _HUB))}: a repository for the Hugging Face Hub and torch.hub")
    if push is not None:
        say(hub.push(place / _HUB, push))


def _refuse_exports_alone(*, int8: bool, budget_ms: float | None) -> None:
    """Raise BadParameter for options about exports, where there are none."""
    for name, given in (("--int8", int8), ("--budget-ms", budget_ms is not None)):
        if given:
            raise typer.BadParameter(f"--to {_HUB} alone exports nothing: add a format to --to", param_hint=name)


def _targets(text: str, push: str | None) -> tuple[str, ...]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        if name not in (*TARGETS, _HUB):
            hint = nearest(name, (*TARGETS, _HUB))
            also = f", did you mean `{hint}`?" if hint else "."
            raise typer.BadParameter(f"there is no format `{name}`{also} The formats are {_FORMATS}", param_hint="--to")
    if not names:
        raise typer.BadParameter(f"name at least one of {_FORMATS}", param_hint="--to")
    if push is not None and _HUB not in names:
        raise typer.BadParameter("it uploads what --to hub writes", param_hint="--push")
    return tuple(dict.fromkeys(names))


def _columns(text: str | None) -> tuple[int, ...] | None:
    if text is None:
        return None
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() for part in parts):
        raise typer.BadParameter(f"{text!r} is not a list of column numbers such as 1,3", param_hint="--columns")
    return tuple(map(int, parts))
