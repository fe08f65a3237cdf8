"""A table as examples: its rows, split by a hash of their inputs, and encoded as learned from the training rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from math import prod
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fractal_dsl import ops
from fractal_dsl.base.errors import UserError
from fractal_dsl.base.texts import counted, shortened
from fractal_dsl.config import Csv
from fractal_dsl.config.losses import TaskName
from fractal_dsl.data.source import Examples, Moments, Rows, SourceRecord, Splits, place
from fractal_dsl.data.tables.cells import Cells, column_error, read_cells
from fractal_dsl.data.tables.encode import encode, keys
from fractal_dsl.data.tables.fit import fit
from fractal_dsl.data.tables.targets import TableTargets, read_targets
from fractal_dsl.runs.data_record import DataRecord, Split
from fractal_dsl.runs.table import NumberColumn, Table, TableFormat


@dataclass(frozen=True, kw_only=True)
class TableExamples(Examples):
    """Rows of a table. ``hashes`` decide their part, ``new`` counts rows with values that no training row has."""

    split: Split = "by content"
    table: Table
    hashes: NDArray[np.float64]
    new: Counter[str] = field(default_factory=Counter[str])

    def places(self) -> NDArray[np.float64]:
        """A hash of each row's inputs."""
        return self.hashes

    def record(self, rows: Rows) -> SourceRecord:
        """The record of the examples, and of the columns."""
        return replace(super().record(rows), table=self.table, new=self.new)

    def moments(self, rows: Rows) -> Moments:
        """The moments of each column of numbers; 0 and 1 for inputs that are 0 or 1."""
        if self.inputs.ndim > 2:
            return super().moments(rows)
        mean, std = np.zeros(self.inputs.shape[1]), np.ones(self.inputs.shape[1])
        position = 0
        for column in self.table.columns:
            if isinstance(column, NumberColumn):
                x = self.inputs[rows, position].astype(np.float64)
                mean[position], std[position] = x.mean(), x.std() or 1
            position += len(column.inputs())
        return mean.astype(np.float32), std.astype(np.float32)


def csv(
    config: Csv, into: ops.Tensor, out: ops.Tensor, task: TaskName | None, validation: float, trained: DataRecord | None
) -> Splits:
    """The rows of a table in its parts, for a net that takes ``into`` and gives ``out``.

    ``trained`` has the encodings and classes of a run; without it they are learned from the training rows, of which
    ``validation`` is the share that is held out. Raises UserError if a file is damaged or does not fit the net.
    """
    if into.dtype != "f32":
        raise UserError(f"a table contains numbers, for nets that take f32[inputs], but the net takes {into}")
    table = trained.table if trained else None
    classes = trained.classes if trained and table else None
    inputs = table.names() if table else config.columns
    parts: dict[str, tuple[Cells, TableTargets]] = {}
    for part, path in {"train": config.path, "validation": config.validation, "test": config.test}.items():
        if path is not None:
            cells = read_cells(Path(path), _format(config), config.categories, _chooser(Path(path), config, inputs))
            targets = read_targets(cells, config.target, out, task, classes)
            inputs = [name for name in cells.columns if name not in config.target]
            classes, parts[part] = targets.names, (cells, targets)
    table = table or _learned(config, parts, inputs, validation)
    shape = _shape(Path(config.path), table, into)
    return Splits(**{part: _examples(*read, table, inputs, shape) for part, read in parts.items()})


def read_rows(path: Path, table: Table, into: ops.Tensor) -> tuple[list[str], NDArray[np.float32], Counter[str]]:
    """The inputs in a CSV file, encoded by the table of a run. It needs no targets, and may have other columns.

    Gives a name for each row, the inputs [rows, *shape of ``into``], and the number of rows for each value that no
    training row has. Raises UserError if the file is damaged, or lacks a column.
    """

    def choose(names: list[str]) -> Sequence[str]:
        _check_names(path, table.names(), names)
        return table.names()

    cells = read_cells(path, table.format, table.categories(), choose)
    encoded = encode(cells, table)
    return [f"{path}:{line}" for line in cells.lines], encoded.inputs.reshape(len(cells), *into.shape), encoded.new


def _format(config: Csv) -> TableFormat:
    return TableFormat(config.delimiter, config.decimal, config.encoding, config.missing)


def _chooser(path: Path, config: Csv, inputs: Sequence[str]) -> Callable[[list[str]], Sequence[str]]:
    """The function that chooses the columns of a file: inputs, by default all others, and targets."""

    def choose(names: list[str]) -> Sequence[str]:
        if both := next((name for name in inputs if name in config.target), None):
            raise UserError(f"the column `{both}` is the target, so it cannot be an input: take it out of `columns`")
        expected = (*inputs, *config.target) if inputs else (*config.target, *config.drop, *config.categories)
        _check_names(path, expected, names)
        chosen = inputs or [name for name in names if name not in config.target and name not in config.drop]
        if not chosen:
            raise UserError(f"{path} has no columns besides {shortened([*config.target, *config.drop])}")
        return [*chosen, *config.target]

    return choose


def _check_names(path: Path, expected: Sequence[str], names: Sequence[str]) -> None:
    if lacking := next((name for name in expected if name not in names), None):
        raise column_error(path, lacking, names)


def _learned(
    config: Csv, parts: dict[str, tuple[Cells, TableTargets]], inputs: Sequence[str], validation: float
) -> Table:
    """The encodings of the columns, from the training rows."""
    empty, cells = Table(_format(config), [], config.target), parts["train"][0]
    splits = Splits(**{part: _examples(*read, empty, inputs, (0,)) for part, read in parts.items()})
    _, rows = splits.rows(validation)[0]
    if not len(rows):
        raise UserError(f"{cells.path} has {counted(len(cells), 'row')}, and none is left for training: add rows")
    return Table(empty.format, fit(cells, inputs, config.categories, rows), empty.targets)


def _shape(path: Path, table: Table, into: ops.Tensor) -> tuple[int, ...]:
    """The shape of an input: a net may also take the columns of numbers as an image, row by row."""
    names = table.inputs()
    if into.shape != (len(names),) and (prod(into.shape) != len(names) or names != table.names()):
        raise UserError(
            f"{path} gives {counted(len(names), 'input')} ({shortened(names, 12)}), but the net takes {into}: "
            f"declare f32[{len(names)}], or choose columns with `dataset.columns` or `dataset.drop`"
        )
    return into.shape


def _examples(
    cells: Cells, targets: TableTargets, table: Table, inputs: Sequence[str], shape: tuple[int, ...]
) -> TableExamples:
    encoded = encode(cells, table)
    hashes = np.array([place(key) for key in keys(cells, inputs)], np.float64)
    x = encoded.inputs.reshape(len(cells), *shape)
    return TableExamples(x, targets.values, targets.names, named=cells.at, table=table, hashes=hashes, new=encoded.new)
