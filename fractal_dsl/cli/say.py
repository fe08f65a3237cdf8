"""Printing for people, with control characters escaped."""

from __future__ import annotations

import os
import sys

from fractal_dsl.base.escaping import terminal
from fractal_dsl.base.texts import counted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection

    from fractal_dsl.base.errors import UserError
    from fractal_dsl.language.diagnostics import Diagnostic, FracError

_MOST = 50


def say(text: str, *, error: bool = False) -> None:
    """Print a text. Escape control characters, which a terminal would obey, and invisible characters."""
    print(terminal(text), file=sys.stderr if error else sys.stdout, flush=True)


def warn(warnings: Collection[Diagnostic]) -> None:
    """Print warnings about a spec to standard error. Of the processes of torchrun, only the first prints them."""
    if warnings and os.environ.get("RANK", "0") == "0":
        print(warnings_text(warnings), file=sys.stderr, flush=True)


def warnings_text(warnings: Collection[Diagnostic]) -> str:
    """Warnings as text for people, up to a limit."""
    texts = [w.text(colour=coloured()) for w in list(warnings)[:_MOST]]
    more = len(warnings) - len(texts)
    texts += [f"{counted(more, 'more warning')} not shown"] * bool(more)
    return "\n\n".join(texts)


def failure_text(error: FracError | UserError) -> str:
    """What is printed of an error that ends a command: the warnings, the errors of a spec, and how many there are."""
    from fractal_dsl.language.diagnostics import FracError

    if not isinstance(error, FracError):
        return terminal(f"error: {error}")
    parts = [error.text(colour=coloured()), counted(len(error.diagnostics) + error.cut, "error")]
    if error.warnings:
        parts = [warnings_text(error.warnings), parts[0], f"{parts[1]}, {counted(len(error.warnings), 'warning')}"]
    return "\n\n".join(parts)


def fail(error: FracError | UserError) -> None:
    """Print an error that does not end the program."""
    print(failure_text(error), file=sys.stderr, flush=True)


def clear() -> None:
    """Clear the terminal."""
    print("\033[2J\033[H", end="", flush=True)


def coloured() -> bool:
    """Whether standard error is a terminal that shows colours."""
    return sys.stderr.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
