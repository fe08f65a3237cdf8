"""Learns how the columns of a table become inputs: the kinds from all rows, the values from the training rows."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np

from fractal_dsl.base.errors import UserError
from fractal_dsl.data.source import Rows
from fractal_dsl.data.tables.cells import Cells
from fractal_dsl.data.tables.encode import numbers
from fractal_dsl.runs.table import CategoryColumn, Column, NumberColumn

_LOST = 1e4
"""Where the mean exceeds the deviation by this factor, float32 would keep fewer than three digits of the deviation."""


def fit(cells: Cells, inputs: Sequence[str], categories: Collection[str], rows: Rows) -> list[Column]:
    """The encodings of these columns, learned from the training rows ``rows``.

    Raises UserError, which names the line, if a column mixes numbers and texts, and if it has no value to learn from.
    """
    return [_category(cells, name, rows) if is_text(cells, name, categories) else _number(cells, name, rows)
            for name in inputs]  # fmt: skip


def is_text(cells: Cells, name: str, categories: Collection[str] = ()) -> bool:
    """Whether a column contains texts, not numbers.

    Raises UserError, which names the first odd line, if it contains both, or nothing.
    """
    column = cells.columns[name]
    texts = [row for row, cell in enumerate(column) if isinstance(cell, str)]
    plain = [row for row, cell in enumerate(column) if isinstance(cell, float)]
    if name in categories or (texts and not plain):
        return True
    if not texts and not plain:
        raise UserError(f"{cells.path}: the column `{name}` is empty: list it in `dataset.drop`")
    if texts:
        raise UserError(mixed(cells, name, texts[0] if len(texts) <= len(plain) else plain[0]))
    return False


def mixed(cells: Cells, name: str, row: int) -> str:
    """The message for a text in a column of numbers, or a number in a column of texts."""
    cell = cells.columns[name][row]
    if isinstance(cell, float):
        return (
            f"{cells.at(row)}: the column `{name}` contains texts, but here the number {cell:g}. List it in "
            "`dataset.categories` if its values are names"
        )
    return (
        f"{cells.at(row)}: the column `{name}` contains numbers, but here {cell!r}. Correct it, list it in "
        f"`dataset.missing` if it means that the value is missing, or list the column in `dataset.categories` if its "
        f"values are names{_decimal(str(cell))}"
    )


def _decimal(text: str) -> str:
    return '. If it has a decimal comma, set `dataset.decimal` to ","' if text.replace(",", "").isdecimal() else ""


def _number(cells: Cells, name: str, rows: Rows) -> NumberColumn:
    known = numbers(cells, name)[rows]
    missing = np.isnan(known)
    if missing.all():
        raise UserError(
            f"{cells.path}: the column `{name}` has no value in the training rows: list it in `dataset.drop`"
        )
    known = known[~missing]
    with np.errstate(over="ignore"):  # `encode` refuses what float32 cannot hold
        mean, deviation = float(known.mean()), float(known.std())
    offset = mean if deviation and abs(mean) > _LOST * deviation else 0.0
    return NumberColumn(name, float(np.median(known)), offset, bool(missing.any()))


def _category(cells: Cells, name: str, rows: Rows) -> CategoryColumn:
    column = cells.columns[name]
    seen = {column[int(row)] for row in rows}
    return CategoryColumn(name, sorted(str(cell) for cell in seen if cell is not None), None in seen)
