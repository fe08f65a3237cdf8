"""The functions that compute the nodes of a graph under a plan."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from fractal_dsl.graph.graph import Join, JoinGraph, Layer, Output
from fractal_dsl.plans.plan import FULL
from fractal_dsl.program.drops import chances_of
from fractal_dsl.runtime.batchnorm import Routed
from fractal_dsl.runtime.instructions import unchanged
from fractal_dsl.runtime.joins import REDUCTIONS, join_broadcast, join_concat, join_sum
from fractal_dsl.runtime.layers import Gated
from fractal_dsl.runtime.slim import PooledRelu, Slim

LiveOperands = tuple[bool, ...] | None
"""Which operands of a join are live; None for a node that the plan does not affect."""

SCALED = -1
"""The variant of a join's call that scales its result."""


def call_of(
    graph: JoinGraph, modules: Mapping[str, nn.Module], number: int, live: LiveOperands, route: int
) -> tuple[Callable[..., Tensor], int]:
    """The call that computes a node from its live operands, and its variant.

    The variant tells it from other calls of the node on the same operands: the route, ``SCALED``, or 0 if all routes
    share one call.
    """
    node = graph[number]
    match node:
        case Layer() if not node.idle:
            module = modules[node.module]
            if route and isinstance(module, Routed) and module.has_route(route):
                return partial(module, route=route), route
            return module, 0
        case Join() if node.spec.name == "concat":
            factors = _factors(node, live, route)
            return Concat(graph, number, node, live, factors), SCALED * bool(factors)
        case Join() if node.spec.name in ("sum", "mean") and (factors := _factors(node, live, route)):
            return ScaledSum(factors), SCALED
        case Join() if node.spec.torch is not None:
            return _live_part(modules[node.module], live), 0
        case Join() if graph.broadcasts(number):
            return Broadcast(node.spec.name, node.out.shape), 0
        case Join():
            alone = live is not None and sum(live) == 1
            return unchanged if alone else REDUCTIONS[node.spec.name], 0
        case Output() if len(node.outs) > 1:
            return together, 0
        case _:
            assert isinstance(node, Layer | Output)
            return unchanged, 0


def together(*outputs: Tensor) -> Any:
    """The outputs of a net that has several."""
    return outputs


def _factors(join: Join, live: LiveOperands, route: int) -> tuple[float, ...]:
    """The factors of the live operands of ``sum``, ``mean`` and ``concat``; empty if nothing is multiplied.

    ``sum`` and ``concat`` of a rule's columns multiply their k live operands of n by n / k. All local plans with k live
    operands are equally likely, so a given operand is live in k / n of them. With the factor, each operand counts 1 in
    expectation, whatever the probability, and a full plan needs no factor. A column runs unscaled, as the net that
    ``extract`` makes of it. Whole numbers, which may be indices, stay as they are.

    An inline join divides each operand by the probability that it is live, for the same reason (Huang et al. 2016
    multiply in evaluation instead). ``mean`` divides by the number of all its operands, as in evaluation.
    """
    if live is None:
        return ()
    if join.drops:
        n = len(live) if join.spec.name == "mean" else 1
        factors = tuple([1 / chance / n for chance, on in zip(chances_of(join.drops), live, strict=True) if on])
    elif route != FULL or join.out.dtype != "f32" or join.spec.name == "mean":
        return ()
    else:
        factors = (len(live) / sum(live),) * sum(live)
    return factors if any(factor != 1 for factor in factors) else ()


def _live_part(join: nn.Module, live: LiveOperands) -> Callable[..., Tensor]:
    """A join with weights, over its live operands. A single operand passes through unchanged."""
    if live is None or all(live):
        return join
    if sum(live) == 1:
        return unchanged
    return partial(join, live=[i for i, on in enumerate(live) if on]) if isinstance(join, Gated) else join


@dataclass(frozen=True, slots=True)
class ScaledSum:
    """The sum of live operands, each times its factor."""

    factors: tuple[float, ...]

    def __call__(self, *operands: Tensor) -> Tensor:
        first, *others = self.factors
        if len(operands) == 1:
            return operands[0] * first
        if all(factor == first for factor in others):
            return join_sum(*operands).mul_(first)
        total = operands[0] if first == 1 else operands[0] * first
        total = torch.add(total, operands[1], alpha=others[0])
        for operand, factor in zip(operands[2:], others[1:], strict=True):
            total.add_(operand, alpha=factor)  # no backward pass saves the running total, so it may be overwritten
        return total


@dataclass(frozen=True, slots=True)
class Broadcast:
    """A join ``name`` of operands whose axes of size 1 are repeated to ``shape``. No plan affects it: a join that may
    lack operands has the shape of each."""

    name: str
    shape: tuple[int, ...]

    def __call__(self, *operands: Tensor) -> Tensor:
        return join_broadcast(self.name, self.shape, *operands)


class Concat:
    """A concatenation in which dropped operands are zeros, and live ones are multiplied by ``factors``, if there are
    any."""

    def __init__(
        self, graph: JoinGraph, number: int, node: Join, live: LiveOperands, factors: tuple[float, ...]
    ) -> None:
        dim = node.args["dim"]
        assert isinstance(dim, int)
        self.rank = len(node.out.shape) + 1
        self.dim = dim if dim > 0 else dim + self.rank
        self.sizes = [graph[o].out.shape[self.dim - 1] for o in graph.operands(number)]
        self.live = live or (True,) * len(self.sizes)
        self.factors = factors

    def __call__(self, *operands: Tensor) -> Tensor:
        alike = len({*self.factors}) < 2
        if not alike:
            operands = tuple(
                [x if factor == 1 else x * factor for x, factor in zip(operands, self.factors, strict=True)]
            )
        given = iter(operands)
        like = operands[0]
        parts = [
            next(given) if on else like.new_zeros([size if i == self.dim else like.shape[i] for i in range(self.rank)])
            for on, size in zip(self.live, self.sizes, strict=True)
        ]
        joined = join_concat(parts, self.dim)
        return joined.mul_(self.factors[0]) if alike and self.factors else joined


_SUMS = {REDUCTIONS["sum"], REDUCTIONS["mean"]}


def keeps_nothing(call: Callable[..., Tensor]) -> bool:
    """Whether a call keeps nothing of its operands for the backward pass."""
    if isinstance(call, Broadcast):
        return REDUCTIONS[call.name] in _SUMS
    return isinstance(call, Slim | PooledRelu | Concat | ScaledSum) or call in _SUMS
