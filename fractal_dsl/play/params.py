"""The parameters of a file and its imports, with the control that suits their domain: a slider, a choice, a box."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, cast

from fractal_dsl.language import syntax as s
from fractal_dsl.language.diagnostics import Report
from fractal_dsl.language.imports import Files
from fractal_dsl.language.source import Span
from fractal_dsl.program.literals import param_text
from fractal_dsl.program.syntax_to_program import literal_value

_STEPS = 100
_WIDE = 200
"""A domain of whole numbers that is wider than this, or of others that spans this factor, has a logarithmic slider."""


def controls(files: Files, values: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Plain data for each parameter, in the order of the files.

    ``values`` are those of the main file's parameters. ``name`` is the name for ``-p``. ``default`` and ``value`` are
    literals of the language, or None if there is none or only the evaluator knows it. ``place`` is where the main file
    has the default, or where it would go with a preceding ``=``: offsets of characters; None in other files.
    """
    return [_control(name, decl, files, values) for name, decl, _ in files.params()]


def _control(name: str, decl: s.Param, files: Files, values: Mapping[str, Any]) -> dict[str, Any]:
    type, default = str(decl.type), _plain(decl.default, files)
    value = values.get(name, default)
    return {
        "name": name,
        "type": type,
        "doc": decl.doc,
        "default": _literal(default, type),
        "value": _literal(value, type),
        "required": decl.default is None,
        "place": _place(decl, files),
        **_domain(decl, type, files),
    }


def _place(decl: s.Param, files: Files) -> list[int] | None:
    source = files.main.source
    if not source.base <= decl.span.start < source.end:
        return None
    span = decl.default.span if decl.default is not None else Span(decl.type.span.end, decl.type.span.end)
    return [span.start, span.end]


def _domain(decl: s.Param, type: str, files: Files) -> dict[str, Any]:
    """The control for a domain: a text box if only the evaluator knows its ends."""
    match decl.domain:
        case s.RangeDomain(low, high) if type in ("int", "float", "prob"):
            ends = [_plain(end, files) for end in (low, high)]
            if all(isinstance(end, int | float) for end in ends) and ends[0] < ends[1]:
                scale = 100 if type == "prob" else 1
                low, high = (round(float(end) * scale, 10) for end in ends)
                step = 1 if type == "int" else 10.0 ** math.floor(math.log10((high - low) / _STEPS))
                unit = "%" if scale == 100 else ""
                stops = _stops(low, high, whole=type == "int")
                return {"kind": "range", "low": low, "high": high, "step": step, "unit": unit, "stops": stops}
        case s.SetDomain(values) if not type.startswith("["):
            texts = [_literal(_plain(value, files), type) for value in values]
            if None not in texts:
                return {"kind": "choice", "choices": texts}
        case _:
            pass
    return {"kind": "choice", "choices": ["true", "false"]} if type == "bool" else {"kind": "text"}


def _stops(low: float, high: float, *, whole: bool) -> list[float] | None:
    """The values of a logarithmic slider over a wide domain: round numbers and the ends; None for a narrow domain."""
    if whole:
        if high - low <= _WIDE or low < 0:
            return None
        octaves = [step * 2**k for k in range(2, int(math.log2(high)) + 1) for step in (4, 5, 6, 7)]
        stops = [*range(16), *(n for n in octaves if n >= 16)]
    else:
        if low <= 0 or high / low < _WIDE:
            return None
        decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        stops = [float(f"{digit}e{k}") for k in decades for digit in (1, 1.5, 2, 3, 4, 5, 6, 7, 8, 9)]
    return [low, *(n for n in stops if low < n < high), high]


def _plain(expr: s.Expr | None, files: Files) -> Any:
    """The value of an expression without names; None for any other."""
    report = Report(files.main.source, list(files.paths.values()))
    value = None if expr is None else literal_value(expr, report)
    return None if report.errors else value


def _literal(value: Any, type: str) -> str | None:
    """A value as the language writes it; a ``prob`` as a percentage."""
    if isinstance(value, list | tuple):
        items = [_literal(item, type.strip("[]")) for item in cast(list[Any], value)]
        return f"[{', '.join(map(str, items))}]"
    if type == "prob" and isinstance(value, int | float):
        return f"{round(value * 100, 10):g}%"
    try:
        return None if value is None else param_text(value)
    except ValueError:
        return None
