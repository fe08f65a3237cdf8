"""What a stored folder says of itself: imports of every name are kept, wrong manifests are refused."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from fractal_dsl.base.errors import UserError
from fractal_dsl.base.manifest import read_manifest
from fractal_dsl.compiled import Compiled
from fractal_dsl.config import parse_config
from fractal_dsl.evaluation.run import Run
from fractal_dsl.pipeline import compile_file, compile_text
from fractal_dsl.runs.parts import SEALED
from fractal_dsl.runs.report import write_report
from fractal_dsl.runtime import build
from fractal_dsl.runtime.artifact import load_artifact, save_artifact
from fractal_dsl.stored.manifests import NetworkManifest
from fractal_dsl.training.train import resume, train
from tests.support.effort import examples

HEAD = """
net N(x: f32[1, 8, 8]) -> f32[4] = m.block >> flatten >> linear(4)
train { dataset = synthetic(size=40) epochs = 2 batch = 8 save_steps = 2 }
"""
PART = "layer block = conv2d(2, 3, padding=1) >> relu\n"

NAMES = [
    *SEALED,
    *("manifest.json", "model.py", "weights.safetensors", "columns.safetensors", "report.html", "curves.svg"),
    *("checkpoints/step-00000001/manifest.json", "tensorboard/a", ".lock", ".weights.json", ".parts.frac"),
    *("spec.frac", "spec/spec.frac", "spec/main.frac", "imports/spec.frac", ".git/HEAD", ".a/.b/c.frac", "Main.frac"),
    *(".fractal_dsl-tmp-abcdefgh.frac", "deep/er/and/deeper.frac", "with space.frac", "é.frac", "spec"),
]
"""Names that an imported file may have: each of those that the program gives to something else, and more."""


def quiet() -> Console:
    return Console(file=StringIO(), width=300)


def importing(folder: Path, name: str) -> Compiled:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(PART)
    (folder / "main.frac").write_text(f'import "{name}" as m\n{HEAD}')
    return compile_file(folder / "main.frac")


def same(model: Any, other: Any) -> bool:
    x = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        return torch.equal(model(x), other(x))


@pytest.mark.parametrize("name", NAMES)
def test_a_compiled_network_keeps_imports_of_every_name(tmp_path: Path, name: str) -> None:
    compiled = importing(tmp_path / "given", name)
    model = build(compiled, 3).eval()
    save_artifact(compiled, model, tmp_path / "net")
    shutil.rmtree(tmp_path / "given")
    assert same(load_artifact(tmp_path / "net"), model)
    assert compile_file(tmp_path / "net" / "spec" / "main.frac").texts == compiled.texts
    (tmp_path / "net" / "spec" / name).write_text(PART + "\n")
    with pytest.raises(UserError, match="was altered or truncated"):
        load_artifact(tmp_path / "net")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One spec that imports files of all the names, and a run of it that was stopped."""
    folder = tmp_path_factory.mktemp("runs")
    names = [name for name in NAMES if not any(other.startswith(f"{name}/") for other in NAMES)]
    lines = [f'import "{name}" as m{i}' for i, name in enumerate(names)]
    for name in names:
        importing(folder / "given", name)
    (folder / "given" / "main.frac").write_text("\n".join([*lines, HEAD.replace("m.block", "m0.block")]))
    compiled = compile_file(folder / "given" / "main.frac")
    assert len(compiled.texts) == len(names) + 1
    train(compiled, parse_config({**compiled.program.train, "max_minutes": 1e-9}), folder / "run", console=quiet())
    return folder


