"""The command explain."""

from __future__ import annotations

from typing import Annotated

import typer

from fractal_dsl.cli.say import say
from fractal_dsl.services import explanations


def explain(
    code: Annotated[
        str, typer.Argument(metavar="CODE", help="Code of an error or a warning, such as E0501.", show_default=False)
    ],
) -> None:
    """Explain an error or a warning, with a wrong and a right example."""
    say(explanations.explain(code))
