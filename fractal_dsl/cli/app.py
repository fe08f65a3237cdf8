"""The commands by name. A module is imported when a command of it is called.

Help and usage errors are plain texts: rich would take longer to load than most commands take to run.
"""

from __future__ import annotations

import gc
import inspect
import sys
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from keyword import iskeyword
from typing import Annotated, Any, cast

import typer
from typer.core import TyperCommand, TyperGroup

from fractal_dsl.base.escaping import terminal
from fractal_dsl.base.version import __version__
from fractal_dsl.cli.commands import COMMANDS, PANELS
from fractal_dsl.cli.say import say

_OBJECTS = 50_000
"""New objects after which garbage is collected, in commands that may train. A short command ends before."""


class _Command(TyperCommand):
    def get_params(self, ctx: Any) -> Any:
        return _sparing(super().get_params(ctx))


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
            escaped = {name: terminal(value) for name, value in vars(error).items() if isinstance(value, str)}
            vars(error).update(escaped)
        raise


@contextmanager
def _absent(*names: str) -> Generator[None]:
    """Hide modules from imports, unless they are loaded."""
    loaded: dict[str, Any] = sys.modules
    hidden = [name for name in names if name not in loaded]
    loaded |= dict.fromkeys(hidden)
    try:
        yield
    finally:
        for name in hidden:
            del loaded[name]


def _command(name: str) -> Any:
    """Import a command and build its command line.

    Lark loads two libraries where another package has installed them, and needs neither without its options ``strict``
    and ``regex``. They would add a seventh to the time of a `check`.
    """
    module, example, _ = COMMANDS[name]
    with _absent("interegular", "regex"):
        function = getattr(import_module(f"fractal_dsl.cli.{module}"), f"{name}_" if iskeyword(name) else name)
    if module != "specs" and gc.get_threshold()[0] > _OBJECTS:
        gc.set_threshold(_OBJECTS)
    alone = typer.Typer(add_completion=False, rich_markup_mode=None)
    kind = _Training if name in ("train", "sweep") else _Command
    alone.command(name, cls=kind, epilog=f"Example: fractal-dsl {example}")(function)
    return typer.main.get_command(alone)


def _sparing(params: Any) -> Any:
    """Parameters that typer does not convert if their value has its type already, as defaults and most texts have.

    Typer converts with pydantic, and loading that would add a third to the time of a `check`.
    """
    for param in params:
        if "process_value" not in vars(param):
            param.process_value = partial(_processed, param, param.process_value)
    return params


def _processed(param: Any, convert: Callable[[Any, Any], Any], ctx: Any, value: Any) -> Any:
    source = ctx.get_parameter_source(param.name)
    if source is not None and source.name == "DEFAULT":
        ready = not param.required and (value is None or isinstance(value, bool | int | float | str))
    else:
        ready = _is_text(value) and _takes_text(ctx.command.callback, param.name)
    if not ready:
        return _converted(convert, ctx, value)
    return value if param.callback is None else param.callback(ctx, param, value)


_WANTED = {
    "int_parsing": "a whole number",
    "float_parsing": "a number",
    "greater_than": "above {gt}",
    "greater_than_equal": "at least {ge}",
    "less_than": "below {lt}",
    "less_than_equal": "at most {le}",
}
"""What a value must be, by the kind of pydantic's error."""


def _converted(convert: Callable[[Any, Any], Any], ctx: Any, value: Any) -> Any:
    """A converted value. A usage error says in our words, not in pydantic's, what the value must be."""
    try:
        return convert(ctx, value)
    except typer.BadParameter as error:
        if errors := getattr(error.__cause__, "errors", None):
            first = errors()[0]
            wanted = _WANTED.get(first["type"], "").format(**first.get("ctx", {}))
            error.message = f"must be {wanted}, found {first['input']}" if wanted else first["msg"]
            error.message = error.message.removeprefix("Value error, ")
        raise


def _is_text(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return all(isinstance(text, str) for text in cast(Sequence[Any], value))
    return isinstance(value, str)


def _takes_text(function: Callable[..., Any], name: str) -> bool:
    parameter = inspect.signature(function, eval_str=True).parameters.get(name)
    return parameter is not None and getattr(parameter.annotation, "__origin__", None) in (str, list[str])


class _Commands(TyperGroup):
    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.commands = dict.fromkeys(COMMANDS)  # the names to list and to suggest

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        with _plain_errors():
            return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        with _plain_errors():
            return super().invoke(ctx)

    def get_params(self, ctx: Any) -> Any:
        return _sparing(super().get_params(ctx))

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        for panel, commands in PANELS.items():
            with formatter.section(panel):
                formatter.write_dl([(name, entry.summary) for name, entry in commands.items()])

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if self.commands.get(cmd_name) is None and cmd_name in COMMANDS:
            self.commands[cmd_name] = _command(cmd_name)
        return self.commands.get(cmd_name)


app = typer.Typer(
    cls=_Commands,
    name="fractal-dsl",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
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
