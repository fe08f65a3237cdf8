"""A layout as DOT text."""

from __future__ import annotations

from collections.abc import Iterator

from fractal_dsl.graph import JoinGraph, Layer
from fractal_dsl.graph_to_dot import style
from fractal_dsl.graph_to_dot.place import Placed, Point, Rect
from fractal_dsl.graph_to_dot.sizes import FONT, SMALL, shape_text
from fractal_dsl.graph_to_dot.tree import Frame, Leaf, Parallel, Series, leaves
from fractal_dsl.graph_to_dot.units import Unit

_ARROW = 5.0  # Graphviz's arrowhead at arrowsize 0.5
_CORNER = 5.0
_FONTS = "Helvetica,Arial,DejaVu Sans,sans-serif"
_HEAD = f"""\
  graph [layout=nop2, outputorder=edgesfirst, pad=0.15, bgcolor="{style.PAPER}", fontname="{_FONTS}"]
  node [shape=box, style="filled,rounded", fixedsize=true, margin=0, fontsize={FONT:g}, fontcolor="{style.TEXT}",\
 fontname="{_FONTS}"]
  edge [arrowsize=0.5, penwidth=0.9, color="{style.LINE}", fontsize={SMALL:g}, fontcolor="{style.MUTED}",\
 fontname="{_FONTS}"]
"""


class _Canvas:
    """Turns coordinates around: Graphviz's y goes up from the bottom left corner."""

    def __init__(self, placed: Placed) -> None:
        rects = [*placed.units.values(), *(rect for rect, _ in placed.frames.values())]
        self.left = min(r.left for r in rects)
        self.bottom = max(r.bottom for r in rects)
        self.size = (max(r.right for r in rects) - self.left, self.bottom - min(r.top for r in rects))

    def point(self, at: Point) -> str:
        return f"{_number(at[0] - self.left)},{_number(self.bottom - at[1])}"

    def box(self, rect: Rect) -> str:
        return f"{self.point((rect.left, rect.bottom))},{self.point((rect.right, rect.top))}"


def layout_to_dot(graph: JoinGraph, tree: Series, placed: Placed) -> str:
    """The text, with exact positions for everything."""
    canvas = _Canvas(placed)
    width, height = map(_number, canvas.size)
    lines = [f"digraph {_quoted(graph.net)} {{", _HEAD.rstrip("\n"), f'  graph [bb="0,0,{width},{height}"]']
    lines += _parts(graph, tree, placed, canvas, "  ")
    drawn = {leaf.number: leaf.unit for leaf in leaves(tree)}
    leaving = dict(placed.leaving)
    for i, edge in enumerate(placed.edges):
        arrow = drawn[edge.target].kind != "skip"
        attributes = {"pos": _spline(edge.points, canvas, arrow)} | ({} if arrow else {"dir": "none"})
        if text := placed.entering.get(i):
            attributes |= {"headlabel": text.text, "head_lp": canvas.point(text.at)}
        if text := leaving.pop(edge.source, None):
            attributes |= {"taillabel": text.text, "tail_lp": canvas.point(text.at)}
        lines.append(f"  {_id(drawn[edge.source])} -> {_id(drawn[edge.target])} {_attributes(attributes)}")
    return "\n".join([*lines, "}", ""])


def _parts(graph: JoinGraph, series: Series, placed: Placed, canvas: _Canvas, indent: str) -> Iterator[str]:
    """The nodes and clusters of a part."""
    for item in series.items:
        match item:
            case Leaf():
                node = _node(graph, item.unit, placed.units[item.number], canvas)
                yield f"{indent}{_id(item.unit)} {_attributes(node)}"
            case Parallel():
                for branch in item.branches:
                    yield from _parts(graph, branch, placed, canvas, indent)
            case Frame():
                rect, title = placed.frames[item.key]
                fill, outline = style.FRAME[item.key[0]]
                attributes = {
                    "label": title.text,
                    "lp": canvas.point(title.at),
                    "bb": canvas.box(rect),
                    "style": "filled,rounded",
                    "fillcolor": fill,
                    "color": outline,
                    "fontcolor": style.MUTED,
                    "fontsize": f"{SMALL:g}",
                }
                kind, number = item.key
                yield f"{indent}subgraph cluster_{kind}{number} {{"
                yield f"{indent}  graph {_attributes(attributes)}"
                yield from _parts(graph, item.body, placed, canvas, indent + "  ")
                yield f"{indent}}}"


