"""The facts about boxes in a picture: second lines and tooltips."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from msgspec.structs import replace

from fractal_dsl.base.texts import percent
from fractal_dsl.graph.graph import Join, JoinGraph, Layer
from fractal_dsl.picture.graph_to_dot.look import SecondLine
from fractal_dsl.picture.graph_to_dot.tree import Frame, Item, Leaf, Parallel, Series, units_of
from fractal_dsl.picture.graph_to_dot.units import Unit, shape_text, short
from fractal_dsl.plans.plan_on_graph import Cost, cost

_MAX_LINE = 100


class Facts:
    """Figures of the parts of one net."""

    def __init__(self, graph: JoinGraph) -> None:
        self.graph = graph
        self.whole = cost(graph, graph.g.nodes)

    def cost(self, unit: Unit) -> Cost:
        """The parameters of a unit, and its multiply-accumulates per sample."""
        return cost(self.graph, unit.members)

    def nodes(self, unit: Unit) -> list[Layer | Join]:
        """The layers and joins of a unit, in topological order."""
        return [node for n in unit.members if isinstance(node := self.graph[n], Layer | Join)]

    def does(self, unit: Unit) -> str:
        """The operations of a unit, or what a bar joins."""
        nodes = self.nodes(unit)
        if nodes and isinstance(nodes[-1], Join) and unit.kind == "join":
            text = f"{nodes[-1].spec.name} of {len(self.graph.operands(unit.members[0]))}"
            drops = ", ".join(map(percent, nodes[-1].drops))
            return f"{text}, branches left out of training steps: {drops}" if drops else text
        ops = [_call(node) for node in nodes if isinstance(node, Layer)]
        if len(ops) <= 8:
            return " >> ".join(ops)
        return ", ".join(f"{n} × {op}" for op, n in Counter(ops).most_common(6))

    def tooltip(self, unit: Unit) -> str:
        """The name, operations, shapes, costs with their share of the net, and the line of the .frac file."""
        nodes = self.nodes(unit)
        if unit.into is None or unit.out is None or not nodes:
            return " ".join(filter(None, (unit.name, shape_text(unit.out) if unit.out else "")))
        own = self.cost(unit)
        return "\n".join(
            line
            for line in (
                unit.name,
                _cut(self.does(unit)),
                f"{shape_text(unit.into)} → {shape_text(unit.out)}",
                _share("parameters", own.params, self.whole.params),
                _share("MACs", own.macs, self.whole.macs),
                self._written(nodes[0]),
            )
            if line
        )

    def frame_tooltip(self, frame: Frame) -> str:
        """The title, shapes and costs of a frame."""
        units = list(units_of(frame))
        own = cost(self.graph, (n for unit in units for n in unit.members))
        into, out = units[0].into, units[-1].out
        lines = (
            frame.title,
            f"{shape_text(into)} → {shape_text(out)}" if into and out else "",
            _share("parameters", own.params, self.whole.params),
            _share("MACs", own.macs, self.whole.macs),
        )
        return "\n".join(filter(None, lines))

    def second_line(self, unit: Unit, label: SecondLine) -> str:
        """The line that ``--label`` adds to a box."""
        match label:
            case "shape":
                return shape_text(unit.out) if unit.out else ""
            case "params":
                params = self.cost(unit).params
                return f"{short(params)} params" if params else ""
            case "macs":
                macs = self.cost(unit).macs
                return f"{short(macs)} MACs" if macs else ""
            case "none":
                return ""

    def _written(self, node: Layer | Join) -> str:
        source = self.graph.sources.at(node.site.span)
        number, _ = source.position(node.site.span.start)
        return _cut(f"{Path(source.name).name}:{number}: {source.line(number).strip()}")


def labelled(series: Series, facts: Facts, label: SecondLine) -> Series:
    """The tree with a second line in its layers' boxes."""
    return Series(tuple(_labelled(item, facts, label) for item in series.items))


def _labelled(item: Item, facts: Facts, label: SecondLine) -> Item:
    match item:
        case Leaf() if item.unit.kind in ("layer", "closed"):
            lines = filter(None, (item.unit.label, facts.second_line(item.unit, label)))
            return replace(item, unit=replace(item.unit, label="\n".join(lines)))
        case Leaf():
            return item
        case Parallel():
            return replace(item, branches=tuple(labelled(b, facts, label) for b in item.branches))
        case Frame():
            return replace(item, body=labelled(item.body, facts, label))


def _call(node: Layer) -> str:
    """An operation with its window arguments, except those of 1."""
    given = [
        f"{k}={v}" for k, v in node.args.items() if k in ("kernel_size", "stride", "dilation") and v not in (1, None)
    ]
    return f"{node.spec.name}({', '.join(given)})" if given else node.spec.name


def _share(noun: str, part: int, whole: int) -> str:
    return f"{part:,} {noun}, {part / whole:.1%} of the net" if part and whole else ""


def _cut(text: str) -> str:
    return text if len(text) <= _MAX_LINE else text[: _MAX_LINE - 1] + "…"
