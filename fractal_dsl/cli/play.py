"""The command play."""

from __future__ import annotations

import os
import signal
import sys
import webbrowser
from pathlib import Path
from typing import Annotated

import typer

from fractal_dsl.cli.given import given_folder
from fractal_dsl.cli.grouped import SpecOptions
from fractal_dsl.cli.options import AllowPython, Net, Params, ParamsFile, parameters
from fractal_dsl.cli.say import say


def play(
    spec: Annotated[
        Path | None,
        typer.Argument(
            metavar="SPEC",
            help="A .frac file to edit and save, or a compiled folder or run, whose spec can be edited but not saved; "
            "by default a new net.",
            show_default=False,
        ),
    ] = None,
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port to listen on; if it is taken, the next free one.")
    ] = 8501,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open the page in a browser.")] = True,
    param: Params = None,
    params: ParamsFile = None,
    net: Net = None,
    allow_python: AllowPython = False,
) -> None:
    """Edit a net in the browser, with its picture, its figures and sliders for its parameters.

    The page is available on this machine only. With --allow-python, it loads the Python code that the text names, also
    while you type.
    """
    from fractal_dsl.play.documents import Documents
    from fractal_dsl.play.server import Server

    given = parameters(param, params)
    if spec is not None and spec.is_dir():
        stored = given_folder(
            SpecOptions(str(spec), param, params, net, allow_python=allow_python), settings=False
        ).whole("play")
        spec, given, net = stored.folder / stored.spec, stored.compiled.overrides, stored.compiled.program.net
    server = Server(port, Documents(spec), given, net, allow_python=allow_python)
    for stop in (signal.SIGINT, signal.SIGTERM):
        signal.signal(stop, signal.default_int_handler)
    try:
        say(f"{server.address}\nPress Ctrl-C to stop.")
        if browser and _has_display():
            webbrowser.open(server.address)
        server.serve_forever()
    except KeyboardInterrupt:
        say("\nstopped")
    finally:
        server.server_close()


def _has_display() -> bool:
    """Whether a browser can open a window. One that runs in the terminal would take it over."""
    return sys.platform in ("darwin", "win32") or any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))
