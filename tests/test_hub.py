"""A net as a repository for the Hugging Face Hub and torch.hub."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from fractal_dsl.base.errors import UserError
from fractal_dsl.cli.app import app
from fractal_dsl.config import parse_config
from fractal_dsl.deploy import hub
from fractal_dsl.deploy.extract import extract
from fractal_dsl.deploy.hub import push, write_hub
from fractal_dsl.deploy.origin import open_origin
from fractal_dsl.pipeline import compile_text
from fractal_dsl.runtime import build
from fractal_dsl.runtime.artifact import save_artifact
from tests.test_deploy import trained
from tests.test_shelf import row
from tests.test_shelf import shelf as shelf_of


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(tmp_path_factory.mktemp("hub") / "run")


@pytest.fixture(scope="module")
def repository(run: Path) -> Path:
    done = CliRunner().invoke(app, ["deploy", str(run), "-o", str(run.parent / "shelf"), "--to", "hub"])
    assert done.exit_code == 0, done.output
    return run.parent / "shelf" / "hub"


def test_it_loads_offline_as_the_same_function(run: Path, repository: Path) -> None:
    x = torch.rand(3, 1, 8, 8) * 16
    with torch.no_grad():
        right = open_origin(run, "best", 1000, False).model(x)
        assert torch.equal(torch.hub.load(str(repository), "Tiny", source="local")(x), right)
    pytest.importorskip("huggingface_hub")
    torch.save(x, repository.parent / "x.pt")
    code = (
        "import torch; from hub import TinyHub; net = TinyHub.from_pretrained('.').eval()\n"
        "with torch.no_grad(): torch.save(net(torch.load('../x.pt')), '../y.pt')"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=repository, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert torch.equal(torch.load(repository.parent / "y.pt"), right)


def test_the_card_and_the_config(repository: Path) -> None:
    config = json.loads((repository / "config.json").read_text())
    assert config["net"] == "Tiny" and "rule F" in next(iter(config["spec"].values())) and len(config["classes"]) == 10
    card = (repository / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: pytorch") and "1,294 train" in card and "torch.hub.load" in card


def test_the_card_says_which_settings_the_training_replaced(run: Path, repository: Path, tmp_path: Path) -> None:
    assert "replaced settings" not in (repository / "README.md").read_text()
    origin = open_origin(run, "best", 1000, False)
    longer = parse_config({**origin.compiled.program.train, "epochs": 77})
    write_hub(replace(origin, config=longer), None, tmp_path / "hub")
    assert (
        "The training replaced settings of the spec: `epochs = 77`.\n" in (tmp_path / "hub" / "README.md").read_text()
    )


def test_the_card_names_no_folder_of_the_machine(run: Path, tmp_path: Path) -> None:
    origin = open_origin(run, "best", 1000, False)
    data = {"name": "npz", "path": str(tmp_path / "digits.npz")}
    write_hub(
        replace(origin, config=parse_config({**origin.compiled.program.train, "dataset": data})), None, tmp_path / "h"
    )
    card = (tmp_path / "h" / "README.md").read_text()
    assert "`dataset.path = digits.npz`" in card and str(tmp_path) not in card


def test_the_card_of_a_compiled_network_says_whether_it_was_trained(run: Path, tmp_path: Path) -> None:
    extract(run, None, tmp_path / "net")
    compiled = open_origin(run, "best", 1000, False).compiled
    save_artifact(compiled, build(compiled), tmp_path / "new")
    cards: list[str] = []
    for name in ("net", "new"):
        write_hub(open_origin(tmp_path / name, "best", 1000, False), None, tmp_path / f"{name}-hub")
        cards.append((tmp_path / f"{name}-hub" / "README.md").read_text())
    assert "It was compiled and trained by" in cards[0] and "untrained" not in cards[0]
    assert "* `input`: uint8 [1, 8, 8] from 0 to 16\n* `output`: classification. Classes: 0, 1, 2" in cards[0]
    assert "It was compiled by" in cards[1] and "The weights are untrained." in cards[1]


def test_the_card_says_how_its_figures_were_measured(run: Path, tmp_path: Path) -> None:
    shelf = shelf_of(tmp_path / "shelf", row("whole", batch=4), row("anytime", batch=4, confidence=0.9), batch=4)
    write_hub(open_origin(run, "best", 1000, False), shelf, tmp_path / "hub")
    card = (tmp_path / "hub" / "README.md").read_text()
    assert "## Figures\n\nLatency: batches of 4, 1 thread, after 10 runs to warm up." in card
    assert "stops at a confidence of 0.9.\n\n| net |" in card


def test_tokens_are_not_said_to_be_normalised(tmp_path: Path) -> None:
    compiled = compile_text("net Words(text: i64[8]) -> f32[3] = embedding(20, 4) >> flatten >> linear(3)")
    save_artifact(compiled, build(compiled), tmp_path / "net")
    write_hub(replace(open_origin(tmp_path / "net", "best", 1000, False), raw=True), None, tmp_path / "hub")
    card = (tmp_path / "hub" / "README.md").read_text()
    assert "y = net(x)  # x: [batch, 8] of tokens, in int64\n" in card and "normalises" not in card


def test_the_docstring_of_the_source_loads_the_files_of_the_repository(repository: Path) -> None:
    text = (repository / "model.py").read_text()
    named = {*re.findall(r'"([a-z]+\.(?:json|safetensors))"', text)}
    assert named == {"model.safetensors", "config.json"} and all((repository / name).is_file() for name in named)


def test_other_folders_are_not_replaced(run: Path, repository: Path, tmp_path: Path) -> None:
    origin = open_origin(run, "best", 1000, False)
    write_hub(origin, None, repository)
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(UserError, match="not a repository"):
        write_hub(origin, None, tmp_path)


def test_uploading_needs_the_library_and_a_login(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("huggingface_hub")
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    with pytest.raises(UserError, match="logged in"):
        push(repository, "me/net")
    monkeypatch.setattr(hub, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="huggingface_hub: pip install"):
        push(repository, "me/net")
