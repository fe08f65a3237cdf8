"""Remove what the output does not need."""

from __future__ import annotations

from fractal_dsl.graph.graph import Input, JoinGraph
from fractal_dsl.graph.passes.rebuild import empty_like


def prune_dead(graph: JoinGraph) -> JoinGraph:
    """A new graph without the nodes that the output does not depend on; the input stays.

    Before::                    After::

        %2 = conv2d(…) %1           %3 = linear(…) %1
        %3 = linear(…) %1           %4 = output %3
        %4 = output %3
    """
    needed: set[int] = set()
    stack = [graph.output[0]]
    while stack:
        number = stack.pop()
        if number not in needed:
            needed.add(number)
            stack += graph.operands(number)
    result = empty_like(graph, graph.stage)
    for number, node in graph.items():
        if number in needed or isinstance(node, Input):
            result.add(node, graph.operands(number), id=number)
    return result
