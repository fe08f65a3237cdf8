"""The legend: what the colours, bars and lines of a picture mean."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from msgspec import Struct

from fractal_dsl.picture.graph_to_dot.look import Heat
from fractal_dsl.picture.graph_to_dot.placed import Rect
from fractal_dsl.picture.graph_to_dot.sizes import SMALL
from fractal_dsl.picture.graph_to_dot.style import FAMILY_NAMES, Theme
from fractal_dsl.picture.graph_to_dot.units import Unit, short

ROW = 15.0
_SWATCH, _HEIGHT = 16.0, 9.0
_BESIDE, _BETWEEN = 5.0, 16.0


class LegendEntry(Struct, frozen=True):
    """Swatches side by side, each with fill, outline and height, and a text. ``before`` is a text on their left.

    ``heavy`` outlines are those of closed parts.
    """

    swatches: tuple[tuple[str, str, float], ...]
    text: str
    before: str = ""
    heavy: bool = False

    @property
    def width(self) -> float:
        """The width that it takes, in points."""
        left = _width(self.before) + _BESIDE if self.before else 0.0
        return left + _SWATCH * len(self.swatches) + _BESIDE + _width(self.text)


class Mark(Struct, frozen=True):
    """A swatch or a text of a legend, at its position."""

    rect: Rect
    text: str = ""
    fill: str = ""
    outline: str = ""
    heavy: bool = False


def _width(text: str) -> float:
    return 0.55 * SMALL * len(text)  # mostly lower case, which is narrower than names are


def legend(
    units: Sequence[Unit], titles: Iterable[str], theme: Theme, heat: Heat | None, planned: bool
) -> list[LegendEntry]:
    """The legend of a picture with these units and these titles of frames."""
    kinds = {unit.kind for unit in units}
    entries: list[LegendEntry] = []
    if heat is not None:
        entries += _heat(units, theme, heat)
    else:
        drawn = {unit.family for unit in units if unit.kind in ("layer", "closed")}
        drawn |= {"closed"} & kinds
        families = [f for f in FAMILY_NAMES if f in drawn]
        entries += [
            LegendEntry(((*theme.families[f], _HEIGHT),), FAMILY_NAMES[f], heavy=f == "closed") for f in families
        ]
    if planned:
        line, fill, _ = theme.dropped
        entries.append(LegendEntry(((fill, line, _HEIGHT),), "dropped: not computed"))
    if any(unit.kind == "join" and not unit.label for unit in units):
        entries.append(LegendEntry(((theme.bar, theme.bar, 4.0),), "join: the mean of its columns"))
    if any(re.search(r"\bdrop [\d.e-]+%(?! by)", unit.label) for unit in units):
        entries.append(LegendEntry((), "drop N%, dashed: left out of N% of the training steps"))
    if "skip" in kinds:
        entries.append(LegendEntry(((theme.line, theme.line, 0.9),), "id: passed on unchanged"))
    if any(re.search(r" ×\d+(\n|$)", text) for text in (*titles, *(unit.label for unit in units))):
        entries.append(LegendEntry((), "×N: N equal parts in a row"))
    return entries


def scale(units: Iterable[Unit], heat: Heat) -> tuple[float, float] | None:
    """The lowest and the highest number among some units; None if they have none."""
    values = [value for unit in units if (value := heat.of(unit)) is not None and (value > 0 or not heat.log)]
    return (min(values), max(values)) if values else None


def _heat(units: Sequence[Unit], theme: Theme, heat: Heat) -> list[LegendEntry]:
    ends = scale(units, heat)
    if ends is None:
        return []
    low = short(ends[0]) if heat.log else "0"
    swatches = tuple((fill, theme.ramp_line, _HEIGHT) for fill, _ in theme.ramp)
    return [LegendEntry(swatches, short(ends[1]), f"{heat.title}  {low}")]


def marks(entries: Sequence[LegendEntry], left: float, top: float, width: float) -> list[Mark]:
    """Lay the entries out in rows of at most ``width`` points."""
    result: list[Mark] = []
    x, y = left, top
    for entry in entries:
        if x > left and x + entry.width > left + width:
            x, y = left, y + ROW
        at = x
        if entry.before:
            end = at + _width(entry.before)
            result.append(Mark(Rect(at, y, end, y + ROW), entry.before))
            at = end + _BESIDE
        for fill, outline, height in entry.swatches:
            middle = y + ROW / 2
            rect = Rect(at, middle - height / 2, at + _SWATCH, middle + height / 2)
            result.append(Mark(rect, "", fill, outline, entry.heavy))
            at += _SWATCH
        at += _BESIDE if entry.swatches else 0.0
        result.append(Mark(Rect(at, y, at + _width(entry.text), y + ROW), entry.text))
        x += entry.width + _BETWEEN
    return result
