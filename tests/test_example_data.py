"""The examples on real data: a brief training of each by command line, and (slow) the figures in their comments."""

from __future__ import annotations

import json
import runpy
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from fractal_dsl.cli.app import app
from fractal_dsl.config import parse_config
from fractal_dsl.config.paths import located
from fractal_dsl.data import load, net_ends
from fractal_dsl.pipeline import compile_file

ROOT = Path(__file__).parent.parent
BRIEF = {
    "bytes": "-p length=16 -p width=8 -p hidden=8",
    "breast_cancer": "",
    "diabetes": "",
    "digit_labels": "-p widths=[4]",
    "digit_masks": "-p width=4 -p levels=2",
    "wine": "",
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with examples/ and with the data that examples/data.py writes."""
    pytest.importorskip("sklearn")
    root = tmp_path_factory.mktemp("place")
    (root / "examples").mkdir()
    for name in (*[f"{name}.frac" for name in BRIEF], "data.py"):
        shutil.copy(ROOT / "examples" / name, root / "examples")
    script = runpy.run_path(str(root / "examples" / "data.py"))
    script["write_all"](root / "out" / "data")
    return root


def run(*args: str) -> str:
    result = CliRunner().invoke(app, [*args], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def trained(place: Path, name: str, *options: str) -> dict[str, Any]:
    folder = str(place / "runs" / f"{name}-{time.monotonic_ns()}")
    run("train", str(place / "examples" / f"{name}.frac"), "--out", folder, *options)
    return json.loads(run("eval", folder, "--json"))


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow if n == "digit_masks" else ()) for n in BRIEF])
def test_it_trains_briefly(name: str, place: Path) -> None:
    text = place / "fractal_dsl" / "x.py"
    text.parent.mkdir(exist_ok=True)
    text.write_bytes(Path(__file__).read_bytes())
    figures = trained(place, name, *BRIEF[name].split(), "--epochs", "1", "--set", "batch=64")
    assert figures["loss"] > 0 and len(figures) > 2


FIGURES: dict[str, tuple[str, float]] = {
    "breast_cancer": ("accuracy", 0.95),
    "diabetes": ("r2", 0.4),
    "digit_labels": ("mean_average_precision", 0.95),
    "digit_masks": ("mean_iou", 0.9),
    "wine": ("accuracy", 0.95),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", FIGURES)
def test_it_reaches_its_figure(name: str, place: Path) -> None:
    start = time.process_time()
    key, least = FIGURES[name]
    assert trained(place, name)[key] > least
    assert time.process_time() - start < 240  # two minutes on two cores


@pytest.mark.slow
def test_the_transformer_beats_a_model_of_order_2(place: Path) -> None:
    shutil.rmtree(place / "fractal_dsl", ignore_errors=True)
    shutil.copytree(ROOT / "fractal_dsl", place / "fractal_dsl", ignore=shutil.ignore_patterns("__pycache__"))
    counting = runpy.run_path(str(ROOT / "benchmarks" / "byte_model.py"))
    program = compile_file(place / "examples" / "bytes.frac").program
    config = parse_config(located(program.train, place / "examples"))
    data = load(config, program.net, *net_ends(program), torch.device("cpu"))
    train, test = (counting["stretches"](data, parts) for parts in ("train validation", "test"))
    assert trained(place, "bytes")["bits_per_byte"] < counting["bits_per_byte"](train, test)


def test_the_counting_model_knows_what_repeats() -> None:
    counting = runpy.run_path(str(ROOT / "benchmarks" / "byte_model.py"))
    rows = torch.arange(8).repeat(50, 4).numpy()
    assert counting["bits_per_byte"](rows, rows) < 0.2
    noise = torch.randint(256, (50, 32)).numpy()
    assert 7.5 < counting["bits_per_byte"](noise[:1], noise[1:]) < 9
