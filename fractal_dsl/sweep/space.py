"""The axes of a sweep: ranges and sets in the notation of the command line.

``2..5``, ``0.001..0.1:log``, ``16..64:step=16``, ``16|32``, ``{16, 32}``, ``[16, 32]|[32, 64]``. Anything else is a
single value.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Literal, cast

from fractal_dsl.base.errors import UserError
from fractal_dsl.base.numbers import not_finite
from fractal_dsl.language.source import Located, Source, Span

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

AxisKind = Literal["param", "setting"]
AXIS_OPTIONS: dict[AxisKind, str] = {"param": "-p", "setting": "--set"}

_NUMBER = r"(?:-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?%?|[-+]?(?:inf(?:inity)?|nan))"
_RANGE = re.compile(rf"\s*({_NUMBER})\s*\.\.\s*({_NUMBER})\s*(?::\s*(log|step\s*=\s*({_NUMBER})))?\s*", re.IGNORECASE)


@dataclass(frozen=True)
class Axis:
    """One axis of a sweep: a parameter of the file or a training setting.

    ``choices`` are texts in the language's literals. Without them the axis is a range from ``low`` to ``high``, both
    included: of whole numbers if ``whole``, in steps of ``step``, or uniform in the logarithm if ``log``.
    """

    kind: AxisKind
    name: str
    given: str
    type: str | None = None
    choices: tuple[str, ...] = ()
    low: float = 0
    high: float = 0
    whole: bool = False
    step: float | None = None
    log: bool = False

    @property
    def key(self) -> str:
        """Its name among the parameters of Optuna's trials; settings are those of the train block."""
        return self.name if self.kind == "param" else f"train.{self.name}"

    def size(self) -> int | None:
        """The number of values; None if the range is continuous."""
        if self.choices:
            return len(self.choices)
        step = self.step or (1 if self.whole else None)
        return None if step is None else int((_exact(self.high) - _exact(self.low)) // _exact(step)) + 1

    def values(self) -> Iterator[str | int | float]:
        """Each value in Optuna's form. Only for an axis with a size."""
        if self.choices:
            yield from self.choices
            return
        low, step = _exact(self.low), _exact(self.step or 1)
        for i in range(self.size() or 0):
            yield int(low + i * step) if self.whole else float(low + i * step)

    def text(self, value: object) -> str:
        """A value in the language's literals."""
        return str(value) if isinstance(value, str | int) else repr(value)

    def shown(self, value: object) -> str:
        """A value for people, with four digits."""
        return f"{value:.4g}" if isinstance(value, float) else str(value)

    def ends(self, most: int = 256) -> list[str]:
        """The values to check before the start: the ends of a range, and the values between if they are few."""
        if self.choices:
            return list(self.choices)
        ends = [self.text(int(v) if self.whole else v) for v in (self.low, self.high)]
        inner = self.values() if (self.size() or most + 1) <= most else ()
        return list(dict.fromkeys([*ends, *map(self.text, inner)]))

    def place(self, text: str) -> Located:
        """A value with its position on the command line."""
        name, whole = Span(0, len(self.name)), f"{self.name}={self.given}"
        start = whole.find(text, len(self.name) + 1)
        value = Span(start, start + len(text)) if start >= 0 else Span(len(self.name) + 1, len(whole))
        return Located.at(text, Source(AXIS_OPTIONS[self.kind], whole), name, value)

    def distribution(self) -> BaseDistribution:
        """The axis as an Optuna distribution."""
        from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

        if self.choices:
            return CategoricalDistribution(self.choices)
        if self.whole:
            return IntDistribution(int(self.low), int(self.high), log=self.log, step=int(self.step or 1))
        return FloatDistribution(self.low, self.high, log=self.log, step=self.step)


def axis(kind: AxisKind, name: str, given: str, type: str | None = None) -> Axis:
    """The axis that the text after ``NAME=`` describes. An axis with one choice is a fixed value.

    ``type`` is the declared type of a parameter, such as ``int`` or ``[int]``. A range of a setting has whole numbers
    if both its ends are whole. Raises UserError for an empty range, or a range for a type without numbers.
    """
    match = _RANGE.fullmatch(given)
    if match is None:
        return Axis(kind, name, given, type, _choices(kind, name, given))
    subject = f"{AXIS_OPTIONS[kind]} {name}={given}"
    low_text, high_text, log, step_text = match[1], match[2], match[3] == "log", cast(str | None, match[4])
    texts = [t for t in (low_text, high_text, step_text) if t is not None]
    if wrong := next((t for t in texts if not_finite(t.rstrip("%"))), None):
        raise UserError(f"{subject}: `{name}` must be a finite number, found {wrong}")
    numbers = [_number(t) for t in texts]
    if type not in (None, "int", "float", "prob"):
        values = "[16, 32]|[32, 64]" if str(type).startswith("[") else "true|false" if type == "bool" else '"a"|"b"'
        raise UserError(f"{subject}: `{name}` is {type}, but ranges need numbers: write a set, such as {values}")
    low, high, *rest = numbers
    step = rest[0] if rest else None
    if low > high:
        raise UserError(f"{subject}: it has no values; write the lower end first: {high_text}..{low_text}")
    if log and low <= 0:
        raise UserError(f"{subject}: a logarithmic range must begin above 0")
    if step is not None and step <= 0:
        raise UserError(f"{subject}: a step must be above 0")
    whole = type == "int" or (type is None and all(isinstance(n, int) for n in numbers))
    if whole and not all(isinstance(n, int) for n in numbers):
        raise UserError(f"{subject}: `{name}` is int, so the range must have whole numbers")
    if step is not None:
        last = _exact(low) + (_exact(high) - _exact(low)) // _exact(step) * _exact(step)
        high = int(last) if whole else float(last)
    return Axis(kind, name, given, type, (), low, high, whole, step, log)


def _choices(kind: AxisKind, name: str, text: str) -> tuple[str, ...]:
    inner = text.strip()
    braces = inner.startswith("{") and inner.endswith("}")
    parts = [part.strip() for part in (_split(inner[1:-1], ",") if braces else _split(inner, "|"))]
    if braces and not parts[-1]:
        parts.pop()
    if len(parts) == 1 and len(values := _split(inner, ",")) > 1 and not braces:
        listed = "|".join(value.strip() for value in values)
        raise UserError(f"{AXIS_OPTIONS[kind]} {name}={text}: separate the values of a set by |: '{name}={listed}'")
    if not parts or not all(parts):
        raise UserError(f"{AXIS_OPTIONS[kind]} {name}={text}: a value is missing; sets are written 16|32 or {{16, 32}}")
    return tuple(dict.fromkeys(parts))


def _split(text: str, separator: str) -> list[str]:
    """Split a text at the separators outside quotes and brackets."""
    parts, depth, quoted = [""], 0, False
    for c in text:
        quoted ^= c == '"'
        if not quoted:
            depth += (c in "([{") - (c in ")]}")
            if c == separator and depth == 0:
                parts.append("")
                continue
        parts[-1] += c
    return parts


def _number(text: str) -> int | float:
    if text.endswith("%"):
        return float(Decimal(text[:-1]) / 100)
    return int(text) if re.fullmatch(r"-?\d+", text) else float(text)


def _exact(value: float) -> Decimal:
    """The number as an exact decimal, so that three steps of 0.1 are 0.3."""
    return Decimal(repr(value))


def combinations(axes: Sequence[Axis]) -> int | None:
    """The number of combinations of values; None if a range is continuous."""
    product = 1
    for size in [a.size() for a in axes]:
        if size is None:
            return None
        product *= size
    return product
