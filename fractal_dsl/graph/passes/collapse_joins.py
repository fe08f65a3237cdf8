"""Merge neighbouring joins of one rule into joins that span their columns."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from fractal_dsl.graph.graph import Join, JoinGraph, Node
from fractal_dsl.program.columns import Label, labels_of


def collapse_joins(graph: JoinGraph) -> JoinGraph:
    """A new graph in which no join of a rule feeds an open operand of another.

    Before::                                  After::

        %5 = join mean of F levels 1 2 %3 %4      %6 = join mean of F levels 1 2 3 %3 %4 %2
        %6 = join mean of F levels open 3 %5 %2

    This lowering is required: nested two-way means weight the columns 1/4, 1/4 and 1/2, but a join of the paper
    (section 3) weights them 1/3 each.
    """
    result = graph.without_nodes("collapsed")
    absorbed: set[int] = set()
    for number, node in graph.items():
        if isinstance(node, Join):
            absorbed.update(o for o, label in zip(graph.operands(number), node.labels, strict=False) if label is None)
    kept: list[tuple[int, Node, Sequence[int]]] = []
    for number, node in graph.items():
        if number in absorbed:
            continue
        if isinstance(node, Join) and node.of_columns:
            operands, levels = _columns(graph, number, node)
            kept.append((number, replace(node, labels=labels_of(levels)), operands))
        else:
            kept.append((number, node, graph.operands(number)))
    result.extend(kept)
    return result


def _columns(graph: JoinGraph, number: int, node: Join) -> tuple[list[int], list[int]]:
    """The operands that a join spans, through all open operands, and their levels."""
    operands: list[int] = []
    levels: list[int] = []
    stack: list[tuple[int, Label | None]] = [(number, None)]
    while stack:
        at, label = stack.pop()
        if label is not None:
            operands.append(at)
            levels.append(label[0])
            continue
        join = graph[at]
        assert isinstance(join, Join)
        stack += reversed(list(zip(graph.operands(at), join.labels, strict=True)))
    return operands, levels
