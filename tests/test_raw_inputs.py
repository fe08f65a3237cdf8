"""Artifacts of runs take raw inputs: what is in them, what their docstrings say, and nets that are not normalised."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch as st
import torch
from typer.testing import CliRunner

from fractal_dsl.base.errors import UserError
from fractal_dsl.cli.app import app
from fractal_dsl.config import parse_config
from fractal_dsl.deploy.extract import extract
from fractal_dsl.deploy.origin import open_origin
from fractal_dsl.evaluation.evaluate import images_for
from fractal_dsl.evaluation.measure import measure
from fractal_dsl.evaluation.run import Run
from fractal_dsl.pipeline import compile_text
from fractal_dsl.runtime import build
from fractal_dsl.runtime.artifact import load_artifact, save_artifact, trainable_of
from fractal_dsl.runtime.raw import on_raw_data
from fractal_dsl.stored.spec import open_stored
from fractal_dsl.training.train import train
from tests.support.runs import SPEC, digits_run
from tests.test_artifact import module_of


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's net after an epoch."""
    return digits_run(tmp_path_factory.mktemp("runs") / "digits", 1)


def worked_call(folder: Path) -> str:
    """The code in the docstring of ``model.py``."""
    text = ast.get_docstring(ast.parse((folder / "model.py").read_text())) or ""
    return textwrap.dedent("\n".join(line for line in text.splitlines() if line.startswith("    ")))


