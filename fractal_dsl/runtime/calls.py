"""The functions that compute the nodes of a graph under a plan."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from torch import Tensor, nn

from fractal_dsl.graph.graph import Join, JoinGraph, Layer, Output
from fractal_dsl.runtime.batchnorm import Routed
from fractal_dsl.runtime.instructions import same
from fractal_dsl.runtime.joins import REDUCTIONS, join_concat
from fractal_dsl.runtime.layers import Gated

Live = tuple[bool, ...] | None
"""Which operands of a join are live; None for a node that drop-path does not affect."""


def call_of(
    graph: JoinGraph, modules: Mapping[str, nn.Module], number: int, live: Live, route: int
) -> tuple[Callable[..., Tensor], int]:
    """The function that computes a node from its live operands, and its route: 0 if all routes are alike."""
    node = graph[number]
    match node:
        case Layer() if not node.idle:
            module = modules[node.module]
            if route and isinstance(module, Routed) and module.has_route(route):
                return partial(module, route=route), route
            return module, 0
        case Join() if node.spec.name == "concat":
            return Concat(graph, number, node, live), 0
        case Join() if node.spec.torch is not None:
            return _live_part(modules[node.module], live), 0
        case Join():
            alone = live is not None and sum(live) == 1
            return same if alone else REDUCTIONS[node.spec.name], 0
        case _:
            assert isinstance(node, Layer | Output)
            return same, 0


def _live_part(join: nn.Module, live: Live) -> Callable[..., Tensor]:
    """A join with weights, over its live operands. A single operand passes through unchanged."""
    if live is None or all(live):
        return join
    if sum(live) == 1:
        return same
    return partial(join, live=[i for i, on in enumerate(live) if on]) if isinstance(join, Gated) else join


class Concat:
    """A concatenation whose dropped operands are zeros."""

    def __init__(self, graph: JoinGraph, number: int, node: Join, live: Live) -> None:
        dim = node.args["dim"]
        assert isinstance(dim, int)
        self.dim = dim if dim > 0 else dim + len(node.out.shape) + 1
        self.sizes = [graph[o].out.shape[self.dim - 1] for o in graph.operands(number)]
        self.live = live or (True,) * len(self.sizes)

    def __call__(self, *operands: Tensor) -> Tensor:
        given = iter(operands)
        like = operands[0]
        parts = [
            next(given) if on else like.new_zeros([*like.shape[: self.dim], size, *like.shape[self.dim + 1 :]])
            for on, size in zip(self.live, self.sizes, strict=True)
        ]
        return join_concat(parts, self.dim)


SUMS = {REDUCTIONS["sum"], REDUCTIONS["mean"]}
"""Joins that keep nothing of their operands for the backward pass."""
