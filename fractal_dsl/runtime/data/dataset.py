"""A data set as training sees it: three parts, normalised, and augmented where it trains."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from fractal_dsl.config import Augmentation
from fractal_dsl.runtime.data.augment import augmented
from fractal_dsl.runtime.data.parts import Batch, Part


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
        """``batch`` for the rows of one mini-batch after the other; what lies in files is read ahead."""
        order = list(order)
        for rows, (x, y) in zip(order, part.stream(order, self.seed, epoch), strict=True):
            yield self._prepared(x, rows, epoch), y

    def _prepared(self, x: Tensor, rows: Tensor, epoch: int | None) -> Tensor:
        if x.dtype == torch.int64:
            return x
        x = (x.float() - self.mean) / self.std
        return x if epoch is None else augmented(x, self.augment, rows, self.seed, epoch)
