"""A data set as training sees it: three parts, normalised, and augmented where it trains."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

from fractal_dsl.config import Augmentation
from fractal_dsl.data.augment import augmented
from fractal_dsl.data.parts import Batch, MemoryPart, Part

_TOGETHER = 2**18
"""The most numbers in inputs that are prepared at once."""


@dataclass(frozen=True)
class ImageSet:
    """Examples in three parts that share none. ``mean`` and ``std`` are the training examples', by channel.
    ``seed`` is the run's."""

    name: str
    train: Part
    validation: Part
    test: Part
    mean: Tensor
    std: Tensor
    augment: Augmentation
    seed: int

    def describe(self) -> str:
        """The name and how many images, or other examples, there are for what."""
        parts = {"training": self.train, "validation": self.validation, "test": self.test}
        what = "images" if self.mean.ndim == 3 else "examples"
        return f"{self.name}: {', '.join(f'{len(part):,} {use}' for use, part in parts.items())} {what}"

    def batch(self, part: Part, rows: Tensor | slice, epoch: int | None = None) -> Batch:
        """Inputs as float32 [batch, …] of mean 0 and deviation 1 (tokens as int64), and their labels [batch].

        With an ``epoch`` they are augmented, each example by (seed, epoch, its row): which rows it is together with,
        and what was read before, makes no difference.
        """
        if isinstance(rows, slice):
            rows = torch.arange(*rows.indices(len(part)))
        x, y = part.read(rows, self.seed, epoch)
        return self._prepared(x, rows, epoch), y

    def batches(self, part: Part, order: Iterable[Tensor], epoch: int | None = None) -> Iterator[Batch]:
        """``batch`` for the rows of one mini-batch after the other; what lies in files is read ahead, and small
        mini-batches from memory are prepared several at once."""
        order = list(order)
        many = max(1, _TOGETHER // max(1, self._numbers(part, order))) if isinstance(part, MemoryPart) else 1
        groups = [order[i : i + many] for i in range(0, len(order), many)]
        joined = [torch.cat(group) for group in groups]
        for group, rows, (x, y) in zip(groups, joined, part.stream(joined, self.seed, epoch), strict=True):
            sizes = [len(rows) for rows in group]
            x = self._prepared(x, rows, epoch)
            parts = (cast(tuple[Tensor, ...], z.split(sizes)) for z in (x, y))
            for inputs, labels in zip(*parts, strict=True):
                # a copy lies as a mini-batch by itself would: the bits of matrix products can depend on where they lie
                yield inputs.clone() if len(group) > 1 else inputs, labels

    def _numbers(self, part: MemoryPart, order: Sequence[Tensor]) -> int:
        """In the inputs of a mini-batch."""
        return len(order[0]) * part.inputs[0].numel() if order else 0

    def _prepared(self, x: Tensor, rows: Tensor, epoch: int | None) -> Tensor:
        if x.dtype == torch.int64:
            return x
        x = x.float().sub_(self.mean).div_(self.std)  # what was read is a copy
        return x if epoch is None else augmented(x, self.augment, rows, self.seed, epoch)
