"""Join graph to Graphviz's language: the pictures of a net, in the style of the paper's figures 1 and 2.

In: a join graph, and which of its nodes to grey out. Out: DOT with exact positions.
Not imported here: torch, ``codegen``, ``config`` and above.

The input is at the top. Base layers are boxes, columns are lanes (column 1 on the left), and joins are bars across the
columns that they merge. A bar without a name takes the mean. Blocks are framed, with the shapes of their input and
output. The text has exact positions for everything (layout ``nop2``), so Graphviz only paints, and every version of it
paints the same picture.

    graph -> units (boxes and bars) -> tree (below, beside, framed) -> folded -> place (coordinates) -> DOT
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msgspec.structs import replace

from fractal_dsl.base.errors import UserError
from fractal_dsl.graph.graph import JoinGraph, Layer
from fractal_dsl.picture.graph_to_dot.block import block_of
from fractal_dsl.picture.graph_to_dot.closing import Closing, closed, closings, excess
from fractal_dsl.picture.graph_to_dot.cross import with_crossings
from fractal_dsl.picture.graph_to_dot.facts import Facts, labelled
from fractal_dsl.picture.graph_to_dot.folding import Opening, check_names, folded, merged
from fractal_dsl.picture.graph_to_dot.frames import framed
from fractal_dsl.picture.graph_to_dot.look import Heat, Look, SecondLine, cost_heat
from fractal_dsl.picture.graph_to_dot.place import lay_out
from fractal_dsl.picture.graph_to_dot.rule import rule_trees
from fractal_dsl.picture.graph_to_dot.series_parallel import Crossings, units_to_tree
from fractal_dsl.picture.graph_to_dot.style import DARK, LIGHT, follow_reader
from fractal_dsl.picture.graph_to_dot.tree import Series, blank
from fractal_dsl.picture.graph_to_dot.units import MAX_UNITS, check_size, fold
from fractal_dsl.picture.graph_to_dot.write import Panel, panel_data, panels_to_dot
from fractal_dsl.plans.plan import Plan
from fractal_dsl.program.program import Program

__all__ = [
    "DARK",
    "LIGHT",
    "MAX_UNITS",
    "Heat",
    "Look",
    "Opening",
    "SecondLine",
    "check_size",
    "cost_heat",
    "figure_to_dot",
    "fitted",
    "follow_reader",
    "graph_to_dot",
    "graph_to_page",
    "plans_to_dot",
    "rule_to_dot",
]


def graph_to_dot(graph: JoinGraph, look: Look | None = None, *, plan: Plan | None = None, block: int = 0) -> str:
    """The picture of a graph at any stage, or of one of its blocks (counted from 1), as DOT text.

    A ``plan`` of a labelled graph greys out what it drops. Raises UserError if more than 2,000 boxes and bars remain
    after folding, for a name in ``look.opening`` that opens nothing, and for a block that does not exist.
    """
    look = look or Look()
    return panels_to_dot(graph.net, [_panel(graph, look, plan, block)], look)


def plans_to_dot(graph: JoinGraph, plans: Sequence[tuple[str, Plan]], look: Look, *, block: int = 0) -> str:
    """Subnetworks side by side, each with its title: the paper's figure 2. Boxes have no text.

    Raises UserError as ``graph_to_dot`` does. The limit applies to the boxes of all subnetworks together.
    """
    look = replace(look, strips=1)
    panels: list[Panel] = []
    for title, plan in plans:
        panels.append(_panel(graph, look, plan, block, title))
        check_size(graph.net, len(panels[0].placed.units) * len(plans))
    return panels_to_dot(graph.net, panels, look)


def graph_to_page(
    graph: JoinGraph, look: Look, plans: Sequence[tuple[str, Plan]], *, block: int = 0
) -> tuple[str, dict[str, Any]]:
    """The DOT text of ``graph_to_dot``, and the data with which a page's script folds the picture and shows plans."""
    panel = _panel(graph, look, None, block)
    return panels_to_dot(graph.net, [panel], look), panel_data(panel, look, plans)


def rule_to_dot(program: Program, look: Look | None = None, rule: str | None = None) -> str:
    """The cases of the net's first rule, or of ``rule``, side by side: the left of the paper's figure 1.

    Raises UserError if the net has no such rule.
    """
    look = look or Look()
    return panels_to_dot(program.net, _rule_panels(program, rule), look)


def figure_to_dot(program: Program, graph: JoinGraph, look: Look, *, block: int = 1) -> str:
    """The paper's figure 1: the rule, a block that it expands to, and the net of blocks, side by side.

    Raises UserError as ``graph_to_dot`` does.
    """
    *_, general = _rule_panels(program, None)
    one = replace(look, strips=1)
    net = replace(one, opening=Opening(0))
    panels = [general, _panel(graph, one, None, block, f"block {block}"), _panel(graph, net, None, 0, "the net")]
    return panels_to_dot(graph.net, panels, look)


def _panel(graph: JoinGraph, look: Look, plan: Plan | None, block: int, title: str = "") -> Panel:
    try:
        tree, crossings = _tree(graph, look, plan, block)
        strip = bool(title) and plan is not None
        tree = _finished(tree, crossings, graph, replace(look, label="none") if strip else look)
        tree = blank(tree) if strip else tree
        placed = with_crossings(lay_out(tree, look.strips), tree, crossings)
        return Panel(tree, placed, graph, title, plan)
    except RecursionError:
        raise UserError(f"the blocks of {graph.net} are nested too deeply to be drawn") from None


def _tree(graph: JoinGraph, look: Look, plan: Plan | None, block: int) -> tuple[Series, Crossings]:
    """The tree of a picture with its runs merged, and the lines around it."""
    units = fold(graph, look.opening.names)
    tree, crossings = units_to_tree(units)
    tree = framed(tree, units.frames)
    calls = (c for _, n in graph.items() if isinstance(n, Layer) for c, _ in (*n.site.outer, *n.site.groups))
    check_names(tree, look.opening.names, frozenset(calls))
    if block:
        tree = block_of(tree, block, graph.net)
    return folded(tree, graph.net, look.opening, runs=look.runs and plan is None, crossings=crossings), crossings


def _finished(tree: Series, crossings: Crossings, graph: JoinGraph, look: Look) -> Series:
    """The tree with the frames closed that the look closes, and with second lines."""
    if look.closing != Closing():
        tree = merged(closed(tree, look.closing), crossings)
    return tree if look.label == "none" else labelled(tree, Facts(graph), look.label)


def fitted(graph: JoinGraph, look: Look, *, block: int = 0) -> Look:
    """The look whose picture fits a page with as few frames closed as possible, or as well as can be.

    Raises UserError as ``graph_to_dot`` does."""
    try:
        tree, crossings = _tree(graph, look, None, block)
        best, size = look, excess(lay_out(_finished(tree, crossings, graph, look), look.strips))
        for closing in closings(tree)[1:]:
            if size <= 1:
                break
            other = replace(look, closing=closing)
            smaller = excess(lay_out(_finished(tree, crossings, graph, other), look.strips))
            best, size = (other, smaller) if smaller < size else (best, size)
        return best
    except RecursionError:
        raise UserError(f"the blocks of {graph.net} are nested too deeply to be drawn") from None


def _rule_panels(program: Program, rule: str | None) -> list[Panel]:
    return [Panel(tree, lay_out(tree), None, title) for title, tree in rule_trees(program, rule)]
