"""What passes share: a new graph for the result."""

from __future__ import annotations

from typing import Literal

from fractal_dsl.graph.graph import JoinGraph


def empty_like(graph: JoinGraph, stage: Literal["raw", "collapsed", "labelled", "column"]) -> JoinGraph:
    """A graph without nodes that is otherwise like ``graph``, at another stage."""
    return JoinGraph(graph.net, graph.sources, stage, graph.drop_path, graph.init, graph.columns)
