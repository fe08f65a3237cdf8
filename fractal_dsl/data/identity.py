"""The record of a run's data, and the check that each class has enough examples."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from fractal_dsl.base.errors import UserError
from fractal_dsl.base.texts import counted
from fractal_dsl.config import Dataset, Folder, Npz
from fractal_dsl.data.source import ExampleSource, Moments, Rows, SourceRecord, Splits, classes_of, numbered
from fractal_dsl.runs.data_record import DataRecord, Inputs
from fractal_dsl.tasks import Task

_USES = ("training", "validation", "test")


def identified(
    choice: Dataset,
    splits: Splits,
    parts: Sequence[tuple[ExampleSource, Rows]],
    moments: Moments,
    task: Task,
    outputs: int,
) -> DataRecord:
    """The record of a data set and its parts for training, validation and test."""
    given = splits.given()
    records: dict[str, SourceRecord] = {
        name: source.record(parts[0][1] if name == "train" else np.arange(len(source)))
        for name, source in given.items()
    }
    train = records["train"]
    low, high = train.range or (None, None)
    held = splits.test is None or (splits.validation is None and len(parts[1][1]) > 0)
    return DataRecord(
        dataset=choice.name,
        classes=list(splits.train.names or numbered(outputs)),
        inputs=Inputs(train.dtype, list(splits.train.input.shape), low, high),
        images=train.images,
        mean=moments[0].tolist(),
        std=moments[1].tolist(),
        split=splits.train.split if held else "given",
        examples={use: len(rows) for use, (_, rows) in zip(_USES, parts, strict=True)},
        passed_over=dict(sum((f.passed for f in records.values()), train.passed - train.passed)),
        unreadable=[name for f in records.values() for name in f.unreadable],
        contents={name: f.contents for name, f in records.items()},
        task=task.name,
        table=train.table,
        new=dict(sum((f.new for f in records.values()), Counter[str]())),
    )


def check_classes(choice: Dataset, splits: Splits, parts: Sequence[tuple[ExampleSource, Rows]]) -> None:
    """Raise UserError if the data set or a class has too few examples for both training and testing.

    If parts are chosen by name or content, a class with a single example is refused, whichever part it falls into.
    """
    source, rows = parts[0]
    labels, names = classes_of(source), source.names
    if labels is not None and names is not None and source.split != "by order" and splits.test is None:
        every, trained = (np.bincount(y, minlength=len(names)) for y in (labels, labels[rows]))
        few = np.flatnonzero((every == 1) | ((trained == 0) & (every > 0)))
        if len(few):
            others = f" (and {len(few) - 1:,} more)" if len(few) > 1 else ""
            count = counted(int(every[few[0]]), "example")
            raise UserError(f"class `{names[few[0]]}`{others} has {count}, {_too_few(choice)}")
    if not len(rows) or not len(parts[2][1]):
        raise UserError(f"`{choice.name}` has {counted(len(source), 'example')}, {_too_few(choice)}")


def _too_few(choice: Dataset) -> str:
    way = ""
    if isinstance(choice, Folder):
        way = f", or create your own parts, {choice.path}/train and {choice.path}/test"
    if isinstance(choice, Npz):
        way = ", or give your own parts, x_train, y_train, x_test and y_test"
    return f"too few for both training and testing: add examples{way}"
