"""The options for how a picture looks."""

from __future__ import annotations

from collections.abc import Mapping
from math import hypot, log, prod
from typing import Literal

from msgspec import Struct, field

from fractal_dsl.graph.graph import Input, JoinGraph, Output
from fractal_dsl.picture.graph_to_dot.closing import Closing
from fractal_dsl.picture.graph_to_dot.folding import Opening
from fractal_dsl.picture.graph_to_dot.style import LIGHT, Theme
from fractal_dsl.picture.graph_to_dot.units import Unit
from fractal_dsl.plans.plan_on_graph import node_cost

SecondLine = Literal["none", "shape", "params", "macs"]


class Heat(Struct, frozen=True):
    """Numbers of nodes that colour boxes. ``total`` says how those of a box combine. ``log`` is a logarithmic scale."""

    title: str
    values: Mapping[int, float]
    total: Literal["sum", "largest", "norm"] = "sum"
    log: bool = False

    def of(self, unit: Unit) -> float | None:
        """The number of a box; None if it has none."""
        values = [self.values[n] for n in unit.members if n in self.values]
        if not values or unit.kind not in ("layer", "closed"):
            return None
        match self.total:
            case "sum":
                return sum(values)
            case "largest":
                return max(values)
            case "norm":
                return hypot(*values)

    def place(self, value: float, low: float, high: float) -> float:
        """The position of a number between the lowest and the highest in the picture, from 0 to 1."""
        if self.log:
            return (log(value) - log(low)) / (log(high) - log(low)) if 0 < low < high and value > 0 else 0.0
        return value / high if high else 0.0


def cost_heat(graph: JoinGraph, kind: Literal["macs", "params", "activation"]) -> Heat:
    """Colours by cost: multiply-accumulates per sample, parameters, or elements of the output per sample."""
    nodes = [n for n, node in graph.items() if not isinstance(node, Input | Output)]
    match kind:
        case "macs":
            return Heat("MACs per sample", {n: node_cost(graph, n).macs for n in nodes})
        case "params":
            return Heat("parameters", {n: node_cost(graph, n).params for n in nodes})
        case "activation":
            sizes = {n: float(prod(graph[n].out.shape)) for n in nodes}
            return Heat("output elements per sample", sizes, total="largest")


class Look(Struct, frozen=True):
    """The look of a picture: the second line and the colours of boxes, the theme, and how much is opened.

    A long net is laid out in ``strips`` side by side; None means as many as fit a page. With ``runs``, runs of equal
    parts become one. ``closing`` says which frames become boxes beside those that ``opening`` leaves closed.
    """

    label: SecondLine = "none"
    heat: Heat | None = None
    theme: Theme = LIGHT
    legend: bool = True
    strips: int | None = None
    opening: Opening = field(default_factory=Opening)
    runs: bool = True
    closing: Closing = Closing()
