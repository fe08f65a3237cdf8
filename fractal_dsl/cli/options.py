"""Options that several commands share."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, cast

import typer

from fractal_dsl.base.errors import UserError
from fractal_dsl.base.escaping import one_line
from fractal_dsl.language.diagnostics import Diagnostic, FracError
from fractal_dsl.language.read import read
from fractal_dsl.language.source import MAX_SOURCE_BYTES, Located, Source, Span
from fractal_dsl.program.literals import param_text

STDIN = "-"


def _allow(allowed: bool) -> bool:
    """Python code is found from the current folder, as by ``python -m``."""
    if allowed and "" not in sys.path:
        sys.path.insert(0, "")
    return allowed


Spec = Annotated[
    str,
    typer.Argument(
        help="The .frac file, - for standard input, a compiled folder or a run.",
        show_default=False,
    ),
]
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


def read_spec(spec: str) -> Source:
    """A file, or standard input for ``-``. Raises FracError or UserError if there is none, or it is no text."""
    if spec != STDIN:
        return read(spec)
    if sys.stdin is None:  # pyright: ignore[reportUnnecessaryComparison]
        raise UserError("standard input is closed: give a file, or text to read")
    data = sys.stdin.buffer.read(MAX_SOURCE_BYTES + 1)
    if len(data) > MAX_SOURCE_BYTES:
        raise UserError(f"standard input has more than {MAX_SOURCE_BYTES:,} bytes, the limit")
    try:
        return Source("<stdin>", data.decode("utf-8").removeprefix("\ufeff"))
    except UnicodeDecodeError:
        raise UserError("standard input is not a text in UTF-8") from None


def pairs(given: Sequence[str] | None, option: str) -> dict[str, str]:
    """``NAME=VALUE`` texts as a dict; wrong usage exits with 2."""
    result: dict[str, str] = {}
    for text in given or ():
        if any("\ud800" <= c <= "\udfff" for c in text):
            raise typer.BadParameter(f"{one_line(text)} is not a text in UTF-8", param_hint=option)
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

    source = read(file)
    try:
        data = tomllib.loads(source.text)
    except tomllib.TOMLDecodeError as error:
        raise FracError([_no_toml(str(error), source)]) from None
    places = _places(source.text)
    result: dict[str, str] = {}
    wrong: list[Diagnostic] = []
    for name, value in _flat(data, ""):
        try:
            result[name] = Located.at(param_text(value), source, *_nearest(name, places))
        except ValueError as error:
            wrong.append(Diagnostic("E0301", f"`{name}` {error}", source, _nearest(name, places)[1]))
    if wrong:
        raise FracError(wrong)
    return result


def _no_toml(message: str, source: Source) -> Diagnostic:
    """tomllib's message has the place at its end: ``(at line 3, column 5)``."""
    found = re.search(r" \(at line (\d+), column (\d+)\)$", message)
    at = len(source.text.rstrip())
    message = message.removesuffix(" (at end of document)")
    if found:
        at = sum(len(line) for line in source.text.splitlines(True)[: int(found[1]) - 1]) + int(found[2]) - 1
        message = message[: found.start()]
    help = 'parameters are set by lines such as `columns = 4` or `widths = [16, 32]`, texts by `init = "xavier"`'
    return Diagnostic("E0102", f"this is no TOML: {message[:1].lower()}{message[1:]}", source, Span(at, at), help=help)


def _flat(table: dict[str, Any], prefix: str) -> Iterator[tuple[str, object]]:
    for name, value in table.items():
        if isinstance(value, dict):
            yield from _flat(cast(dict[str, Any], value), f"{prefix}{name}.")
        else:
            yield prefix + name, value


_Places = dict[str, tuple[Span, Span]]
"""The places of names and their values."""
_HEADER = re.compile(r"\s*\[\s*([\w.\"' -]+?)\s*\]")
_PAIR = re.compile(r"""\s*([\w."' -]*[\w"'])\s*=\s*("(?:[^"\\]|\\.)*"|'[^']*'|[^#\n]*[^#\s])""")


def _places(text: str) -> _Places:
    """Where the values of a TOML file stand, as far as lines tell: tomllib does not say."""
    places: _Places = {}
    prefix, start = "", 0
    for line in text.splitlines(True):
        if found := _HEADER.match(line):
            prefix = _name(found[1]) + "."
        elif found := _PAIR.match(line):
            name, value = (Span(start + found.start(i), start + found.end(i)) for i in (1, 2))
            places.setdefault(prefix + _name(found[1]), (name, value))
        start += len(line)
    return places


def _name(key: str) -> str:
    return ".".join([part.strip(" \"'") for part in key.split(".")])


def _nearest(name: str, places: _Places) -> tuple[Span, Span]:
    """The place of a value, or of the inline table that it is in."""
    while name not in places and "." in name:
        name = name.rpartition(".")[0]
    return places.get(name, (Span(0, 0), Span(0, 0)))
