"""Code lenses: above each net its figures, and commands to draw it and to open it in the playground."""

from __future__ import annotations

from msgspec import Struct

from fractal_dsl.language import syntax as s
from fractal_dsl.services.analysis import Analysis
from fractal_dsl.services.hover import net_figures
from fractal_dsl.services.places import Range, range_of


class Lens(Struct, frozen=True):
    """A title above a range. ``action`` is ``render`` or ``play`` on ``net``; empty for a title alone."""

    range: Range
    title: str
    action: str
    net: str


def lenses(analysis: Analysis) -> list[Lens]:
    """The lenses of all nets. Figures are left out where a net has errors."""
    result: list[Lens] = []
    for decl in analysis.file.decls:
        if isinstance(decl, s.NetDecl):
            range, net = range_of(analysis.source, decl.name.span), decl.name.id
            figures = net_figures(analysis, decl)
            result += [Lens(range, figures, "", net)] * bool(figures)
            result += [Lens(range, "Render", "render", net), Lens(range, "Play", "play", net)]
    return result
