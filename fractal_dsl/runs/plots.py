"""The style of every plot: matplotlib draws it as SVG, in which text stays text."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from io import StringIO
from math import isfinite
from textwrap import fill
from typing import TYPE_CHECKING, Any

from fractal_dsl.base.errors import UserError
from fractal_dsl.base.escaping import markup
from fractal_dsl.runs.plot_places import FONT, legend_height, legend_width, place

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLUE, ORANGE, BLACK = "#0072B2", "#D55E00", "#222222"
GREY, _GRID, _EDGE = "#777777", "#E4E4E4", "#888888"
_COLUMNS = ("#56B4E9", "#E69F00", "#009E73", "#CC79A7", "#0072B2", "#D55E00", "#8A7A00")  # after Okabe and Ito
_LABEL = 42  # characters beside an axis
_DPI = 72  # of every SVG that matplotlib draws
_INTERVALS = 6  # of an axis, at most. Ticks take a quarter of the time of a plot.
DASHES = ("-", "--", "-.", ":")
_STYLE: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.size": FONT,
    "svg.fonttype": "none",  # text stays text, in the reader's own font
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": _GRID,
    "axes.edgecolor": _EDGE,
    **dict.fromkeys(("text.color", "axes.labelcolor", "axes.titlecolor", "xtick.color", "ytick.color"), BLACK),
    "legend.frameon": False,
    "axes.titley": 1.0,  # placed by `place`, which knows what is above the axes; else every label is measured again
}
PAPER = "#FEFEFE"
"""The colour of the page, for what lies behind a text. The background of a plot is #FFFFFF, and has none."""
_DARK = {
    "#FFFFFF": "none",
    PAPER: "#15181C",
    BLACK: "#E4E4E4",
    _GRID: "#33373D",
    BLUE: "#5AB0E8",
    ORANGE: "#FF8A3D",
    GREY: "#A5A5A5",
}
"""The colours of a dark page for those of the light one."""


def dark_colours(scope: str) -> str:
    """CSS rules that give plots in elements ``scope`` the colours of a dark page."""
    return "".join(
        f'{scope} [style*="{kind}: {light.lower()}"]{{{kind}:{dark}!important}}'
        for light, dark in _DARK.items()
        for kind in ("fill", "stroke")
    )


def require_matplotlib() -> None:
    """Raise UserError if matplotlib is not installed. Called before any work is done."""
    if find_spec("matplotlib") is None:
        raise UserError("the curves of a run need matplotlib: pip install 'fractal_dsl[train]'")


PlotText = Callable[[float, float], str]
"""What the pointer shows over a point (x, y)."""


