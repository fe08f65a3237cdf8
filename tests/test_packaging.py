"""What an installation gets: the wheel's files and metadata, the grammar in either layout, the version in one place."""

import importlib.metadata
import os
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import grimp
import networkx as nx
import pytest
from hatchling.builders.sdist import SdistBuilder
from hatchling.builders.wheel import WheelBuilder

from fractal_dsl.base.version import __version__
from fractal_dsl.language import grammar_file

ROOT = Path(__file__).parents[1]
GRAMMAR = ROOT / "grammar" / "frac.lark"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    folder = tmp_path_factory.mktemp("wheel")
    return zipfile.ZipFile(next(WheelBuilder(str(ROOT)).build(directory=str(folder), versions=["standard"])))


def package_files() -> set[str]:
    """The files of the package in this checkout, as paths from its root."""
    files = (path for path in (ROOT / "fractal_dsl").rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {path.relative_to(ROOT).as_posix() for path in files}


def examples() -> set[str]:
    """The files of the examples, as paths from the root of the checkout."""
    return {path.relative_to(ROOT).as_posix() for path in (ROOT / "examples").rglob("*") if path.is_file()}


def test_the_wheel_holds_the_package_the_grammar_and_the_examples(wheel: zipfile.ZipFile) -> None:
    """And nothing else. The package has the standard library and the templates of new projects."""
    files = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert files == package_files() | {"fractal_dsl/grammar/frac.lark"} | {f"fractal_dsl/{name}" for name in examples()}
    assert {"fractal_dsl/examples/digits.frac", "fractal_dsl/language/std/cnn.frac"} <= files
    assert "fractal_dsl/templates/digits.frac" in files
    assert wheel.read("fractal_dsl/grammar/frac.lark") == GRAMMAR.read_bytes()


@pytest.mark.parametrize("pattern", [r"fractal_dsl/py\.typed", r"fractal_dsl/data/\w+\.npz", r"\S+/licenses/LICENSE"])
def test_the_wheel_holds_more_than_code(wheel: zipfile.ZipFile, pattern: str) -> None:
    assert any(re.fullmatch(pattern, name) for name in wheel.namelist())


def test_the_wheel_needs_little(wheel: zipfile.ZipFile) -> None:
    """Plots and the tools of tests stay in extras, and the command is there."""
    info = f"fractal_dsl-{__version__}.dist-info"
    needs = re.findall(r"^Requires-Dist: ([\w-]+)(?!.*extra ==)", wheel.read(f"{info}/METADATA").decode(), re.MULTILINE)
    assert (
        " ".join(needs)
        == "graphviz lark msgspec networkx numpy pydantic pygraphviz rich safetensors torch torchmetrics typer"
    )
    assert "fractal-dsl = fractal_dsl.cli:run" in wheel.read(f"{info}/entry_points.txt").decode()


def test_training_on_images_needs_the_train_extra_alone() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    assert any(need.startswith("pillow") for need in extras["train"])
    assert {"train", "vision", "predict", "sweep", "tensorboard"} <= extras.keys()


def test_an_unpacked_wheel_finds_its_own_grammar(wheel: zipfile.ZipFile, tmp_path: Path) -> None:
    wheel.extractall(tmp_path)
    code = "from fractal_dsl.language.grammar_file import grammar_path; print(grammar_path())"
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    assert Path(done.stdout.strip()) == tmp_path / "fractal_dsl" / "grammar" / "frac.lark"


def test_an_unpacked_wheel_creates_a_project_and_opens_its_examples(wheel: zipfile.ZipFile, tmp_path: Path) -> None:
    wheel.extractall(tmp_path / "packages")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "packages")}

    def run(*words: str, cwd: Path = tmp_path) -> str:
        command = [sys.executable, "-m", "fractal_dsl", *words]
        return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=True).stdout

    run("new", "digits")
    assert run("check", "net.frac", cwd=tmp_path / "digits") == "net.frac: ok (Digits)\n"
    code = "from fractal_dsl.play.documents import Documents; print(*[d['key'] for d in Documents(None).listed()])"
    told = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert {"examples/digits.frac", "examples/paper/c10.frac", "std:cnn"} <= {*told.stdout.split()}
    assert run("check", str(tmp_path / "packages" / "fractal_dsl" / "examples" / "digits.frac")).endswith("(Digits)\n")


def test_a_checkout_finds_its_grammar() -> None:
    assert grammar_file.grammar_path() == GRAMMAR


def test_a_missing_grammar_says_where_it_was_sought(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    places = (tmp_path / "package.lark", tmp_path / "checkout.lark")
    monkeypatch.setattr(grammar_file, "_PLACES", places)
    with pytest.raises(FileNotFoundError) as caught:
        grammar_file.grammar_path()
    assert all(str(place) in str(caught.value) for place in places)


def test_the_source_distribution_can_build_the_wheel(tmp_path: Path) -> None:
    with tarfile.open(next(SdistBuilder(str(ROOT)).build(directory=str(tmp_path), versions=["standard"]))) as sdist:
        names = {name.partition("/")[2] for name in sdist.getnames()}
    assert names >= package_files() | examples() | {"pyproject.toml", "LICENSE", "grammar/frac.lark"}


def test_the_version_is_stated_once() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert "version" not in project
    assert importlib.metadata.version("fractal_dsl") == __version__


def test_no_files_import_each_other_in_a_circle() -> None:
    """Imports in functions and under TYPE_CHECKING count too: a reader follows them as well."""
    graph = grimp.build_graph("fractal_dsl", exclude_type_checking_imports=False, cache_dir=None)
    imports = nx.DiGraph((a, b) for a in graph.modules for b in graph.find_modules_directly_imported_by(a))
    assert len(imports) > 150
    assert [sorted(files) for files in nx.strongly_connected_components(imports) if len(files) > 1] == []
