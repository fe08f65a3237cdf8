"""The record of a run's data."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from msgspec.structs import replace

from fractal_dsl.config import Dataset
from fractal_dsl.data.source import ExampleSource, Moments, Rows, SourceRecord, Splits
from fractal_dsl.runs.data_record import DataRecord, Inputs, TargetRecord
from fractal_dsl.tasks import Task

_USES = ("training", "validation", "test")


def identified(
    choice: Dataset,
    splits: Splits,
    parts: Sequence[tuple[ExampleSource, Rows]],
    moments: Moments,
    task: Task,
) -> DataRecord:
    """The record of a data set and its parts for training, validation and test."""
    given = splits.given()
    records: dict[str, SourceRecord] = {
        name: source.record(parts[0][1] if name == "train" else np.arange(len(source)))
        for name, source in given.items()
    }
    train = records["train"]
    low, high = train.range or (None, None)
    names = splits.train.names or task.numbered()
    held = splits.test is None or (splits.validation is None and len(parts[1][1]) > 0)
    return DataRecord(
        dataset=choice.name,
        classes=list(names) if task.numbered() else [],
        inputs=Inputs(train.dtype, list(splits.train.input.shape), low, high),
        images=train.images,
        mean=moments[0].tolist(),
        std=moments[1].tolist(),
        split=splits.train.split if held else "given",
        examples={use: len(rows) for use, (_, rows) in zip(_USES, parts, strict=True)},
        passed_over=dict(sum((f.skipped for f in records.values()), train.skipped - train.skipped)),
        unreadable=[name for f in records.values() for name in f.unreadable],
        contents={name: f.contents for name, f in records.items()},
        task=task.name,
        loss=task.loss_name,
        targets=_targets(task, *parts[0]),
        table=train.table,
        new=dict(sum((f.new for f in records.values()), Counter[str]())),
    )


def _targets(task: Task, source: ExampleSource, rows: Rows) -> TargetRecord | None:
    """The record of the targets, of which these rows are trained on. None for classes."""
    if task.name == "classification":
        return None
    names = list(source.names or ()) if task.name == "regression" else []
    record = replace(task.record(), names=names)
    if source.targets is None:
        return record
    seen = source.targets[rows]
    return replace(record, dtype=str(seen.dtype), low=float(seen.min()), high=float(seen.max()))
