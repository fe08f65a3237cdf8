"""Layers that follow each other between joins as one compiled function each.

Segments of one structure share their code, and so what is compiled of it. Columns and the whole net come again and
again, so their segments reach across joins of one live operand. Other plans cut segments where the graph has a join or
a branch: there are as few segments as layers, however many plans are drawn.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from types import FunctionType
from typing import cast

from torch import Tensor, nn

from fractal_dsl.graph.graph import Join, JoinGraph, Layer
from fractal_dsl.runtime.slim import hooked
from fractal_dsl.runtime.steps import Step, same

Compile = Callable[..., Callable[..., Tensor]]
"""``torch.compile`` with its options."""
Part = tuple[nn.Module, int | None]
"""A layer and its route, if it goes by one."""
RegionOf = Callable[[Step], object]
"""The region of a step, which segments do not leave."""


class Segments:
    """Compiles the segments of one net, each structure once."""

    def __init__(self, graph: JoinGraph, compile: Compile) -> None:
        self.graph, self.compile = graph, compile
        self.known: dict[object, Callable[..., Tensor]] = {}

    def fused(self, steps: Sequence[Step], region: RegionOf, across: bool) -> list[Step]:
        """The steps with each chain of layers as one step. ``across``: chains go on behind joins of one operand."""
        result: list[Step] = []
        chain: list[Step] = []
        for step in [*steps, None]:
            if chain and (step is None or not self._follows(chain[-1], step, region, across)):
                result += [self._segment(chain)] if any(map(self._is_layer, chain)) else chain
                chain = []
            if step is not None:
                chain.append(step)
        return result

    def _follows(self, first: Step, second: Step, region: RegionOf, across: bool) -> bool:
        if second.operands != (first.result,) or first.result not in second.free or region(first) != region(second):
            return False
        if not across and (self._is_join(first) or self._is_join(second) or self._branches(first)):
            return False
        return all(step.call is same or self._is_layer(step) for step in (first, second))

    def _is_layer(self, step: Step) -> bool:
        return step.call is not same and isinstance(self.graph[step.result], Layer)

    def _is_join(self, step: Step) -> bool:
        return isinstance(self.graph[step.result], Join)

    def _branches(self, step: Step) -> bool:
        return len(self.graph.consumers(step.result)) > 1

    def _segment(self, chain: list[Step]) -> Step:
        calls = [step.call for step in chain if step.call is not same]
        parts = tuple([_part(call) for call in calls])
        structure = tuple([(repr(module), route) for module, route in parts])
        if structure not in self.known:
            name = f"segment_{len(self.known) + 1}"
            code = run_layers.__code__.replace(co_name=name, co_qualname=name)  # Dynamo's cache goes by code
            self.known[structure] = self.compile(FunctionType(code, run_layers.__globals__, name))
        free = tuple([f for step in chain for f in step.free if f not in {s.result for s in chain}])
        call = partial(_run_compiled, parts, self.known[structure])
        return Step(call, chain[0].operands, chain[-1].result, free, chain[-1].key)


def _part(call: Callable[..., Tensor]) -> Part:
    if isinstance(call, partial):
        return cast(nn.Module, call.func), call.keywords["route"]
    assert isinstance(call, nn.Module)
    return call, None


def _run_compiled(layers: Sequence[Part], compiled: Callable[..., Tensor], x: Tensor) -> Tensor:
    """The segment's output. Dynamo overlooks hooks that come after it has compiled, so layers with hooks run as they
    are."""
    if any(hooked(module) for module, _ in layers):
        return run_layers(layers, x)
    return compiled(layers, x)


def run_layers(layers: Sequence[Part], x: Tensor) -> Tensor:
    """Layers one after another, each with its route, if it goes by one."""
    for module, route in layers:
        x = module(x) if route is None else module(x, route=route)
    return x
