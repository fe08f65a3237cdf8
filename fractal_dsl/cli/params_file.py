"""The file of ``--params``: TOML with the values of parameters."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

from fractal_dsl.language.diagnostics import Diagnostic, FracError
from fractal_dsl.language.read import read
from fractal_dsl.language.source import Located, Source, Span
from fractal_dsl.program.literals import param_text


def params_of_file(file: Path) -> dict[str, str]:
    """The parameters of a TOML file by name, as literals of the language. Raises FracError for wrong values."""
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
    """Turn tomllib's message, which ends with the place ``(at line 3, column 5)``, into a diagnostic."""
    place = re.search(r" \(at line (\d+), column (\d+)\)$", message)
    at = len(source.text.rstrip())
    message = message.removesuffix(" (at end of document)")
    if place:
        at = sum(len(line) for line in source.text.splitlines(True)[: int(place[1]) - 1]) + int(place[2]) - 1
        message = message[: place.start()]
    help = 'write parameters as `columns = 4`, `widths = [16, 32]` or `init = "xavier"`'
    return Diagnostic(
        "E0102", f"this is not valid TOML: {message[:1].lower()}{message[1:]}", source, Span(at, at), help=help
    )


def _flat(table: dict[str, Any], prefix: str) -> Iterator[tuple[str, object]]:
    for name, value in table.items():
        if isinstance(value, dict):
            yield from _flat(cast(dict[str, Any], value), f"{prefix}{name}.")
        else:
            yield prefix + name, value


_Places = dict[str, tuple[Span, Span]]
"""The spans of each name and its value."""
_HEADER = re.compile(r"\s*\[\s*([\w.\"' -]+?)\s*\]")
_PAIR = re.compile(r"""\s*([\w."' -]*[\w"'])\s*=\s*("(?:[^"\\]|\\.)*"|'[^']*'|[^#\n]*[^#\s])""")


def _places(text: str) -> _Places:
    """Find names and values in a TOML file line by line, because tomllib does not give their places."""
    places: _Places = {}
    prefix, start = "", 0
    for line in text.splitlines(True):
        if match := _HEADER.match(line):
            prefix = _name(match[1]) + "."
        elif match := _PAIR.match(line):
            name, value = (Span(start + match.start(i), start + match.end(i)) for i in (1, 2))
            places.setdefault(prefix + _name(match[1]), (name, value))
        start += len(line)
    return places


def _name(key: str) -> str:
    return ".".join([part.strip(" \"'") for part in key.split(".")])


def _nearest(name: str, places: _Places) -> tuple[Span, Span]:
    """The place of a value, or of the inline table that contains it."""
    while name not in places and "." in name:
        name = name.rpartition(".")[0]
    return places.get(name, (Span(0, 0), Span(0, 0)))
