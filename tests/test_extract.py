"""A column taken out, re-estimated and folded: held against the column it came from."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch as st
import torch
from torch import nn
from typer.testing import CliRunner

from fractal_dsl.base.errors import UserError
from fractal_dsl.base.manifest import write_manifest
from fractal_dsl.cli.app import app
from fractal_dsl.deploy.extract import extract
from fractal_dsl.deploy.origin import open_origin
from fractal_dsl.evaluation.evaluate import choose_device, images_for
from fractal_dsl.evaluation.run import Run
from fractal_dsl.pipeline import compile_text
from fractal_dsl.runtime import FractalModule, build
from fractal_dsl.runtime.artifact import load_artifact, save_artifact
from fractal_dsl.runtime.fuse import count_batchnorms, fuse
from tests.support.runs import digits_run
from tests.test_artifact import inputs, module_of

EXAMPLES = Path(__file__).parent.parent / "examples"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's net after two epochs."""
    return digits_run(tmp_path_factory.mktemp("runs") / "digits", 2)


def from_folder(folder: Path, name: str) -> nn.Module:
    """The net as someone without this package has it: ``model.py`` and the weights."""
    plain = getattr(module_of((folder / "model.py").read_text()), name)()
    plain.load_state_dict(st.load_file(folder / "weights.safetensors"))
    return plain.eval()


def warmed(text: str) -> FractalModule:
    """A net whose batch norms have means, deviations, scales and shifts far from where they start."""
    model = build(compile_text(text), seed=3).train()
    torch.manual_seed(5)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d) and module.affine:
            nn.init.normal_(module.weight, 1, 0.5)
            nn.init.normal_(module.bias)
    for step in range(6):
        for k in range(1, model.n_columns + 1):
            model.run(inputs(model, step), model.column_plan(k))
    return model.eval()


def raw_and_normalised(run: Path) -> tuple[torch.Tensor, torch.Tensor]:
    """The test images as they are, and as the run's own evaluation gives them to the net."""
    opened = Run.open(run)
    images = images_for(opened.load(), opened.compiled, opened.config, choose_device("cpu"), False)
    images = images.normalised_as(opened.data())
    return images.test.read(torch.arange(len(images.test)), 0, None)[0], images.batch(images.test, slice(None))[0]


def test_the_manifest_has_the_settings_that_trained_the_weights(run: Path, tmp_path: Path) -> None:
    """Training goes on with them. The weights of the folder take the place of those that the run began with."""
    opened = Run.open(run)
    settings = json.loads((run / "config.json").read_text())
    given = shutil.copytree(run, tmp_path / "run")
    changed = {**settings, "init_from": str(run), "epochs": settings["epochs"] + 7}
    (given / "config.json").write_text(json.dumps(changed))
    manifest = json.loads((given / "manifest.json").read_text())
    write_manifest(given, {k: v for k, v in manifest.items() if k not in ("files", "sha256")}, manifest["files"])
    extract(given, None, tmp_path / "net")
    stored = open_origin(tmp_path / "net", "best", 1000, False)
    assert stored.config == opened.config.model_copy(update={"epochs": settings["epochs"] + 7})
    extract(tmp_path / "net", 1, tmp_path / "column")
    train = [json.loads((tmp_path / name / "manifest.json").read_text())["train"] for name in ("net", "column")]
    assert train[0] == train[1] and train[0]["epochs"] == settings["epochs"] + 7


