"""The whole net as a network of its own, without columns."""

from __future__ import annotations

from msgspec.structs import replace

from fractal_dsl.graph.graph import Join, JoinGraph


def lone_whole(graph: JoinGraph) -> JoinGraph:
    """A new graph that joins all operands, always: no columns, no drop-path and no ``@drop``, for inference.

    Before::                             After::

        %6 = join mean of F levels 2 1      %6 = join mean %3 %4
             %3 %4
    """
    result = graph.without_nodes("column")
    result.columns, result.drop_path = (), None
    for number, node in graph.items():
        if isinstance(node, Join):
            node = replace(node, rule=None, labels=(), choice=(), drops=())
        result.add(node, graph.operands(number), id=number)
    return result
