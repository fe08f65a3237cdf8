"""One column as a net of its own."""

from __future__ import annotations

from fractal_dsl.graph.graph import JoinGraph
from fractal_dsl.graph.passes import run_pass
from fractal_dsl.graph.passes.prune_dead import prune_dead
from fractal_dsl.graph.passes.select_column import select_column


def lone_column(graph: JoinGraph, k: int) -> JoinGraph:
    """Column k of a labelled graph, from 1, shallow to deep, as a new graph at the stage ``column``.

    Raises UserError if there is no column k.
    """
    graph.check_column(k)
    return run_pass(prune_dead, run_pass(select_column, graph, k))
