"""Turns the target columns of a table into classes, labels of 0 and 1, or numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fractal_dsl import ops
from fractal_dsl.base.errors import UserError
from fractal_dsl.base.texts import shortened
from fractal_dsl.config.losses import TaskName
from fractal_dsl.data.tables.cells import Cell, Cells
from fractal_dsl.data.tables.fit import is_text

_TRUTH: dict[Cell, int] = {0.0: 0, 1.0: 1}
_LARGEST = float(np.finfo(np.float32).max)
_WORDS = {"false": 0, "true": 1}


@dataclass(frozen=True)
class TableTargets:
    """``values`` are classes, int64 [n], positions in ``names``; or int64 or float32 [n, columns] with their names."""

    values: NDArray[Any]
    names: tuple[str, ...]


def read_targets(
    cells: Cells, columns: Sequence[str], out: ops.Tensor, task: TaskName | None, known: Sequence[str] | None = None
) -> TableTargets:
    """The targets of all rows, for a net with output ``out``.

    One column gives classes if it contains texts or the net has several outputs. Columns that contain only 0 and 1, or
    true and false, give labels, and others numbers. ``task`` overrides this. ``known`` are the classes of the training
    rows. Raises UserError, which names the line, if a target is missing, or of another kind.
    """
    for name in columns:
        if None in cells.columns[name]:
            row = cells.columns[name].index(None)
            raise UserError(
                f"{cells.at(row)}: the target `{name}` is missing. Remove the row or, if its text is the name of a "
                "class, set `dataset.missing` to another list"
            )
    if len(columns) == 1 and task in (None, "classification"):
        text, several = is_text(cells, columns[0]), out.shape[0] > 1 or len(out.shape) > 1
        if task or several or (text and not _all(cells, columns, _truth)):
            return _classes(cells, columns[0], known)
    if task == "multilabel" or (task is None and _all(cells, columns, _truth)):
        return TableTargets(_array(cells, columns, _truth, np.int64, "0 or 1"), tuple(columns))
    return TableTargets(_array(cells, columns, _number, np.float32, "a number"), tuple(columns))


def _classes(cells: Cells, column: str, known: Sequence[str] | None) -> TableTargets:
    names = [_class_name(cells, column, row) for row in range(len(cells))]
    order = known if known is not None else sorted({*names}, key=_by_number)
    number_of = {name: i for i, name in enumerate(order)}
    if (row := next((row for row, name in enumerate(names) if name not in number_of), None)) is not None:
        raise UserError(
            f"{cells.at(row)}: `{names[row]}` of `{column}` is none of the classes that the net was trained on: "
            f"{shortened([*order])}"
        )
    return TableTargets(np.array([number_of[name] for name in names], np.int64), tuple(order))


def _class_name(cells: Cells, column: str, row: int) -> str:
    cell = cells.columns[column][row]
    if isinstance(cell, float):
        if cell.is_integer():
            return str(int(cell))
        raise UserError(
            f"{cells.at(row)}: the target `{column}` is {cell:g}, but a class is a text or a whole number. To predict "
            "the number itself, declare a net that gives f32[1]"
        )
    return str(cell)


def _by_number(name: str) -> tuple[float, str]:
    return (int(name), "") if name.removeprefix("-").isdecimal() else (float("inf"), name)


def _truth(cell: Cell) -> int | None:
    return _WORDS.get(cell.lower()) if isinstance(cell, str) else _TRUTH.get(cell)


def _number(cell: Cell) -> float | None:
    return cell if isinstance(cell, float) and abs(cell) <= _LARGEST else None


CellReader = Callable[[Cell], float | None]


def _all(cells: Cells, columns: Sequence[str], read: CellReader) -> bool:
    return all(read(cell) is not None for name in columns for cell in cells.columns[name])


def _array(
    cells: Cells, columns: Sequence[str], read: CellReader, dtype: type[np.int64 | np.float32], wanted: str
) -> NDArray[Any]:
    """The cells as [rows, columns]. Raises UserError for the first one that is not what is wanted."""
    rows = [*zip(*[[read(cell) for cell in cells.columns[name]] for name in columns], strict=True)]
    for i, row in enumerate(rows):
        if None in row:
            name = columns[row.index(None)]
            cell = cells.columns[name][i]
            reason = f"not {wanted}"
            if dtype is np.float32 and isinstance(cell, float):
                reason = "more than float32 can hold: scale it"
            raise UserError(f"{cells.at(i)}: the target `{name}` is {cell!r}, {reason}")
    return np.array(rows, dtype)
