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
    "check": ("specs", "check net.frac"),
    "explain": ("specs", "explain E0501"),
    "fmt": ("fmt", "fmt --check net.frac"),
    "info": ("specs", "info net.frac -p columns=4"),
    "compile": ("compile", "compile net.frac"),
    "render": ("pictures", "render net.frac"),
    "plan": ("pictures", "plan net.frac --plan mixed:0:7"),
    "play": ("play", "play net.frac"),
    "train": ("train", "train net.frac --epochs 5 --set optimizer.lr=0.05"),
    "sweep": ("sweep", "sweep net.frac -p columns=2..5 --trials 4"),
    "eval": ("runs", "eval runs/net-1 --columns"),
    "predict": ("runs", "predict runs/net-1 image.png --confidence 0.9"),
    "extract": ("runs", "extract runs/net-1 --column 3 -o column3"),
    "report": ("reports", "report runs/net-1 runs/net-2"),
    "compare": ("reports", "compare runs/net-1 runs/net-2"),
    "scaling": ("scaling", "scaling net.frac -n 1,8,64"),
}
"""The module of each command, and an example of its use."""


def _without_types(params: Any) -> Any:
    """Flags take no value, so the help shows none."""
    for param in params:
        if getattr(param, "is_flag", False):
            param.metavar = ""
    return params


class _Command(TyperCommand):
    def get_params(self, ctx: Any) -> Any:
        return _without_types(super().get_params(ctx))


class _Training(_Command):
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

    def get_params(self, ctx: Any) -> Any:
        return _without_types(super().get_params(ctx))

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if self.commands.get(cmd_name) is None and cmd_name in _MODULES:
            alone = typer.Typer(add_completion=False)
            file, example = _MODULES[cmd_name]
            module = import_module(f"fractal_dsl.cli.{file}")
            kind = _Training if cmd_name in ("train", "sweep") else _Command
            alone.command(cmd_name, cls=kind, epilog=f"Example: fractal-dsl {example}")(getattr(module, cmd_name))
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
