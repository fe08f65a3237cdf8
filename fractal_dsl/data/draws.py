"""Random draws for data as functions of counters: the order of an epoch, and numbers for single examples."""

from __future__ import annotations

from random import Random

import torch
from torch import Tensor

from fractal_dsl.base.errors import UserError


def seed_for(purpose: str, *counters: int) -> int:
    """A 63-bit seed from counters. Neighbouring counters give independent seeds, by SHA-512 of a text."""
    return Random(" ".join([purpose, *map(str, counters)])).getrandbits(63)


def batch_order(examples: int, batch: int, seed: int, epoch: int, rank: int = 0, world: int = 1) -> tuple[Tensor, ...]:
    """The rows of each mini-batch of an epoch, a function of seed and epoch alone.

    All mini-batches have ``batch`` examples. The remaining ones, which differ by epoch, are left out. Process ``rank``
    of ``world`` gets an even share of each mini-batch. Raises UserError if the shares would not be even.
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
    """The rows of mini-batches for one pass over a part, in order. The last one may be smaller."""
    return tuple([torch.arange(start, min(start + batch, examples)) for start in range(0, examples, batch)])


def integers(below: int, seed: int, rows: Tensor) -> Tensor:
    """Random integers from 0 to ``below`` - 1, one for each of ``rows`` (int64), each a function of seed and row.

    They come from SplitMix64 (Steele et al. 2014, "Fast splittable pseudorandom number generators"), whose state is a
    counter: they are the same on every device and in any batches. ``below`` must be at most about 2**20.
    """
    x = rows * _signed(0x9E3779B97F4A7C15) + _signed(seed)
    x = (x ^ _shifted(x, 30)) * _signed(0xBF58476D1CE4E5B9)
    x = (x ^ _shifted(x, 27)) * _signed(0x94D049BB133111EB)
    return _shifted(x ^ _shifted(x, 31), 32) * below >> 32


def _shifted(x: Tensor, bits: int) -> Tensor:
    """A logical right shift. Torch's is arithmetic."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)


def _signed(number: int) -> int:
    """An unsigned 64-bit number as torch's int64."""
    return (number + 2**63) % 2**64 - 2**63
