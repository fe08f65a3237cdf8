"""Printing for people: no name, value or path of others reaches a terminal as a command."""

from __future__ import annotations

import sys

from fractal_dsl.base.escaping import terminal


def say(text: str, *, error: bool = False) -> None:
    """Print a text; characters that a terminal would obey, or that nobody sees, are written as escapes."""
    print(terminal(text), file=sys.stderr if error else sys.stdout, flush=True)
