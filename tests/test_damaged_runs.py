"""A run whose figures were edited, or came from others, is reported or refused with the file's name."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from fractal_dsl.base.errors import UserError
from fractal_dsl.cli.app import app
from fractal_dsl.config import parse_config
from fractal_dsl.pipeline import compile_text
from fractal_dsl.runs.comparison import compare_runs
from fractal_dsl.runs.files import RunFiles
from fractal_dsl.runs.report import pictures, report_html
from fractal_dsl.training.train import train
from tests.support.runs import SPEC

FILES = ("config.json", "metrics.jsonl", "paths.json", "result.json", "plain/metrics.jsonl")
WRONG = ("x", -1.5, None, [], {"a": "b"}, [["y"]])


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiled = compile_text(SPEC)
    settings = {**compiled.program.train, "epochs": 2, "track_columns": True, "plain": 2, "schedule": "constant"}
    folder = tmp_path_factory.mktemp("run")
    train(compiled, parse_config(settings), folder, device="cpu")
    return folder


def variants(data: Any) -> Iterator[Any]:
    """The data with one value, at any depth, replaced by one of another type or left out."""
    if isinstance(data, dict):
        for key, value in data.items():
            yield {k: v for k, v in data.items() if k != key}
            yield from ({**data, key: wrong} for wrong in variants(value))
    elif isinstance(data, list):
        for i, value in enumerate(data[:2]):
            yield from ([*data[:i], wrong, *data[i + 1 :]] for wrong in variants(value))
    yield from WRONG


@pytest.mark.parametrize("name", FILES)
def test_a_wrong_figure_is_reported_or_refused_by_name(run: Path, name: str, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(run, folder)
    text = (run / name).read_text("utf-8")
    *first, last = text.splitlines() if name.endswith("l") else [text]
    refused = shown = 0
    for data in variants(json.loads(last)):
        (folder / name).write_text("\n".join([*first, json.dumps(data)]), encoding="utf-8")
        try:
            files = RunFiles.read(folder)
        except UserError as error:
            assert str(error).startswith(
                (f"{folder / name} is damaged", f"{folder / 'result.json'} is damaged: its figures")
            ), error
            refused += 1
        else:
            if shown % 20 == 0:
                compare_runs([files, files])
            if shown == 1:
                report_html(files, pictures(files))
            shown += 1
    assert refused > 10 and shown


def test_the_command_says_which_file_and_value(run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(run, folder)
    result = json.loads((folder / "result.json").read_text("utf-8"))
    (folder / "result.json").write_text(json.dumps({**result, "accuracy": "high"}), encoding="utf-8")
    done = CliRunner().invoke(app, ["compare", str(folder), str(run)])
    assert isinstance(done.exception, UserError)
    assert str(done.exception) == (f"{folder}/result.json is damaged: `accuracy` must be a number, but is text")
