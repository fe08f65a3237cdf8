"""A data set as training sees it: three normalised parts, of which the training images are augmented."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import cast

import torch
from torch import Tensor

from fractal_dsl.base.texts import counted, shortened
from fractal_dsl.config import Augmentation
from fractal_dsl.data.ahead import ahead
from fractal_dsl.data.augment import augmented, augmented_masks
from fractal_dsl.data.parts import Batch, MemoryPart, Part
from fractal_dsl.data.tree import skipped_text
from fractal_dsl.runs.data_record import DataRecord
from fractal_dsl.runs.tasks import Figures, figures_for
from fractal_dsl.tasks import Task
from fractal_dsl.tasks.regression import Regression
from fractal_dsl.tasks.segmentation import Segmentation

_TOGETHER = 2**18
"""The largest number of input values that are prepared at once."""


@dataclass(frozen=True)
class ImageSet:
    """Examples in three disjoint parts. ``mean`` and ``std`` are those of the training examples, by channel.

    ``seed`` is the run's seed. ``record`` is what a run stores about its data, and ``task`` judges outputs by targets.
    ``test_name`` names the test example of a row.
    """

    name: str
    train: Part
    validation: Part
    test: Part
    mean: Tensor
    std: Tensor
    augment: Augmentation
    seed: int
    record: DataRecord
    task: Task
    test_name: Callable[[int], str] = "test example {}".format

    @property
    def figures(self) -> Figures:
        """What is measured on the data, and what people call them."""
        return figures_for(self.task.name, self.record.inputs.shape)

    def describe(self) -> str:
        """One line: the name, the number of images or other examples for each use, their shape and classes."""
        record, examples = self.record, self.figures.examples
        counts = ", ".join(f"{count:,} {use}" for use, count in record.examples.items())
        text = f"{self.name}: {counts} {examples} of {record.inputs.dtype} {record.inputs.shape}; {self._targets()}"
        if record.table:
            text += f"; inputs: {shortened(record.table.inputs(), 12)}"
        if record.new:
            new = ", ".join(f"{value} ({counted(count, 'row')})" for value, count in [*record.new.items()][:5])
            text += f"; values that no training row has: {new}" + (", …" if len(record.new) > 5 else "")
        skipped = skipped_text(record.passed_over)
        return f"{text}; skipped: {skipped}" if skipped else text

    def _targets(self) -> str:
        """The classes, labels or numbers of the task."""
        record = self.record
        one, many = ("label", "labels") if record.task == "multilabel" else ("class", "classes")
        names = f"{counted(len(record.classes), one, many)}: {shortened(record.classes)}"
        if record.targets is None:
            return names
        if record.task in ("multilabel", "segmentation"):
            return f"{record.task}, {names}"
        return f"{record.task}, targets {record.targets.text()}"

    def normalised_as(self, record: DataRecord) -> ImageSet:
        """The same data, normalised by the moments of a record."""
        mean, std = (torch.tensor(m, device=self.mean.device) for m in (record.mean, record.std))
        return replace(self, mean=mean.reshape(self.mean.shape), std=std.reshape(self.std.shape))

    def raw(self) -> ImageSet:
        """The same data without normalisation, for nets that normalise their inputs themselves, and give outputs in the
        targets' own unit."""
        task = replace(self.task, restored=True) if isinstance(self.task, Regression) else self.task
        return replace(self, mean=torch.zeros_like(self.mean), std=torch.ones_like(self.std), task=task)

    def batch(self, part: Part, rows: Tensor | slice, epoch: int | None = None) -> Batch:
        """Inputs as float32 [batch, …] of mean 0 and deviation 1 (tokens as int64), and their targets
        [batch, …].

        With an ``epoch``, each example is augmented by (seed, epoch, its row), whatever the other rows and earlier
        reads.
        """
        if isinstance(rows, slice):
            rows = torch.arange(*rows.indices(len(part)))
        return self._prepared(part.read(rows, self.seed, epoch), rows, epoch)

    def batches(self, part: Part, order: Iterable[Tensor], epoch: int | None = None) -> Generator[Batch]:
        """Yield ``batch`` for each mini-batch of rows. What other processes read is prepared ahead, and small
        mini-batches from memory are prepared several at once."""
        batches = self._batches(part, order, epoch)
        return ahead(batches, self.mean.device) if part.ahead else batches

    def _batches(self, part: Part, order: Iterable[Tensor], epoch: int | None) -> Generator[Batch]:
        order = list(order)
        many = max(1, _TOGETHER // max(1, self._numbers(part, order))) if isinstance(part, MemoryPart) else 1
        groups = [order[i : i + many] for i in range(0, len(order), many)]
        joined = [torch.cat(group) for group in groups]
        for group, rows, read in zip(groups, joined, part.stream(joined, self.seed, epoch), strict=True):
            sizes = [len(rows) for rows in group]
            parts = (cast(tuple[Tensor, ...], z.split(sizes)) for z in self._prepared(read, rows, epoch))
            for inputs, targets in zip(*parts, strict=True):
                # a copy is aligned like a single mini-batch: the bits of matrix products can depend on alignment
                yield inputs.clone() if len(group) > 1 else inputs, targets

    def _numbers(self, part: MemoryPart, order: Sequence[Tensor]) -> int:
        """The number of input values in a mini-batch."""
        return len(order[0]) * part.inputs[0].numel() if order else 0

    def _prepared(self, read: Batch, rows: Tensor, epoch: int | None) -> Batch:
        x, y = read
        if x.dtype == torch.int64:
            return x, y
        x = x.float().sub_(self.mean).div_(self.std)  # the input is a copy
        if epoch is None:
            return x, y
        if isinstance(self.task, Segmentation):
            y = augmented_masks(y, self.task.ignored, self.augment, rows, self.seed, epoch)
        return augmented(x, self.augment, rows, self.seed, epoch), y
