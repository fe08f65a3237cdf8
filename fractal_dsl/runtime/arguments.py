"""The arguments of a net's ``forward``: one tensor, or several in order, and then perhaps a plan."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, cast

from torch import Tensor

from fractal_dsl.plans.plan import Plan

Inputs = Tensor | tuple[Tensor, ...]
"""The input of a net, or its inputs in order if it has several."""


def in_order(x: Inputs) -> tuple[Tensor, ...]:
    """The inputs of a net as a tuple, also if there is one."""
    return x if isinstance(x, tuple) else (x,)


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
