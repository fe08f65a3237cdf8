"""Values on the command line: read and write literals of the language."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any, cast

from fractal_dsl.base.deep import deep
from fractal_dsl.base.errors import UserError
from fractal_dsl.base.numbers import first_not_finite
from fractal_dsl.language.diagnostics import Report
from fractal_dsl.language.source import Source
from fractal_dsl.language.text_to_syntax import parse_expression
from fractal_dsl.program.syntax_to_program import literal_value


def literal(text: str, name: str) -> Any:
    """The value of the setting ``name`` on the command line, as Python data.

    A number, percentage, string, boolean, list, or name with settings is read as in the train block. ``none`` is None.
    Anything else is a string. Raises UserError for a name with a setting that is not a finite number, such as
    ``sgd(lr=inf)``.
    """
    if text.strip() == "none":
        return None
    report = Report(Source(name, text))
    with deep():
        value = literal_value(parse_expression(report.source, report), report)
    if report.errors and (inner := re.fullmatch(r"\w+\((.*)\)", text.strip())):
        for key, number in re.findall(r"(\w+)\s*=\s*([^,)=]+)", inner[1]):
            if wrong := first_not_finite(number):
                raise UserError(f"`{name}.{key}` must be a finite number, found {wrong}")
    return text if report.errors else value


def param_text(value: object) -> str:
    """A plain value as a literal of the language. Raises ValueError for a value without a literal."""
    match value:
        case bool():
            return str(value).lower()
        case int():
            return str(value)
        case float() if math.isfinite(value):
            return repr(value)
        case float():
            raise ValueError(f"must be a finite number, found {value}")
        case str() if '"' not in value and "\n" not in value:
            return f'"{value}"'
        case str():
            raise ValueError("contains a quotation mark or a line break, which strings of the language cannot contain")
        case list() | tuple():
            return f"[{', '.join(map(param_text, cast(Sequence[object], value)))}]"
        case _:
            raise ValueError(f"is not a number, string, boolean or list of these: {value}")
