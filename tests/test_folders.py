"""Folders that may be somebody else's: nothing of the user's is deleted, and no link in them is followed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from fractal_dsl.base.errors import UserError
from fractal_dsl.base.files import remove_temporaries, replacing, replacing_folder, write_text
from fractal_dsl.base.lock import Lock, held
from fractal_dsl.base.manifest import write_manifest
from fractal_dsl.base.parts import open_part, part_folder, read_json, write_new_parts, write_part
from fractal_dsl.compiled import Compiled
from fractal_dsl.config import parse_config
from fractal_dsl.evaluation.run import Run
from fractal_dsl.pipeline import compile_text
from fractal_dsl.runs.parts import discard
from fractal_dsl.runs.report import write_report
from fractal_dsl.runtime import build
from fractal_dsl.runtime.artifact import load_artifact, save_artifact
from fractal_dsl.sweep.folder import SweepFolder, lines_of, whole_lines
from fractal_dsl.training.train import resume, train

SPEC = """
layer conv(out: int) = conv2d(out, 3, padding=1) >> relu
rule F(out: int) join mean { F[1] = conv(out) F[n+1] = F[n] >> F[n] | conv(out) }
net N(x: f32[1, 8, 8]) -> f32[4] = F[2](2) >> flatten >> linear(4)
train { dataset = synthetic(size=40) epochs = 2 batch = 8 save_steps = 2 }
"""

PRECIOUS = [".git/HEAD", ".envrc", ".parts.frac", "notes.txt", "thesis/chapter.tex", "checkpoints/.keep", ".step-1-x/a"]
"""Files that no command of ours made, in the folder of a run or of a compiled network."""


def quiet() -> Console:
    return Console(file=StringIO(), width=300)


def net() -> Compiled:
    return compile_text(SPEC)


def put(folder: Path, names: list[str]) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("precious")


def kept(folder: Path, names: list[str]) -> bool:
    return all((folder / name).read_text() == "precious" for name in names)


@pytest.fixture(scope="module", autouse=True)
def without_reports() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fractal_dsl.training.finish.write_report", lambda folder: None)
        yield


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose minutes were over; tests work on copies."""
    folder = tmp_path_factory.mktemp("stopped") / "run"
    train(net(), parse_config({**net().program.train, "max_minutes": 1e-9}), folder, console=quiet())
    return folder


@pytest.fixture
def run(stopped: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(stopped, tmp_path / "run"))


# --- nothing of the user's is deleted


def test_resume_deletes_only_half_written_files(run: Path) -> None:
    put(run, PRECIOUS)
    half = [run / ".fractal_dsl-tmp-ab_12cd9.json", run / "checkpoints" / ".fractal_dsl-tmp-abcdefgh"]
    half[0].write_text("{")
    half[1].mkdir()
    resume(run, console=quiet(), max_minutes=float("inf"))
    assert kept(run, PRECIOUS) and not any(path.exists() for path in half)
    Run.open(run)
    (run / "notes.txt").write_text("changed")
    Run.open(run)  # the manifest counts the run's own files


@given(name=st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=30))
def test_only_names_of_our_own_are_temporary(name: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("folder")
    for path in [folder / f".{name}", folder / f".fractal_dsl-{name}"]:
        if len(os.fsencode(path.name)) < 200 and path.name != "..":
            path.write_text("precious")
    there = sorted(folder.iterdir())
    remove_temporaries(folder)
    assert sorted(folder.iterdir()) == there


@pytest.mark.parametrize("suffix", ["", ".json", ".safetensors", ".svg"])
def test_names_of_temporaries_are_known_as_such(tmp_path: Path, suffix: str) -> None:
    with replacing(tmp_path / f"a{suffix}") as file, replacing_folder(tmp_path / f"b{suffix}") as folder:
        assert file.suffix == suffix
        (folder.with_name(folder.name + "-old")).mkdir()
        remove_temporaries(tmp_path)
        assert not any(tmp_path.iterdir())
        file.touch()
        folder.mkdir()


@pytest.mark.parametrize("name", PRECIOUS)
def test_a_compiled_network_with_files_of_the_user_is_not_replaced(tmp_path: Path, name: str) -> None:
    save_artifact(net(), build(net(), 1), tmp_path / "net")
    put(tmp_path / "net", [name])
    with pytest.raises(UserError, match="would be lost"):
        save_artifact(net(), build(net(), 2), tmp_path / "net")
    assert kept(tmp_path / "net", [name])


def test_a_failed_run_deletes_only_its_own_files(run: Path) -> None:
    put(run, PRECIOUS)
    discard(run, net().spec_files(net().stored))
    left = sorted(path.relative_to(run).as_posix() for path in run.rglob("*") if path.is_file())
    assert left == sorted([*PRECIOUS, "manifest.json"])
    for name in [*PRECIOUS, "manifest.json"]:
        (run / name).unlink()


def test_a_run_that_came_to_nothing_leaves_nothing(run: Path) -> None:
    (run / "manifest.json").unlink()
    discard(run, net().spec_files(net().stored))
    assert not run.exists()


# --- links in a folder of ours are not followed


PARTS = ["report.html", "curves.svg", "paths.svg", "result.json", "metrics.jsonl", "manifest.json", "last.safetensors"]


@pytest.mark.parametrize("name", PARTS)
def test_a_part_that_is_a_link_is_replaced_and_its_target_left_alone(tmp_path: Path, name: str) -> None:
    put(tmp_path, ["victim"])
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / name).symlink_to(tmp_path / "victim")
    write_part(tmp_path / "run", name, "ours")
    assert kept(tmp_path, ["victim"]) and (tmp_path / "run" / name).read_text() == "ours"
    assert not (tmp_path / "run" / name).is_symlink()


