"""A plan as a picture: a row of dots for each join, full for live operands."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

_CELL, _MARGIN = 18, 6
_MOST = 60
"""The largest number of rows."""


def plan_to_svg(joins: Sequence[Sequence[bool]]) -> str:
    """SVG of the live operands of each join. A run of equal joins is one row, with its count."""
    rows = [(list(live), sum(1 for _ in run)) for live, run in groupby(joins)]
    left_out, rows = max(0, len(rows) - _MOST), rows[:_MOST]
    widest = max((len(live) for live, _ in rows), default=1)
    parts: list[str] = []
    for y, (live, count) in enumerate(rows):
        middle = _MARGIN + _CELL * (y + 0.5)
        for x, on in enumerate(live):
            fill = "#0072B2" if on else "none"
            parts.append(
                f'<circle cx="{_MARGIN + _CELL * (x + 0.5)}" cy="{middle}" r="6" fill="{fill}" stroke="#888"/>'
            )
        if count > 1:
            parts.append(_label(widest, middle, f"×{count}"))
    if left_out:
        parts.append(_label(0, _MARGIN + _CELL * (len(rows) + 0.5), f"… and {left_out} more"))
    width, height = 2 * _MARGIN + _CELL * (widest + 4), 2 * _MARGIN + _CELL * (len(rows) + bool(left_out))
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" font-family="sans-serif">'
    return f"{head}{''.join(parts)}</svg>"


def _label(column: int, middle: float, text: str) -> str:
    return f'<text x="{_MARGIN + _CELL * column + 4}" y="{middle + 4}" font-size="11" fill="#888">{text}</text>'
