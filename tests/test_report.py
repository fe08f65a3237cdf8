"""What the report of a run explains: its weights, its size, its sessions, its worst mistakes and its confusions."""

from __future__ import annotations

import base64
import io
import json
import re
import shutil
import xml.etree.ElementTree as ET
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console

from fractal_dsl.base.errors import UserError
from fractal_dsl.base.escaping import command
from fractal_dsl.config import parse_config
from fractal_dsl.evaluation.pictures import drawn
from fractal_dsl.evaluation.run import Run
from fractal_dsl.evaluation.worst import Worst
from fractal_dsl.pipeline import compile_text
from fractal_dsl.runs.confusion import confusion_html
from fractal_dsl.runs.data_record import Inputs
from fractal_dsl.runs.files import RunFiles
from fractal_dsl.runs.plots import Drawing, integer_epochs
from fractal_dsl.runs.report import write_report
from fractal_dsl.runtime.world import ALONE
from fractal_dsl.tasks.classification import Classification
from fractal_dsl.training.train import resume, train

NET = """
layer conv(out: int) = conv2d(out, 3, padding=1) >> batchnorm2d >> relu
rule F(out: int) join mean {{
    F[1]   = conv(out)
    F[n+1] = F[n] >> F[n] | conv(out)
}}
net Two(x: f32[1, 8, 8]) -> f32[2] with drop_path({drop}) = F[2](4) >> global_avgpool >> linear(2)
"""
HOSTILE = "<img src=x onerror=alert(1)>"


def trained(folder: Path, data: Path, drop: str = "global=50%", **options: Any) -> Path:
    config = parse_config({"dataset": f"folder:{data}", "epochs": 2, "batch": 8, **options})
    told = command("fractal-dsl", "train", "two.frac", "--out", "</pre><script>alert(1)</script>")
    train(compile_text(NET.format(drop=drop)), config, folder, console=Console(file=StringIO()), command=told)
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root, rng = tmp_path_factory.mktemp("data"), np.random.default_rng(0)
    for name in ("sea", HOSTILE.replace("/", "")):
        (root / name).mkdir()
        for i in range(30):
            Image.fromarray(rng.integers(0, 256, (8, 8)).astype(np.uint8)).save(root / name / f"{i:02}.png")
    return root


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, data: Path) -> Path:
    return trained(tmp_path_factory.mktemp("runs") / "run", data)


def test_the_report_tells_which_weights_were_chosen(run: Path, data: Path, tmp_path: Path) -> None:
    """Columns that are trained to stand alone count as much as the whole net; others do not count."""
    chosen = RunFiles.read(run).chosen()
    assert ", chosen by accuracy, averaged over the whole net and each column, then loss, on " in chosen
    plain = trained(tmp_path / "plain", data, drop="local=20%")
    assert ", chosen by accuracy of the whole net, then loss, on " in RunFiles.read(plain).chosen()
    page = (plain / "report.html").read_text()
    assert page.count("chosen by accuracy of the whole net") == 2


def test_the_report_has_the_size_and_the_sessions(run: Path, data: Path, tmp_path: Path) -> None:
    stopped = trained(tmp_path / "run", data, max_minutes=1e-9)
    resume(
        stopped, console=Console(file=StringIO()), max_minutes=float("inf"), command="fractal-dsl train --resume run"
    )
    page, summary = (stopped / "report.html").read_text(), Run.open(stopped).compiled.summary
    assert f"<td>{summary.params:,}</td>" in page and f"<td>{summary.macs:,} for one image</td>" in page
    sessions = json.loads((stopped / "sessions.json").read_text())["sessions"]
    assert [s["command"].split()[1] for s in sessions] == ["train", "train"] and "--resume" in sessions[1]["command"]
    for session in sessions:
        assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC", session["began"]) and session["device"].startswith(
            "cpu"
        )
        assert session["began"] in page
    assert "fractal-dsl train --resume run" in page
    (stopped / "sessions.json").write_text("[]")
    with pytest.raises(UserError, match=r"sessions\.json is damaged"):
        write_report(stopped)


def test_the_worst_mistakes_are_pictures(run: Path) -> None:
    mistakes = json.loads((run / "mistakes.json").read_text())["mistakes"]
    assert 0 < len(mistakes) <= 12
    assert [one["loss"] for one in mistakes] == sorted((one["loss"] for one in mistakes), reverse=True)
    for one in mistakes:
        assert not one["answer"].startswith(one["target"])
        (picture,) = one["pictures"]
        with Image.open(io.BytesIO(base64.b64decode(picture["png"]))) as image:
            folder, name = one["example"].split("/")
            assert folder == one["target"] and re.fullmatch(r"\d\d\.png", name) and image.size == (8, 8)
    page = (run / "report.html").read_text()
    assert page.count('src="data:image/png;base64,') == len(mistakes)


