"""Reads a CSV file into cells: numbers, texts and missing values. ``docs/data.md`` states the rules for users."""

from __future__ import annotations

import codecs
import csv
import math
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TextIO

from fractal_dsl.base.errors import UserError, nearest
from fractal_dsl.base.texts import counted, shortened
from fractal_dsl.runs.table import TableFormat

Cell = float | str | None
"""A number, a text, or a missing value."""

_MOST_BYTES = 1_000_000_000  # cells take several times the space of their text
_DELIMITERS = (",", ";", "\t", "|")
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_QUOTED = re.compile(r'"[^"]*"')


@dataclass(frozen=True)
class Cells:
    """Columns of a file by name, each with one cell for each row. Row i begins on line ``lines[i]``."""

    path: Path
    columns: dict[str, list[Cell]]
    lines: list[int]

    def __len__(self) -> int:
        return len(self.lines)

    def at(self, row: int) -> str:
        """The place of a row, for messages."""
        return f"{self.path}, line {self.lines[row]}"


def read_cells(
    path: Path, how: TableFormat, texts: Collection[str], wanted: Callable[[list[str]], Sequence[str]]
) -> Cells:
    """Read the columns that ``wanted`` chooses from the names in the first line. The columns in ``texts`` stay texts.

    Raises UserError, which names the file and the line, if the file cannot be read or decoded, is empty, has a column
    without a name or two of one name, or a row with too few or too many fields.
    """
    with _opened(path, how.encoding) as file:
        rows = _rows(path, file, how.delimiter)
        names = _checked_names(path, next(rows, (1, list[str]()))[1])
        chosen = wanted(names)
        parsers = [_parser(how, name in texts) for name in chosen]
        places = [names.index(name) for name in chosen]
        columns: list[list[Cell]] = [[] for _ in chosen]
        lines: list[int] = []
        for line, row in rows:
            if len(row) != len(names):
                fields, columns_named = counted(len(row), "field"), counted(len(names), "column")
                raise UserError(f"{path}, line {line} has {fields}, but the first line names {columns_named}")
            lines.append(line)
            for column, parse, place in zip(columns, parsers, places, strict=True):
                column.append(parse(row[place]))
    if not lines:
        raise UserError(f"{path} has the names of columns, but no rows")
    return Cells(path, dict(zip(chosen, columns, strict=True)), lines)


def column_error(path: Path, name: str, names: Sequence[str]) -> UserError:
    """The error for a column that a file does not have."""
    close = nearest(name, names)
    hint = f"did you mean `{close}`?" if close else f"its columns are {shortened(names, 20)}"
    return UserError(f"{path} has no column `{name}`: {hint}")


def _opened(path: Path, encoding: str) -> TextIO:
    """The file as text. A byte order mark says its encoding, whatever ``encoding`` is."""
    try:
        if not path.is_file():
            reason = "is a folder" if path.is_dir() else "is not a regular file" if path.exists() else "does not exist"
            raise UserError(f"{path} {reason}: name a CSV file")
        if path.stat().st_size > _MOST_BYTES:
            raise UserError(f"{path} is larger than {_MOST_BYTES / 1e9:.0f} GB: store its numbers in an npz archive")
        with path.open("rb") as raw:
            start = raw.read(4)
        marked = next((name for mark, name in _MARKS if start.startswith(mark)), encoding)
        return path.open(encoding=marked, newline="")
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from None


def _rows(path: Path, file: TextIO, delimiter: str | None) -> Iterator[tuple[int, list[str]]]:
    """The rows with the lines they begin on. Blank lines are left out."""
    line = 1
    try:
        if delimiter is None:
            start = list(islice(file, 1))
            delimiter = _delimiter(start[0] if start else "")
            file.seek(0)
        reader = csv.reader(file, delimiter=delimiter, strict=True)
        for row in reader:
            if any(field.strip() for field in row) or len(row) > 1:
                yield line, row
            line = reader.line_num + 1
    except csv.Error as error:
        raise UserError(f"{path}, line {line}: {_plain(error)}") from None
    except UnicodeError:
        raise UserError(_undecodable(path, file.encoding)) from None
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from None


def _delimiter(line: str) -> str:
    """The most frequent delimiter outside quotes."""
    line = _QUOTED.sub("", line)
    return max(_DELIMITERS, key=line.count)


def _plain(error: csv.Error) -> str:
    text = str(error)
    if "unexpected end of data" in text:
        return "a quote that opens here is never closed"
    if "field limit" in text:
        return "a field has over 131,072 characters: a quote is probably not closed"
    if "expected after" in text:
        return 'text follows a closing quote: write a quote within quotes twice, ""'
    return text


def _undecodable(path: Path, encoding: str) -> str:
    where = str(path)
    if encoding.lower() in ("utf-8", "utf-8-sig"):
        with path.open("rb") as raw:
            where = f"{path}, line {next((i for i, line in enumerate(raw, 1) if not _decodes(line)), 1)}"
    return f"{where} is not {encoding.upper()}: save it as UTF-8, or set `dataset.encoding`, for example to cp1252"


def _decodes(line: bytes) -> bool:
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return True


def _checked_names(path: Path, header: list[str]) -> list[str]:
    names = [name.strip() for name in header]
    if not names:
        raise UserError(f"{path} is empty: its first line must name the columns")
    if any("\0" in name for name in names):
        raise UserError(f"{path} is not text in this encoding: save it as UTF-8, or set `dataset.encoding`")
    for i, name in enumerate(names):
        if not name:
            raise UserError(
                f"{path}: column {i + 1} has no name in the first line. Name it, or remove it (pandas leaves it out "
                "with `to_csv(index=False)`)"
            )
        if name in names[:i]:
            raise UserError(f"{path}: the columns {names.index(name) + 1} and {i + 1} are both named `{name}`")
    return names


def _parser(how: TableFormat, text: bool) -> Callable[[str], Cell]:
    """The function from a field to its cell. Equal texts share one object."""
    missing, decimal = {mark.strip().lower() for mark in how.missing} | {""}, how.decimal
    known: dict[str, str] = {}

    def parse(field: str) -> Cell:
        field = field.strip()
        if field.lower() in missing:
            return None
        number = None if text else number_in(field, decimal)
        return known.setdefault(field, field) if number is None else number

    return parse


def number_in(field: str, decimal: str = ".") -> float | None:
    """The finite number that ASCII digits write, such as -1, .5 or 6.02e23; None for any other text."""
    if decimal != ".":
        if "." in field:
            return None
        field = field.replace(decimal, ".")
    try:
        number = float(field)
    except ValueError:
        return None
    return number if math.isfinite(number) and field.isascii() and "_" not in field else None