def test_a_report_leaves_what_its_place_is_linked_to_alone(run: Path, tmp_path: Path) -> None:
    put(tmp_path, ["victim"])
    for name in ("report.html", "curves.svg", "paths.svg"):
        (run / name).symlink_to("../victim")
    write_report(run)
    assert kept(tmp_path, ["victim"]) and "<!doctype html>" in (run / "report.html").read_text()


@pytest.mark.parametrize("name", ["checkpoints", "plain", "tensorboard"])
def test_a_folder_that_is_a_link_is_refused(run: Path, tmp_path: Path, name: str) -> None:
    there = tmp_path / "there"
    shutil.move(run / name, there) if (run / name).exists() else there.mkdir()
    before = sorted(there.rglob("*"))
    (run / name).symlink_to(there)
    with pytest.raises(UserError, match="is a link"):
        part_folder(run, f"{name}/step-1")
    if name == "checkpoints":
        with pytest.raises(UserError, match="is a link"):
            resume(run, console=quiet())
        shutil.rmtree(run / "plain", ignore_errors=True)
        discard(run, ())
    assert sorted(there.rglob("*")) == before


def test_a_checkpoint_with_tensors_that_its_manifest_does_not_count_is_not_used(run: Path) -> None:
    for folder in (run / "checkpoints").glob("step-*"):
        (folder / "more.safetensors").symlink_to("/dev/zero")
    with pytest.raises(UserError, match="no undamaged checkpoint"):
        resume(run, console=quiet())


@pytest.mark.parametrize("text", ["{", "[" * 100_000, "\xff"], ids=["cut", "deep", "latin-1"])
def test_metrics_of_a_trial_that_are_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "metrics.jsonl").write_text(text, encoding="latin-1")
    with pytest.raises(UserError, match="is damaged"):
        lines_of(tmp_path / "metrics.jsonl")


@pytest.mark.parametrize("name", [".lock", "journal.log"])
def test_a_lock_that_is_a_link_is_refused(tmp_path: Path, name: str) -> None:
    put(tmp_path, ["victim"])
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / name).symlink_to("../victim")
    for take in (Lock(tmp_path / "run" / name).acquire, lambda: whole_lines(tmp_path / "run" / name)):
        with pytest.raises(UserError, match="it is a link"):
            take()
    if name == ".lock":
        with pytest.raises(UserError, match="it is a link"), held(tmp_path / "run"):
            pass
    assert kept(tmp_path, ["victim"])


def test_a_lock_that_is_a_pipe_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / ".lock")
    with pytest.raises(UserError, match="not a regular file"), held(tmp_path):
        pass


def test_a_trial_that_is_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "trial-0003").symlink_to(tmp_path)
    with pytest.raises(UserError, match="is a link"):
        SweepFolder(tmp_path).trial(3)


def test_where_the_disk_has_no_locks_runs_go_on_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_locks(file: object, how: int) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr("fcntl.flock", no_locks)
    with held(tmp_path), held(tmp_path):
        pass
    with pytest.raises(UserError, match="has no POSIX locks"):
        Lock(tmp_path / "l").acquire()