@pytest.mark.parametrize("k", [None, 1, 2, 3])
def test_what_is_extracted_answers_raw_images_as_the_run_does_to_the_last_bit(
    run: Path, tmp_path: Path, k: int | None
) -> None:
    model = Run.open(run).load()
    extract(run, k, tmp_path / "net")
    raw, x = raw_and_normalised(run)
    assert raw.dtype == torch.uint8 and len(raw) == 359
    with torch.no_grad():
        expected = model(x) if k is None else model.run(x, model.column_plan(k))
        for given in (raw, raw.float(), raw.double()):
            assert torch.equal(load_artifact(tmp_path / "net")(given), expected)
            assert torch.equal(from_folder(tmp_path / "net", "Digits")(given), expected)
    trained, manifest = Run.open(run).data(), json.loads((tmp_path / "net" / "manifest.json").read_text())
    assert manifest["normalisation"] == {"mean": trained.mean, "std": trained.std}
    assert manifest["classes"] == trained.classes
    assert manifest["inputs"] == {"dtype": "uint8", "shape": [1, 8, 8], "low": 0, "high": 16}
    assert manifest["decoding"] == {"background": "white", "crop_pct": 1, "rules": 1, "scale": 16 / 255}


@pytest.mark.parametrize("k", [None, 3])
def test_fused_is_equal_and_has_no_batch_norm(run: Path, tmp_path: Path, k: int | None) -> None:
    model = Run.open(run).load()
    done = extract(run, k, tmp_path / "column", fold=True)
    assert (done.folded, done.left) == (21 if k is None else 12, 0)
    raw, x = raw_and_normalised(run)
    with torch.no_grad():
        column = model(x) if k is None else model.run(x, model.column_plan(k))
        plain, again = from_folder(tmp_path / "column", "Digits"), load_artifact(tmp_path / "column")
        torch.testing.assert_close(plain(raw), column, rtol=1e-5, atol=1e-4)
        assert torch.equal(again(raw), plain(raw))
    assert not count_batchnorms(plain)
    assert all(m.bias is not None for m in plain.modules() if isinstance(m, nn.Conv2d))
    assert "batchnorm" not in (tmp_path / "column" / "model.py").read_text().lower()
    assert json.loads((tmp_path / "column" / "manifest.json").read_text())["fused"] is True


MIXED = """
layer up(out: int) = convtranspose2d(out, 2, stride=2) >> dropout2d(30%) >> batchnorm2d
shared same = conv2d(4, 3, padding=1) >> batchnorm2d
rule F(out: int) join mean {
    F[1]   = conv2d(out, 3, padding=1, groups=2, bias=false) >> dropout(10%) >> id >> batchnorm2d(affine=false) >> relu
    F[n+1] = F[n] >> F[n] | conv2d(out, 3, padding=1, padding_mode="circular") >> batchnorm2d >> relu
}
net N(x: f32[4, 6, 6]) -> f32[5]
    with drop_path(local=10%, global=50%)
    = F[2](4) >> same >> same >> up(6)
    >> sum(project(8, 2) >> batchnorm2d, conv2d(8, 3, stride=2, padding=1) >> sum(id, batchnorm2d))
    >> convtranspose2d(8, 2, groups=2) >> batchnorm2d
    >> global_avgpool >> linear(7, bias=false) >> batchnorm1d >> tanh >> linear(5)
"""