def test_the_page_is_offline_and_escaped(run: Path, tmp_path: Path) -> None:
    page = (run / "report.html").read_text()
    assert "<script" not in page and HOSTILE not in page and "&lt;img src=x" in page
    assert not re.findall(r'(?:src|href)="(?!#|data:image/png;base64,[A-Za-z0-9+/=]*")[^"]*"|url\((?!#)|@import', page)
    assert "prefers-color-scheme: dark" in page
    copy = shutil.copytree(run, tmp_path / "copy")
    mistakes = json.loads((copy / "mistakes.json").read_text())
    mistakes["mistakes"][0]["pictures"][0]["png"] = '"><script>alert(1)</script>'
    (copy / "mistakes.json").write_text(json.dumps(mistakes))
    with pytest.raises(UserError, match=r"mistakes\.json is damaged"):
        write_report(copy)


def test_the_confusion_matrix_has_the_names_of_classes(run: Path) -> None:
    result, page = json.loads((run / "result.json").read_text()), (run / "report.html").read_text()
    names = Run.open(run).data().classes
    for i, row in enumerate(result["confusion"]):
        for j, count in enumerate(row):
            title = f"{names[i]}, answered {names[j]}: {count:,} of {sum(row):,}"
            assert title.replace("<", "&lt;").replace(">", "&gt;") in page
    many = confusion_html(np.eye(40, dtype=int).tolist(), [f"class {i}" for i in range(40)], "images")
    assert many.count("<td") == 1600 and "dense" in many and "class 39, answered class 39: 1 of 1" in many


def test_values_are_shown_on_hover_and_legends_cover_nothing(run: Path) -> None:
    epochs = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    svg = (run / "curves.svg").read_text()
    for epoch in epochs:
        assert f"<title>training, epoch {epoch['epoch']}: {epoch['train_loss']:.4f}</title>" in svg
        assert f"<title>validation, epoch {epoch['epoch']}: {epoch['validation']['accuracy']:.2%}</title>" in svg
    with Drawing(2, "salt") as drawing:
        for axes in drawing.axes:
            drawing.line(axes, [1, 2, 3], [1.0, float("nan"), 0.0], "a <b>", text=lambda x, y: f"<{x:g}> & {y:g}")
        drawing.axes[1].set_yscale("log")
    root = ET.fromstring(drawing.svg)
    titles = [title.text for title in root.iter("{http://www.w3.org/2000/svg}title")]
    assert titles == ["<1> & 1", "<3> & 0", "<1> & 1"]
    (legend,) = drawing.figure.legends
    below = legend.get_window_extent().y1
    assert all(axes.get_legend() is None and below < axes.get_window_extent().y0 for axes in drawing.axes)


def test_a_single_epoch_is_a_dot() -> None:
    with Drawing(1, "salt") as drawing:
        (axes,) = drawing.axes
        drawing.line(axes, [1], [0.5], "loss")
        integer_epochs(axes)
    assert axes.lines[0].get_marker() == "o"
    assert [t for t in axes.get_xticks() if axes.get_xlim()[0] <= t <= axes.get_xlim()[1]] == [1]


@pytest.mark.parametrize(("low", "high", "expected"), [(0.0, 16.0, [0, 128, 255]), (None, None, [0, 128, 255])])
def test_pictures_show_the_range_of_the_inputs(low: float | None, high: float | None, expected: list[int]) -> None:
    x = np.array([[[0, 8, 16]]], np.uint8)
    assert np.asarray(drawn(x, Inputs("uint8", [1, 1, 3], low, high)))[0, :, 0].tolist() == expected
    assert drawn(np.repeat(x, 3, 0), Inputs("uint8", [3, 1, 3], 0, 255)).getpixel((2, 0)) == (16, 16, 16)


def test_only_wrong_answers_are_mistakes() -> None:
    worst = Worst(Classification(3))
    logits = torch.tensor([[0.1, 0.0, 0.0], [0.0, 9.0, 0.0], [0.0, 0.0, float("nan")], [5.0, 0.0, 0.0]])
    worst.update(torch.arange(4), logits, torch.tensor([0, 0, 1, 2]))
    assert [one.row for one in worst.collected(ALONE)] == [1, 3]
