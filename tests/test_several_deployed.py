"""Nets with several inputs and outputs, deployed: raw values in, the targets' unit out, each end by its name."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from fractal_dsl.cli.app import app
from fractal_dsl.deploy.deploy import Options, deploy
from fractal_dsl.deploy.export.anytime import anytime_onnx
from fractal_dsl.deploy.export.onnx import save_onnx
from fractal_dsl.deploy.extract import extract
from fractal_dsl.deploy.hub import write_hub
from fractal_dsl.deploy.origin import open_origin
from fractal_dsl.deploy.runtimes import load_exported
from fractal_dsl.deploy.serving.protocol import HEADER
from fractal_dsl.deploy.serving.server import Limits
from fractal_dsl.deploy.serving.stages import open_service
from fractal_dsl.evaluation.predict import predict
from fractal_dsl.evaluation.run import Run
from fractal_dsl.pipeline import compile_text
from fractal_dsl.runtime import build
from fractal_dsl.runtime.anytime import Anytime
from fractal_dsl.runtime.artifact import load_artifact
from tests.test_serve import Client, outputs
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


def test_the_card_describes_each_input_and_output(pair_run: Path, tmp_path: Path) -> None:
    write_hub(open_origin(pair_run, "best", 10_000, False), None, tmp_path / "hub")
    card = (tmp_path / "hub" / "README.md").read_text()
    assert "normalises them, and answers in the unit of the targets" in card
    assert "* `left`: float32 [1, 8, 8] from " in card and "* `right`: float32 [1, 8, 8] from " in card
    assert "* `which`: classification. Classes: 0, 1, 2, 3.\n* `angle`: regression. Targets: float32 [1] from " in card


def test_nothing_suggests_columns_that_a_net_does_not_have(pair_run: Path, tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["compile", str(pair_run), "-o", str(tmp_path / "net")])
    assert done.exit_code == 0 and "fractal-dsl deploy" in done.output and "extract" not in done.output


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


@pytest.mark.slow
def test_files_have_named_inputs_and_outputs(pair_run: Path, tmp_path: Path) -> None:
    """Verified by `deploy` itself, which holds each output against the module's."""
    runtime = pytest.importorskip("onnxruntime")
    done = deploy(pair_run, tmp_path / "shelf", Options(targets=("onnx", "pt2")), lambda line: None)
    assert not done.failures
    assert [(row.net, row.target, row.verified) for row in done.shelf.rows] == [
        ("whole", "onnx", True),
        ("whole", "pt2", True),
    ]
    session = runtime.InferenceSession(str(tmp_path / "shelf" / "whole.onnx"))
    assert [one.name for one in session.get_inputs()] == ["left", "right"]
    assert [one.name for one in session.get_outputs()] == ["same", "which", "angle"]
    manifest = json.loads((tmp_path / "shelf" / "manifest.json").read_text())
    assert manifest["takes"] == {"left": "f32[1, 8, 8]", "right": "f32[1, 8, 8]"}
    assert manifest["gives"] == {"same": "f32[2]", "which": "f32[4]", "angle": "f32[1]"}
    page = (tmp_path / "shelf" / "shelf.html").read_text()
    assert "left: f32[1, 8, 8], right: f32[1, 8, 8] to same: f32[2], which: f32[4], angle: f32[1]" in page
    write_hub(open_origin(pair_run, "best", 1000, False), done.shelf, tmp_path / "hub")
    card = (tmp_path / "hub" / "README.md").read_text()
    assert "same, which, angle = net(left, right)  # left: [batch, 1, 8, 8]; right: [batch, 1, 8, 8]" in card
    x = [torch.from_numpy(array) for array in some_pairs(3).values()]
    with torch.no_grad():
        y = torch.hub.load(str(tmp_path / "hub"), "Pair", source="local")(*x)
    right, _ = load_exported("pt2", str(tmp_path / "shelf" / "whole.pt2"), [], 1)(tuple([one.numpy() for one in x]), 0)
    for a, b in zip(y, right, strict=True):
        np.testing.assert_allclose(a.numpy(), b, rtol=1e-4, atol=1e-4)


PAIRED = """
rule F(out: int) join mean { F[1] = linear(out) >> relu  F[n+1] = F[n] >> F[n] | linear(out) >> tanh }
net Paired(confidence: f32[8], value: f32[8]) -> (answer: f32[3], output: f32[2], input: f32[4])
    = (sum(a, b) >> linear(3), b >> linear(2), value >> linear(4)) where a = confidence >> F[2](8), b = value >> F[2](8)
"""
"""Names that the file has for itself, and an output that is the same for each answer."""


