"""Options that several commands share."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, cast

import typer

from fractal_dsl.diagnostics import UserError


def _allow(allowed: bool) -> bool:
    """Python code is found from the current folder, as by ``python -m``."""
    if allowed and "" not in sys.path:
        sys.path.insert(0, "")
    return allowed


Spec = Annotated[str, typer.Argument(help="The .frac file.", show_default=False)]
Params = Annotated[
    list[str] | None,
    typer.Option("-p", "--param", metavar="NAME=VALUE", help="Set a parameter of the file; may be repeated."),
]
ParamsFile = Annotated[
    Path | None, typer.Option("--params", metavar="FILE.toml", help="Set parameters from a file; -p goes before it.")
]
Net = Annotated[str | None, typer.Option(help="Which net of the file; the last, if not given.")]
AllowPython = Annotated[
    bool, typer.Option("--allow-python", callback=_allow, help="Let `extern` load Python code that you trust.")
]
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


def parameters(given: Sequence[str] | None, file: Path | None) -> dict[str, str]:
    """Parameters by name as texts in the language's literals: those of ``--params``, then those of ``-p``.

    A table of the file holds the parameters of an imported file: ``[base]`` those of ``import … as base``.
    """
    return {**(_from_file(file) if file is not None else {}), **pairs(given, "-p")}


def _from_file(file: Path) -> dict[str, str]:
    import tomllib

    try:
        data = tomllib.loads(file.read_text("utf-8"))
    except OSError as error:
        raise UserError(f"cannot read {file}: {error.strerror}") from None
    except ValueError as error:  # both of UnicodeDecodeError and TOMLDecodeError
        raise UserError(f"{file} is no TOML file: {error}") from None
    return dict(_flat(data, "", file))


def _flat(table: dict[str, Any], prefix: str, file: Path) -> Iterator[tuple[str, str]]:
    for name, value in table.items():
        if isinstance(value, dict):
            yield from _flat(cast(dict[str, Any], value), f"{prefix}{name}.", file)
        else:
            yield prefix + name, _literal(value, f"{file}: {prefix}{name}")


def _literal(value: object, where: str) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, str) and '"' not in value and "\n" not in value:
        return f'"{value}"'
    if isinstance(value, list):
        return f"[{', '.join([_literal(item, where) for item in cast(list[object], value)])}]"
    raise UserError(f"{where} is no number, text, boolean or list")
