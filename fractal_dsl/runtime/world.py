"""The processes that torchrun started for one run, and their communication, except that of gradients."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor

from fractal_dsl.base.errors import UserError

T = TypeVar("T")
_FAILED = "fractal_dsl/failed"


@dataclass(frozen=True)
class World:
    """Process ``rank`` of ``size``. Rank 0 leads: it alone writes, prints and downloads.

    All processes must call the methods in the same order.
    """

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this process writes and prints."""
        return self.rank == 0

    def any(self, *flags: bool) -> tuple[bool, ...]:
        """For each flag, whether any process sets it."""
        if self.size == 1:
            return flags
        any_set = torch.tensor(flags, dtype=torch.uint8)
        dist.all_reduce(any_set, dist.ReduceOp.MAX)
        return tuple([bool(flag) for flag in any_set.bool()])

    def sum(self, numbers: Tensor) -> Tensor:
        """The sum of a tensor over all processes, in place."""
        if self.size > 1:
            dist.all_reduce(numbers)
        return numbers

    def gather(self, x: Tensor) -> Tensor:
        """The tensors of all processes, which have one shape: [size, …]."""
        tensors = [torch.empty_like(x) for _ in range(self.size)]
        dist.all_gather(tensors, x)
        return torch.stack(tensors)

    def collect(self, value: T) -> list[T]:
        """The values of all processes, in their order. They may differ in size."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        dist.all_gather_object(values, value)
        return values

    def lead(self, do: Callable[[], T]) -> T:
        """Call ``do`` in the first process only. All processes get its result, or its UserError."""
        if self.size == 1:
            return do()
        outcome: list[Any] = [None, None]
        if self.leads:
            try:
                outcome[0] = do()
            except UserError as error:
                outcome[1] = str(error)
        dist.broadcast_object_list(outcome)
        if outcome[1] is not None:
            raise UserError(outcome[1])
        return cast(T, outcome[0])

    def lead_first(self, do: Callable[[], T]) -> T:
        """Call ``do`` in the first process, and then in all others."""
        if self.size == 1:
            return do()
        result = [do()] if self.leads else []
        dist.barrier()
        return result[0] if result else do()


ALONE = World()


@contextmanager
def joined(device: torch.device) -> Generator[World]:
    """Connect the processes that torchrun started: by NCCL on CUDA, by gloo elsewhere.

    Raises UserError if another process has ended. Only the first process reports an error that all have.
    """
    if device.type == "cuda":
        torch.cuda.set_device(device)
    kind = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    try:
        dist.init_process_group(kind, device_id=device if device.type == "cuda" else None)
    except (RuntimeError, ValueError) as error:
        raise UserError(f"the processes cannot reach each other: {_first_line(error)}") from None
    world = World(dist.get_rank(), dist.get_world_size())
    try:
        yield world
    except UserError as error:
        raise _shared(world, error) from None
    except RuntimeError as error:
        if not (isinstance(error, dist.DistError) or "gloo" in str(error).lower()):
            raise
        raise _shared(world, UserError("another process of this run has ended or cannot be reached")) from None
    finally:
        dist.destroy_process_group()


def _shared(world: World, error: UserError) -> BaseException:
    """The error for the first process. The others stay silent if that one reports an error, too."""
    store = cast(Any, dist.distributed_c10d)._get_default_store()
    if world.leads:
        store.set(_FAILED, "1")
        return error
    try:
        store.wait([_FAILED], timedelta(seconds=3))
    except RuntimeError:
        return UserError(f"process {world.rank}: {error}")
    return SystemExit(1)


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]
