"""CSV files: what is read, against the csv module and scikit-learn, and what is refused."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from fractal_dsl.base.errors import UserError
from fractal_dsl.data.tables.cells import Cells, number_in, read_cells
from fractal_dsl.data.tables.encode import Encoded, encode, keys
from fractal_dsl.data.tables.fit import fit
from fractal_dsl.runs.table import CategoryColumn, NumberColumn, Table, TableFormat
from tests.support.effort import examples

MISSING = ["NA", "N/A", "NaN", "null", "None", "?"]
PLAIN = TableFormat(None, ".", "utf-8", MISSING)


def read(path: Path, how: TableFormat = PLAIN, texts: Sequence[str] = ()) -> Cells:
    return read_cells(path, how, texts, lambda names: names)


def write(folder: Path, text: str, encoding: str = "utf-8") -> Path:
    path = folder / "x.csv"
    path.write_bytes(text.encode(encoding))
    return path


def learned(cells: Cells, rows: Sequence[int] | None = None, categories: Sequence[str] = ()) -> Table:
    chosen = np.array(range(len(cells)) if rows is None else rows, np.int64)
    return Table(PLAIN, fit(cells, [*cells.columns], categories, chosen), [])


def encoded(text: str, folder: Path, rows: Sequence[int] | None = None) -> tuple[Table, Encoded]:
    cells = read(write(folder, text))
    table = learned(cells, rows)
    return table, encode(cells, table)


# --- the text of a file


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a,b\n1,x\n2.5,y\n", {"a": [1, 2.5], "b": ["x", "y"]}),
        ("a;b\r\n1;x\r\n-2e3;y", {"a": [1, -2000], "b": ["x", "y"]}),
        ("a\tb\n1\tx y\n", {"a": [1], "b": ["x y"]}),
        ("a|b\n.5|x,y\n", {"a": [0.5], "b": ["x,y"]}),
        ("a\n1\n2\n", {"a": [1, 2]}),
        ("\ufeffa,b\n1,2\n", {"a": [1], "b": [2]}),
        ('"a,1","b;c"\n"1","say ""hi"""\n', {"a,1": [1], "b;c": ['say "hi"']}),
        ('a,b\n1,"two\nlines"\n', {"a": [1], "b": ["two\nlines"]}),
        (" a , b \n 1 , x \n", {"a": [1], "b": ["x"]}),
        ("a,b\n\n1,2\n\n\n3,4\n\n", {"a": [1, 3], "b": [2, 4]}),
        ("a,b\r1,2\r3,4\r", {"a": [1, 3], "b": [2, 4]}),
        ("a,b\n,na\nNaN,?\nNULL,None\n", {"a": [None] * 3, "b": [None] * 3}),
        ("a,b\n1_000,0x10\ninf,١٢\n1e999,12%\n", {"a": ["1_000", "inf", "1e999"], "b": ["0x10", "١٢", "12%"]}),
    ],
)
def test_files_are_read_by_the_documented_rules(text: str, expected: dict[str, Any], tmp_path: Path) -> None:
    assert read(write(tmp_path, text)).columns == expected


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_a_byte_order_mark_tells_the_encoding(encoding: str, tmp_path: Path) -> None:
    assert read(write(tmp_path, "größe,ort\n1,Köln\n", encoding)).columns == {"größe": [1], "ort": ["Köln"]}


def test_settings_say_what_the_file_does_not(tmp_path: Path) -> None:
    path = write(tmp_path, "größe;zahl\n1,5;-\n", "cp1252")
    assert read(path, TableFormat(";", ",", "cp1252", ["-"])).columns == {"größe": [1.5], "zahl": [None]}
    assert read(write(tmp_path, "zip\n01067\n"), texts=["zip"]).columns == {"zip": ["01067"]}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "x.csv is empty: its first line must name the columns"),
        ("\n\n", "x.csv is empty"),
        ("a,b\n", "x.csv has the names of columns, but no rows"),
        ("a,b\n1,2\n3\n", "x.csv, line 3 has 1 field, but the first line names 2 columns"),
        ('a,b\n1,"x\ny"\n1,2,3\n', "x.csv, line 4 has 3 fields, but the first line names 2 columns"),
        ("a\n1,2\n", "x.csv, line 2 has 2 fields, but the first line names 1 column"),
        ("a,b,a\n1,2,3\n", "x.csv: the columns 1 and 3 are both named `a`"),
        (",a\n0,1\n", "x.csv: column 1 has no name in the first line"),
        ('a,b\n1,"2\n3,4\n', "x.csv, line 2: a quote that opens here is never closed"),
        ('a,b\n1,2\n"x"y,3\n', "x.csv, line 3: text follows a closing quote"),
    ],
)
def test_broken_files_are_refused_with_their_line(text: str, expected: str, tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        read(write(tmp_path, text))
    assert expected in str(caught.value)


def test_bytes_in_another_encoding_are_refused_with_their_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"x\.csv, line 3 is not UTF-8: save it as UTF-8, or set `dataset\.encoding`"):
        read(write(tmp_path, "a\nx\nKöln\n", "cp1252"))
    with pytest.raises(UserError, match=r"set `dataset\.encoding`"):
        read(write(tmp_path, "a,b\n1,2\n", "utf-16-le"))


