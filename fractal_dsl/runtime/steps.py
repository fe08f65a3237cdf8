"""The calls that a schedule is made of: single steps, and regions whose activations the backward pass recomputes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

from torch import Tensor, nn
from torch.utils import checkpoint

from fractal_dsl.runtime.slim import Slim

Values = dict[int, Tensor]


@dataclass(frozen=True, slots=True)
class Step:
    """One call: ``values[result] = call(*operands)``; then the values in ``free`` are not needed any more.

    Steps that were keyed together and have equal keys give equal values for equal inputs in eval mode.
    """

    call: Callable[..., Tensor]
    operands: tuple[int, ...]
    result: int
    free: tuple[int, ...]
    key: int

    def run(self, values: Values) -> None:
        """Put the result among the values."""
        values[self.result] = self.call(*[values[o] for o in self.operands])
        for number in self.free:
            del values[number]


@dataclass(frozen=True, slots=True)
class Region:
    """Steps of which only the inputs are kept for the backward pass, which runs them again."""

    steps: tuple[Step, ...]
    operands: tuple[int, ...]
    results: tuple[int, ...]
    free: tuple[int, ...]

    def run(self, values: Values) -> None:
        """Put the results among the values."""
        given = [values[o] for o in self.operands]
        results = cast(Any, checkpoint).checkpoint(self._again, *given, use_reentrant=False, context_fn=self._contexts)
        for number in self.free:
            del values[number]
        values.update(zip(self.results, results, strict=True))

    def _contexts(self) -> tuple[Any, Any]:
        return nullcontext(), _Frozen(self.steps)

    def _again(self, *operands: Tensor) -> tuple[Tensor, ...]:
        inner = dict(zip(self.operands, operands, strict=True))
        for step in self.steps:
            inner[step.result] = step.call(*[inner[o] for o in step.operands])
        return tuple([inner[r] for r in self.results])


class _Frozen:
    """While it is entered, copies stand in for buffers: running statistics have counted the mini-batch already.

    The backward pass may enter it more than once.
    """

    def __init__(self, steps: Sequence[Step]) -> None:
        self.steps = steps

    def __enter__(self) -> None:
        modules = {id(module): module for step in self.steps for module in modules_of(step.call)}
        self.ours = [(m, name, buffer) for m in modules.values() for name, buffer in m.named_buffers(recurse=False)]
        for module, name, buffer in self.ours:
            setattr(module, name, buffer.clone())

    def __exit__(self, *_: object) -> None:
        for module, name, buffer in self.ours:
            setattr(module, name, buffer)


def flat(steps: Iterable[Step | Region]) -> Iterable[Step]:
    """The steps, with those of regions one by one."""
    for step in steps:
        yield from step.steps if isinstance(step, Region) else (step,)


def modules_of(call: Callable[..., Tensor]) -> list[nn.Module]:
    """All the modules of a call."""
    if isinstance(call, Slim):
        call = call.module
    if isinstance(call, partial):
        if call.args:
            return [m for module, _ in call.args[0] for m in module.modules()]
        call = call.func
    return list(call.modules()) if isinstance(call, nn.Module) else []


def same(x: Tensor) -> Tensor:
    """The operand itself."""
    return x
