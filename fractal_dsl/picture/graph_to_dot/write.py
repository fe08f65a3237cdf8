"""Layouts as DOT text: one panel, or several side by side, and a legend."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from graphviz import Digraph
from msgspec import Struct
from msgspec.structs import replace

from fractal_dsl.base.escaping import escaped_for_dot
from fractal_dsl.graph.graph import Join, JoinGraph
from fractal_dsl.picture.graph_to_dot.boxes import box_data
from fractal_dsl.picture.graph_to_dot.curves import Canvas, decimal, own_part, spline
from fractal_dsl.picture.graph_to_dot.facts import Facts
from fractal_dsl.picture.graph_to_dot.legend import Mark, legend, marks, scale
from fractal_dsl.picture.graph_to_dot.look import Look
from fractal_dsl.picture.graph_to_dot.page import page_data
from fractal_dsl.picture.graph_to_dot.placed import Connector, Coordinates, Placed, PlacedText, Rect
from fractal_dsl.picture.graph_to_dot.sizes import FONT, SMALL, text_width
from fractal_dsl.picture.graph_to_dot.tree import Frame, Leaf, Parallel, Series, leaves
from fractal_dsl.picture.graph_to_dot.units import Unit, short
from fractal_dsl.plans.plan import Plan
from fractal_dsl.plans.plan_on_graph import live_operands, needed

_HEAVY = "2.2"  # the outline of a closed part
_PANEL_GAP = 30.0
_TITLE, _TITLE_LINE = 12.0, 15.0  # the titles of panels: their font, and a line of it
_FONTS = "Helvetica,Arial,DejaVu Sans,sans-serif"


class Panel(Struct, frozen=True):
    """One picture among those side by side. Without a graph, boxes have only their labels."""

    tree: Series
    placed: Placed
    graph: JoinGraph | None
    title: str = ""
    plan: Plan | None = None


def panels_to_dot(name: str, panels: Sequence[Panel], look: Look) -> str:
    """The DOT text, with exact positions for everything."""
    drawn = _side_by_side(panels)
    rects = [rect for panel in drawn for rect in panel.placed.rects()]
    left, bottom = min(r.left for r in rects), max(r.bottom for r in rects)
    top = min(r.top for r in rects) - max(_title_height(panel) for panel in panels)
    last = min(r.left for r in drawn[-1].placed.rects()) + _title_width(drawn[-1])
    right = max([last, *(r.right for r in rects)])
    pieces = _legend(drawn, look, left, bottom + 16.0, right - left)
    right = max([right, *(mark.rect.right for mark in pieces)])
    bottom = max([bottom, *(mark.rect.bottom for mark in pieces)])
    canvas = Canvas(left, bottom)
    picture = _picture(name, look, f"0,0,{decimal(right - left)},{decimal(bottom - top)}")
    for number, panel in enumerate(drawn):
        _PanelWriter(panel, look, canvas, f"p{number + 1}" if len(drawn) > 1 else "").write(picture, top)
    for number, mark in enumerate(pieces):
        picture.node(f"legend{number}", **_attributes(_mark(mark, look, canvas)))
    return picture.source


def panel_data(panel: Panel, look: Look, plans: Sequence[tuple[str, Plan]]) -> dict[str, Any]:
    """The data for a page about a panel that ``panels_to_dot`` draws alone."""
    (drawn,) = _side_by_side([panel])
    rects = drawn.placed.rects()
    left, bottom = min(r.left for r in rects), max(r.bottom for r in rects)
    width = max(r.right for r in rects) - left
    bottom = max([bottom, *(mark.rect.bottom for mark in _legend([drawn], look, left, bottom + 16.0, width))])
    writers = [_PanelWriter(replace(drawn, plan=plan), look, Canvas(left, bottom), "") for _, plan in plans]
    dropped = [
        {"name": name, "nodes": writer.dropped_nodes(), "edges": writer.dropped_edges()}
        for (name, _), writer in zip(plans, writers, strict=True)
    ]
    own = _PanelWriter(drawn, look, Canvas(left, bottom), "")
    boxes = box_data(panel.graph, own.drawn, own.ids()) if panel.graph is not None else {}
    return page_data(drawn.placed.moved(-left, 0.0), own.ids(), bottom, dropped) | boxes


def _picture(name: str, look: Look, box: str) -> Digraph:
    """An empty picture with the attributes that all its parts share."""
    theme = look.theme
    picture = Digraph(escaped_for_dot(name))
    picture.attr(layout="nop2", outputorder="edgesfirst", pad="0.15", bgcolor=theme.paper, fontname=_FONTS, bb=box)
    node = {"shape": "box", "style": "filled,rounded", "fixedsize": "true", "margin": "0", "fontsize": f"{FONT:g}"}
    picture.attr("node", **node, fontcolor=theme.text, fontname=_FONTS)
    edge = {"arrowsize": "0.5", "penwidth": "0.9", "fontsize": f"{SMALL:g}"}
    picture.attr("edge", **edge, color=theme.line, fontcolor=theme.muted, fontname=_FONTS)
    return picture


def _side_by_side(panels: Sequence[Panel]) -> list[Panel]:
    """The panels side by side, aligned at the top."""
    result: list[Panel] = []
    x = 0.0
    for panel in panels:
        rects = panel.placed.rects()
        left, top = min(r.left for r in rects), min(r.top for r in rects)
        width = max(max(r.right for r in rects) - left, _title_width(panel))
        result.append(Panel(panel.tree, panel.placed.moved(x - left, -top), panel.graph, panel.title, panel.plan))
        x += width + _PANEL_GAP
    return result


def _title_width(panel: Panel) -> float:
    return max(text_width(line, _TITLE) for line in panel.title.split("\n"))


def _title_height(panel: Panel) -> float:
    return _TITLE_LINE * (1 + panel.title.count("\n")) + 8.0 if panel.title else 0.0


def _legend(panels: Sequence[Panel], look: Look, left: float, top: float, width: float) -> list[Mark]:
    if not look.legend:
        return []
    units = [leaf.unit for panel in panels for leaf in leaves(panel.tree)]
    titles = [title.text for panel in panels for _, title in panel.placed.frames.values()]
    planned = any(
        panel.plan is not None and not all(map(all, (*panel.plan.live, *panel.plan.branches))) for panel in panels
    )
    return marks(legend(units, titles, look.theme, look.heat, planned), left, top, max(width, 230.0))


def _mark(mark: Mark, look: Look, canvas: Canvas) -> dict[str, str]:
    attributes = canvas.node(mark.rect) | {"label": _left(mark.text), "class": "legend"}
    if mark.text:
        return attributes | {"shape": "none", "style": "solid", "fontsize": f"{SMALL:g}", "fontcolor": look.theme.muted}
    swatch = {"style": "filled", "fillcolor": mark.fill, "color": mark.outline, "tooltip": " "}
    return attributes | swatch | ({"penwidth": _HEAVY} if mark.heavy else {})


class _PanelWriter:
    """Writes one panel. ``prefix`` distinguishes its names from those of others."""

    def __init__(self, panel: Panel, look: Look, canvas: Canvas, prefix: str) -> None:
        self.panel, self.look, self.canvas, self.prefix = panel, look, canvas, prefix
        self.drawn = {leaf.number: leaf.unit for leaf in leaves(panel.tree)}
        self.facts = Facts(panel.graph) if panel.graph is not None else None
        self.scale = scale(self.drawn.values(), look.heat) if look.heat is not None else None
        self.live: dict[int, tuple[bool, ...]] = {}
        self.needed: set[int] | None = None
        if panel.graph is not None and panel.plan is not None:
            self.live, self.needed = live_operands(panel.graph, panel.plan), needed(panel.graph, panel.plan)

    def write(self, picture: Digraph, top: float) -> None:
        """Add the panel's title, nodes, frames and lines to a picture."""
        placed = self.panel.placed
        if self.panel.title:
            left = min(rect.left for rect in placed.rects())
            rect = Rect(left, top, left + _title_width(self.panel), top + _title_height(self.panel) - 8.0)
            attributes = self.canvas.node(rect) | {"label": _left(self.panel.title), "class": "title", "shape": "none"}
            title = attributes | {"style": "solid", "fontsize": f"{_TITLE:g}"}
            picture.node(f"{self.prefix}title", **_attributes(title))
        self._parts(self.panel.tree, picture)
        self._lines(picture)

    def _lines(self, picture: Digraph) -> None:
        placed = self.panel.placed
        leaving = dict(placed.leaving)
        alive = {i: self._live(edge) for i, edge in enumerate(placed.edges)}
        live_from: dict[int, list[tuple[Coordinates, ...]]] = defaultdict(list)
        for i, edge in enumerate(placed.edges):
            if alive[i]:
                live_from[edge.source].append(edge.points)
        for i, edge in enumerate(placed.edges):
            points = edge.points if alive[i] is not False else own_part(edge.points, live_from[edge.source])
            attributes = self._edge(edge, points, alive[i])
            if text := placed.entering.get(i):
                attributes |= {"headlabel": text.text, "head_lp": self.canvas.point(text.at)}
            if text := leaving.pop(edge.source, None):
                attributes |= {"taillabel": text.text, "tail_lp": self.canvas.point(text.at)}
            picture.edge(self._id(edge.source), self._id(edge.target), **_attributes(attributes))

    def ids(self) -> dict[int, str]:
        """The names of the units in the text."""
        return {number: self._id(number) for number in self.drawn}

    def dropped_nodes(self) -> list[str]:
        """The names of the units that the plan drops."""
        return [self._id(number) for number, unit in self.drawn.items() if not self._needs(unit)]

    def dropped_edges(self) -> list[int]:
        """The indices of the lines that the plan drops."""
        return [i for i, edge in enumerate(self.panel.placed.edges) if self._live(edge) is False]

    def _id(self, number: int) -> str:
        unit = self.drawn[number]
        return f"{self.prefix}{f'n{unit.members[-1]}' if unit.members else unit.kind}"

    def _live(self, edge: Connector) -> bool | None:
        """Whether a plan leaves a line live; None without a plan."""
        if self.needed is None or self.panel.graph is None:
            return None
        graph, source, target = self.panel.graph, self.drawn[edge.source], self.drawn[edge.target]
        if not self._needs(target) or not self._needs(source):
            return False
        if target.kind != "join" or target.members[0] not in self.live:
            return True
        own = {*source.members, *edge.through}
        return any(
            on
            for join in target.members
            for operand, on in zip(graph.operands(join), self.live[join], strict=True)
            if operand in own
        )

    def _drops(self, edge: Connector) -> bool:
        """Whether a line enters an inline join from a branch with ``@drop``."""
        graph, source, target = self.panel.graph, self.drawn[edge.source], self.drawn[edge.target]
        if graph is None or target.kind != "join":
            return False
        join, own = graph[target.members[0]], {*source.members, *edge.through}
        drops = join.drops if isinstance(join, Join) else ()
        return any(
            drop and operand in own
            for operand, drop in zip(graph.operands(target.members[0]), drops, strict=bool(drops))
        )

    def _needs(self, unit: Unit) -> bool:
        ends = unit.kind in ("input", "output")
        return self.needed is None or ends or not self.needed.isdisjoint(unit.members)

    def _edge(self, edge: Connector, points: tuple[Coordinates, ...], live: bool | None) -> dict[str, str]:
        arrow = self.drawn[edge.target].kind != "skip"
        attributes = {"pos": spline(points, self.canvas, arrow)} | ({} if arrow else {"dir": "none"})
        if self._drops(edge):
            attributes["style"] = "dashed"
        if live is None:
            return attributes
        colour = self.look.theme.live if live else self.look.theme.dropped[0]
        return attributes | {
            "class": "live" if live else "dropped",
            "color": colour,
            "penwidth": "1.7" if live else "0.9",
        }

    def _parts(self, series: Series, picture: Digraph) -> None:
        """The nodes and clusters of a part."""
        for item in series.items:
            match item:
                case Leaf():
                    node = self._node(item.unit, self.panel.placed.units[item.number])
                    picture.node(self._id(item.number), **_attributes(node))
                case Parallel():
                    for branch in item.branches:
                        self._parts(branch, picture)
                case Frame() if item.key not in self.panel.placed.frames:  # it would not fit a strip
                    self._parts(item.body, picture)
                case Frame():
                    rect, title = self.panel.placed.frames[item.key]
                    kind, number = item.key
                    cluster = Digraph(f"cluster_{self.prefix}{kind}{number}")
                    cluster.attr(**_attributes(self._frame(item, kind, rect, title)))
                    self._parts(item.body, cluster)
                    picture.subgraph(cluster)

    def _frame(self, item: Frame, kind: str, rect: Rect, title: PlacedText) -> dict[str, str]:
        fill, outline = self.look.theme.frames[kind]
        return {
            "label": title.text,
            "lp": self.canvas.point(title.at),
            "bb": self.canvas.box(rect),
            "style": "filled,rounded",
            "fillcolor": fill,
            "color": outline,
            "fontcolor": self.look.theme.muted,
            "fontsize": f"{SMALL:g}",
            "class": f"frame {kind}",
            "tooltip": self.facts.frame_tooltip(item) if self.facts else title.text,
        }

    def _node(self, unit: Unit, rect: Rect) -> dict[str, str]:
        kind = f"{unit.kind} {unit.family}" if unit.kind in ("layer", "closed") else unit.kind
        dropped = not self._needs(unit)
        attributes = {
            "label": unit.label,
            **self.canvas.node(rect),
            "tooltip": self._facts(unit) or " ",
            "class": f"{kind} dropped" if dropped else kind,
        }
        if unit.name:
            attributes["id"] = f"{self.prefix}.{unit.name}" if self.prefix else unit.name
        return attributes | self._paint(unit, dropped)

    def _facts(self, unit: Unit) -> str:
        heat = self.look.heat
        value = heat.of(unit) if heat and heat.total != "sum" else None  # sums are in the tooltip already
        lines = [self.facts.tooltip(unit) if self.facts else ""]
        return "\n".join([*lines, f"{heat.title} {short(value)}"] if heat and value is not None else lines)

    def _paint(self, unit: Unit, dropped: bool) -> dict[str, str]:
        """The fill, outline and text colour: by kind of layer, by number, or grey if a plan drops it."""
        theme = self.look.theme
        line, grey, text = theme.dropped
        match unit.kind:
            case "join":
                colour, on = (line, theme.dropped[2]) if dropped else (theme.bar, theme.on_bar)
                return _filled(colour, colour, on) | {"style": "filled", "fontsize": f"{SMALL:g}"}
            case "skip":
                return _filled("transparent", "transparent", "transparent") | {"style": "filled", "penwidth": "0"}
            case "input" | "output":
                return _filled(*theme.families[unit.kind], theme.text)
            case "layer" | "closed":
                pass
        if dropped:
            colours = _filled(grey, line, text)
        elif self.look.heat is not None:
            colours = self._heat(unit)
        else:
            colours = _filled(*theme.families.get(unit.family, theme.families["shape"]), theme.text)
        return colours | ({"penwidth": _HEAVY} if unit.kind == "closed" else {})

    def _heat(self, unit: Unit) -> dict[str, str]:
        theme, heat = self.look.theme, self.look.heat
        value = heat.of(unit) if heat else None
        if heat is None or self.scale is None or value is None:
            return _filled(*theme.families["shape"], theme.text)
        place = heat.place(value, *self.scale)
        fill, text = theme.ramp[min(len(theme.ramp) - 1, int(place * len(theme.ramp)))]
        return _filled(fill, theme.ramp_line, text)


def _left(text: str) -> str:
    """A text with left-aligned lines: a vertical tab stands for DOT's escape for that."""
    return text.replace("\n", "\v") + "\v" if text else ""


def _filled(fill: str, outline: str, text: str) -> dict[str, str]:
    return {"fillcolor": fill, "color": outline, "fontcolor": text}


def _attributes(attributes: Mapping[str, str]) -> dict[str, str]:
    return {key: escaped_for_dot(value, tooltip=key == "tooltip") for key, value in attributes.items()}
