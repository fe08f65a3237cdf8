"""The command serve."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fractal_dsl.cli.options import AllowPython, MaxLayers
from fractal_dsl.cli.say import say
from fractal_dsl.compiled import MAX_LAYERS


def serve(
    source: Annotated[
        Path,
        typer.Argument(metavar="SHELF", help="A shelf, a training run or a compiled network.", show_default=False),
    ],
    host: Annotated[str, typer.Option(help="Address to listen at; by default this machine only.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen at.")] = 8000,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads of the runtimes.")] = 1,
    max_batch: Annotated[int, typer.Option(min=1, help="Largest number of inputs to compute together.")] = 256,
    max_wait_ms: Annotated[
        float, typer.Option(min=0, max=1000, help="How long an input waits for others to be computed with.")
    ] = 1.0,
    max_layers: MaxLayers = MAX_LAYERS,
    allow_python: AllowPython = False,
) -> None:
    """Answer requests over HTTP by the KServe v2 inference protocol, with a page to drop an image on.

    A request may have the parameter `confidence` or `budget_ms`. By default the whole net answers.
    """
    from fractal_dsl.deploy.serving.server import Limits, require_server
    from fractal_dsl.deploy.serving.server import serve as run
    from fractal_dsl.deploy.serving.stages import open_service

    require_server()
    service = open_service(source, threads, max_layers, allow_python=allow_python)
    run(service, host, port, Limits(batch=max_batch, wait_ms=max_wait_ms), lambda text: say(text, error=True))