def _id(unit: Unit) -> str:
    return f"n{unit.members[-1]}"


def _node(graph: JoinGraph, unit: Unit, rect: Rect, canvas: _Canvas) -> dict[str, str]:
    fill, outline = style.FAMILIES.get(unit.family, style.FAMILIES["shape"])
    attributes = {
        "label": unit.label,
        "pos": canvas.point((rect.middle, (rect.top + rect.bottom) / 2)),
        "width": _number((rect.right - rect.left) / 72, 4),
        "height": _number((rect.bottom - rect.top) / 72, 4),
        "tooltip": _tooltip(graph, unit),
        "class": f"{unit.kind} {unit.family}" if unit.kind == "layer" else unit.kind,
    }
    if unit.name:
        attributes["id"] = unit.name
    match unit.kind:
        case "join":
            bar = {"style": "filled", "fillcolor": style.BAR, "color": style.BAR, "fontcolor": style.ON_BAR}
            return attributes | bar | {"fontsize": f"{SMALL:g}"}
        case "skip":
            plain = {"shape": "none", "style": "solid", "fontcolor": style.MUTED}
            return attributes | plain | {"fontsize": f"{SMALL:g}"}
        case "input" | "output":
            attributes["label"] += f"\n{shape_text(unit.out)}"
        case "layer":
            pass
    return attributes | {"fillcolor": fill, "color": outline}


def _tooltip(graph: JoinGraph, unit: Unit) -> str:
    """What a reader sees who points at a unit: its name, its operations, and its shapes."""
    if unit.into is None:
        return f"{unit.name} {shape_text(unit.out)}"
    nodes = [graph[n] for n in unit.members]
    ops = [node.spec.name for node in nodes if isinstance(node, Layer)]
    text = f"{shape_text(unit.into)} → {shape_text(unit.out)}"
    return "\n".join(line for line in (unit.name, " >> ".join(ops), text) if line)


def _spline(points: tuple[Point, ...], canvas: _Canvas, arrow: bool) -> str:
    """Straight pieces with rounded corners as Graphviz's Bezier curves, and the tip of the arrow, if it has one."""
    tip = points[-1]
    path = [*points[:-1], (tip[0], tip[1] - _ARROW)] if arrow else points
    curve = [path[0]]
    for before, corner, after in zip(path, path[1:], path[2:], strict=False):
        start, end = _towards(corner, before), _towards(corner, after)
        curve += [*_straight(curve[-1], start), corner, corner, end]
    curve += _straight(curve[-1], path[-1])
    return (f"e,{canvas.point(tip)} " if arrow else "") + " ".join(map(canvas.point, curve))


def _straight(start: Point, end: Point) -> list[Point]:
    """The last three control points of a straight piece."""
    return [start, end, end]


def _towards(corner: Point, other: Point) -> Point:
    """The point at which a rounded corner leaves the straight piece towards ``other``."""
    length = abs(other[0] - corner[0]) + abs(other[1] - corner[1])
    part = min(_CORNER, length / 2) / length
    return corner[0] + (other[0] - corner[0]) * part, corner[1] + (other[1] - corner[1]) * part


def _number(x: float, digits: int = 2) -> str:
    text = f"{x:.{digits}f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def _attributes(attributes: dict[str, str]) -> str:
    return "[" + ", ".join(f"{key}={_quoted(value)}" for key, value in attributes.items()) + "]"


def _quoted(text: str) -> str:
    """A DOT string; a line break becomes the escape that centres a line."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
