"""The commands by name. The module of a command is imported when the command is called, or listed by ``--help``."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from fractal_dsl.base.escaping import terminal
from fractal_dsl.base.version import __version__
from fractal_dsl.cli.say import say

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


class _Training(TyperCommand):
    """A command with settings of the train block: what is no option may be one of them."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except Exception as error:
            option: str | None = getattr(error, "option_name", None)
            if option:
                from fractal_dsl.config.errors import path_of

                path = path_of(option.lstrip("-").replace("-", "_"))
                if path:
                    raise typer.BadParameter(f"it is a setting: --set {path}=…", ctx, param_hint=option) from None
            raise


@contextmanager
def _plain_errors() -> Generator[None]:
    """Wrong usage is told in the words of the command line, which may be file names of others."""
    try:
        yield
    except Exception as error:
        if hasattr(error, "format_message"):  # an error of wrong usage
            told = {name: terminal(value) for name, value in vars(error).items() if isinstance(value, str)}
            vars(error).update(told)
        raise


class _Commands(TyperGroup):
    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.commands = dict.fromkeys(_MODULES)  # names to list and to suggest

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        with _plain_errors():
            return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        with _plain_errors():
            return super().invoke(ctx)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if self.commands.get(cmd_name) is None and cmd_name in _MODULES:
            alone = typer.Typer(add_completion=False)
            module = import_module(f"fractal_dsl.cli.{_MODULES[cmd_name]}")
            kind = _Training if cmd_name in ("train", "sweep") else TyperCommand
            alone.command(cmd_name, cls=kind)(getattr(module, cmd_name))
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
        say(f"fractal-dsl {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it.")] = False,
) -> None:
    pass