def test_a_run_keeps_imports_of_every_name_and_goes_on(runs: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(runs / "run", tmp_path / "run"))
    before = {path: path.read_text() for path in (runs / "given").rglob("*") if path.is_file()}
    resume(run, console=quiet(), max_minutes=float("inf"))
    assert Run.open(run).load().n_columns >= 0
    write_report(run)
    stored = {path.relative_to(run / "spec") for path in (run / "spec").rglob("*") if path.is_file()}
    assert stored == {path.relative_to(runs / "given") for path in before}
    for path in list(before)[::6]:
        hidden = run / "spec" / path.relative_to(runs / "given")
        text = hidden.read_text()
        hidden.write_text(text + " ")
        with pytest.raises(UserError, match="was altered or truncated"):
            Run.open(run)
        hidden.write_text(text)


def test_folders_of_the_first_format_still_load(tmp_path: Path) -> None:
    """Their spec lies at the top, with what it imports beside it; a run of this kind goes on."""
    compiled = importing(tmp_path / "given", "parts/a.frac")
    (tmp_path / "given" / "main.frac").rename(tmp_path / "given" / "spec.frac")
    compiled = compile_file(tmp_path / "given" / "spec.frac")
    model = build(compiled, 3).eval()
    save_artifact(compiled, model, tmp_path / "net")
    train(compiled, parse_config({**compiled.program.train, "max_minutes": 1e-9}), tmp_path / "run", console=quiet())

    def older(manifest: dict[str, Any]) -> None:
        manifest.pop("spec", None)
        manifest["format_version"] = 1
        manifest["files"] = {name.removeprefix("spec/"): value for name, value in manifest["files"].items()}

    for folder in (tmp_path / "net", tmp_path / "run"):
        for path in (folder / "spec").iterdir():
            path.rename(folder / path.name)
        (folder / "spec").rmdir()
        reseal(folder / "manifest.json", older)
    params = tmp_path / "run" / "params.json"
    params.write_text(json.dumps({k: v for k, v in json.loads(params.read_text()).items() if k != "spec"}))
    value = hashlib.sha256(params.read_bytes()).hexdigest()
    reseal(tmp_path / "run" / "manifest.json", lambda manifest: manifest["files"].update({"params.json": value}))
    assert same(load_artifact(tmp_path / "net"), model)
    Run.open(tmp_path / "run")
    resume(tmp_path / "run", console=quiet(), max_minutes=float("inf"))
    write_report(tmp_path / "run")
    Run.open(tmp_path / "run")


# --- manifests


