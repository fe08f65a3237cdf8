"""What is drawn for data: the order of an epoch, and numbers for single examples, as functions of counters."""

from __future__ import annotations

from random import Random

import torch
from torch import Tensor

from fractal_dsl.base.errors import UserError


def seed_for(what: str, *counters: int) -> int:
    """A seed of 63 bits from counters; neighbours are independent, because a text goes through SHA-512."""
    return Random(" ".join([what, *map(str, counters)])).getrandbits(63)


def batch_order(examples: int, batch: int, seed: int, epoch: int, rank: int = 0, world: int = 1) -> tuple[Tensor, ...]:
    """The rows of each mini-batch of an epoch: a function of seed and epoch alone.

    All mini-batches have ``batch`` examples; those left over, others in each epoch, sit it out. Of ``world`` processes
    the one of this ``rank`` gets its even share of each. Raises UserError if the shares would not be even.
    """
    generator = torch.Generator().manual_seed(seed_for("batch order", seed, epoch))
    batch = min(batch, examples - examples % world)
    if batch % world or not batch:
        raise UserError(f"{world} processes cannot share mini-batches of {batch} evenly: make `batch` a multiple")
    order = torch.randperm(examples, generator=generator)
    share = batch // world
    starts = range(0, examples - batch + 1, batch)
    return tuple(order[start + rank * share : start + (rank + 1) * share] for start in starts)


def in_order(examples: int, batch: int) -> tuple[Tensor, ...]:
    """The rows of mini-batches that go once through a part, for evaluation; the last may be smaller."""
    return tuple([torch.arange(start, min(start + batch, examples)) for start in range(0, examples, batch)])


def integers(below: int, seed: int, rows: Tensor) -> Tensor:
    """Whole numbers from 0 to ``below`` - 1, one for each of ``rows`` (int64), each a function of the seed and its row.

    SplitMix64 (Steele et al. 2014, "Fast splittable pseudorandom number generators"), whose state is a counter: the
    same numbers on every device, however rows are put into batches. ``below`` is at most 2**20 or so.
    """
    x = rows * _signed(0x9E3779B97F4A7C15) + _signed(seed)
    x = (x ^ _shifted(x, 30)) * _signed(0xBF58476D1CE4E5B9)
    x = (x ^ _shifted(x, 27)) * _signed(0x94D049BB133111EB)
    return _shifted(x ^ _shifted(x, 31), 32) * below >> 32


def _shifted(x: Tensor, bits: int) -> Tensor:
    """A logical shift to the right; torch's is arithmetic."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)


def _signed(number: int) -> int:
    """64 bits as torch's int64 has them."""
    return (number + 2**63) % 2**64 - 2**63
