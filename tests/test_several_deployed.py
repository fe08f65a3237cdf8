"""Nets with several inputs and outputs, deployed: raw values in, the targets' unit out, each end by its name."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from fractal_dsl.deploy.extract import extract
from fractal_dsl.evaluation.predict import predict
from fractal_dsl.evaluation.run import Run
from fractal_dsl.runtime.artifact import load_artifact
from tests.test_several import AUX, PAIR, SETTINGS, pairs, trained


@pytest.fixture(scope="module")
def pair_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A siamese net: two images in, two classes and a number out."""
    folder = tmp_path_factory.mktemp("pair")
    np.savez(folder / "pairs.npz", **pairs())  # pyright: ignore[reportArgumentType]
    trained(folder / "run", PAIR, dataset=f"npz:{folder / 'pairs.npz'}", **{**SETTINGS, "epochs": 2})
    return folder / "run"


@pytest.fixture(scope="module")
def aux_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A net with two columns and an auxiliary head."""
    folder = tmp_path_factory.mktemp("aux") / "run"
    trained(folder, AUX, dataset="digits", losses={"early": 0.3}, epochs=1)
    return folder


def some_pairs(count: int) -> dict[str, np.ndarray]:
    arrays = pairs(count)
    return {name: arrays[f"x_train.{name}"] for name in ("left", "right")}


def test_a_compiled_run_answers_raw_inputs_in_the_unit_of_the_targets(pair_run: Path, tmp_path: Path) -> None:
    extract(pair_run, None, tmp_path / "net")
    given = some_pairs(20)
    np.savez(tmp_path / "x.npz", **given)  # pyright: ignore[reportArgumentType]
    said = [row.as_json()["outputs"] for row in predict(Run.open(pair_run), [tmp_path / "x.npz"], device="cpu")]
    x = [torch.from_numpy(array) for array in given.values()]
    with torch.no_grad():
        same, which, angle = load_artifact(tmp_path / "net")(*x)
    assert [str(int(i)) for i in same.argmax(1)] == [str(row["same"]["class"]) for row in said]
    assert [str(int(i)) for i in which.argmax(1)] == [str(row["which"]["class"]) for row in said]
    np.testing.assert_allclose(angle[:, 0], [row["angle"]["values"]["0"] for row in said], rtol=1e-5)
    assert json.loads((tmp_path / "net" / "manifest.json").read_text())["by_output"]["angle"]["targets"]["std"]
    torch.save(x, tmp_path / "x.pt")
    code = (
        "import torch; from model import Pair; from safetensors.torch import load_file\n"
        "net = Pair(); net.load_state_dict(load_file('weights.safetensors'))\n"
        "with torch.no_grad(): torch.save(net.eval()(*torch.load('../x.pt')), '../y.pt')"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path / "net", check=True)
    assert all(torch.equal(a, b) for a, b in zip(torch.load(tmp_path / "y.pt"), (same, which, angle), strict=True))


def test_the_docstring_calls_it_with_each_input(pair_run: Path, tmp_path: Path) -> None:
    extract(pair_run, None, tmp_path / "net")
    text = (tmp_path / "net" / "model.py").read_text()
    assert "# right: [batch, 1, 8, 8], raw values from -" in text
    assert "y = model(x1, x2)  # same, which, angle" in text and "print(names[int(y[0][0].argmax())])" in text


def test_a_column_keeps_every_output(aux_run: Path, tmp_path: Path) -> None:
    extract(aux_run, 1, tmp_path / "column")
    x = torch.rand(3, 1, 8, 8) * 16
    run = Run.open(aux_run)
    model, record = run.load(), run.data()
    with torch.no_grad():
        right = model.run((x - record.mean[0]) / record.std[0], model.column_plan(1))
        given = load_artifact(tmp_path / "column")(x)
    for a, b in zip(given, right, strict=True):
        torch.testing.assert_close(a, b)
