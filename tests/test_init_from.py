"""Training that starts from other weights: `--init-from`."""

from __future__ import annotations

import json
import shutil
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from fractal_dsl import build, compile_text, save_artifact
from fractal_dsl.base.errors import UserError
from fractal_dsl.base.manifest import sha256
from fractal_dsl.cli.app import app
from fractal_dsl.config import merge, parse_config
from fractal_dsl.config.paths import located, placed
from fractal_dsl.evaluation.run import Run
from fractal_dsl.training.train import resume, train
from tests.support.runs import SPEC, ends_of, killed_at

OTHER = SPEC.replace("f32[4]", "f32[3]").replace("linear(4)", "linear(3)")


@pytest.fixture(autouse=True)
def without_reports(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fractal_dsl.training.finish.write_report", lambda folder: None)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of one epoch."""
    folder = tmp_path_factory.mktemp("source") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fractal_dsl.training.finish.write_report", lambda folder: None)
        begin(folder, SPEC, ("epochs", 1))
    return folder


def begin(folder: Path, text: str, *overrides: tuple[str, Any]) -> str:
    spec, shown = compile_text(text), Console(file=StringIO(), width=200)
    train(spec, parse_config(merge(spec.program.train, overrides)), folder, console=shown)
    return shown.file.getvalue()  # type: ignore[attr-defined]


def test_a_new_head_is_new_and_the_rest_is_taken(source: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    said = begin(run, OTHER, ("epochs", 1), ("init_from", str(source)))
    assert "linear.weight [3, " in said
    given, initial = load_file(source / "best.safetensors"), load_file(run / "initial.safetensors")
    fresh = build(compile_text(OTHER), 0).state_dict()
    record = json.loads((run / "initial.json").read_text())
    assert record["source"] == str(source)
    assert record["sha256"] == {"best.safetensors": sha256(source / "best.safetensors")}
    assert {*record["new"]} == {*record["left_over"]} == {"linear.weight", "linear.bias"}
    assert {*record["taken"]} == {*initial} - {*record["new"]}
    for name, value in initial.items():
        assert torch.equal(value, given[name] if name in record["taken"] else fresh[name])
    assert "initial.json" in json.loads((run / "manifest.json").read_text())["files"]
    Run.open(run)


def test_it_is_resumed_without_the_source_and_to_the_same_bits(source: Path, tmp_path: Path) -> None:
    lent = shutil.copytree(source, tmp_path / "lent")
    options = (("epochs", 2), ("init_from", str(lent)), ("plain", 2))
    begin(tmp_path / "whole", OTHER, *options)
    with killed_at(8):
        begin(tmp_path / "run", OTHER, *options)
    shutil.rmtree(lent)
    resume(tmp_path / "run", console=Console(file=StringIO()))
    assert ends_of(tmp_path / "run") == ends_of(tmp_path / "whole")


def test_folders_and_files(source: Path, tmp_path: Path) -> None:
    compiled = compile_text(SPEC)
    model = build(compiled, 7)
    save_artifact(compiled, model, tmp_path / "net")
    weights = {name: value for name, value in model.state_dict().items() if name != "_extra_state"}
    save_file(weights, tmp_path / "w.safetensors")
    for given in ("net", "w.safetensors"):
        begin(tmp_path / f"from-{given}", SPEC, ("epochs", 1), ("init_from", str(tmp_path / given)))
        initial = load_file(tmp_path / f"from-{given}" / "initial.safetensors")
        assert initial.keys() == weights.keys()
        assert all(torch.equal(initial[name], value) for name, value in weights.items())


def test_what_has_no_weights_for_the_net(source: Path, tmp_path: Path) -> None:
    save_file({"linear.weight": torch.zeros(2, 2), "evil\nname": torch.zeros(1)}, tmp_path / "w.safetensors")
    (tmp_path / "x.pt").write_bytes(b"")
    (tmp_path / "cut.safetensors").write_bytes(b"{")
    damaged = shutil.copytree(source, tmp_path / "damaged")
    (damaged / "best.safetensors").write_bytes(b"")
    for given, expected in (
        ("w.safetensors", r"no weights in .* fit net Tiny by name and shape"),
        ("x.pt", "Give a run, a compiled folder, or a .safetensors file"),
        ("cut.safetensors", "cannot be read"),
        ("damaged", "best.safetensors"),
        ("nothing", "there is no"),
        (".", "has no weights that can be read"),
    ):
        with pytest.raises(UserError, match=expected) as error:
            begin(tmp_path / "run", SPEC, ("init_from", str(tmp_path / given)))
        assert "evil\n" not in str(error.value)
        assert not (tmp_path / "run").exists()


def test_paths_of_a_train_block_start_at_its_folder() -> None:
    block = {"init_from": "a/run", "dataset": "digits"}
    assert located(block, Path("/specs")) == {"init_from": "/specs/a/run", "dataset": "digits"}
    assert placed(block, Path("/specs")) == {"init_from": "/specs/a/run"}
    with_data = {**block, "dataset": {"name": "npz", "path": "x.npz"}}
    assert placed(with_data, Path("/specs")) == {"init_from": "/specs/a/run", "dataset.path": "/specs/x.npz"}


def test_by_the_command_line(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.frac").write_text(OTHER)
    shutil.copytree(source, tmp_path / "before")
    words = ["train", "net.frac", "--init-from", "before", "--out", "run", "--epochs", "1"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    assert "left over" in done.output
    assert json.loads((tmp_path / "run" / "config.json").read_text())["init_from"] == str(tmp_path / "before")