def test_folding_leaves_alone_what_it_must() -> None:
    """Batch norms stay behind shared weights, a convolution that something else reads, and grouped transposes."""
    model = warmed(MIXED)
    for k, folded in ((1, 4), (2, 5)):
        column = model.extract(k).eval()
        fused = fuse(column)
        assert count_batchnorms(column) - count_batchnorms(fused) == folded
        left = {name.rpartition(".")[0] for name in fused.state_dict() if "running_mean" in name}
        assert left == {"same.batchnorm2d", "batchnorm2d_2", "batchnorm2d_3"}
        x = inputs(model, 7)
        with torch.no_grad():
            torch.testing.assert_close(fused(x), column(x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("layer", ["conv", "convtranspose"])
def test_folding_of_every_convolution(rank: int, layer: str) -> None:
    shape = ", ".join(["3"] + ["5"] * rank)
    model = warmed(
        f"""rule F join mean {{ F[1] = {layer}{rank}d(4, 3, padding=1) >> batchnorm{rank}d(eps=0.01) }}
        net N(x: f32[{shape}]) -> f32[4] = F[1] >> global_avgpool"""
    )
    fused = fuse(model.extract(1).eval())
    assert not count_batchnorms(fused)
    with torch.no_grad():
        torch.testing.assert_close(fused(inputs(model, 2)), model(inputs(model, 2)), rtol=1e-5, atol=1e-5)


def cli(*args: object) -> Any:
    return CliRunner().invoke(app, [str(a) for a in args])


def test_recalibration_puts_a_ruined_column_right(run: Path, tmp_path: Path) -> None:
    """From an artifact too, which has the data of its spec's train block; recorded in the manifest."""
    compiled, model = Run.open(run).compiled, Run.open(run).load()
    for module in model.modules():
        for name, buffer in module.named_buffers(recurse=False):
            if "running_var" in name:
                buffer.mul_(25.0)
    save_artifact(compiled, model, tmp_path / "net")
    done = cli("extract", tmp_path / "net", "--column", 2, "-o", tmp_path / "a", "--recalibrate", "--fuse")
    assert done.exit_code == 0 and "before" in done.output and "batch norms folded: 6" in done.output
    record = json.loads((tmp_path / "a" / "manifest.json").read_text())["recalibrated"]
    assert record["after"]["accuracy"] > record["before"]["accuracy"] + 0.1
    assert record["after"]["accuracy"] > 0.8 and record["dataset"] == "digits"
    again = extract(run, 2, tmp_path / "b", recalibrate=True)
    assert again.recalibration is not None and again.recalibration.after["accuracy"] == record["after"]["accuracy"]


def errors() -> Iterator[Any]:
    rule = "rule F(n: int) join mean { F[1] = conv2d(n, 1) F[k+1] = F[k] >> F[k] | conv2d(n, 1) }\n"
    head = "net N(x: f32[1, 8, 8]) -> f32[10] = "
    plain = head + "flatten >> linear(10)"
    fractal = rule + head + "F[2](4) >> flatten >> linear(10)"
    norm = fractal.replace("conv2d(n, 1) F", "conv2d(n, 1) >> batchnorm2d F")
    yield plain, 1, [], "no columns to extract"
    yield fractal, 3, [], "no column 3: net N has columns 1 to 2"
    yield fractal, 0, [], "no column 0"
    yield norm, 2, ["--recalibrate"], "names none"
    yield norm, 2, ["--recalibrate", "--device", "foo"], "names none|no device `foo`"


@pytest.mark.parametrize(("text", "column", "options", "message"), list(errors()))
def test_what_cannot_be_extracted(tmp_path: Path, text: str, column: int, options: list[str], message: str) -> None:
    compiled = compile_text(text)
    save_artifact(compiled, build(compiled), tmp_path / "net")
    result = cli("extract", tmp_path / "net", "--column", column, "-o", tmp_path / "out", *options)
    assert isinstance(result.exception, UserError)
    with pytest.raises(UserError, match=message):
        raise result.exception
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("place", ["net", "link", "net/../net"])
def test_a_column_does_not_replace_the_net_that_it_is_from(tmp_path: Path, place: str) -> None:
    compiled = compile_text((EXAMPLES / "digits.frac").read_text())
    save_artifact(compiled, build(compiled, seed=1), tmp_path / "net")
    (tmp_path / "link").symlink_to(tmp_path / "net")
    with pytest.raises(UserError, match="is the network itself"):
        extract(tmp_path / "net", 1, tmp_path / place)
    assert load_artifact(tmp_path / "net").n_columns > 1


def test_devices_that_are_not_there_are_answered_with_those_that_are() -> None:
    with pytest.raises(UserError, match=r"^there is no device `foo`: this machine has cpu[\w:, ]*$"):
        choose_device("foo")
    with pytest.raises(UserError, match=r"^device `meta` cannot be used .*: this machine has cpu"):
        choose_device("meta")
