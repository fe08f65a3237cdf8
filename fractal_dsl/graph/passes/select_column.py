"""One column as a network of its own."""

from __future__ import annotations

from fractal_dsl.graph.graph import Join, JoinGraph, Layer
from fractal_dsl.ops import PLACE, Args


def select_column(graph: JoinGraph, column: int) -> JoinGraph:
    """A new graph in which each join of a rule is replaced by the operand that ``column`` (from 1) takes.

    Before::                                   After (column 1)::

        %6 = join mean of F levels 2 1 %3 %4       (uses of %6 read %3)

    ``concat`` keeps its layout: zeros replace the other operands. The new graph has no columns and no drop-path. Dead
    nodes stay until ``prune_dead`` removes them.
    """
    result = graph.without_nodes("selected")
    result.columns, result.drop_path = (), None
    alias: dict[int, int] = {}
    for number, node in graph.items():
        operands = [alias.get(o, o) for o in graph.operands(number)]
        if not (isinstance(node, Join) and node.of_columns):
            result.add(node, operands, id=number)
            continue
        chosen = node.choice[column - 1]
        if node.spec.name != "concat":
            alias[number] = operands[chosen]
            continue
        args = _placement(graph, number, node, chosen)
        into = result[operands[chosen]].out
        layer = Layer(PLACE, args, into, node.out, node.site, node.name, node.columns, node.name)
        result.add(layer, (operands[chosen],), id=number)
    return result


def _placement(graph: JoinGraph, number: int, node: Join, chosen: int) -> Args:
    """The place of a concatenated operand: the axis, and the sizes before and after it on that axis."""
    dim = node.args["dim"]
    assert isinstance(dim, int)
    dim = dim if dim > 0 else dim + len(node.out.shape) + 1
    sizes = [graph[o].out.shape[dim - 1] for o in graph.operands(number)]
    return {"dim": dim, "before": sum(sizes[:chosen]), "after": sum(sizes[chosen + 1 :])}
