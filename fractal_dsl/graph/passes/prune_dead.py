"""Remove nodes that the output does not need."""

from __future__ import annotations

from fractal_dsl.graph.graph import Input, JoinGraph


def prune_dead(graph: JoinGraph) -> JoinGraph:
    """A new graph without the nodes that the output does not need. The input stays.

    Before::                    After::

        %2 = conv2d(…) %1           %3 = linear(…) %1
        %3 = linear(…) %1           %4 = output %3
        %4 = output %3
    """
    needed = graph.needed()
    result = graph.without_nodes("column" if graph.stage == "selected" else graph.stage)
    for number, node in graph.items():
        if number in needed or isinstance(node, Input):
            result.add(node, graph.operands(number), id=number)
    return result
