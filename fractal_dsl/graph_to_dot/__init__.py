"""Join graph to Graphviz's language: the picture of a net, in the style of the paper's figure 1.

The input is at the top. Base layers are boxes, columns are lanes (column 1 on the left), joins are bars across the
columns that they merge, blocks are framed, with the shapes of what enters and leaves. A bar without a name takes the
mean. The text has exact positions for everything (layout ``nop2``), so Graphviz only paints, and every version of it
paints the same.

    graph -> units (what is drawn) -> tree (below, beside, framed) -> place (coordinates) -> DOT
"""

from __future__ import annotations

from fractal_dsl.diagnostics import UserError
from fractal_dsl.graph import JoinGraph
from fractal_dsl.graph_to_dot.place import place
from fractal_dsl.graph_to_dot.tree import units_to_tree
from fractal_dsl.graph_to_dot.units import check_size, fold
from fractal_dsl.graph_to_dot.write import layout_to_dot

__all__ = ["check_size", "graph_to_dot"]


def graph_to_dot(graph: JoinGraph) -> str:
    """The picture of a graph at any stage, as DOT text that depends on nothing but the graph.

    Raises UserError if there would be over 2,000 boxes and bars.
    """
    try:
        tree = units_to_tree(fold(graph))
        return layout_to_dot(graph, tree, place(tree))
    except RecursionError:
        raise UserError(f"the blocks of {graph.net} are nested too deeply to be drawn") from None
