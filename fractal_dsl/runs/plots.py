"""The style of every plot: matplotlib draws it as SVG, in which text stays text."""

from __future__ import annotations

from importlib.util import find_spec
from io import StringIO
from typing import TYPE_CHECKING, Any

from fractal_dsl.base.errors import UserError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLUE, ORANGE, BLACK = "#0072B2", "#D55E00", "#222222"
_COLUMNS = ("#56B4E9", "#E69F00", "#009E73", "#CC79A7", "#0072B2", "#D55E00", "#8A7A00")  # after Okabe and Ito
DASHES = ("-", "--", "-.", ":")
_STYLE: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.size": 11,
    "svg.fonttype": "none",  # text stays text, in the reader's own font
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#E4E4E4",
    "axes.edgecolor": "#888888",
    "legend.frameon": False,
}


def require_matplotlib() -> None:
    """Raise UserError if matplotlib is not installed. Called before any work is done."""
    if find_spec("matplotlib") is None:
        raise UserError("the curves of a run need matplotlib: pip install 'fractal-dsl[train]'")


class Drawing:
    """``with Drawing(n, salt) as drawing``: n axes side by side. ``svg`` holds the text after the block."""

    svg: str

    def __init__(self, panels: int, salt: str) -> None:
        self.panels, self.salt = panels, salt

    def __enter__(self) -> Drawing:
        import matplotlib
        from matplotlib.figure import Figure

        self.context = matplotlib.rc_context({**_STYLE, "svg.hashsalt": self.salt})
        self.context.__enter__()
        self.figure: Figure = Figure(figsize=(5.4 * self.panels, 3.9), layout="constrained")
        self.figure.set_gid(self.salt)
        self.axes: list[Axes] = [self.figure.add_subplot(1, self.panels, i + 1) for i in range(self.panels)]
        for i, axes in enumerate(self.axes):
            axes.set_gid(f"{self.salt}-{i}")
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        try:
            if kind is None:
                text = StringIO()
                self.figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
                self.svg = text.getvalue()
        finally:
            self.context.__exit__(None, None, None)


def colour(column: int) -> str:
    """The colour of a column, counted from 0."""
    return _COLUMNS[column % len(_COLUMNS)]


def gradation(i: int, count: int) -> str:
    """The i-th of ``count`` colours from light to dark, for ordered data."""
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    return to_hex(colormaps["viridis_r"](0.1 + 0.85 * i / max(1, count - 1)))


def integer_epochs(axes: Axes) -> None:
    """Label x with whole numbers, and a logarithmic y with plain numbers."""
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))
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
