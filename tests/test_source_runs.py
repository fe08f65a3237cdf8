"""Runs on tables, masks and texts: stopped, resumed, evaluated, and on data that changed meanwhile."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fractal_dsl.base.errors import UserError
from fractal_dsl.config import parse_config
from fractal_dsl.evaluation.evaluate import evaluate
from fractal_dsl.evaluation.run import Run
from fractal_dsl.pipeline import compile_text
from fractal_dsl.training.train import resume, train
from tests.test_masked_folders import fill, scene
from tests.test_tables import write

SPECS = {
    "numbers": "net N(x: f32[3]) -> f32[1] = linear(4) >> relu >> linear(1)",
    "labels": "net N(x: f32[3]) -> f32[2] = linear(4) >> relu >> linear(2)",
    "masks": "net N(x: f32[1, 12, 12]) -> f32[3, 12, 12] = conv2d(4, 3, padding=1) >> relu >> conv2d(3, 1)",
    "texts": "net N(x: i64[8]) -> f32[8, 256] = embedding(256, 8) >> attention(2, causal=true) >> linear(256)",
}
SCORES = {"numbers": "r2", "labels": "mean_average_precision", "masks": "mean_iou", "texts": "bits_per_byte"}


def table(path: Path, count: int = 120) -> None:
    rng = np.random.RandomState(0)
    rows: list[list[object]] = [["a", "b", "c", "even", "large"]]
    for _ in range(count):
        a, b = rng.rand(2)
        rows.append([a, b, ["x", "y"][rng.randint(2)], int(a > 0.5), int(a + b > 1)])
    write(path, rows)


def given(kind: str, folder: Path) -> dict[str, Any]:
    """The data of a kind, and the setting that names them."""
    folder.mkdir(exist_ok=True)
    match kind:
        case "numbers":
            table(folder / "x.csv")
            return {"name": "csv", "path": str(folder / "x.csv"), "target": "b", "drop": ["even", "large"]}
        case "labels":
            table(folder / "x.csv")
            columns = {"columns": ["a", "c"], "target": ["large", "even"]}
            return {"name": "csv", "path": str(folder / "x.csv"), **columns}
        case "masks":
            return {"name": "folder", "path": str(fill(folder, 40))}
        case _:
            words = np.random.RandomState(0).choice(["the ", "quick ", "fox ", "jumps ", "over ", "a ", "dog. "], 500)
            (folder / "x.txt").write_text("".join(words))
            return {"name": "text", "path": str(folder)}


def changed(kind: str, folder: Path) -> None:
    """Change one example."""
    match kind:
        case "numbers" | "labels":
            lines = (folder / "x.csv").read_text().splitlines()
            (folder / "x.csv").write_text("\n".join([*lines, lines[3].replace("0.", "0.1", 1)]))
        case "masks":
            Image.fromarray(scene(99)[1]).save(folder / "masks" / "7.png")
        case _:
            with (folder / "x.txt").open("a") as file:
                file.write("more text, and again more text")


@pytest.mark.parametrize("kind", SPECS)
def test_a_stopped_run_resumes_to_the_same_bits(kind: str, tmp_path: Path) -> None:
    compiled = compile_text(SPECS[kind])
    settings = {"dataset": given(kind, tmp_path / "data"), "epochs": 3, "batch": 8, "optimizer": {"lr": 0.05}}
    whole = train(compiled, parse_config(settings), tmp_path / "whole")
    parts = train(compiled, parse_config({**settings, "max_minutes": 1e-9}), tmp_path / "parts")
    assert parts.status == "out of time"
    resume(parts.folder, max_minutes=math.inf)
    for name in ("last", "best"):
        one, other = ((run / f"{name}.safetensors").read_bytes() for run in (whole.folder, parts.folder))
        assert one == other
    figures = [evaluate(Run.open(run)) for run in (whole.folder, parts.folder)]
    assert figures[0] == figures[1] and math.isfinite(figures[0][SCORES[kind]])


@pytest.mark.parametrize("kind", SPECS)
def test_changed_data_are_told_in_evaluation_and_refused_in_training(kind: str, tmp_path: Path) -> None:
    compiled = compile_text(SPECS[kind])
    settings = {"dataset": given(kind, tmp_path / "data"), "epochs": 2, "batch": 8, "max_minutes": 1e-9}
    folder = train(compiled, parse_config(settings), tmp_path / "run").folder
    changed(kind, tmp_path / "data")
    with pytest.raises(UserError, match=r"differ|not of the kind"):
        resume(folder)
    notes: list[str] = []
    evaluate(Run.open(folder), say=notes.append)
    assert notes and "the data differ from those" in notes[0]
