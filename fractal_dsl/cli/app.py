"""The commands by name. The module of a command is imported when the command is called, or listed by ``--help``."""

from __future__ import annotations

from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from fractal_dsl.version import __version__

_MODULES = {
    "check": "specs",
    "explain": "specs",
    "fmt": "fmt",
    "info": "specs",
    "compile": "specs",
    "render": "pictures",
    "plan": "pictures",
    "play": "play",
    "train": "train",
    "sweep": "sweep",
    "eval": "runs",
    "predict": "runs",
    "extract": "runs",
    "report": "train",
    "compare": "train",
    "scaling": "scaling",
}


class _Commands(TyperGroup):
    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.commands = dict.fromkeys(_MODULES)  # names to list and to suggest

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if self.commands.get(cmd_name) is None and cmd_name in _MODULES:
            alone = typer.Typer(add_completion=False)
            alone.command(cmd_name)(getattr(import_module(f"fractal_dsl.cli.{_MODULES[cmd_name]}"), cmd_name))
            self.commands[cmd_name] = typer.main.get_command(alone)
        return self.commands.get(cmd_name)


app = typer.Typer(
    cls=_Commands,
    name="fractal-dsl",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Compile fractal neural networks from .frac files: check, draw, compile, train, deploy a column.",
)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"fractal-dsl {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it.")] = False,
) -> None:
    pass