@pytest.mark.parametrize("kind", ["folder", "missing"])
def test_what_is_no_file_is_refused(kind: str, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(UserError, match="name a CSV file"):
        read(tmp_path / kind)


@settings(max_examples=examples(200), deadline=None)
@given(data=st.data())
def test_any_table_is_read_as_the_csv_module_wrote_it(data: st.DataObject, tmp_path_factory: Any) -> None:
    width = data.draw(st.integers(1, 4))
    field = st.one_of(
        st.floats(allow_nan=False, allow_infinity=False).map(repr),
        st.text(st.characters(exclude_categories=["Cs", "Cc"], include_characters="\n\r\t"), max_size=6),
    )
    rows = data.draw(st.lists(st.lists(field, min_size=width, max_size=width), min_size=1, max_size=5))
    delimiter = data.draw(st.sampled_from(",;\t|"))
    out = io.StringIO(newline="")
    writer = csv.writer(out, delimiter=delimiter, quoting=csv.QUOTE_ALL)
    writer.writerows([[f"c{i}" for i in range(width)], *rows])
    path = tmp_path_factory.mktemp("any") / "x.csv"
    path.write_bytes(out.getvalue().encode())

    def cell(text: str) -> float | str | None:
        text = text.strip()
        if text.lower() in ["", "na", "n/a", "nan", "null", "none", "?"]:
            return None
        try:
            return float(text) if text.isascii() and "_" not in text and abs(float(text)) < 1e309 else text
        except ValueError:
            return text

    kept = [row for row in rows if len(row) > 1 or row[0].strip()]
    expected = {f"c{i}": [cell(row[i]) for row in kept] for i in range(width)}
    how = TableFormat(delimiter if width == 1 else None, ".", "utf-8", MISSING)
    if not kept:
        with pytest.raises(UserError, match="no rows"):
            read(path, how)
    else:
        assert read(path, how).columns == expected


@pytest.mark.parametrize(
    ("text", "decimal", "expected"),
    [("1,5", ",", 1.5), ("1.5", ",", None), ("1,5", ".", None), ("+7", ".", 7), ("1e-3", ".", 0.001), ("-", ".", None)],
)
def test_numbers_are_plain_ascii(text: str, decimal: str, expected: float | None) -> None:
    assert number_in(text, decimal) == expected


# --- columns as inputs


def by_scikit_learn(cells: Cells, kinds: str, rows: NDArray[np.int64]) -> NDArray[np.float64]:
    """The inputs by scikit-learn: medians with indicators, and one-hot codes with zeros for unknown categories."""
    from sklearn.impute import SimpleImputer
    from sklearn.preprocessing import OneHotEncoder

    blocks: list[NDArray[np.float64]] = []
    for kind, column in zip(kinds, cells.columns.values(), strict=True):
        if kind == "n":
            x = np.array([[np.nan if cell is None else cell] for cell in column], np.float64)
            blocks.append(SimpleImputer(strategy="median").fit(x[rows]).transform(x))
            if np.isnan(x[rows]).any():
                blocks.append(np.isnan(x).astype(np.float64))
        else:
            x = np.array([["\uffff" if cell is None else cell] for cell in column], object)
            encoder = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
            blocks.append(encoder.fit(x[rows]).transform(x))
    return np.hstack(blocks)


@settings(max_examples=examples(100), deadline=None)
@given(data=st.data())
def test_inputs_are_those_of_scikit_learn(data: st.DataObject) -> None:
    kinds = data.draw(st.text("nt", min_size=1, max_size=4))
    count = data.draw(st.integers(2, 12))
    number = st.none() | st.floats(-1e4, 1e4, width=32)
    text = st.none() | st.sampled_from(["red", "green", "blue", "Ärger"])
    columns = {
        f"c{i}": [data.draw(number if kind == "n" else text) for _ in range(count)] for i, kind in enumerate(kinds)
    }
    cells = Cells(Path("x.csv"), columns, list(range(2, count + 2)))
    rows = np.array(data.draw(st.lists(st.integers(0, count - 1), min_size=1, unique=True)), np.int64)
    try:
        table = learned(cells, rows.tolist())
    except UserError as error:
        assert "is empty" in str(error) or "no value in the training rows" in str(error)
        return
    actual = encode(cells, table).inputs
    expected = by_scikit_learn(cells, kinds, rows)
    offsets = [
        shift
        for column in table.columns
        for shift in ([column.offset] if isinstance(column, NumberColumn) else [0] * len(column.values))
        + [0] * column.indicator
    ]
    assert actual.shape == expected.shape == (count, len(table.inputs()))
    assert np.allclose(actual + np.array(offsets), expected, rtol=1e-5, atol=1e-3)


def test_everything_that_is_learned_comes_from_the_training_rows(tmp_path: Path) -> None:
    text = "size,city\n1,Rome\n,Oslo\n3,Rome\n100,Bonn\n5,\n"
    table, result = encoded(text, tmp_path, rows=[0, 1, 2])
    assert table.columns == [
        NumberColumn("size", 2.0, 0.0, indicator=True),
        CategoryColumn("city", ["Oslo", "Rome"], indicator=False),
    ]
    assert table.inputs() == ["size", "size is missing", "city=Oslo", "city=Rome"]
    assert result.inputs.tolist() == [[1, 0, 0, 1], [2, 1, 1, 0], [3, 0, 0, 1], [100, 0, 0, 0], [5, 0, 0, 0]]
    assert result.new == {"city=Bonn": 1, "city is missing": 1}


def test_another_file_is_encoded_as_the_first(tmp_path: Path) -> None:
    table, first = encoded("size,city\n1,Rome\n2,Oslo\n", tmp_path)
    cells = read(write(tmp_path, "extra,city,size\nx,Rome,1\ny,Paris,\n"))
    result = encode(cells, table)
    assert result.inputs.tolist() == [first.inputs[0].tolist(), [1.5, 0, 0]]
    assert result.new == {"size is missing": 1, "city=Paris": 1}


def test_large_numbers_keep_their_digits(tmp_path: Path) -> None:
    seconds = 1_700_000_000 + np.arange(10)
    table, result = encoded("time\n" + "\n".join(map(str, seconds)), tmp_path)
    column = table.columns[0]
    assert isinstance(column, NumberColumn)
    assert np.array_equal(result.inputs[:, 0].astype(np.float64) + column.offset, seconds)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a\n1\n2\nx\n3\n", "line 4: the column `a` contains numbers, but here 'x'"),
        ("a\n1\n2\n3,5\n3\n".replace("3,5", '"3,5"'), 'If it has a decimal comma, set `dataset.decimal` to ","'),
        ("a\nx\ny\n7\nz\n", "line 4: the column `a` contains texts, but here the number 7"),
        ("a,b\n1,\n2,NA\n", "the column `b` is empty: list it in `dataset.drop`"),
    ],
)
def test_mixed_and_empty_columns_are_refused(text: str, expected: str, tmp_path: Path) -> None:
    cells = read(write(tmp_path, text))
    with pytest.raises(UserError) as caught:
        learned(cells)
    assert expected in str(caught.value)


