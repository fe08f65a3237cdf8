"""The record of a run's data."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from msgspec.structs import replace

from fractal_dsl.config import Dataset
from fractal_dsl.data.plugin import PluginExamples
from fractal_dsl.data.several import SeveralExamples
from fractal_dsl.data.source import ExampleSource, Moments, Rows, SourceRecord, Splits
from fractal_dsl.runs.data_record import DataRecord, InputRecord, Inputs, OutputRecord, TargetRecord
from fractal_dsl.tasks import Task
from fractal_dsl.tasks.several import Several

_USES = ("training", "validation", "test")


def identified(
    choice: Dataset,
    splits: Splits,
    parts: Sequence[tuple[ExampleSource, Rows]],
    moments: Sequence[Moments],
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
        mean=moments[0][0].tolist(),
        std=moments[0][1].tolist(),
        split=splits.train.split if held else "given",
        examples={use: len(rows) for use, (_, rows) in zip(_USES, parts, strict=True)},
        passed_over=dict(sum((f.skipped for f in records.values()), train.skipped - train.skipped)),
        unreadable=[name for f in records.values() for name in f.unreadable],
        contents={name: f.contents for name, f in records.items()},
        task=task.name,
        loss=task.loss_name,
        targets=_targets(task, *parts[0]),
        by_input=_by_input(*parts[0], moments),
        by_output=_by_output(task, *parts[0]),
        table=train.table,
        new=dict(sum((f.new for f in records.values()), Counter[str]())),
    )


def _by_input(source: ExampleSource, rows: Rows, moments: Sequence[Moments]) -> dict[str, InputRecord]:
    """Each of several inputs; empty for one."""
    if not isinstance(source, SeveralExamples | PluginExamples) or len(source.inputs) == 1:
        return {}
    kinds = source.kinds(rows)
    return {
        name: InputRecord(kind, mean.tolist(), std.tolist())
        for (name, kind), (mean, std) in zip(kinds.items(), moments, strict=True)
    }


def _by_output(task: Task, source: ExampleSource, rows: Rows) -> dict[str, OutputRecord]:
    """Each of several outputs; empty for one."""
    if not isinstance(task, Several):
        return {}
    records: dict[str, OutputRecord] = {}
    for head in task.heads:
        own = source.of_output(head.name) if isinstance(source, SeveralExamples) else source
        names = own.names or head.task.numbered()
        classes = list(names) if head.task.numbered() else []
        targets = _targets(head.task, own, rows)
        records[head.name] = OutputRecord(head.weight, head.task.name, head.task.loss_name, classes, targets)
    return records


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
