"""The commands by name. A module is imported when a command of it is called or listed by ``--help``."""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import contextmanager
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from fractal_dsl.base.escaping import terminal
from fractal_dsl.base.version import __version__
from fractal_dsl.cli.say import say

_PANELS = {
    "Start": {
        "new": ("new", "new digits"),
        "doctor": ("doctor", "doctor"),
        "completion": ("completion", "completion bash"),
    },
    "Write": {
        "check": ("specs", "check net.frac"),
        "fmt": ("fmt", "fmt --check net.frac"),
        "explain": ("specs", "explain E0501"),
        "lsp": ("lsp", "lsp"),
    },
    "Look": {
        "info": ("info", "info net.frac -p columns=4"),
        "render": ("render", "render net.frac"),
        "plan": ("plan", "plan net.frac --plan mixed:0:7"),
        "play": ("play", "play net.frac"),
        "scaling": ("scaling", "scaling net.frac -n 1,8,64"),
    },
    "Train": {
        "train": ("train", "train net.frac --epochs 5 --set optimizer.momentum=0.8"),
        "sweep": ("sweep", "sweep net.frac -p columns=2..5 --trials 4"),
        "eval": ("runs", "eval runs/net-1 --columns"),
        "predict": ("predict", "predict runs/net-1 image.png --confidence 0.9"),
        "report": ("reports", "report runs/net-1"),
        "compare": ("reports", "compare runs/net-1 runs/net-2"),
    },
    "Deploy": {
        "compile": ("compile", "compile net.frac"),
        "extract": ("extract", "extract runs/net-1 --column 3 -o column3"),
        "deploy": ("deploy", "deploy runs/net-1 --to onnx,pt2 --budget-ms 2"),
        "serve": ("serve", "serve runs/net-1-shelf"),
    },
}
"""The commands in groups for ``--help``: the module of each, and an example."""
_COMMANDS = {
    name: (panel, module, example) for panel, names in _PANELS.items() for name, (module, example) in names.items()
}


def _obey_no_color() -> None:
    """Print help and wrong usage without escape sequences where NO_COLOR is set; rich would still print bold text."""
    if os.environ.get("NO_COLOR"):
        from typer import rich_utils

        rich_utils.COLOR_SYSTEM = None


def _without_types(params: Any) -> Any:
    """Flags take no value, so their help shows no type."""
    for param in params:
        if getattr(param, "is_flag", False):
            param.metavar = ""
    return params


class _Command(TyperCommand):
    def get_params(self, ctx: Any) -> Any:
        return _without_types(super().get_params(ctx))

    def format_help(self, ctx: Any, formatter: Any) -> None:
        _obey_no_color()
        super().format_help(ctx, formatter)


class _Training(_Command):
    """A command that takes ``--set``. The error for an unknown option names the setting of that name, if any."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except Exception as error:
            option: str | None = getattr(error, "option_name", None)
            if option:
                from fractal_dsl.config.errors import setting_path

                path = setting_path(option.lstrip("-").replace("-", "_"))
                if path:
                    raise typer.BadParameter(
                        f"this is a setting: write --set {path}=…", ctx, param_hint=option
                    ) from None
            raise


@contextmanager
def _plain_errors() -> Generator[None]:
    """Escape control characters in usage errors, which quote the command line."""
    try:
        yield
    except Exception as error:
        if hasattr(error, "format_message"):  # a usage error
            _obey_no_color()
            escaped = {name: terminal(value) for name, value in vars(error).items() if isinstance(value, str)}
            vars(error).update(escaped)
        raise


class _Commands(TyperGroup):
    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.commands = dict.fromkeys(_COMMANDS)  # the names to list and to suggest

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        with _plain_errors():
            return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        with _plain_errors():
            return super().invoke(ctx)

    def get_params(self, ctx: Any) -> Any:
        return _without_types(super().get_params(ctx))

    def format_help(self, ctx: Any, formatter: Any) -> None:
        _obey_no_color()
        super().format_help(ctx, formatter)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if self.commands.get(cmd_name) is None and cmd_name in _COMMANDS:
            alone = typer.Typer(add_completion=False)
            panel, file, example = _COMMANDS[cmd_name]
            module = import_module(f"fractal_dsl.cli.{file}")
            kind = _Training if cmd_name in ("train", "sweep") else _Command
            epilog = f"Example: fractal-dsl {example}"
            add = alone.command(cmd_name, cls=kind, epilog=epilog, rich_help_panel=panel)
            add(getattr(module, cmd_name))
            self.commands[cmd_name] = typer.main.get_command(alone)
        return self.commands.get(cmd_name)


app = typer.Typer(
    cls=_Commands,
    name="fractal-dsl",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Compile, draw, train and deploy fractal neural networks written as .frac files.",
)


def _version(wanted: bool) -> None:
    if wanted:
        say(f"fractal-dsl {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    pass
