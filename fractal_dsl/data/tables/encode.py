"""Turns the cells of a table into the inputs of a net, by the encodings that were learned in training."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fractal_dsl.base.errors import UserError
from fractal_dsl.data.tables.cells import Cells
from fractal_dsl.runs.table import CategoryColumn, Column, NumberColumn, Table

_LARGEST = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class Encoded:
    """``inputs`` float32 [rows, inputs]; ``new`` counts the rows with values that no training row has, by text."""

    inputs: NDArray[np.float32]
    new: Counter[str]


def encode(cells: Cells, table: Table) -> Encoded:
    """The inputs of all rows.

    A category that training did not see has 0 in all its inputs; a number that was never missing in training is
    filled with the median. Raises UserError, which names the line, for a text in a column of numbers, and for a number
    that float32 cannot hold.
    """
    new = Counter[str]()
    blocks = [block for column in table.columns for block in _encoded(cells, column, new)]
    return Encoded(np.stack(blocks, axis=1) if blocks else np.empty((len(cells), 0), np.float32), new)


def numbers(cells: Cells, name: str) -> NDArray[np.float64]:
    """A column of numbers, with NaN for missing ones."""
    return np.array([np.nan if cell is None else cell for cell in cells.columns[name]], np.float64)


def keys(cells: Cells, inputs: Sequence[str]) -> Iterator[bytes]:
    """The values of each row in the columns that are inputs, whatever their order, as bytes to hash."""
    for row in zip(*[cells.columns[name] for name in sorted(inputs)], strict=True):
        yield repr(row).encode("utf-8", "surrogatepass")


def _encoded(cells: Cells, column: Column, new: Counter[str]) -> Iterator[NDArray[np.float32]]:
    given = cells.columns[column.name]
    missing = np.array([cell is None for cell in given])
    if isinstance(column, NumberColumn):
        yield _filled(cells, column)
    else:
        yield from _one_hot(given, column, new)
    if column.indicator:
        yield missing.astype(np.float32)
    elif missing.any():
        new[f"{column.name} is missing"] += int(missing.sum())


def _filled(cells: Cells, column: NumberColumn) -> NDArray[np.float32]:
    given = cells.columns[column.name]
    if (row := next((row for row, cell in enumerate(given) if isinstance(cell, str)), None)) is not None:
        raise UserError(
            f"{cells.at(row)}: the column `{column.name}` contained only numbers in training, but here {given[row]!r}"
        )
    x = numbers(cells, column.name)
    x = np.where(np.isnan(x), column.median, x) - column.offset
    if (large := np.flatnonzero(np.abs(x) > _LARGEST)).size:
        row = int(large[0])
        raise UserError(f"{cells.at(row)}: `{column.name}` is {given[row]}, more than float32 can hold: scale it")
    return x.astype(np.float32)


def _one_hot(given: list[Any], column: CategoryColumn, new: Counter[str]) -> Iterator[NDArray[np.float32]]:
    number_of = {value: i for i, value in enumerate(column.values)}
    codes = np.array([number_of.get(cell, -1) for cell in given])
    new.update(f"{column.name}={cell}" for cell in given if cell is not None and cell not in number_of)
    for i in range(len(column.values)):
        yield (codes == i).astype(np.float32)
