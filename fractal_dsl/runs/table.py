"""How the columns of a table became the inputs of a net, as a run stores it in ``data.json``."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct


class NumberColumn(Struct, frozen=True, tag="number"):
    """A column of numbers, and how a missing one is filled.

    ``offset`` is subtracted in float64, because float32 holds only seven digits: 0 for most columns. With
    ``indicator``, another input is 1 where the number is missing.
    """

    name: str
    median: float
    offset: float
    indicator: bool

    def inputs(self) -> list[str]:
        """A name for each input."""
        return [self.name, f"{self.name} is missing"] if self.indicator else [self.name]


class CategoryColumn(Struct, frozen=True, tag="category"):
    """A column of texts: an input for each of ``values``, which is 1 for this value and 0 otherwise.

    With ``indicator``, another input is 1 where the text is missing.
    """

    name: str
    values: list[str]
    indicator: bool

    def inputs(self) -> list[str]:
        """A name for each input."""
        missing = [f"{self.name} is missing"] if self.indicator else []
        return [f"{self.name}={value}" for value in self.values] + missing


Column = NumberColumn | CategoryColumn


class TableFormat(Struct, frozen=True):
    """How the text of a table is read. ``delimiter`` is None if the first line shows it."""

    delimiter: str | None
    decimal: str
    encoding: str
    missing: list[str]


class Table(Struct, frozen=True):
    """The columns of a table that are inputs, in the order of the inputs, and the columns of its targets."""

    format: TableFormat
    columns: list[Column]
    targets: list[str]

    def names(self) -> list[str]:
        """The names of the columns."""
        return [column.name for column in self.columns]

    def inputs(self) -> list[str]:
        """A name for each input."""
        return [name for column in self.columns for name in column.inputs()]

    def categories(self) -> Sequence[str]:
        """The names of the columns of texts."""
        return [column.name for column in self.columns if isinstance(column, CategoryColumn)]
