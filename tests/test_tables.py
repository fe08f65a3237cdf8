"""Tables as data sets: parts, targets, the record, and what is refused before training."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from fractal_dsl.base.errors import UserError
from fractal_dsl.config import parse_config
from fractal_dsl.config.paths import located
from fractal_dsl.data import ImageSet, load
from fractal_dsl.data.tables.cells import Cells
from fractal_dsl.data.tables.source import read_rows
from fractal_dsl.data.tables.targets import read_targets
from fractal_dsl.evaluation.evaluate import evaluate
from fractal_dsl.evaluation.run import Run
from fractal_dsl.ops import Tensor
from fractal_dsl.pipeline import compile_text
from fractal_dsl.runs.data_record import DataRecord, compare_records
from fractal_dsl.training.train import resume, train
from tests.test_datasets import stored

F32 = Tensor("f32", (1,))


def write(path: Path, rows: Sequence[Sequence[object]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
    return path


def people(count: int, seed: int = 0) -> list[list[object]]:
    """Rows of an age, which may be missing, a city, and whether the person is tall."""
    rng = np.random.RandomState(seed)
    rows: list[list[object]] = [["age", "city", "size"]]
    for _ in range(count):
        age, city = rng.randint(1, 90), ["Rome", "Oslo", "Bonn"][rng.randint(3)]
        rows.append(["" if rng.rand() < 0.1 else age, city, "tall" if age > 30 else "small"])
    return rows


def get(path: Path, width: int, classes: int = 2, trained: DataRecord | None = None, **settings: object) -> ImageSet:
    config = parse_config({"dataset": {"name": "csv", "path": str(path), "target": "size", **settings}})
    into, out = Tensor("f32", (width,)), Tensor("f32", (classes,))
    return load(config, "Net", {"x": into}, {"output": out}, torch.device("cpu"), trained=trained)


def refused(path: Path, width: int, classes: int = 2, **settings: object) -> str:
    with pytest.raises(UserError) as caught:
        get(path, width, classes, **settings)
    return str(caught.value)


def test_a_table_becomes_normalised_parts(tmp_path: Path) -> None:
    rows = people(400)
    data = get(write(tmp_path / "x.csv", rows), 5)
    assert data.record.classes == ["small", "tall"]
    assert data.record.table and data.record.table.inputs() == [
        "age",
        "age is missing",
        "city=Bonn",
        "city=Oslo",
        "city=Rome",
    ]
    assert sum(data.record.examples.values()) == 400 and 40 < data.record.examples["test"] < 120
    x, y = data.batch(data.train, slice(None))
    assert x[:, 0].mean().abs() < 1e-5 and (x[:, 0].std(correction=0) - 1).abs() < 1e-5
    assert {*x[:, 1:].unique().tolist()} == {0.0, 1.0}
    ages = stored(data.train)[0][:, 0]
    filled = x[:, 1] == 1
    assert bool((y == (ages > 30).long())[~filled].all())
    assert "inputs: age, age is missing, city=Bonn" in data.describe()


def test_rows_stay_in_their_part_when_others_come_or_go(tmp_path: Path) -> None:
    rows = people(300)
    rng = np.random.RandomState(1)

    def tests(chosen: list[list[object]]) -> set[tuple[float, ...]]:
        data = get(write(tmp_path / "x.csv", chosen), 5, missing=[])
        return {tuple(row) for row in stored(data.test)[0].tolist()}

    rows = [row for row in rows if row[0] != ""]
    data = get(write(tmp_path / "x.csv", rows), 4)
    every = {tuple(row) for row in stored(data.test)[0].tolist()}
    fewer = [rows[0], *[row for row in rows[1:] if rng.rand() < 0.7]]
    swapped = [[row[2], row[1], row[0]] for row in fewer]
    for version in (fewer, swapped):
        data = get(write(tmp_path / "x.csv", version), 4, columns=["age", "city"])
        assert {tuple(row) for row in stored(data.test)[0].tolist()} <= every


def test_equal_rows_are_in_one_part(tmp_path: Path) -> None:
    rows = people(60)
    data = get(write(tmp_path / "x.csv", [rows[0], *(rows[1:] * 5)]), 5)
    train, test = ({tuple(row) for row in stored(part)[0].tolist()} for part in (data.train, data.test))
    assert not train & test


def test_parts_may_be_files_of_their_own(tmp_path: Path) -> None:
    rows = people(100)
    path = write(tmp_path / "x.csv", rows)
    test = write(
        tmp_path / "test.csv", [[*reversed(rows[0]), "note"], *[[*row[::-1], "x"] for row in people(30, 2)[1:]]]
    )
    data = get(path, 5, test=str(test))
    assert data.record.examples["test"] == 30 and sum(data.record.examples.values()) == 130
    assert data.record.split == "by content"
    new = write(tmp_path / "new.csv", [rows[0], [3, "Paris", "small"], ["", "Rome", "tall"]])
    data = get(path, 5, test=str(new), validation=str(test))
    assert data.record.new == {"city=Paris": 1} and data.record.split == "given"
    assert "values that no training row has: city=Paris (1 row)" in data.describe()
    odd = write(tmp_path / "odd.csv", [rows[0], [3, "Rome", "huge"]])
    assert "odd.csv, line 2: `huge` of `size` is none of the classes that the net was trained on: small, tall" in (
        refused(path, 5, test=str(odd))
    )


@pytest.mark.parametrize(
    ("text", "width", "settings", "expected"),
    [
        ("a,size\n1,x\n2\n", 1, {}, "x.csv, line 3 has 1 field"),
        ("a,size\n1,x\ny,z\n2,x\n", 1, {}, "x.csv, line 3: the column `a` contains numbers, but here 'y'"),
        ("a,sise\n1,x\n", 1, {}, "x.csv has no column `size`: did you mean `sise`?"),
        ("a,size\n1,x\n", 1, {"drop": ["b"]}, "x.csv has no column `b`: its columns are a, size"),
        ("a,size\n1,x\n", 1, {"columns": ["c", "d"]}, "x.csv has no column `c`: its columns are a, size"),
        ("a,size\n1,x\n", 1, {"columns": ["a", "size"]}, "the column `size` is the target, so it cannot be an input"),
        ("size\nx\n", 1, {}, "x.csv has no columns besides size"),
        ("a,size\n1,x\n2,\n", 1, {}, "x.csv, line 3: the target `size` is missing"),
        ("a,size\n1,none\n", 1, {}, "x.csv, line 2: the target `size` is missing"),
        (
            "a,size\n1,1.5\n2,2\n",
            1,
            {},
            "x.csv, line 2: the target `size` is 1.5, but a class is a text or a whole number",
        ),
        ("a,b,size\n1,x,u\n1,y,v\n", 2, {}, "the net takes f32[2]: declare f32["),
        ("", 1, {}, "x.csv is empty"),
    ],
)
def test_what_does_not_fit_is_refused_with_its_place(
    text: str, width: int, settings: dict[str, object], expected: str, tmp_path: Path
) -> None:
    (tmp_path / "x.csv").write_text(text)
    assert expected in refused(tmp_path / "x.csv", width, **settings)


def test_classes_need_examples_for_training_and_testing(tmp_path: Path) -> None:
    rows = people(40)
    message = refused(write(tmp_path / "x.csv", [*rows, [3, "Rome", "huge"]]), 5, 3)
    assert "class `huge` has 1 example, too few for both training and testing" in message
    assert "of 2 classes, but net Net takes f32[5] and gives f32[3]" in refused(write(tmp_path / "x.csv", rows), 5, 3)


def test_columns_of_numbers_can_be_an_image(tmp_path: Path) -> None:
    rng = np.random.RandomState(0)
    pixels = rng.randint(0, 256, (50, 6))
    rows = [["size", *[f"p{i}" for i in range(6)]], *[[i % 2, *row] for i, row in enumerate(pixels.tolist())]]
    config = parse_config({"dataset": {"name": "csv", "path": str(write(tmp_path / "x.csv", rows)), "target": "size"}})
    data = load(config, "Net", {"x": Tensor("f32", (1, 2, 3))}, {"output": Tensor("f32", (2,))}, torch.device("cpu"))
    x, y = stored(data.train)
    known = {tuple(row): i % 2 for i, row in enumerate(pixels.tolist())}
    assert x.shape[1:] == (1, 2, 3)
    assert all(
        known[tuple(image.flatten().int().tolist())] == label for image, label in zip(x, y.tolist(), strict=True)
    )


# --- targets


def cells(**columns: list[float | str | None]) -> Cells:
    count = len(next(iter(columns.values())))
    return Cells(Path("x.csv"), dict(columns), list(range(2, 2 + count)))


@pytest.mark.parametrize(
    ("columns", "outputs", "task", "values", "names"),
    [
        ({"a": ["x", "y", "x"]}, 2, None, [0, 1, 0], ("x", "y")),
        ({"a": [3.0, 10.0, 3.0]}, 2, None, [0, 1, 0], ("3", "10")),
        ({"a": [3.0, 10.0, 3.0]}, 1, None, [[3], [10], [3]], ("a",)),
        ({"a": [3.0, 10.0]}, 2, "classification", [0, 1], ("3", "10")),
        ({"a": [1.5, 10.0]}, 1, None, [[1.5], [10]], ("a",)),
        ({"a": [0.0, 1.0]}, 1, None, [[0], [1]], ("a",)),
        ({"a": [0.0, 1.0]}, 1, "regression", [[0], [1]], ("a",)),
        ({"a": ["True", "False"]}, 1, None, [[1], [0]], ("a",)),
        ({"a": ["True", "False"]}, 2, None, [1, 0], ("False", "True")),
        ({"a": [0.0, 1.0], "b": [1.0, 1.0]}, 2, None, [[0, 1], [1, 1]], ("a", "b")),
        ({"a": [0.0, 1.0], "b": ["true", "false"]}, 2, None, [[0, 1], [1, 0]], ("a", "b")),
        ({"a": [0.0, 1.0], "b": [1.0, 2.0]}, 2, None, [[0, 1], [1, 2]], ("a", "b")),
    ],
)
def test_targets_follow_from_the_columns_and_the_output(
    columns: dict[str, list[float | str | None]],
    outputs: int,
    task: str | None,
    values: list[object],
    names: tuple[str, ...],
) -> None:
    found = read_targets(cells(**columns), [*columns], Tensor("f32", (outputs,)), task)  # type: ignore[arg-type]
    assert found.values.tolist() == values and found.names == names
    floats = task == "regression" or not {*np.ravel(np.array(values))} <= {0, 1}
    assert found.values.dtype == (np.float32 if floats and found.values.ndim == 2 else np.int64)


@pytest.mark.parametrize(
    ("columns", "outputs", "task", "expected"),
    [
        ({"a": [1.0, "x", 2.0]}, 2, None, "line 3: the column `a` contains numbers, but here 'x'"),
        ({"a": [0.0, 2.0], "b": [1.0, 1.0]}, 2, "multilabel", "line 3: the target `a` is 2.0, not 0 or 1"),
        ({"a": [0.0, 1.0], "b": [1.0, "x"]}, 2, None, "line 3: the target `b` is 'x', not a number"),
        ({"a": [1.0, 1e300]}, 1, None, "line 3: the target `a` is 1e+300, more than float32 can hold"),
        ({"a": ["x", None]}, 2, None, "line 3: the target `a` is missing"),
    ],
)
def test_targets_that_do_not_fit_are_refused_with_their_line(
    columns: dict[str, list[float | str | None]], outputs: int, task: str | None, expected: str
) -> None:
    with pytest.raises(UserError) as caught:
        read_targets(cells(**columns), [*columns], Tensor("f32", (outputs,)), task)  # type: ignore[arg-type]
    assert expected in str(caught.value)


# --- runs

NET = "net Two(x: f32[5]) -> f32[2] = linear(8) >> relu >> linear(2)\n"


def run(folder: Path, rows: list[list[object]], **settings: object) -> Path:
    write(folder / "x.csv", rows)
    dataset = {"name": "csv", "path": str(folder / "x.csv"), "target": "size"}
    config = parse_config({"dataset": dataset, "epochs": 2, **settings})
    return train(compile_text(NET), config, folder / "run").folder


def test_another_table_is_encoded_as_in_training(tmp_path: Path) -> None:
    rows = people(200)
    folder = run(tmp_path, rows)
    notes: list[str] = []
    before = evaluate(Run.open(folder), say=notes.append)
    assert not notes
    # ages far away would move medians and moments, and a new city would be an input
    more = [[1000 + i, "Paris", "tall"] for i in range(100)]
    write(tmp_path / "x.csv", [*rows, *more])
    now = get(tmp_path / "x.csv", 5, trained=Run.open(folder).data())
    trained = Run.open(folder).data()
    assert now.record.table == trained.table and now.record.new.keys() == {"city=Paris"}
    assert "some rows have values that training never saw: city=Paris" in now_differs(trained, now, folder)
    with pytest.raises(UserError, match="the inputs were"):
        evaluate(Run.open(folder), say=notes.append)
    write(tmp_path / "x.csv", [*rows, [40, "Paris", "tall"]])
    after = evaluate(Run.open(folder), say=notes.append)
    assert "city=Paris" in notes[0] and abs(after["loss"] - before["loss"]) < 0.1


def now_differs(trained: DataRecord, now: ImageSet, folder: Path) -> str:
    return " ".join(trained.of_other_examples(now.record))


def test_resumed_training_refuses_another_table(tmp_path: Path) -> None:
    rows = people(200)
    folder = run(tmp_path, rows, max_minutes=1e-9)
    write(tmp_path / "x.csv", [*rows, [90, "Rome", "tall"]])
    with pytest.raises(UserError, match=r"column `age` has other values|class `tall` had"):
        resume(folder)
    write(tmp_path / "x.csv", rows)
    assert compare_records(Run.open(folder).data(), get(tmp_path / "x.csv", 5).record, folder, exact=True) == {}


def test_prediction_needs_no_target(tmp_path: Path) -> None:
    rows = people(100)
    data = get(write(tmp_path / "x.csv", rows), 5)
    table = data.record.table
    assert table
    new = write(tmp_path / "new.csv", [["note", "city", "age"], ["x", "Rome", 7], ["y", "Paris", "NA"]])
    names, inputs, unseen = read_rows(new, table, Tensor("f32", (5,)))
    median = next(column.median for column in table.columns if column.name == "age")  # type: ignore[union-attr]
    assert names == [f"{new}:2", f"{new}:3"]
    assert inputs.tolist() == [[7, 0, 0, 0, 1], [median, 1, 0, 0, 0]] and unseen == {"city=Paris": 1}
    write(tmp_path / "new.csv", [["town", "age"], ["Rome", 7]])
    with pytest.raises(UserError, match=r"new\.csv has no column `city`"):
        read_rows(new, table, Tensor("f32", (5,)))


def test_paths_start_at_the_folder_of_the_spec(tmp_path: Path) -> None:
    block = {"dataset": {"name": "csv", "path": "data/x.csv", "test": "data/y.csv", "target": "size"}}
    assert located(block, tmp_path)["dataset"]["path"] == str(tmp_path / "data" / "x.csv")
    assert located(block, tmp_path)["dataset"]["test"] == str(tmp_path / "data" / "y.csv")
    assert located({"dataset": "text:texts"}, tmp_path)["dataset"]["path"] == str(tmp_path / "texts")