class Drawing:
    """``with Drawing(n, salt) as drawing``: n axes side by side, ``width`` inches wide in all. ``svg`` holds the text
    after the block.

    The legend of all axes is below them, where it covers no curve. With ``beside``, its title, it is to their right.
    """

    svg: str

    def __init__(self, panels: int, salt: str, *, width: float | None = None, beside: str | None = None) -> None:
        self.panels, self.salt, self.width, self.beside = panels, salt, width or 5.4 * panels, beside
        self.points: list[tuple[Axes, list[tuple[float, float]], PlotText]] = []

    def __enter__(self) -> Drawing:
        import matplotlib
        from matplotlib.backends.backend_svg import FigureCanvasSVG
        from matplotlib.figure import Figure
        from matplotlib.ticker import MaxNLocator

        self.context = matplotlib.rc_context({**_STYLE, "svg.hashsalt": self.salt})
        self.context.__enter__()
        self.figure: Figure = Figure(figsize=(self.width, 3.9), dpi=_DPI)
        FigureCanvasSVG(self.figure)
        self.figure.set_gid(self.salt)
        self.axes: list[Axes] = [self.figure.add_subplot(1, self.panels, i + 1) for i in range(self.panels)]
        for i, axes in enumerate(self.axes):
            axes.set_gid(f"{self.salt}-{i}")
            for axis in (axes.xaxis, axes.yaxis):
                axis.set_major_locator(MaxNLocator(_INTERVALS, steps=[1, 2, 2.5, 5, 10]))
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        try:
            if kind is None:
                for axes in self.axes:
                    axes.set_ylabel(fill(axes.get_ylabel(), _LABEL))
                below, beside = self._legend()
                place(self.figure, self.axes, below, beside)
                body, end = _coloured_once(self._drawn()).rsplit("</svg>", 1)
                self.svg = "".join([body, *[self._hover(*drawn) for drawn in self.points], "</svg>", end])
        finally:
            self.context.__exit__(None, None, None)

    def _drawn(self) -> str:
        text = StringIO()
        self.figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
        return text.getvalue()

    def line(
        self, axes: Axes, x: Sequence[float], y: Sequence[float], label: str, text: PlotText | None = None, **style: Any
    ) -> None:
        """Draw a line, whose points show ``text``, by default "label: y", under the pointer. A single point gets a dot,
        since a line through it would show nothing."""
        if len(x) == 1:
            style = {"marker": "o", "ms": 4} | style
        axes.plot(x, y, label=label, **style)
        self.points.append((axes, list(zip(x, y, strict=True)), text or (lambda _, value: f"{label}: {value:.4g}")))

    def _hover(self, axes: Axes, points: Sequence[tuple[float, float]], text: PlotText) -> str:
        """Invisible circles that show the texts of a line's points. Matplotlib would take longer to draw them."""
        logarithmic = axes.get_yscale() == "log"
        shown = [(x, y) for x, y in points if isfinite(x) and isfinite(y) and (y > 0 or not logarithmic)]
        if not shown:
            return ""
        height = _DPI * self.figure.get_figheight()
        circles = [
            f'<circle cx="{at[0]:.1f}" cy="{height - at[1]:.1f}" r="5"><title>{markup(text(x, y))}</title></circle>\n'
            for (x, y), at in zip(shown, axes.transData.transform(shown), strict=True)
        ]
        return f'<g style="opacity: 0">\n{"".join(circles)}</g>\n'

    def _legend(self) -> tuple[float, float]:
        """Draw one legend for all axes. Return the pixels that it takes below them and beside them."""
        handles = {name: h for axes in self.axes for h, name in zip(*axes.get_legend_handles_labels(), strict=True)}
        if not handles:
            return 0.0, 0.0
        if self.beside is not None:
            self.figure.legend(handles.values(), handles.keys(), title=self.beside, loc="upper right")
            return 0.0, legend_width([self.beside, *handles])
        columns = max(1, min(len(handles), self.panels * 40 // (5 + max(map(len, handles)))))
        self.figure.legend(handles.values(), handles.keys(), loc="lower center", ncols=columns)
        return legend_height(-(-len(handles) // columns)), 0.0


def _coloured_once(svg: str) -> str:
    """An SVG whose markers have their colours where they are used: a page cannot change those of a definition."""

    def bare(match: re.Match[str]) -> str:
        return match[1] + re.sub(r"(?:fill|stroke): #[0-9a-f]{6}(?:; )?", "", match[2])

    return re.sub(r'(<path id="m[0-9a-f]+" d="[^"]*" style=")([^"]*)', bare, svg)


def colour(column: int) -> str:
    """The colour of a column, counted from 0."""
    return _COLUMNS[column % len(_COLUMNS)]


def gradation(i: int, count: int) -> str:
    """The i-th of ``count`` colours for ordered data, which are visible on light and dark pages."""
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    return to_hex(colormaps["viridis_r"](0.25 + 0.5 * i / max(1, count - 1)))


def integer_epochs(axes: Axes) -> None:
    """Label x with whole numbers, and a logarithmic y with plain numbers."""
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(_INTERVALS, integer=True, min_n_ticks=1))
    if axes.get_yscale() == "log":
        plain_logarithms(axes)


def plain_logarithms(axes: Axes) -> None:
    """Label a logarithmic y with 0.6, not 6·10⁻¹. Ticks between powers of ten get labels only if there is room."""
    from matplotlib.ticker import LogFormatter

    class Plain(LogFormatter):
        def __call__(self, x: float, pos: int | None = None) -> str:
            return f"{x:g}" if super().__call__(x, pos) else ""

    axes.yaxis.set_major_formatter(Plain())
    axes.yaxis.set_minor_formatter(Plain(minor_thresholds=(1.5, 0.5)))
