"""New projects, and what `doctor` says about an installation."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest

from fractal_dsl.base.errors import UserError
from fractal_dsl.cli import doctor
from fractal_dsl.cli.new import Project, new
from fractal_dsl.language.read import read
from fractal_dsl.pipeline import checked
from fractal_dsl.services.formatting import canonical_text

ROOT = Path(__file__).parents[1]
TEMPLATES = [template.value for template in Project]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]


def run(*words: str, cwd: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **variables}
    command = [sys.executable, "-m", "fractal_dsl", *words]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=300)


@pytest.mark.parametrize("template", TEMPLATES)
def test_a_project_holds_a_sound_net_and_what_its_readme_names(template: str, tmp_path: Path) -> None:
    done = run("new", template, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    folder = tmp_path / template
    source = read(folder / "net.frac")
    (net,), warnings = checked(source)
    assert not warnings
    assert canonical_text(source) == source.text
    readme = (folder / "README.md").read_text("utf-8")
    assert f"runs/{template}-1" in readme and net.program.net.lower() == template
    named = re.findall(r"`([\w./]+?)(?:/CLASS/\*\.png)?`", readme.split("```")[0])
    assert all((folder / name).exists() for name in named if name != "freeze"), named
    assert f"cd {template}\n    fractal-dsl check net.frac" in done.stdout


@pytest.mark.parametrize("missing", ["matplotlib", "PIL", ""])
def test_a_project_says_what_training_needs(
    missing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr("fractal_dsl.cli.new.find_spec", lambda name: None if name == missing else find(name))
    new(str(tmp_path / "mine"), Project.digits)
    steps = re.findall("^    (.*)$", capsys.readouterr().out, re.M)
    said = "pip install 'fractal_dsl[train]'"
    assert steps.index("fractal-dsl train net.frac") == (4 if missing else 3) and (steps[3] == said) == bool(missing)
    assert said in (tmp_path / "mine" / "README.md").read_text()


@pytest.mark.slow
def test_samples_are_the_same_every_time(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for template in TEMPLATES:
            run("new", template, cwd=tmp_path / name)
    files = [path.relative_to(tmp_path / "a") for path in (tmp_path / "a").rglob("*") if path.is_file()]
    assert len(files) > 300
    assert all((tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes() for file in files)


def test_sample_images_and_masks_are_png_files(tmp_path: Path) -> None:
    from PIL import Image

    run("new", "segmentation", cwd=tmp_path)
    image = np.asarray(Image.open(tmp_path / "segmentation/shapes/images/001.png"))
    mask = np.asarray(Image.open(tmp_path / "segmentation/shapes/masks/001.png"))
    assert (image.shape, mask.shape) == ((32, 32, 3), (32, 32))
    assert {*mask.ravel().tolist()} == {0, 1, 2}


@pytest.mark.slow
@pytest.mark.parametrize("template", TEMPLATES)
def test_every_command_of_a_project_works(template: str, tmp_path: Path) -> None:
    run("new", template, cwd=tmp_path)
    block = (tmp_path / template / "README.md").read_text("utf-8").split("```")[1]
    lines = [line.partition("#")[0].split()[1:] for line in block.strip().splitlines()]
    for words in [words for words in lines if words[0] != "play"]:
        done = run(*words, cwd=tmp_path / template)
        assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / template / "runs" / f"{template}-1" / "result.json").read_text())
    score, least = {"text": ("accuracy", 0.5), "segmentation": ("mean_iou", 0.6)}.get(template, ("accuracy", 0.8))
    assert result[score] > least


def test_a_name_chooses_the_template_and_an_option_overrides_it(tmp_path: Path) -> None:
    run("new", "mine", cwd=tmp_path)
    assert "net Digits" in (tmp_path / "mine" / "net.frac").read_text()
    run("new", "images", "--template", "table", cwd=tmp_path)
    assert "net Table" in (tmp_path / "images" / "net.frac").read_text()


def test_nothing_that_exists_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("full").mkdir()
    Path("full/note.txt").write_text("mine")
    Path("file").touch()
    Path("link").symlink_to("nowhere")
    before = sorted(tmp_path.rglob("*"))
    for name, why in (("full", "full exists and is not empty"), (".", ". exists and"), ("file", "file exists: choose"),
                      ("link", "link exists: choose"), ("", "needs a name"), (" ", "needs a name")):  # fmt: skip
        with pytest.raises(UserError, match=re.escape(why)):
            new(name, None)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("name", [".", "images", "ein Ordner ü"])
def test_an_empty_folder_becomes_a_project(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "table" if name == "." else tmp_path / name
    folder.mkdir()
    monkeypatch.chdir(folder if name == "." else tmp_path)
    new(name, None)
    expected = {".": "data.csv", "images": "images"}.get(name)
    assert {path.name for path in folder.iterdir()} == {"net.frac", "README.md", ".gitignore"} | {expected} - {None}
    assert ("cd " in capsys.readouterr().out) == (name != ".")
    assert (folder / "README.md").read_text("utf-8").startswith(f"# {folder.name}\n")


# --- doctor


@pytest.mark.slow
def test_doctor_tells_versions_devices_and_graphviz(tmp_path: Path) -> None:
    done = run("doctor", cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    for word in ("fractal_dsl", "Python", "PyTorch", "devices", "cpu", "Graphviz", "extra train"):
        assert word in done.stdout
    told = json.loads(run("doctor", "--json", cwd=tmp_path).stdout)
    assert {"name", "state", "ok", "help"} == {*told[0]}


def test_doctor_knows_every_extra_of_users() -> None:
    own = {"test", "dev", "docs", "fuzz", "deploy"}  # of developers; deploy is the sum of others
    assert {*doctor._EXTRAS} == {*PYPROJECT["optional-dependencies"]} - own


def test_doctor_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = ["lark>=1.2", "nowhere>=1; extra == 'sweep'", "optuna>=99 ; extra == 'sweep'", "pillow; extra == 'train'"]
    monkeypatch.setattr(doctor.metadata, "requires", lambda name: texts)
    assert doctor._needs("") == [("lark", ">=1.2")]
    found = {f.name: f for f in doctor._extras()}
    assert found["extra sweep"].state == "missing: nowhere, optuna"
    assert found["extra sweep"].help.startswith("pip install 'fractal_dsl[sweep]'")
    assert found["extra train"].help == ""
    monkeypatch.setattr(doctor.metadata, "requires", lambda name: ["nowhere>=1"])
    wrong = doctor._basics()[-1]
    assert (wrong.ok, wrong.help) == (False, "pip install 'nowhere>=1'")


def test_doctor_folds_its_report_but_no_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "44")
    help = "pip install --force-reinstall torch torchvision"
    parts = [doctor.Condition("extra", "one 1.0, two 2.0, three 3.0, four 4.0, five 5.0", True, help)]
    for name in ("_basics", "_torch", "_extras"):
        monkeypatch.setattr(doctor, name, lambda: parts)
    doctor.doctor()
    lines = capsys.readouterr().out.splitlines()
    assert f"    {help}" in lines and all(len(line) <= 44 for line in lines if help not in line)
    assert sum(line.startswith(" " * 10) and "5.0" in line for line in lines) == 3


def test_doctor_reads_needs_as_pip_writes_them(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = ["pygraphviz>=2.0; platform_machine in 'some other machine'", 'scipy>=1.11; extra == "vision"']
    texts += ["fractal_dsl[train]; extra == 'test'", "torch>=2.8"]
    monkeypatch.setattr(doctor.metadata, "requires", lambda name: texts)
    assert (doctor._needs(""), doctor._needs("vision")) == ([("torch", ">=2.8")], [("scipy", ">=1.11")])


@pytest.mark.parametrize(("program", "wheel"), [("", ""), ("", "2.0")])
def test_doctor_without_graphviz(monkeypatch: pytest.MonkeyPatch, program: str, wheel: str) -> None:
    monkeypatch.setattr(doctor.shutil, "which", lambda name: program)
    monkeypatch.setattr(doctor, "_version", lambda name: wheel or None)
    told = doctor._graphviz()
    assert told.state == ("in pygraphviz 2.0" if wheel else "missing: render writes .dot and .html only")
    assert told.help == ("" if wheel else "pip install pygraphviz")
