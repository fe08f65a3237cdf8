"""The command sweep."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import typer

from fractal_dsl.base.errors import UserError
from fractal_dsl.cli.options import AllowPython, Device, MaxLayers, Net, ParamsFile, only, pairs, parameters
from fractal_dsl.cli.say import warn
from fractal_dsl.cli.settings import TRAINING, Flags, settings_of, with_flags
from fractal_dsl.compiled import MAX_LAYERS
from fractal_dsl.program.literals import param_text
from fractal_dsl.stored.kinds import kind_of

ValuesOption = Annotated[
    list[str] | None,
    typer.Option(
        "-p",
        "--param",
        metavar="NAME[=VALUES]",
        help="Parameter to vary: 2..5, 16..64:step=16, 1e-3..0.1:log, 16|32 or {16, 32}; one value fixes it; without "
        "values, its whole domain. Repeat for more.",
    ),
]
SettingsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUES",
        help="Setting of the train block to vary or fix: optimizer.lr=0.01..0.1:log. Repeat for more.",
    ),
]
TrialsOption = Annotated[
    int | None, typer.Option(min=1, metavar="N", help="Number of trials in all; by default every combination.")
]
SamplerOption = Annotated[
    Literal["grid", "random", "tpe"] | None,
    typer.Option(help="How to choose trials; by default grid if it has at most --trials combinations, else tpe."),
]
ObjectiveOption = Annotated[
    str | None,
    typer.Option(
        metavar="FIGURE",
        help="What to optimize on validation examples at the best epoch: loss or a metric of the task; by default the "
        "metric that chooses the best weights, such as accuracy.",
    ),
]
MinimizeOption = Annotated[
    Literal["macs", "params"] | None, typer.Option(help="Also minimize the size of the net in this measure.")
]
PruneOption = Annotated[
    int | None, typer.Option(min=1, metavar="EPOCH", help="From this epoch on, stop trials worse than the median.")
]
SeedOption = Annotated[int, typer.Option(help="Seed of the sampler. --set seed=N sets the seed of training.")]
WorkersOption = Annotated[int, typer.Option(min=1, metavar="N", help="Number of trials to run at the same time.")]
ProcessesOption = Annotated[
    int, typer.Option(min=1, metavar="N", help="Processes for each trial, with torchrun and DDP.")
]


@with_flags(*TRAINING)
def sweep(
    context: typer.Context,
    *,
    spec: Annotated[
        str, typer.Argument(metavar="SPEC|FOLDER", help="A .frac file, or the folder of a sweep to resume.")
    ],
    param: ValuesOption = None,
    set_: SettingsOption = None,
    flags: Flags,
    trials: TrialsOption = None,
    sampler: SamplerOption = None,
    objective: ObjectiveOption = None,
    minimize: MinimizeOption = None,
    prune: PruneOption = None,
    seed: SeedOption = 0,
    workers: WorkersOption = 1,
    nproc_per_trial: ProcessesOption = 1,
    out: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Folder to write; by default sweeps/NET-N.")
    ] = None,
    show: Annotated[
        bool, typer.Option("--show", help="Print the table of the sweep in FOLDER. Train nothing.")
    ] = False,
    params: ParamsFile = None,
    net: Net = None,
    device: Device = None,
    max_layers: MaxLayers = MAX_LAYERS,
    allow_python: AllowPython = False,
) -> None:
    """Train a spec with many values of its parameters and settings, and compare the results.

    Interrupted sweeps resume: run the same command again, or give the sweep's folder.
    """
    folder = Path(spec) if Path(spec).is_dir() else None
    if folder:
        _refuse_networks(folder)
        allowed = {"spec", "trials", "workers", "nproc_per_trial", "device", "max_layers", "allow_python", "show"}
        only(context, allowed, "a resumed sweep keeps its parameters and settings")
    elif show:
        raise typer.BadParameter("give the folder of a sweep", param_hint="--show")

    from fractal_dsl.sweep import run
    from fractal_dsl.sweep.trial import Resources

    resources = Resources(workers, nproc_per_trial, device, allow_python)
    if folder and show:
        run.print_sweep(folder)
        return
    if folder:
        done = run.go_on(folder, trials=trials, max_layers=max_layers, resources=resources)
    else:
        given, fixed = _values(param, params), pairs(set_, "--set")
        fixed |= {key: param_text(value) for key, value in settings_of(flags, fixed).items()}
        done = run.sweep(
            spec, given, fixed, out, trials=trials, sampler=sampler, objective=objective, minimize=minimize,
            prune=prune, seed=seed, net=net, max_layers=max_layers, resources=resources, warn=warn,
        )  # fmt: skip
    if not done:
        raise typer.Exit(130)


def _values(given: Sequence[str] | None, file: Path | None) -> dict[str, str | None]:
    """The values of parameters, as texts by name; None for one to vary over its whole domain."""
    values = parameters([text for text in given or () if "=" in text], file)
    names = [text.partition("=")[0].strip() for text in given or ()]
    return {name: values.get(name) for name in [*names, *values]}


def _refuse_networks(folder: Path) -> None:
    if (kind := kind_of(folder)) not in (None, "sweep"):
        raise UserError(
            f"{folder} is a {kind}. A sweep trains networks of its own, from new weights: give the .frac file, or the "
            "folder of a sweep to resume"
        )