def test_a_lock_is_let_go_of_when_its_holder_is_killed(tmp_path: Path) -> None:
    hold = "import sys, pathlib; from fractal_dsl.base.lock import held\n"
    hold += "with held(pathlib.Path(sys.argv[1])): print(flush=True); sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", hold, tmp_path], stdin=-1, stdout=subprocess.PIPE) as other:
        assert other.stdout and other.stdout.readline()
        with pytest.raises(UserError, match=f"by process {other.pid} on "), held(tmp_path):
            pass
        other.kill()
    with held(tmp_path):
        pass


# --- a link that the user names is followed


def test_a_file_that_the_user_names_may_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "link.svg").symlink_to("target.svg")
    write_text(tmp_path / "link.svg", "new")
    assert (tmp_path / "link.svg").is_symlink() and (tmp_path / "target.svg").read_text() == "new"


def test_a_folder_that_the_user_names_may_be_a_link(tmp_path: Path) -> None:
    for name in ("net", "run"):
        (tmp_path / f"{name}-there").mkdir()
        (tmp_path / name).symlink_to(f"{name}-there")
    for seed in (1, 2):
        save_artifact(net(), build(net(), seed), tmp_path / "net")
    assert (tmp_path / "net").is_symlink() and load_artifact(tmp_path / "net").seed == 2
    train(net(), parse_config({**net().program.train, "epochs": 1}), tmp_path / "run", console=quiet())
    Run.open(tmp_path / "run-there")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["net", "net-there", "run", "run-there"]


# --- reading


@pytest.mark.parametrize("part", ["spec", "model.py", "weights.safetensors", "manifest.json"])
@pytest.mark.parametrize("kind", ["link", "pipe", "device", "folder", "loop"])
def test_only_regular_files_are_read(tmp_path: Path, part: str, kind: str) -> None:
    save_artifact(net(), build(net()), tmp_path / "net")
    path = tmp_path / "net" / (part if part != "spec" else next(iter(net().spec_files(net().stored))))
    shutil.move(path, tmp_path / "moved")
    match kind:
        case "link":
            path.symlink_to(tmp_path / "moved")
        case "pipe":
            os.mkfifo(path)
        case "device":
            path.symlink_to("/dev/zero")
        case "folder":
            path.mkdir()
        case _:
            path.symlink_to(path)
    with pytest.raises(UserError, match=r"is a link|not a regular file|no compiled network"):
        load_artifact(tmp_path / "net")


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "a/../../secret", "..", ".", "", "/", "a\0b"])
def test_a_manifest_that_names_files_outside_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "secret").write_text("secret")
    save_artifact(net(), build(net()), tmp_path / "net")
    path = tmp_path / "net" / "manifest.json"
    reseal(path, lambda manifest: manifest["files"].update({name: "0"}))
    with pytest.raises(UserError, match=r"outside|not a regular file"):
        load_artifact(tmp_path / "net")
    with pytest.raises(OSError):
        open_part(tmp_path / "net", name)


def reseal(path: Path, change: Any) -> None:
    """Change a manifest as somebody would who knows how its hash is made."""
    import hashlib

    manifest = json.loads(path.read_text())
    del manifest["sha256"]
    change(manifest)
    manifest["sha256"] = hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()
    path.write_text(json.dumps(manifest))


@pytest.mark.parametrize(
    "text",
    ['{"a": 1, "a": 2}', "[" * 100_000, '{"a": ' + "9" * 5000 + "}", "", "\xff"],
    ids=["twice", "deep", "digits", "empty", "latin-1"],
)
def test_json_that_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.json").write_text(text, encoding="latin-1")
    with pytest.raises(ValueError):
        read_json(tmp_path, "a.json")


def test_json_that_is_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fractal_dsl.base.parts.MAX_JSON_BYTES", 100)
    (tmp_path / "a.json").write_text(json.dumps(["x" * 100]))
    with pytest.raises(ValueError, match="over 100 bytes"):
        read_json(tmp_path, "a.json")


def test_names_that_a_disk_takes_for_one_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="gives another file the same name"):
        (tmp_path / "a.frac").touch()  # as on a disk that finds it for A.frac
        write_new_parts(tmp_path, {"a.frac": "new"})


def test_a_manifest_counts_hidden_files(tmp_path: Path) -> None:
    put(tmp_path, [".hidden.frac", "a/.b"])
    write_manifest(tmp_path, {})
    assert read_json(tmp_path, "manifest.json")["files"].keys() == {".hidden.frac", "a/.b"}
