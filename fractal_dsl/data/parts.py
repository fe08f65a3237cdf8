"""Examples in memory, and examples that worker processes read while a net trains."""

from __future__ import annotations

import os
import signal
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Protocol, cast

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from fractal_dsl.base.errors import UserError
from fractal_dsl.runtime.arguments import each, merged, size_of, tensors_in

Batch = tuple[Tensor, Tensor]
"""Inputs [batch, …] and targets [batch, …], int64 or float32. For a net with several inputs, or outputs with targets of
their own, each is a tuple of tensors."""


class Part(Protocol):
    """Examples for one use: training, validation or testing."""

    @property
    def ahead(self) -> bool:
        """Whether other processes read the examples, so that a thread can take them while a step runs."""
        ...

    def __len__(self) -> int: ...

    def read(self, rows: Tensor, seed: int, epoch: int | None) -> Batch:
        """The examples of these rows on the device, as stored."""
        ...

    def stream(self, order: Iterable[Tensor], seed: int, epoch: int | None) -> Iterator[Batch]:
        """``read`` for the rows of one mini-batch after the other."""
        ...


@dataclass(frozen=True)
class MemoryPart:
    """``inputs`` uint8, float32 or int64 [n, …] and ``targets`` int64 or float32 [n, …], on the device, or tuples of
    them for a net with several."""

    inputs: Tensor
    targets: Tensor
    ahead: bool = False

    def __len__(self) -> int:
        return size_of(self.targets)

    def read(self, rows: Tensor, seed: int, epoch: int | None) -> Batch:
        """Inputs in their stored type, and targets."""
        rows = rows.to(tensors_in(self.targets)[0].device)
        return each(lambda x: x[rows], self.inputs), each(lambda y: y[rows], self.targets)

    def stream(self, order: Iterable[Tensor], seed: int, epoch: int | None) -> Iterator[Batch]:
        """``read`` for the rows of one mini-batch after the other."""
        return (self.read(rows, seed, epoch) for rows in order)


class ExampleReader(Protocol):
    """Reads single examples. It must pickle, because other processes use it too."""

    def __len__(self) -> int: ...

    def read(self, index: int, seed: int, epoch: int | None) -> Batch:
        """An input and its target, without the batch's axis.

        Randomness is a function of (seed, epoch, index); ``epoch`` is None outside training. Raises UserError if the
        example cannot be read.
        """
        ...


@dataclass(frozen=True)
class StreamedPart:
    """Row r is example ``indices[r]``. ``workers`` processes read ahead; by default one for each core, up to 8."""

    reader: ExampleReader
    indices: Sequence[int]
    device: torch.device
    workers: int | None = None

    @property
    def ahead(self) -> bool:
        """Whether there are workers. Without them a user's code reads examples, and may draw random numbers."""
        return self.workers != 0

    def __len__(self) -> int:
        return len(self.indices)

    def read(self, rows: Tensor, seed: int, epoch: int | None) -> Batch:
        """Read the examples in this process. Raises UserError if one cannot be read."""
        fetch = _Fetch(self.reader, seed, epoch)
        return self._placed(_collated([fetch[self.indices[r]] for r in _whole_numbers(rows)]))

    def stream(self, order: Iterable[Tensor], seed: int, epoch: int | None) -> Iterator[Batch]:
        """``read`` for the rows of one mini-batch after the other, ahead of time in the workers."""
        batches = [[self.indices[r] for r in _whole_numbers(rows)] for rows in order]
        workers = min(8, os.cpu_count() or 1) if self.workers is None else self.workers
        loader: Iterable[Batch | str] = DataLoader(
            _Fetch(self.reader, seed, epoch),
            batch_sampler=batches,
            num_workers=min(workers, len(batches)),
            collate_fn=_collated,
            worker_init_fn=_ignore_ctrl_c,
            pin_memory=self.device.type == "cuda",
            generator=torch.Generator().manual_seed(0),  # otherwise it draws from torch's global generator
        )
        with workers_explained():
            yield from map(self._placed, loader)

    def _placed(self, batch: Batch | str) -> Batch:
        if isinstance(batch, str):
            raise UserError(batch)
        x, y = batch
        there = partial(Tensor.to, device=self.device, non_blocking=True)
        return each(there, x), each(there, y)


@contextmanager
def workers_explained() -> Generator[None]:
    """Raise UserError if a process that reads data ends. Torch reports it in the main thread, whatever runs there."""
    try:
        yield
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise UserError(
            "a process that reads data ended, perhaps because memory ran out: lower `dataset.workers` "
            "(0 reads without extra processes)"
        ) from None


class _Fetch(Dataset[Batch | str]):
    """Examples by index. A UserError becomes its text, because a worker's exception would carry a traceback."""

    def __init__(self, reader: ExampleReader, seed: int, epoch: int | None) -> None:
        self.reader, self.seed, self.epoch = reader, seed, epoch

    def __getitem__(self, index: int) -> Batch | str:
        try:
            return self.reader.read(index, self.seed, self.epoch)
        except UserError as error:
            return str(error)


def _whole_numbers(rows: Tensor) -> list[int]:
    return cast(list[int], rows.tolist())


def _collated(examples: Sequence[Batch | str]) -> Batch | str:
    inputs: list[Tensor] = []
    targets: list[Tensor] = []
    for example in examples:
        if isinstance(example, str):
            return example
        inputs.append(example[0])
        targets.append(example[1])
    return merged(inputs, torch.stack), merged(targets, torch.stack)


def _ignore_ctrl_c(worker: int) -> None:
    """Ctrl-C reaches every process of a terminal, but only the main one handles it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
