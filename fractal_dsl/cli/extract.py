"""The command extract."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fractal_dsl.base.escaping import one_line
from fractal_dsl.cli.grouped import RunOptions, with_group
from fractal_dsl.cli.options import Recalibrate
from fractal_dsl.cli.say import say


@with_group
def extract(
    *,
    run: Annotated[
        Path, typer.Argument(metavar="RUN", help="A training run or a compiled network.", show_default=False)
    ],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="FOLDER", help="Folder to write.")],
    column: Annotated[
        int | None,
        typer.Option(metavar="K", help="Number of the column; 1 is the shallowest. By default the whole net."),
    ] = None,
    recalibrate: Recalibrate = False,
    fuse: Annotated[
        bool, typer.Option("--fuse", help="Fold batch norms into the layers before them, for faster inference.")
    ] = False,
    options: RunOptions,
) -> None:
    """Write one column, or the whole net, with its trained weights as a plain network that takes raw inputs."""
    from fractal_dsl.deploy import extract as runtime

    done = runtime.extract(
        run,
        column,
        output,
        recalibrate=recalibrate,
        fold=fuse,
        weights=options.weights.value,
        device=options.device,
        max_layers=options.max_layers,
        allow_python=options.allow_python,
    )
    if done.recalibration:
        say(done.recalibration.text())
    if done.folded is not None:
        say(f"batch norms folded: {done.folded}" + (f"; left unfolded: {done.left}" if done.left else ""))
    net = done.compiled.program.net
    subject = f"whole net {net}" if column is None else f"column {column} of {net}"
    say(f"{one_line(str(output))}: {subject}; see {one_line(str(output / 'model.py'))}")