@pytest.mark.parametrize("text", [PAIRED, pytest.param(AUX, marks=pytest.mark.slow)], ids=["pair", "heads"])
def test_anytime_in_one_file_gives_every_output_of_the_answer(text: str, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    model = build(compile_text(text), seed=1).eval()
    planned = Anytime(model)
    save_onnx(anytime_onnx(model), tmp_path / "net.onnx")
    run = load_exported("onnx", str(tmp_path / "net.onnx"), ["column1", "column2", "whole"], 1)
    for seed in range(4):
        generator = torch.Generator().manual_seed(seed)
        x = tuple([torch.randn(1 + seed % 2, *into.shape, generator=generator) for into in model.inputs.values()])
        for confidence in (0.0, 0.13, 0.36, 1.0):
            own = planned.until(x, confidence=confidence, sure=lambda y: y[0].softmax(1).amax(1))
            y, answer = run(tuple([one.numpy() for one in x]), confidence)
            assert answer == (2 if own.column is None else own.column - 1)
            for a, b in zip(y, own.logits, strict=True):
                np.testing.assert_allclose(a, b.numpy(), rtol=1e-4, atol=1e-5)


@pytest.fixture(scope="module")
def pair_client(pair_run: Path) -> Client:
    pytest.importorskip("starlette")
    return Client(open_service(pair_run, 1), Limits())


def tensor(name: str, x: np.ndarray) -> dict[str, object]:
    return {"name": name, "shape": list(x.shape), "datatype": "FP32", "data": x.reshape(-1).tolist()}


def test_a_service_takes_and_gives_tensors_by_name(pair_run: Path, pair_client: Client, tmp_path: Path) -> None:
    given = some_pairs(6)
    np.savez(tmp_path / "x.npz", **given)  # pyright: ignore[reportArgumentType]
    said = [row.as_json()["outputs"] for row in predict(Run.open(pair_run), [tmp_path / "x.npz"], device="cpu")]
    tensors = [tensor(name, x) for name, x in given.items()][::-1]
    reply = outputs(pair_client.post("/v2/models/Pair/infer", json={"inputs": tensors}))
    assert reply["same.class"] == [row["same"]["class"] for row in said]
    assert reply["which.class"] == [row["which"]["class"] for row in said] and reply["net"] == ["whole"] * 6
    np.testing.assert_allclose(reply["angle"], [row["angle"]["values"]["0"] for row in said], rtol=1e-4)
    about = pair_client.get("/v2/models/Pair").json()
    assert [one["name"] for one in about["inputs"]] == ["left", "right"]
    assert {one["name"] for one in about["outputs"]} == reply.keys() and [*about["classes"]] == ["same", "which"]
    assert pair_client.post("/classify", content=b"image").status_code == 400


def test_binary_tensors_follow_in_their_order(pair_client: Client) -> None:
    given = some_pairs(2)
    plain = outputs(pair_client.post("/v2/models/Pair/infer", json={"inputs": [tensor(*one) for one in given.items()]}))
    described = [
        {"name": n, "shape": [2, 1, 8, 8], "datatype": "FP32", "parameters": {"binary_data_size": given[n].nbytes}}
        for n in ("right", "left")
    ]
    head = json.dumps({"inputs": described}).encode()
    content = head + given["right"].tobytes() + given["left"].tobytes()
    reply = pair_client.post("/v2/models/Pair/infer", content=content, headers={HEADER: str(len(head))})
    assert outputs(reply) == plain
    reply = pair_client.post("/v2/models/Pair/infer", content=content + b"1234", headers={HEADER: str(len(head))})
    assert reply.status_code == 400 and "4 bytes follow that belong to no tensor" in reply.json()["error"]


@pytest.mark.parametrize(
    ("names", "sizes", "message"),
    [
        (["left"], [1], "with the names left, right"),
        (["left", "left"], [1, 1], "with the names left, right"),
        (["left", "middle"], [1, 1], "with the names left, right"),
        (["left", "right"], [1, 2], "as many of each input as examples, not 1 of `left` and 2 of `right`"),
        (["left", "right"], [1, 0], "`right` is [n, 1, 8, 8], n from 1 to"),
    ],
)
def test_tensors_that_do_not_fit_are_refused(
    pair_client: Client, names: list[str], sizes: list[int], message: str
) -> None:
    made = [tensor(n, np.zeros((size, 1, 8, 8), np.float32)) for n, size in zip(names, sizes, strict=True)]
    reply = pair_client.post("/v2/models/Pair/infer", json={"inputs": made})
    assert reply.status_code == 400 and message in reply.json()["error"]


@pytest.mark.slow
def test_a_net_with_columns_and_two_heads_is_verified_in_every_format(aux_run: Path, tmp_path: Path) -> None:
    done = deploy(aux_run, tmp_path / "shelf", Options(int8=True), lambda line: None)
    assert not done.failures
    nets = {row.net for row in done.shelf.rows if row.verified and row.target == "onnx" and row.precision == "float32"}
    assert nets == {"column1", "column2", "whole", "anytime"}
    service = open_service(tmp_path / "shelf", 1)
    x = (np.random.default_rng(0).uniform(0, 16, (2, 1, 8, 8)).astype(np.float32),)
    assert [one.shape for one in service.stages[0].run(x)] == [(2, 10), (2, 10)]
