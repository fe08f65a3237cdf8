"""The functions that compute the nodes of a graph under a plan."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from torch import Tensor, nn

from fractal_dsl.graph.graph import Join, JoinGraph, Layer, Output
from fractal_dsl.plans.plan import FULL
from fractal_dsl.runtime.batchnorm import Routed
from fractal_dsl.runtime.instructions import same
from fractal_dsl.runtime.joins import REDUCTIONS, join_concat, join_sum
from fractal_dsl.runtime.layers import Gated
from fractal_dsl.runtime.slim import Slim

Live = tuple[bool, ...] | None
"""Which operands of a join are live; None for a node that drop-path does not affect."""

SCALED = -1
"""What tells the call of a join that scales its result from one that does not."""


def call_of(
    graph: JoinGraph, modules: Mapping[str, nn.Module], number: int, live: Live, route: int
) -> tuple[Callable[..., Tensor], int]:
    """What computes a node from its live operands, and what tells it from other calls of the node on the same
    operands: its route, or that it scales its result; 0 where all routes are alike.
    """
    node = graph[number]
    match node:
        case Layer() if not node.idle:
            module = modules[node.module]
            if route and isinstance(module, Routed) and module.has_route(route):
                return partial(module, route=route), route
            return module, 0
        case Join() if node.spec.name == "concat":
            factor = _factor(node, live, route)
            return Concat(graph, number, node, live, factor), SCALED * (factor != 1)
        case Join() if node.spec.name == "sum" and (factor := _factor(node, live, route)) != 1:
            return ScaledSum(factor), SCALED
        case Join() if node.spec.torch is not None:
            return _live_part(modules[node.module], live), 0
        case Join():
            alone = live is not None and sum(live) == 1
            return same if alone else REDUCTIONS[node.spec.name], 0
        case _:
            assert isinstance(node, Layer | Output)
            return same, 0


def _factor(join: Join, live: Live, route: int) -> float:
    """What `sum` and `concat` multiply their k live operands of n by: n / k.

    Of the local plans with k live operands, a share of k / n has a given one, for they are equally likely. So
    each operand counts by 1 in expectation, whatever the probability, and a full plan needs no factor. A column is run
    as the net that `extract` makes of it: unscaled. Whole numbers, which may be indices, stay as they are.
    """
    if live is None or route != FULL or join.out.dtype != "f32":
        return 1
    return len(live) / sum(live)


def _live_part(join: nn.Module, live: Live) -> Callable[..., Tensor]:
    """A join with weights, over its live operands. A single operand passes through unchanged."""
    if live is None or all(live):
        return join
    if sum(live) == 1:
        return same
    return partial(join, live=[i for i, on in enumerate(live) if on]) if isinstance(join, Gated) else join


@dataclass(frozen=True, slots=True)
class ScaledSum:
    """The sum of live operands, times a factor."""

    factor: float

    def __call__(self, *operands: Tensor) -> Tensor:
        if len(operands) == 1:
            return operands[0] * self.factor
        return join_sum(*operands).mul_(self.factor)


class Concat:
    """A concatenation in which dropped operands are zeros, and live ones are multiplied by ``factor``."""

    def __init__(self, graph: JoinGraph, number: int, node: Join, live: Live, factor: float) -> None:
        dim = node.args["dim"]
        assert isinstance(dim, int)
        self.rank = len(node.out.shape) + 1
        self.dim = dim if dim > 0 else dim + self.rank
        self.sizes = [graph[o].out.shape[self.dim - 1] for o in graph.operands(number)]
        self.live = live or (True,) * len(self.sizes)
        self.factor = factor

    def __call__(self, *operands: Tensor) -> Tensor:
        given = iter(operands)
        like = operands[0]
        parts = [
            next(given) if on else like.new_zeros([size if i == self.dim else like.shape[i] for i in range(self.rank)])
            for on, size in zip(self.live, self.sizes, strict=True)
        ]
        joined = join_concat(parts, self.dim)
        return joined if self.factor == 1 else joined.mul_(self.factor)


_SUMS = {REDUCTIONS["sum"], REDUCTIONS["mean"]}


def keeps_nothing(call: Callable[..., Tensor]) -> bool:
    """Whether a call keeps nothing of its operands for the backward pass."""
    return isinstance(call, Slim | Concat | ScaledSum) or call in _SUMS