def test_what_later_files_may_not_contain(tmp_path: Path) -> None:
    table, _ = encoded("a\n1\n2\n", tmp_path)
    with pytest.raises(UserError, match=r"line 3: the column `a` contained only numbers in training, but here 'x'"):
        encode(read(write(tmp_path, "a\n1\nx\n")), table)
    with pytest.raises(UserError, match=r"line 2: `a` is 1e\+300, more than float32 can hold"):
        encode(read(write(tmp_path, "a\n1e300\n")), table)


def test_columns_that_are_listed_as_categories_may_look_like_numbers(tmp_path: Path) -> None:
    cells = read(write(tmp_path, "zip\n01067\n1067\nB3\n"), texts=["zip"])
    table = learned(cells, categories=["zip"])
    assert table.inputs() == ["zip=01067", "zip=1067", "zip=B3"]


def test_equal_rows_have_equal_keys_whatever_the_order_of_columns_and_digits(tmp_path: Path) -> None:
    first = read(write(tmp_path, "a,b\n1,x\n2,y\n"))
    second = read(write(tmp_path, "b,a\nx,1.0\ny,3\n"))
    one, other = [*keys(first, ["a", "b"])], [*keys(second, ["b", "a"])]
    assert one[0] == other[0] and one[1] != other[1]


PIECES = [
    "1",
    "-2.5",
    "x",
    "",
    "NA",
    '"a,b"',
    '"',
    "\n",
    "\r\n",
    ",",
    ",",
    ";",
    "\t",
    "\0",
    "é",
    "1e999",
    "\ufeff",
    "1,5",
]


@settings(max_examples=examples(300), deadline=None)
@given(
    content=st.binary(max_size=60) | st.lists(st.sampled_from(PIECES), max_size=30).map(lambda x: "".join(x).encode())
)
def test_any_bytes_are_read_or_refused(content: bytes, tmp_path_factory: Any) -> None:
    path = tmp_path_factory.mktemp("bytes") / "x.csv"
    path.write_bytes(content)
    try:
        cells = read(path)
        inputs = encode(cells, learned(cells)).inputs
    except UserError as error:
        assert "x.csv" in str(error)
    else:
        assert np.isfinite(inputs).all() and len(inputs) == len(cells) > 0
