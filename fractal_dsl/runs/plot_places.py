"""Places the axes and the legend of a plot by the number of characters of their texts.

Matplotlib's own layouts measure each text several times in a font that readers of an SVG may lack. That takes longer
than drawing the plot.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

FONT = 11
"""The size of texts. All sizes here are in pixels of a figure with 72 dots per inch."""
_CHARACTER, _LINE = 0.6 * FONT, 1.3 * FONT
_TICK, _GAP, _EDGE = 7.0, 4.0, 8.0


class _Room(NamedTuple):
    """What the texts of an axes take on each side, and those of its ticks: the width on y, and the height on x."""

    left: float
    right: float
    bottom: float
    top: float
    wide: float
    high: float


def place(figure: Figure, panels: Sequence[Axes], below: float, beside: float) -> None:
    """Place the axes side by side, above ``below`` and left of ``beside`` pixels, which the legend takes."""
    width, height = 72 * figure.get_figwidth(), 72 * figure.get_figheight()
    cell = (width - beside) / len(panels)
    for _ in range(2):  # the number of ticks depends on the size, and the size on the texts of the ticks
        rooms = [_room(axes) for axes in panels]
        bottom, top = (max(side) for side in zip(*[room[2:4] for room in rooms], strict=True))
        tall = height - below - bottom - top
        for i, (axes, room) in enumerate(zip(panels, rooms, strict=True)):
            wide = cell - room.left - room.right
            axes.set_position(((i * cell + room.left) / width, (below + bottom) / height, wide / width, tall / height))
            axes.xaxis.set_label_coords(0.5, -(_TICK + room.high) / tall)
            axes.yaxis.set_label_coords(-(_TICK + room.wide + _GAP) / wide, 0.5)


def legend_height(rows: int) -> float:
    """The height of a legend below the axes."""
    return 1.7 * FONT * rows + _EDGE


def legend_width(texts: Sequence[str]) -> float:
    """The width of a legend beside the axes."""
    return _CHARACTER * max(map(len, texts)) + 5 * FONT


def _room(axes: Axes) -> _Room:
    x, y = _texts(axes.xaxis), _texts(axes.yaxis)
    lines = axes.get_ylabel().count("\n") + 1 if axes.get_ylabel() else 0
    half = 0.5 * _width(x)
    wide = _width(y)
    high = _LINE * (max([text.count("\n") + 1 for text in x if text], default=0) + bool(_offset(axes.xaxis)))
    left = _EDGE + _TICK + wide + _GAP + _LINE * lines
    bottom = _EDGE + _TICK + high + _LINE * bool(axes.get_xlabel())
    top = _EDGE + _LINE * (bool(axes.get_title()) + bool(_offset(axes.yaxis)))
    return _Room(max(left, _EDGE + half), max(_EDGE, half), bottom, top, wide, high)


def _texts(axis: Axis) -> list[str]:
    """The labels of the ticks."""
    low, high = sorted(axis.get_view_interval())
    texts: list[str] = []
    for formatter, places in (
        (axis.get_major_formatter(), axis.get_majorticklocs()),
        (axis.get_minor_formatter(), axis.get_minorticklocs()),
    ):
        formatted: Any = formatter.format_ticks([*places])
        texts += [text for text, at in zip(formatted, places, strict=True) if low <= at <= high]
    return texts


def _width(texts: Sequence[str]) -> float:
    return max([_CHARACTER * len(line) for text in texts for line in text.split("\n")], default=0.0)


def _offset(axis: Axis) -> str:
    """What all labels of an axis have in common, such as 1e6."""
    return axis.get_major_formatter().get_offset()
