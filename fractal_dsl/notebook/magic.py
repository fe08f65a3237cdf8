"""The cell magic ``%%frac``."""

from __future__ import annotations

import shlex
import sys
from typing import Any

from fractal_dsl.base.errors import UserError
from fractal_dsl.compiled import Compiled
from fractal_dsl.language.diagnostics import FracError
from fractal_dsl.pipeline import compile_text

_USAGE = "write %%frac [VARIABLE] [-p NAME=VALUE]… [--net NAME]"


class CellError(Exception):
    """An error of a cell. It stops "Run all", so that no later cell uses an older net; IPython shows its message
    without a traceback."""

    def _render_traceback_(self) -> list[str]:
        return str(self).splitlines()


def frac(ipython: Any, line: str, cell: str) -> Compiled:
    """Compile a cell and put the net into a variable, by default ``net``. Raises CellError, and leaves it as it was.

    A cell imports files of the standard library, but no local ones: those belong in a file.
    """
    try:
        variable, params, net = _words(line)
        compiled = compile_text(cell, params, net)
    except FracError as error:
        raise CellError(error.text(colour=True)) from None
    except UserError as error:
        raise CellError(f"error: {error}") from None
    for warning in compiled.warnings:
        print(warning.text(colour=True), file=sys.stderr)
    ipython.push({variable: compiled})
    return compiled


def _words(line: str) -> tuple[str, dict[str, str], str | None]:
    """The variable, the parameters and the net that the line of the magic names."""
    try:
        words = shlex.split(line)
    except ValueError:  # a quotation mark without its pair
        raise UserError(_USAGE) from None
    variable = words.pop(0) if words and words[0].isidentifier() else "net"
    params: dict[str, str] = {}
    net: str | None = None
    while words:
        option = words.pop(0)
        value = words.pop(0) if words else ""
        name, equals, text = value.partition("=")
        if option == "-p" and equals:
            params[name] = text
        elif option == "--net" and value:
            net = value
        else:
            raise UserError(_USAGE)
    return variable, params, net
