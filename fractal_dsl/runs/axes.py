"""Axes for values that are numbers or texts."""

from __future__ import annotations

import math
from collections.abc import Sequence

from msgspec import Struct

_FEW = 6


class Scale(Struct, frozen=True):
    """Where values stand on an axis: numbers by their size or its logarithm, texts side by side in order."""

    ticks: tuple[tuple[float, str], ...]
    """Places with their labels."""
    texts: tuple[str, ...] = ()
    log: bool = False
    low: float = 0.0
    high: float = 1.0

    def place(self, value: float | str) -> float:
        """The place of a value."""
        if self.texts:
            return float(self.texts.index(_text(value)))
        assert not isinstance(value, str)
        return math.log10(value) if self.log else float(value)

    def share_of(self, place: float) -> float:
        """A place between 0, the lowest, and 1, the highest."""
        return (place - self.low) / (self.high - self.low) if self.high > self.low else 0.5

    def share(self, value: float | str) -> float:
        """The place of a value, between 0 and 1."""
        return self.share_of(self.place(value))


def scale_of(values: Sequence[float | str]) -> Scale:
    """The axis for values: logarithmic if all are numbers above 0 that differ by a factor of ten or more."""
    numbers = [v for v in values if not isinstance(v, str)]
    if len(numbers) < len(values):
        texts = tuple(sorted({_text(v) for v in values}, key=lambda text: (len(text), text)))
        ticks = tuple([(float(i), text if len(text) <= 24 else f"{text[:23]}…") for i, text in enumerate(texts)])
        return Scale(ticks, texts, False, 0.0, float(len(texts) - 1))
    log = min(numbers) > 0 and max(numbers) >= 10 * min(numbers)
    known = sorted(set(numbers))
    spread = known if len(known) <= _FEW else _between(known[0], known[-1], log=log)
    places = [math.log10(v) if log else float(v) for v in spread]
    ends = [math.log10(v) if log else float(v) for v in (known[0], known[-1])]
    return Scale(tuple(zip(places, [_text(v) for v in spread], strict=True)), (), log, ends[0], ends[1])


def _text(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:.4g}"


def _between(low: float, high: float, *, log: bool) -> list[float]:
    """Round numbers from low to high, or these two if there are no others."""
    if log:
        powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        round_ones = [float(f"{digit}e{power}") for power in powers for digit in (1, 3)]
    else:
        size = 10.0 ** math.floor(math.log10((high - low) / 3))
        step = next(size * digit for digit in (1, 2, 5, 10) if (high - low) / (size * digit) <= _FEW)
        round_ones = [step * i for i in range(math.ceil(low / step), math.floor(high / step) + 1)]
    inside = [number for number in round_ones if low <= number <= high]
    return inside if len(inside) > 1 else [low, high]
