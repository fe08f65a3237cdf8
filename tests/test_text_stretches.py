"""Texts as stretches of bytes."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fractal_dsl.base.errors import UserError
from fractal_dsl.config import Text
from fractal_dsl.data.source import Splits
from fractal_dsl.data.text_source import TextExamples, text_splits
from fractal_dsl.data.texts import Texts, read_texts
from fractal_dsl.ops import Tensor
from tests.support.effort import examples


def read(path: Path, length: int = 4, include: tuple[str, ...] = ("*",), most: int = 10**9) -> Texts:
    return read_texts(path, include, length, most)


@settings(max_examples=examples(100), deadline=None)
@given(contents=st.lists(st.binary(max_size=40), min_size=1, max_size=4), length=st.integers(1, 9))
def test_stretches_are_disjoint_and_cover_the_files(
    contents: list[bytes], length: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    root = tmp_path_factory.mktemp("texts")
    contents = [content.replace(b"\0", b" ") for content in contents]
    for i, content in enumerate(contents):
        (root / f"{i}.txt").write_bytes(content)
    wanted = [
        content[start : start + length + 1]
        for content in contents
        for start in range(0, len(content) - length, length + 1)
    ]
    if not wanted:
        with pytest.raises(UserError, match="longer than"):
            read(root, length)
        return
    texts = read(root, length)
    assert [bytes(stretch) for stretch in texts.stretches] == wanted
    assert texts.skipped["too short"] == sum(len(content) <= length for content in contents)
    assert texts.files == {
        f"{i}.txt": (len(content) // (length + 1), hashlib.sha256(content).hexdigest())
        for i, content in enumerate(contents)
        if len(content) > length
    }


def test_one_file_may_contain_any_bytes(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(bytes(range(256)))
    assert read(tmp_path / "x", 255).stretches.tolist() == [list(range(256))]


def test_folders_give_the_texts_that_are_asked_for(tmp_path: Path) -> None:
    for name in ("b.md", "a/c.md", "x.py", ".git/config", "image.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(f"text of {name}".encode() + b"\0" * (name == "image.png"))
    assert [*read(tmp_path).files] == ["a/c.md", "b.md", "x.py"]
    assert read(tmp_path).skipped == {"hidden": 1, "binary": 1, "bytes at the end": 4 + 2 + 2}
    chosen = read(tmp_path, include=("*.md",))
    assert [*chosen.files] == ["a/c.md", "b.md"] and chosen.skipped["not included"] == 2


@pytest.mark.parametrize(
    ("files", "path", "include", "expected"),
    [
        ({}, "x", "*", "there is no file or folder .*x"),
        ({"x": b""}, "x", "*", "x is empty, but the net reads 4 bytes and predicts one more"),
        ({"x": b"four"}, "x", "*", "x has 4 bytes, but the net reads 4 bytes and predicts one more: give a longer"),
        ({".x": b"hidden"}, "", "*", "contains no files"),
        ({"x": b"a text"}, "", "*.md", r"contains no files that match \*\.md"),
        ({"x": b"four", "y": b""}, "", "*", "no text in .* is longer than the 4 bytes"),
        ({"x": b"\0" * 100}, "", "*", "contains only binary files"),
    ],
)
def test_what_is_no_text_is_refused(
    files: dict[str, bytes], path: str, include: str, expected: str, tmp_path: Path
) -> None:
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=expected):
        read(tmp_path / path, include=(include,))


def test_pipes_and_too_large_texts_are_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UserError, match="pipe is not a regular file"):
        read(tmp_path / "pipe")
    (tmp_path / "x").write_bytes(b"a long text")
    with pytest.raises(UserError, match="exceed 0 GB"):
        read(tmp_path / "x", most=5)


# --- as a data set

NET = Tensor("f32", (4, 256))


def source(path: Path, out: Tensor = NET, vocabulary: int | None = 256, into: Tensor | None = None) -> TextExamples:
    splits = text_splits(Text(path=str(path)), into or Tensor("i64", out.shape[:1]), out, vocabulary)
    assert isinstance(splits.train, TextExamples)
    return splits.train


def test_targets_are_the_next_bytes(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"abcdefghijk")
    part = source(tmp_path / "x").part(np.array([1, 0]), torch.device("cpu"))
    x, y = part.read(torch.tensor([0, 1]), 0, None)
    assert [bytes(row.tolist()) for row in x] == [b"fghi", b"abcd"]
    assert [bytes(row.tolist()) for row in y] == [b"ghij", b"bcde"]
    assert x.dtype == y.dtype == torch.int64


def test_no_stretch_of_test_text_is_trained_on(tmp_path: Path) -> None:
    content = bytes(np.random.RandomState(0).randint(32, 127, 5000).astype(np.uint8)) * 3
    (tmp_path / "x").write_bytes(content)
    examples = source(tmp_path / "x")
    train, held, test = (rows for _, rows in Splits(examples).rows(0.1))
    stretches = [{bytes(row) for row in examples.texts.stretches[rows]} for rows in (train, held, test)]
    assert not stretches[0] & stretches[2] and not stretches[0] & stretches[1]
    assert 0.15 < len(test) / len(examples) < 0.25
    with (tmp_path / "x").open("ab") as file:
        file.write(b"more text at the end" * 20)
    longer = source(tmp_path / "x")
    again = {bytes(row) for row in longer.texts.stretches[Splits(longer).rows(0.1)[2][1]]}
    assert stretches[2] <= again


def test_the_identity_is_that_of_the_files(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"abcdefghijk")
    record = source(tmp_path).record(np.array([0]))
    assert record.contents["x"].examples == 2 and record.dtype == "uint8" and record.range == (97, 101)


@pytest.mark.parametrize(
    ("into", "out", "vocabulary", "expected"),
    [
        (Tensor("f32", (4,)), NET, None, "`text` is for nets that predict the byte after each of L bytes"),
        (Tensor("i64", (4,)), Tensor("f32", (256,)), 256, "takes i64[4] and gives f32[256]"),
        (Tensor("i64", (4,)), Tensor("f32", (5, 256)), 256, "takes i64[4] and gives f32[5, 256]"),
        (Tensor("i64", (4,)), NET, 128, "x has the byte 195 at offset 6, but the net knows only 0 to 127"),
        (Tensor("i64", (4,)), Tensor("f32", (4, 100)), 256, "x has the byte 100 at offset 3, but the net knows"),
    ],
)
def test_nets_that_do_not_fit_are_refused(
    into: Tensor, out: Tensor, vocabulary: int | None, expected: str, tmp_path: Path
) -> None:
    (tmp_path / "x").write_text("abcdefäghijklm", "utf-8")
    with pytest.raises(UserError) as caught:
        source(tmp_path / "x", out, vocabulary, into)
    assert expected in str(caught.value)
