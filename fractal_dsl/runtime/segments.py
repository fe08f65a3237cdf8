"""Segments: chains of layers between joins, each compiled as one function.

Segments of equal structure share their code, and so their compiled form. Columns and the whole net recur, so their
segments extend across joins with one live operand. Under other plans a segment ends at every join and branch of the
graph, so there are never more segments than layers, however many plans are drawn.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from types import FunctionType
from typing import cast

from torch import Tensor, nn

from fractal_dsl.graph.graph import Join, JoinGraph, Layer
from fractal_dsl.runtime.instructions import Instruction, unchanged
from fractal_dsl.runtime.slim import hooked

Compile = Callable[..., Callable[..., Tensor]]
"""``torch.compile`` with its options."""
RoutedLayer = tuple[nn.Module, int | None]
"""A layer, and its route if it has one."""
RegionOf = Callable[[Instruction], object]
"""The region of an instruction. A segment stays within one region."""


class Segments:
    """Compiles the segments of one net, one for each structure."""

    def __init__(self, graph: JoinGraph, compile: Compile) -> None:
        self.graph, self.compile = graph, compile
        self.known: dict[object, Callable[..., Tensor]] = {}

    def fused(self, instructions: Sequence[Instruction], region: RegionOf, across: bool) -> list[Instruction]:
        """Merge each chain of layers into one instruction. ``across`` lets chains pass joins with one operand."""
        result: list[Instruction] = []
        chain: list[Instruction] = []
        for instruction in [*instructions, None]:
            if chain and (instruction is None or not self._follows(chain[-1], instruction, region, across)):
                result += [self._segment(chain)] if any(map(self._is_layer, chain)) else chain
                chain = []
            if instruction is not None:
                chain.append(instruction)
        return result

    def _follows(self, first: Instruction, second: Instruction, region: RegionOf, across: bool) -> bool:
        if second.operands != (first.result,) or first.result not in second.free or region(first) != region(second):
            return False
        if not across and (self._is_join(first) or self._is_join(second) or self._branches(first)):
            return False
        return all(instruction.call is unchanged or self._is_layer(instruction) for instruction in (first, second))

    def _is_layer(self, instruction: Instruction) -> bool:
        return instruction.call is not unchanged and isinstance(self.graph[instruction.result], Layer)

    def _is_join(self, instruction: Instruction) -> bool:
        return isinstance(self.graph[instruction.result], Join)

    def _branches(self, instruction: Instruction) -> bool:
        return len(self.graph.consumers(instruction.result)) > 1

    def _segment(self, chain: list[Instruction]) -> Instruction:
        calls = [instruction.call for instruction in chain if instruction.call is not unchanged]
        parts = tuple([_routed(call) for call in calls])
        structure = tuple([(repr(module), route) for module, route in parts])
        if structure not in self.known:
            name = f"segment_{len(self.known) + 1}"
            code = run_layers.__code__.replace(co_name=name, co_qualname=name)  # Dynamo caches by code object
            self.known[structure] = self.compile(FunctionType(code, run_layers.__globals__, name))
        free = tuple([f for instruction in chain for f in instruction.free if f not in {s.result for s in chain}])
        call = partial(_run_compiled, parts, self.known[structure])
        return Instruction(call, chain[0].operands, chain[-1].result, free, chain[-1].key)


def _routed(call: Callable[..., Tensor]) -> RoutedLayer:
    if isinstance(call, partial):
        return cast(nn.Module, call.func), call.keywords["route"]
    assert isinstance(call, nn.Module)
    return call, None


def _run_compiled(layers: Sequence[RoutedLayer], compiled: Callable[..., Tensor], x: Tensor) -> Tensor:
    """The output of a segment. Layers with hooks run uncompiled, because Dynamo ignores hooks that come later."""
    if any(hooked(module) for module, _ in layers):
        return run_layers(layers, x)
    return compiled(layers, x)


def run_layers(layers: Sequence[RoutedLayer], x: Tensor) -> Tensor:
    """Run layers one after another, each with its route if it has one."""
    for module, route in layers:
        x = module(x) if route is None else module(x, route=route)
    return x