def call(folder: Path, code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("k", [None, pytest.param(2, marks=pytest.mark.slow)])
def test_the_docstring_has_a_worked_call(run: Path, tmp_path: Path, k: int | None) -> None:
    extract(run, k, tmp_path / "net")
    code = worked_call(tmp_path / "net")
    assert "raw values from 0 to 16: the net normalises them" in code
    assert call(tmp_path / "net", code).strip() in Run.open(run).data().classes
    assert "Normalise" in (tmp_path / "net" / "model.py").read_text()


def test_an_untrained_network_is_not_normalised(tmp_path: Path) -> None:
    compiled = compile_text(SPEC)
    save_artifact(compiled, build(compiled), tmp_path / "net")
    assert "ormalise" not in (tmp_path / "net" / "model.py").read_text()
    assert call(tmp_path / "net", worked_call(tmp_path / "net")) == ""


def test_a_column_of_a_compiled_run_is_that_of_the_run(run: Path, tmp_path: Path) -> None:
    assert CliRunner().invoke(app, ["compile", str(run), "-o", str(tmp_path / "whole")]).exit_code == 0
    extract(tmp_path / "whole", 2, tmp_path / "a")
    extract(run, 2, tmp_path / "b")
    for name in ("model.py", "weights.safetensors"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    a, b = (json.loads((tmp_path / name / "manifest.json").read_text()) for name in "ab")
    assert a == b


def test_training_from_a_compiled_run_starts_from_its_weights_without_its_normalisation(
    run: Path, tmp_path: Path
) -> None:
    extract(run, None, tmp_path / "whole")
    model, start = Run.open(run).load(), trainable_of(open_stored(tmp_path / "whole"))
    assert {n: v.tolist() for n, v in start.state_dict().items()} == {
        n: v.tolist() for n, v in model.state_dict().items()
    }
    raw = torch.rand(2, 1, 8, 8)
    assert not torch.equal(load_artifact(tmp_path / "whole")(raw), start(raw))


def test_a_folded_whole_net_is_for_inference_only(run: Path, tmp_path: Path) -> None:
    extract(run, None, tmp_path / "net", fold=True)
    result = CliRunner().invoke(app, ["train", str(tmp_path / "net"), "--out", str(tmp_path / "again")])
    assert isinstance(result.exception, UserError) and "batch norms are folded" in str(result.exception)


TOKENS = """
net Words(x: i64[6]) -> f32[3] = embedding(50, 8) >> flatten >> linear(3)
train { dataset = "npz:DATA"  epochs = 1  batch = 8 }
"""


def test_tokens_are_not_normalised(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    tokens = rng.integers(0, 50, (60, 6))
    np.savez(tmp_path / "tokens.npz", x=tokens, y=np.arange(60) % 3)
    compiled = compile_text(TOKENS.replace("DATA", str(tmp_path / "tokens.npz")))
    train(compiled, parse_config(compiled.program.train), tmp_path / "run", device="cpu")
    extract(tmp_path / "run", None, tmp_path / "net")
    x = torch.from_numpy(tokens)
    assert torch.equal(load_artifact(tmp_path / "net")(x), Run.open(tmp_path / "run").load()(x))
    assert "ormalise" not in (tmp_path / "net" / "model.py").read_text()
    assert call(tmp_path / "net", worked_call(tmp_path / "net")).strip() in ("0", "1", "2")


def test_features_are_normalised_one_by_one(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = rng.normal(5, 3, (60, 7)).astype(np.float32)
    np.savez(tmp_path / "rows.npz", x=rows, y=np.arange(60) % 3)
    compiled = compile_text(
        f'net N(x: f32[7]) -> f32[3] = linear(3)\ntrain {{ dataset = "npz:{tmp_path}/rows.npz" epochs = 1 }}'
    )
    train(compiled, parse_config(compiled.program.train), tmp_path / "run", device="cpu")
    extract(tmp_path / "run", None, tmp_path / "net")
    run = Run.open(tmp_path / "run")
    images = images_for(run.load(), compiled, run.config, torch.device("cpu"), False).normalised_as(run.data())
    x = images.batch(images.test, slice(None))[0]
    raw = images.test.read(torch.arange(len(images.test)), 0, None)[0]
    assert torch.equal(load_artifact(tmp_path / "net")(raw), run.load()(x))
    assert json.loads((tmp_path / "net" / "manifest.json").read_text()).get("decoding") is None


def test_the_name_of_the_normalisation_is_free_in_any_net() -> None:
    compiled = compile_text(
        """layer normalise(n: int) = conv2d(n, 1) >> relu
        net N(x: f32[2, 4, 4]) -> f32[2] = normalise(3) >> normalise(2) >> global_avgpool"""
    )
    model = build(compiled).eval()
    raw = on_raw_data(model, {"x": ([1.0, 2.0], [3.0, 4.0])}, {})
    x = torch.rand(3, 2, 4, 4)
    moments = [torch.tensor(v).reshape(2, 1, 1) for v in ([1.0, 2.0], [3.0, 4.0])]
    assert torch.equal(raw(x), model((x - moments[0]) / moments[1]))
    from fractal_dsl.runtime.artifact import model_source

    plain = module_of(model_source(compiled, raw.join_graph)).N()
    plain.load_state_dict(raw.state_dict())
    assert torch.equal(plain.eval()(x), raw(x))


def test_networks_of_the_format_before_take_normalised_inputs(run: Path, tmp_path: Path) -> None:
    """A folder that an earlier version compiled from a run normalises nothing."""
    from fractal_dsl.base.manifest import write_manifest

    opened = Run.open(run)
    save_artifact(opened.compiled, opened.load(), tmp_path / "net")
    manifest = json.loads((tmp_path / "net" / "manifest.json").read_text())
    data = opened.data()
    manifest |= {"format_version": 2, "normalisation": {"mean": data.mean, "std": data.std}}
    write_manifest(tmp_path / "net", manifest)
    x = torch.rand(2, 1, 8, 8)
    assert torch.equal(load_artifact(tmp_path / "net")(x), opened.load()(x))
    assert "normalise.mean" not in st.load_file(tmp_path / "net" / "weights.safetensors")


def data_of(task: str) -> tuple[np.ndarray, np.ndarray, str]:
    """Raw inputs and targets of a task, and a net for it."""
    rng = np.random.default_rng(1)
    pictures = rng.integers(0, 256, (60, 1, 6, 6)).astype(np.uint8)
    match task:
        case "regression":
            rows = rng.normal(5, 3, (60, 7)).astype(np.float32)
            return (
                rows,
                (100 + 40 * rows[:, :2]).astype(np.float32),
                "net N(x: f32[7]) -> f32[2] = linear(8) >> linear(2)",
            )
        case "maps":
            targets = pictures.astype(np.float32) * 3 + 7
            return pictures, targets, "net N(x: f32[1, 6, 6]) -> f32[1, 6, 6] = conv2d(1, 3, padding=1) >> batchnorm2d"
        case "tokens to a number":
            tokens = rng.integers(0, 20, (60, 5))
            net = "net N(x: i64[5]) -> f32[1] = embedding(20, 4) >> flatten >> linear(1)"
            return tokens, tokens.sum(1).astype(np.float32)[:, None] + 0.5, net
        case "multilabel":
            labels = rng.integers(0, 2, (60, 3))
            labels[0] = 1
            return pictures, labels, "net N(x: f32[1, 6, 6]) -> f32[3] = conv2d(4, 3) >> relu >> flatten >> linear(3)"
        case "segmentation":
            return (
                pictures,
                (pictures[:, 0] > 128).astype(np.int64),
                "net N(x: f32[1, 6, 6]) -> f32[2, 6, 6] = conv2d(2, 1)",
            )
        case _:
            tokens = rng.integers(0, 9, (60, 5))
            return tokens, (tokens + 1) % 9, "net N(x: i64[5]) -> f32[5, 9] = embedding(9, 8) >> linear(9)"


@pytest.mark.parametrize(
    "task",
    [
        "regression",
        "segmentation",
        "tokens",
        *[pytest.param(task, marks=pytest.mark.slow) for task in ("maps", "tokens to a number", "multilabel")],
    ],
)
def test_every_task_answers_raw_inputs_in_the_unit_of_its_targets(tmp_path: Path, task: str) -> None:
    x, y, net = data_of(task)
    np.savez(tmp_path / "data.npz", x=x, y=y)
    compiled = compile_text(f'{net}\ntrain {{ dataset = "npz:{tmp_path}/data.npz" epochs = 1 batch = 8 }}')
    train(compiled, parse_config(compiled.program.train), tmp_path / "run", device="cpu")
    run = Run.open(tmp_path / "run")
    images = images_for(run.load(), compiled, run.config, torch.device("cpu"), False, run.data())
    images = images.normalised_as(run.data())
    given = images.test.read(torch.arange(len(images.test)), 0, None)[0]
    with torch.no_grad():
        output = run.load()(images.batch(images.test, slice(None))[0])
    values = getattr(images.task, "values", lambda output: output)(output)
    extract(tmp_path / "run", None, tmp_path / "net")
    plain = module_of((tmp_path / "net" / "model.py").read_text()).N()
    plain.load_state_dict(st.load_file(tmp_path / "net" / "weights.safetensors"))
    assert torch.equal(plain.eval()(given), values) and torch.equal(load_artifact(tmp_path / "net")(given), values)
    assert ("in the unit of the targets" in worked_call(tmp_path / "net")) is (run.data().task == "regression")
    call(tmp_path / "net", worked_call(tmp_path / "net"))
    own = {n: v.tolist() for n, v in run.load().state_dict().items()}
    assert {n: v.tolist() for n, v in trainable_of(open_stored(tmp_path / "net")).state_dict().items()} == own
    model, raw = run.load(), open_origin(tmp_path / "run", "best", 1000, False).model
    right = measure(model, images, images.test, model.full_plan())
    assert measure(raw, images.raw(), images.test, raw.full_plan()) == pytest.approx(right, rel=1e-4, abs=1e-6)
