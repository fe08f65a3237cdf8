"""Joins as functions of their live operands. They accumulate in place and never stack the operands."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor


def join_sum(*operands: Tensor) -> Tensor:
    """The sum of one or more tensors of one shape."""
    if len(operands) == 1:
        return operands[0]
    total = operands[0] + operands[1]
    for operand in operands[2:]:
        total += operand  # no backward pass saves the running total, so it may be overwritten
    return total


def join_mean(*operands: Tensor) -> Tensor:
    """The mean of one or more tensors of one shape (paper, section 3)."""
    if len(operands) == 1:
        return operands[0]
    return join_sum(*operands).div_(len(operands))


def join_product(*operands: Tensor) -> Tensor:
    """The element-wise product of one or more tensors of one shape."""
    result = operands[0]
    for operand in operands[1:]:
        result = result * operand
    return result


def join_max(*operands: Tensor) -> Tensor:
    """The element-wise maximum of one or more tensors of one shape."""
    highest = operands[0]
    for operand in operands[1:]:
        highest = torch.maximum(highest, operand)
    return highest


def join_min(*operands: Tensor) -> Tensor:
    """The element-wise minimum of one or more tensors of one shape."""
    lowest = operands[0]
    for operand in operands[1:]:
        lowest = torch.minimum(lowest, operand)
    return lowest


def join_concat(operands: Sequence[Tensor], dim: int) -> Tensor:
    """The concatenation of the operands along ``dim``: 0 is the batch."""
    return torch.cat(list(operands), dim)


REDUCTIONS: dict[str, Callable[..., Tensor]] = {
    "mean": join_mean,
    "sum": join_sum,
    "product": join_product,
    "max": join_max,
    "min": join_min,
}


def join_broadcast(name: str, shape: Sequence[int], *operands: Tensor) -> Tensor:
    """A reduction of tensors whose axes of size 1 are repeated to ``shape``, the result's without the batch."""
    return REDUCTIONS[name](*[operand.expand(-1, *shape) for operand in operands])
