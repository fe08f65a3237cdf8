"""The arguments of a net's ``forward``: one tensor, or several in order, and then perhaps a plan.

A mini-batch of a net with several inputs or outputs holds tuples of tensors in place of tensors. The functions below
treat both alike.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import Any, TypeVar, cast

import torch
from torch import Tensor

from fractal_dsl.plans.plan import Plan

Inputs = Tensor | tuple[Tensor, ...]
"""The input of a net, or its inputs in order if it has several."""


def tensors_in(x: Inputs) -> tuple[Tensor, ...]:
    """The inputs of a net as a tuple, also if there is one."""
    return x if isinstance(x, tuple) else (x,)


T = TypeVar("T", bound=Inputs)


def each(change: Callable[[Tensor], Tensor], x: T) -> T:
    """The result of a function of a tensor, or a tuple of the results for several tensors."""
    return cast(T, tuple([change(one) for one in x]) if isinstance(x, tuple) else change(x))


def one_or_several(tensors: Sequence[Tensor]) -> Tensor:
    """The tensor, if there is one, and else a tuple, which takes the place of a tensor."""
    return tensors[0] if len(tensors) == 1 else cast(Tensor, tuple(tensors))


def size_of(x: Inputs) -> int:
    """The number of examples in a mini-batch."""
    return len(tensors_in(x)[0])


def parts_of(x: T, sizes: Sequence[int]) -> list[T]:
    """A mini-batch in parts of these sizes."""
    columns = [cast(tuple[Tensor, ...], one.split([*sizes])) for one in tensors_in(x)]
    return cast(list[T], [*zip(*columns, strict=True)] if isinstance(x, tuple) else [*columns[0]])


def merged(parts: Iterable[T], merge: Callable[[list[Tensor]], Tensor] = torch.cat) -> T:
    """Several mini-batches as one, or several examples with ``torch.stack``."""
    parts = list(parts)
    if isinstance(parts[0], tuple):
        return cast(T, tuple([merge([*column]) for column in zip(*cast(Any, parts), strict=True)]))
    return cast(T, merge(cast(list[Tensor], parts)))


@cache
def forward_of(count: int) -> Callable[..., Any]:
    """``forward`` for a net with several inputs, as torch.fx sees it: each is an argument, and a plan is not."""

    def forward(self: Any, *inputs: Any) -> Any:
        *tensors, last = inputs
        plan = last if isinstance(last, Plan) else None
        return self._answer(inputs if plan is None else tuple(tensors), plan)

    names = ", ".join(f"x{i}" for i in range(1, count + 1))
    cast(Any, forward).__wrapped__ = eval(f"lambda self, {names}: self({names})")
    return forward
