"""The options for how a picture looks."""

from __future__ import annotations

from collections.abc import Mapping
from math import hypot, log, prod
from typing import Literal

from msgspec import Struct, field

from fractal_dsl.graph.graph import Input, JoinGraph, Output
from fractal_dsl.picture.graph_to_dot.folding import Opening
from fractal_dsl.picture.graph_to_dot.style import LIGHT, Theme
from fractal_dsl.picture.graph_to_dot.units import Unit
from fractal_dsl.plans.plan_on_graph import node_cost

Label = Literal["none", "shape", "params", "macs"]


class Heat(Struct, frozen=True):
    """Numbers of nodes that boxes are coloured by. ``total`` tells how those of one box add up; ``log``: by orders."""

    title: str
    values: Mapping[int, float]
    total: Literal["sum", "largest", "norm"] = "sum"
    log: bool = False

    def of(self, unit: Unit) -> float | None:
        """The number of a box; None where there is none."""
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
        """Where a number lies between the lowest and the highest drawn, from 0 to 1."""
        if self.log:
            return (log(value) - log(low)) / (log(high) - log(low)) if 0 < low < high and value > 0 else 0.0
        return value / high if high else 0.0


def cost_heat(graph: JoinGraph, kind: Literal["macs", "params", "activation"]) -> Heat:
    """Boxes coloured by what they cost: multiply-accumulates, parameters, or the numbers that they give."""
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
    """What is written in boxes, what they are coloured by, the theme, how much is opened, and on how many stretches
    a long net is laid out (None: as fits a page). ``runs``: alike parts in a row become one."""

    label: Label = "none"
    heat: Heat | None = None
    theme: Theme = LIGHT
    legend: bool = True
    stretches: int | None = None
    opening: Opening = field(default_factory=Opening)
    runs: bool = True
