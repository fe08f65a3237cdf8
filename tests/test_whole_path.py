"""Each task by the command line: data, train, SIGKILL in mid-run, resume to the bits of an uninterrupted run, evaluate,
predict."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from fractal_dsl.cli import main
from fractal_dsl.cli.app import app
from fractal_dsl.training.step import Stepper
from tests.support.runs import ends_of

KILLED_AT = 7
RULE = """
layer unit(out: int) = conv2d(out, 3, padding=1, bias=false) >> batchnorm2d >> relu >> dropout2d(10%)
rule F(out: int) join mean {
    F[1]   = unit(out)
    F[n+1] = F[n] >> F[n] | unit(out)
}
"""
BLOCK = "train {{ dataset = {} epochs = 3 batch = 8 save_steps = 3 optimizer = sgd(lr=0.02, momentum=0.9) }}\n"
Case = tuple[str, list[str], set[str], set[str]]
"""A spec, the arguments of ``predict``, the metrics of the task, and the keys of a prediction."""


def pictures(count: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.random.default_rng(5).integers(0, 256, (count, 8, 8)).astype(np.uint8)


def classification(folder: Path) -> Case:
    for i, x in enumerate(pictures(48)):
        place = folder / "data" / ("cat" if i % 2 else "dog") / f"{i:02}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        x[: 4 if i % 2 else 8] //= 2
        Image.fromarray(x).save(place)
    net = "net N(x: f32[1, 8, 8]) -> f32[2] with drop_path(local=20%) = F[2](4) >> global_avgpool >> linear(2)\n"
    spec = RULE + net + BLOCK.format('"folder:data"')
    keys = {"file", "class", "name", "probability", "top", "column", "ms"}
    return spec, [str(folder / "data" / "cat" / "01.png")], {"accuracy", "macro_f1"}, keys


def multilabel(folder: Path) -> Case:
    x = pictures(48)[:, None]
    labels = np.stack([x.mean((1, 2, 3)) > 127, x[:, 0, 0, 0] > 127, x[:, 0, 4, 4] > 127], 1)
    np.savez(folder / "data.npz", inputs=x, targets=labels)
    np.save(folder / "x.npy", x[:2])
    net = "net N(x: f32[1, 8, 8]) -> f32[3] with drop_path(local=20%) = F[2](4) >> flatten >> linear(3)\n"
    spec = RULE + net + BLOCK.format('"npz:data.npz"')
    keys = {"file", "present", "labels", "column", "ms"}
    return spec, [str(folder / "x.npy")], {"mean_average_precision", "f1"}, keys


def regression(folder: Path) -> Case:
    rng = np.random.default_rng(5)
    rows = [f"{a:.4f},{b:.4f},{'red' if c > 0.5 else 'blue'}" for a, b, c in zip(*rng.random((3, 48)), strict=True)]
    targets = [f"{100 * float(row.split(',')[0]):.3f}" for row in rows]
    lines = ["size,age,colour,price", *(f"{row},{target}" for row, target in zip(rows, targets, strict=True))]
    (folder / "data.csv").write_text("\n".join(lines) + "\n")
    (folder / "new.csv").write_text("\n".join(["size,age,colour", *rows[:2]]) + "\n")
    rule = "rule F join mean { F[1] = linear(6) >> relu >> dropout(10%)\n F[n+1] = F[n] >> F[n] | linear(6) >> relu }\n"
    net = "net N(x: f32[4]) -> f32[1] with drop_path(local=20%) = F[2] >> linear(1)\n"
    spec = rule + net + BLOCK.format('csv(path="data.csv", target=["price"])')
    return spec, [str(folder / "new.csv")], {"rmse", "mae", "r2"}, {"file", "values", "column", "ms"}


def segmentation(folder: Path) -> Case:
    for name in ("images", "masks"):
        (folder / "data" / name).mkdir(parents=True)
    for i, x in enumerate(pictures(48)):
        Image.fromarray(x).save(folder / "data" / "images" / f"{i:02}.png")
        Image.fromarray((x > 127).astype(np.uint8)).save(folder / "data" / "masks" / f"{i:02}.png")
    net = "net N(x: f32[1, 8, 8]) -> f32[2, 8, 8] with drop_path(local=20%) = F[2](4) >> conv2d(2, 1)\n"
    spec = RULE + net + BLOCK.format('"folder:data"')
    arguments = [str(folder / "data" / "images" / "00.png"), "-o", str(folder / "out")]
    keys = {"file", "classes", "mask", "overlay", "column", "ms"}
    return spec, arguments, {"mean_iou", "pixel_accuracy"}, keys


def tokens(folder: Path) -> Case:
    (folder / "data.txt").write_text(
        "".join(f"{i} bottles of beer on the wall, {i} bottles of beer\n" for i in range(30))
    )
    rule = (
        "rule F join mean { F[1] = linear(12) >> relu >> dropout(10%)\n F[n+1] = F[n] >> F[n] | linear(12) >> relu }\n"
    )
    net = "net N(x: i64[16]) -> f32[16, 256] with drop_path(local=20%) = embedding(256, 12) >> F[2] >> linear(256)\n"
    spec = rule + net + BLOCK.format('"text:data.txt"')
    keys = {"prompt", "continuation", "text", "bytes", "columns", "ms"}
    return spec, ["--prompt", "9 bottles", "--length", "20"], {"perplexity", "bits_per_byte", "accuracy"}, keys


CASES: dict[str, Callable[[Path], Case]] = {
    make.__name__: make for make in (classification, multilabel, regression, segmentation, tokens)
}


def killed(arguments: list[str]) -> None:
    """Run a command that kills its own process in mid-run."""
    step: Any = Stepper.step

    def deadly(self: Stepper, x: Any, y: Any, at: int, rate: float) -> Any:
        if at == KILLED_AT:
            os.kill(os.getpid(), signal.SIGKILL)
        return step(self, x, y, at, rate)

    torch.set_num_threads(1)
    Stepper.step = deadly  # type: ignore[method-assign]
    sys.argv = ["fractal-dsl", *arguments]
    main()


def cli(*arguments: object) -> str:
    words = [str(a) for a in arguments]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["fractal-dsl", *words])  # the report names the command
        done = CliRunner().invoke(app, words, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


@pytest.mark.parametrize("task", CASES)
def test_the_whole_path(task: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec, asked, metrics, keys = CASES[task](tmp_path)
    (tmp_path / "net.frac").write_text(spec)
    whole, run = tmp_path / "whole", tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr("fractal_dsl.training.finish.write_report", lambda folder: None)
        cli("train", tmp_path / "net.frac", "--out", whole, "--device", "cpu")

    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.conftest", __name__])
    process = context.Process(
        target=killed, args=(["train", str(tmp_path / "net.frac"), "--out", str(run), "--device", "cpu"],)
    )
    process.start()
    process.join(120)
    assert process.exitcode == -signal.SIGKILL and not (run / "result.json").exists()
    cli("train", "--resume", run, "--device", "cpu")
    assert ends_of(run) == ends_of(whole)

    measured, result = json.loads(cli("eval", run, "--json")), json.loads((run / "result.json").read_text())
    assert json.loads((run / "data.json").read_text())["task"] == task
    assert metrics <= measured.keys()
    for key in ("loss", *metrics):
        assert measured[key] == pytest.approx(result[key], rel=1e-5)
    predicted = json.loads(cli("predict", run, *asked, "--json"))
    for row in predicted if isinstance(predicted, list) else [predicted]:
        assert row.keys() == keys
    page = (run / "report.html").read_text()
    assert "The worst mistakes" in page and page.count("fractal-dsl train") == 2
