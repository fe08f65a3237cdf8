"""The instructions of a schedule: single calls, and regions that the backward pass recomputes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from functools import cached_property, partial
from typing import Any, cast

from msgspec import Struct
from torch import Tensor, nn
from torch.utils import checkpoint

from fractal_dsl.runtime.bound import Links
from fractal_dsl.runtime.norm_counts import Norm, count
from fractal_dsl.runtime.own_layout import OwnLayout
from fractal_dsl.runtime.slim import PooledRelu, Slim

NodeValues = dict[int, Tensor]


class Instruction(Struct, frozen=True):
    """One call: ``values[result] = call(*operands)``. Afterwards the values in ``free`` are no longer needed.

    In eval mode and for equal inputs, instructions that were keyed together and have equal keys give equal values.
    """

    call: Callable[..., Tensor]
    operands: tuple[int, ...]
    result: int
    free: tuple[int, ...]
    key: int

    def calling(self, call: Callable[..., Tensor]) -> Instruction:
        """The same with another call."""
        return self if call is self.call else Instruction(call, self.operands, self.result, self.free, self.key)

    def run(self, values: NodeValues) -> None:
        """Add the result to the values."""
        values[self.result] = self.call(*[values[o] for o in self.operands])
        for number in self.free:
            del values[number]


class RecomputedRegion(Struct, frozen=True):
    """Instructions that the backward pass runs again: only their inputs are kept for it."""

    instructions: tuple[Instruction, ...]
    operands: tuple[int, ...]
    results: tuple[int, ...]
    free: tuple[int, ...]

    def run(self, values: NodeValues) -> None:
        """Add the results to the values."""
        given = [values[o] for o in self.operands]
        results = cast(Any, checkpoint).checkpoint(self._again, *given, use_reentrant=False, context_fn=self._contexts)
        for number in self.free:
            del values[number]
        values.update(zip(self.results, results, strict=True))

    def _contexts(self) -> tuple[Any, Any]:
        return nullcontext(), _Frozen(self.instructions)

    def _again(self, *operands: Tensor) -> tuple[Tensor, ...]:
        inner = dict(zip(self.operands, operands, strict=True))
        for instruction in self.instructions:
            inner[instruction.result] = instruction.call(*[inner[o] for o in instruction.operands])
        return tuple([inner[r] for r in self.results])


class _Frozen:
    """Replaces buffers by copies inside the block, because running statistics include the mini-batch already.

    The backward pass may enter it more than once.
    """

    def __init__(self, instructions: Sequence[Instruction]) -> None:
        self.instructions = instructions

    def __enter__(self) -> None:
        modules = {id(module): module for instruction in self.instructions for module in modules_of(instruction.call)}
        self.ours = [(m, name, buffer) for m in modules.values() for name, buffer in m.named_buffers(recurse=False)]
        for module, name, buffer in self.ours:
            setattr(module, name, buffer.clone())

    def __exit__(self, *_: object) -> None:
        for module, name, buffer in self.ours:
            setattr(module, name, buffer)


class Schedule(list[Instruction | RecomputedRegion]):
    """The calls of a plan, in order, with the numbers of the inputs and of the output. ``links`` are the places of the
    modules that it calls, if the plan recurs."""

    links: Links | None = None

    def __init__(self, steps: Iterable[Instruction | RecomputedRegion], begin: Sequence[int], end: int) -> None:
        super().__init__(steps)
        self.begin, self.end = begin, end

    def answer(self, inputs: Sequence[Tensor]) -> Any:
        """The output for the inputs: [batch, …] each."""
        values = dict(zip(self.begin, inputs, strict=True))
        self.run(values)
        return values[self.end]

    def run(self, values: NodeValues, nodes: frozenset[int] | None = None) -> None:
        """Add the results to the values: all, or those of ``nodes``."""
        count([norm for number, norm in self._norms if nodes is None or number in nodes])
        for step in self:
            first = step.results[0] if isinstance(step, RecomputedRegion) else step.result
            if nodes is None or first in nodes:
                step.run(values)

    @cached_property
    def _norms(self) -> list[tuple[int, Norm]]:
        return [(i.result, i.call) for i in flat(self) if isinstance(i.call, Norm)]


def flat(instructions: Iterable[Instruction | RecomputedRegion]) -> Iterable[Instruction]:
    """The instructions, including those inside regions."""
    for instruction in instructions:
        yield from instruction.instructions if isinstance(instruction, RecomputedRegion) else (instruction,)


def modules_of(call: Callable[..., Tensor]) -> list[nn.Module]:
    """All modules of a call."""
    if isinstance(call, Slim | PooledRelu | OwnLayout | Norm):
        return [m for module in call.modules for m in module.modules()]
    if isinstance(call, partial):
        if call.args:
            return [m for module, _ in call.args[0] for m in module.modules()]
        call = call.func
    return list(call.modules()) if isinstance(call, nn.Module) else []


def unchanged(x: Tensor) -> Tensor:
    """The operand itself."""
    return x
