"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

Spec = Annotated[str, typer.Argument(help="The .frac file.", show_default=False)]
Params = Annotated[
    list[str] | None,
    typer.Option("-p", "--param", metavar="NAME=VALUE", help="Set a parameter of the file; may be repeated."),
]
Net = Annotated[str | None, typer.Option(help="Which net of the file; the last, if not given.")]
MaxLayers = Annotated[int, typer.Option(help="Refuse nets of more base layers.", min=1)]


def pairs(given: Sequence[str] | None, option: str) -> dict[str, str]:
    """``NAME=VALUE`` texts as a dict; wrong usage exits with 2."""
    result: dict[str, str] = {}
    for text in given or ():
        name, equals, value = text.partition("=")
        if not equals or not name.strip():
            raise typer.BadParameter(f"{text!r} is not NAME=VALUE", param_hint=option)
        if name.strip() in result:
            raise typer.BadParameter(f"{name.strip()} is given twice", param_hint=option)
        result[name.strip()] = value.strip()
    return result
