"""A data set as training sees it: three normalised parts, of which the training images are augmented."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass, replace

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
from fractal_dsl.runtime.arguments import each, parts_of, tensors_in
from fractal_dsl.tasks import Task
from fractal_dsl.tasks.regression import Regression
from fractal_dsl.tasks.segmentation import Segmentation
from fractal_dsl.tasks.several import Several, heads_of

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
        return figures_for(self.record.tasks, self.record.inputs.shape)

    def describe(self) -> str:
        """One line: the name, the number of images or other examples for each use, their shape and classes."""
        record, examples = self.record, self.figures.examples
        counts = ", ".join(f"{count:,} {use}" for use, count in record.examples.items())
        inputs = [f"`{name}` {one.inputs.dtype} {one.inputs.shape}" for name, one in record.by_input.items()]
        inputs = inputs or [f"{record.inputs.dtype} {record.inputs.shape}"]
        targets = [f"output `{name}`: {targets_text(record.of_output(name))}" for name in record.by_output]
        targets = targets or [targets_text(record)]
        text = f"{self.name}: {counts} {examples} of {' and '.join(inputs)}; {'; '.join(targets)}"
        if record.table:
            text += f"; inputs: {shortened(record.table.inputs(), 12)}"
        if record.new:
            new = ", ".join(f"{value} ({counted(count, 'row')})" for value, count in [*record.new.items()][:5])
            text += f"; values that no training row has: {new}" + (", …" if len(record.new) > 5 else "")
        skipped = skipped_text(record.passed_over)
        return f"{text}; skipped: {skipped}" if skipped else text

    def normalised_as(self, record: DataRecord) -> ImageSet:
        """The same data, normalised by the moments of a record."""

        def like(own: Tensor, moments: Sequence[list[float]]) -> Tensor:
            given = iter(moments)
            return each(lambda m: torch.tensor(next(given), device=m.device).reshape(m.shape), own)

        several = record.by_input.values()
        mean = like(self.mean, [one.mean for one in several] or [record.mean])
        return replace(self, mean=mean, std=like(self.std, [one.std for one in several] or [record.std]))

    def raw(self) -> ImageSet:
        """The same data without normalisation, for nets that normalise their inputs themselves, and give outputs in the
        targets' own unit."""
        mean, std = each(torch.zeros_like, self.mean), each(torch.ones_like, self.std)
        return replace(self, mean=mean, std=std, task=_restored(self.task))

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
        return ahead(batches, tensors_in(self.mean)[0].device) if part.ahead else batches

    def _batches(self, part: Part, order: Iterable[Tensor], epoch: int | None) -> Generator[Batch]:
        order = list(order)
        many = max(1, _TOGETHER // max(1, self._numbers(part, order))) if isinstance(part, MemoryPart) else 1
        groups = [order[i : i + many] for i in range(0, len(order), many)]
        joined = [torch.cat(group) for group in groups]
        for group, rows, read in zip(groups, joined, part.stream(joined, self.seed, epoch), strict=True):
            sizes = [len(rows) for rows in group]
            parts = [parts_of(z, sizes) for z in self._prepared(read, rows, epoch)]
            for inputs, targets in zip(*parts, strict=True):
                # a copy is aligned like a single mini-batch: the bits of matrix products can depend on alignment
                yield each(torch.clone, inputs) if len(group) > 1 else inputs, targets

    def _numbers(self, part: MemoryPart, order: Sequence[Tensor]) -> int:
        """The number of input values in a mini-batch."""
        return len(order[0]) * sum(x[0].numel() for x in tensors_in(part.inputs)) if order else 0

    def _prepared(self, read: Batch, rows: Tensor, epoch: int | None) -> Batch:
        x, y = read
        if isinstance(x, tuple):  # they are not augmented
            moments = zip(tensors_in(self.mean), tensors_in(self.std), strict=True)
            return each(lambda one: _normalised(one, *next(moments)), x), y
        if x.dtype == torch.int64:
            return x, y
        x = _normalised(x, self.mean, self.std)
        if epoch is None:
            return x, y
        tasks = iter([head.task for head in heads_of(self.task)])

        def moved(y: Tensor) -> Tensor:
            task = next(tasks)
            masks = isinstance(task, Segmentation)
            return augmented_masks(y, task.ignored, self.augment, rows, self.seed, epoch) if masks else y

        return augmented(x, self.augment, rows, self.seed, epoch), each(moved, y)


def _normalised(x: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """Inputs, which are a copy, of mean 0 and deviation 1. Tokens stay as they are."""
    return x if x.dtype == torch.int64 else x.float().sub_(mean).div_(std)


def _restored(task: Task) -> Task:
    """The task for a net whose outputs are in the unit of the targets."""
    if isinstance(task, Several):
        return replace(task, heads=tuple([replace(head, task=_restored(head.task)) for head in task.heads]))
    return replace(task, restored=True) if isinstance(task, Regression) else task


def targets_text(record: DataRecord) -> str:
    """The classes, labels or numbers of a task."""
    one, many = ("label", "labels") if record.task == "multilabel" else ("class", "classes")
    names = f"{counted(len(record.classes), one, many)}: {shortened(record.classes)}"
    if record.targets is None:
        return names
    if record.task in ("multilabel", "segmentation"):
        return f"{record.task}, {names}"
    return f"{record.task}, targets {record.targets.text()}"