def reseal(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change a manifest as somebody would who knows how its hash is made."""
    manifest = json.loads(path.read_text())
    del manifest["sha256"]
    change(manifest)
    manifest["sha256"] = hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()
    path.write_text(json.dumps(manifest))


WRONG: list[Any] = [None, True, -1, 1.5, 10**400, "x", "", [], {}, [1], {"a": 1}, {"a": None}, float("nan"), [[[[]]]]]


def the_net() -> Compiled:
    return compile_text("net N(x: f32[1, 8, 8]) -> f32[4] = flatten >> linear(4)")


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("network") / "net"
    save_artifact(the_net(), build(the_net()), folder)
    return folder


def answer(folder: Path, act: Callable[[Path], object]) -> None:
    """What is read is taken, or refused with a message; anything else would be a traceback."""
    try:
        act(folder)
    except UserError as error:
        assert str(folder) in str(error) or "N" in str(error)


@pytest.mark.parametrize("key", [*NetworkManifest.__struct_fields__, "max_layers"])
def test_every_key_of_a_networks_manifest_may_be_wrong(network: Path, tmp_path: Path, key: str) -> None:
    folder = Path(shutil.copytree(network, tmp_path / "net"))
    text = (folder / "manifest.json").read_text()
    needed = key not in (
        "column",
        "train",
        "fused",
        "step",
        "spec",
        "classes",
        "dataset",
        "inputs",
        "decoding",
        "task",
        "targets",
        "normalisation",
        "by_input",
        "by_output",
        "trained",
        "max_layers",
        "versions",
        "sha256",
    )
    for value in WRONG:
        (folder / "manifest.json").write_text(text)
        reseal(folder / "manifest.json", lambda manifest, value=value: manifest.update({key: value}))
        answer(folder, load_artifact)
        if needed and not isinstance(value, str | dict) and not (key == "seed" and value == -1):
            with pytest.raises(UserError):
                load_artifact(folder)
    (folder / "manifest.json").write_text(text)
    reseal(folder / "manifest.json", lambda manifest: manifest.pop(key, None))
    if needed:
        with pytest.raises(UserError, match="manifest"):
            load_artifact(folder)


@pytest.mark.parametrize(
    ("name", "every"),
    [
        ("params.json", 1),
        pytest.param("config.json", 5, marks=pytest.mark.slow),
        ("result.json", 5),
        pytest.param("data.json", 3, marks=pytest.mark.slow),
        ("manifest.json", 4),
    ],
)
def test_what_a_run_says_may_be_wrong(runs: Path, tmp_path: Path, name: str, every: int) -> None:
    """Each key gets some of the wrong values, other keys others."""
    run = Path(shutil.copytree(runs / "run", tmp_path / "run"))
    data = json.loads((run / name).read_text())
    for number, key in enumerate(data):
        for value in WRONG[number % every :: every]:
            (run / name).write_text(json.dumps({**data, key: value}))
            if name != "manifest.json":
                digest = hashlib.sha256((run / name).read_bytes()).hexdigest()
                reseal(run / "manifest.json", lambda manifest, d=digest: manifest["files"].update({name: d}))
            answer(run, lambda folder: Run.open(folder).data())


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=examples(60))
@given(changes=st.dictionaries(st.sampled_from(NetworkManifest.__struct_fields__), _JSON, min_size=1, max_size=3))
def test_manifests_of_any_content(network: Path, changes: dict[str, Any]) -> None:
    path = network / "manifest.json"
    text = path.read_text()
    try:
        reseal(path, lambda manifest: manifest.update(changes))
        answer(network, load_artifact)
    finally:
        path.write_text(text)


def test_a_limit_in_a_folder_is_not_believed(tmp_path: Path) -> None:
    """Not that of a manifest, nor that of a run's settings: 2 ** 40 layers would be counted for ever."""
    text = """param columns: int = 2
    rule F(n: int) join mean { F[1] = conv2d(n, 1) F[k+1] = F[k] >> F[k] | conv2d(n, 1) }
    net N(x: f32[1, 8, 8]) -> f32[4] = F[columns](2) >> flatten >> linear(4)
    train { dataset = synthetic(size=40) epochs = 1 batch = 8 }"""
    compiled = compile_text(text)
    save_artifact(compiled, build(compiled), tmp_path / "net")
    train(compiled, parse_config(compiled.program.train), tmp_path / "run", console=quiet())
    forged = {"max_layers": 10**30, "params": {"columns": "40"}}
    reseal(tmp_path / "net" / "manifest.json", lambda manifest: manifest.update(forged))
    params = tmp_path / "run" / "params.json"
    params.write_text(json.dumps({**json.loads(params.read_text()), **forged}))
    digest = hashlib.sha256(params.read_bytes()).hexdigest()
    reseal(tmp_path / "run" / "manifest.json", lambda manifest: manifest["files"].update({"params.json": digest}))
    for open_ in (lambda: load_artifact(tmp_path / "net"), lambda: Run.open(tmp_path / "run")):
        with pytest.raises(Exception, match="layers"):
            open_()


def test_a_manifest_of_another_kind_or_of_the_future_is_refused(network: Path) -> None:
    options: Any = {"format": "x", "version": 2, "parts": (), "remedy": "do"}
    with pytest.raises(UserError, match="another kind"):
        read_manifest(network, "thing", NetworkManifest, **options)
    options |= {"format": "fractal_dsl network", "version": 1}
    with pytest.raises(UserError, match="has format 3, but this version reads formats up to 1"):
        read_manifest(network, "thing", NetworkManifest, **options)
