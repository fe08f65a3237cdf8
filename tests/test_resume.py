"""A run that is killed, at whatever moment, and resumed ends with the bits of one that never was."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import resource
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from io import StringIO
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file

from fractal_dsl.base.errors import UserError
from fractal_dsl.config import merge, parse_config
from fractal_dsl.evaluation.run import Run, RunResult
from fractal_dsl.pipeline import compile_text
from fractal_dsl.training import finish
from fractal_dsl.training.step import Stepper
from fractal_dsl.training.train import resume, train
from tests.support.runs import SPEC, ends_of, killed_at


@pytest.fixture(scope="module", autouse=True)
def without_reports() -> Iterator[None]:
    """Drawing takes longer than all the rest; ``test_train.py`` looks at reports."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fractal_dsl.training.finish.write_report", lambda folder: None)
        yield


def start(folder: Path, *overrides: tuple[str, Any], shown: Console | None = None) -> RunResult:
    spec = compile_text(SPEC)
    config = parse_config(merge(spec.program.train, overrides))
    return train(spec, config, folder, console=shown or Console(file=StringIO()))


def go_on(folder: Path, **options: Any) -> str:
    shown = Console(file=StringIO(), width=300)
    resume(folder, console=shown, **options)
    return shown.file.getvalue()  # type: ignore[attr-defined]


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], float]:
    """How a run ends that is left alone, and how long it takes in a process of its own."""
    folder = tmp_path_factory.mktemp("unbroken") / "run"
    began = time.perf_counter()
    start(folder)
    return ends_of(folder), time.perf_counter() - began


# --- killed


def in_a_process(folder: Path, ready: Any) -> None:
    """Train, or go on; ``ready`` is set once torch is there."""
    torch.set_num_threads(1)
    finish.write_report = lambda folder: folder
    ready.set()
    if list((folder / "checkpoints").glob("step-*")):
        resume(folder, console=Console(file=StringIO()))
    else:
        shutil.rmtree(folder, ignore_errors=True)
        start(folder)


def kill_and_resume(folder: Path, kills: int, seconds: float, rng: random.Random) -> None:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.conftest", __name__])

    def child() -> tuple[ForkServerProcess, Any]:
        ready = context.Event()
        process = context.Process(target=in_a_process, args=(folder, ready))
        process.start()
        assert ready.wait(60)
        return process, ready

    killed = 0
    while killed < kills:
        process, _ = child()
        process.join(rng.uniform(0, seconds))
        if process.is_alive():
            process.kill()
            killed += 1
        process.join()
        if process.exitcode == 0:
            shutil.rmtree(folder)  # it was quicker: another one is killed
    if (folder / "result.json").exists() and json.loads((folder / "result.json").read_text())["status"] == "finished":
        return
    process, _ = child()
    process.join()
    assert process.exitcode == 0


def test_a_run_that_is_killed_ends_the_same(tmp_path: Path, unbroken: tuple[dict[str, Any], float]) -> None:
    expected, seconds = unbroken
    kill_and_resume(tmp_path / "run", 3, seconds, random.Random(os.getpid()))
    assert ends_of(tmp_path / "run") == expected


@pytest.mark.slow
def test_a_run_that_is_killed_twenty_times_ends_the_same(
    tmp_path: Path, unbroken: tuple[dict[str, Any], float]
) -> None:
    expected, seconds = unbroken
    kill_and_resume(tmp_path / "run", 20, seconds, random.Random(os.getpid()))
    assert ends_of(tmp_path / "run") == expected


def test_a_run_that_is_killed_long_after_it_was_saved_ends_the_same(
    tmp_path: Path, unbroken: tuple[dict[str, Any], float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where epochs are short, the state is not saved at the end of each: saving would take longer than training."""
    monkeypatch.setattr("fractal_dsl.training.loop._SHARE", 1e9)
    folder = tmp_path / "run"

    def epochs() -> int:
        return len((folder / "metrics.jsonl").read_text().splitlines())

    with killed_at(25):
        start(folder, ("save_steps", None))
    assert [f.name for f in (folder / "checkpoints").iterdir()] == ["step-00000000"] and epochs() == 2
    Run.open(folder)
    with monkeypatch.context() as patch:
        interrupted_at(5, patch)
        go_on(folder)
    assert epochs() == 0  # no line is ahead of the state
    go_on(folder)
    assert ends_of(folder) == unbroken[0]


# --- stopped


def interrupted_at(number: int, monkeypatch: pytest.MonkeyPatch, signal_: signal.Signals = signal.SIGINT) -> None:
    """The process gets a signal in that step, once."""
    step: Callable[..., Any] = Stepper.step
    sent: list[int] = []

    def stopped(self: Stepper, x: Any, y: Any, at: int, rate: float) -> Any:
        if at == number and not sent:
            sent.append(at)
            os.kill(os.getpid(), signal_)
        return step(self, x, y, at, rate)

    monkeypatch.setattr(Stepper, "step", stopped)


VARIANTS: dict[str, list[tuple[str, Any]]] = {
    "adamw, bf16, clipped, in parts": [
        ("optimizer", "adamw"),
        ("precision", "bf16"),
        ("clip", 0.5),
        ("accumulate", 3),
        ("channels_last", True),
    ],
    "fp16": [("precision", "fp16"), ("ema", None), ("label_smoothing", 0.1)],
    "plain beside it": [("plain", 3), ("track_columns", True), ("validation", 0), ("epochs", 2)],
    "recomputed": [("checkpoint_levels", 2), ("epochs", 2)],
    "distilled, in parts": [("distill.weight", 0.4), ("accumulate", 2), ("precision", "bf16"), ("epochs", 2)],
    "no momentum": [("optimizer.momentum", 0), ("schedule", "step"), ("schedule.at", [1, 2])],
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_run_that_is_stopped_ends_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variant: str) -> None:
    start(tmp_path / "whole", *VARIANTS[variant])
    interrupted_at(17, monkeypatch)
    shown = Console(file=StringIO(), width=300)
    assert start(tmp_path / "run", *VARIANTS[variant], shown=shown).status == "interrupted"
    command = f"To resume: fractal-dsl train --resume {tmp_path / 'run'}\n"
    assert command in shown.file.getvalue()  # type: ignore[attr-defined]
    go_on(tmp_path / "run")
    assert ends_of(tmp_path / "run") == ends_of(tmp_path / "whole")


def test_the_plain_net_is_resumed_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = [("plain", 2), ("epochs", 2), ("save_steps", None)]
    start(tmp_path / "whole", *given)
    step: Callable[..., Any] = Stepper.step
    seen: list[int] = []

    def stopped(self: Stepper, x: Any, y: Any, at: int, rate: float) -> Any:
        seen.append(at)
        if len(seen) == 20 + 13:  # in the second epoch of the plain net
            os.kill(os.getpid(), signal.SIGTERM)
        return step(self, x, y, at, rate)

    monkeypatch.setattr(Stepper, "step", stopped)
    assert start(tmp_path / "run", *given).status == "interrupted"
    shown = go_on(tmp_path / "run")
    assert "from step 13, 1 epoch and 3 steps" in shown
    assert ends_of(tmp_path / "run") == ends_of(tmp_path / "whole")
    whole, run = (
        load_file(tmp_path / "whole/plain/last.safetensors"),
        load_file(tmp_path / "run/plain/last.safetensors"),
    )
    assert all(torch.equal(whole[key], run[key]) for key in whole)


def test_minutes_that_are_over(tmp_path: Path, unbroken: tuple[dict[str, Any], float]) -> None:
    result = start(tmp_path / "run", ("max_minutes", 1e-6))
    assert (result.status, result.epochs) == ("out of time", 0)
    assert "after step 1. To resume" not in go_on(tmp_path / "run", max_minutes=5)
    expected, found = unbroken[0], ends_of(tmp_path / "run")
    assert {key: found[key] for key in ("metrics", "best", "last", "state")} == {
        key: expected[key] for key in ("metrics", "best", "last", "state")
    }


# --- what can be wrong with what is resumed


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was stopped in the second epoch; tests work on copies."""
    folder = tmp_path_factory.mktemp("stopped") / "run"
    with pytest.MonkeyPatch.context() as patch:
        interrupted_at(17, patch)
        start(folder)
    return folder


@pytest.fixture
def copy(stopped: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(stopped, tmp_path / "run"))


@pytest.mark.parametrize("damage", ["altered", "cut", "gone", "manifest"])
def test_a_damaged_checkpoint_is_refused_and_the_one_before_it_used(
    copy: Path, unbroken: tuple[dict[str, Any], float], damage: str
) -> None:
    before, newest = sorted((copy / "checkpoints").iterdir())
    state = newest / ("manifest.json" if damage == "manifest" else "state.safetensors")
    data = bytearray(state.read_bytes())
    if damage == "cut":
        data = data[: len(data) // 2]
    else:
        data[-3] ^= 1
    state.write_bytes(data)
    if damage == "gone":
        state.unlink()
    shown = go_on(copy)
    assert newest.name in shown and "trying the checkpoint before it" in shown
    assert f"from step {int(before.name[5:])}, " in shown
    assert ends_of(copy) == unbroken[0]
    assert (copy / "checkpoints" / f"refused-{newest.name}").is_dir()


def test_a_checkpoint_that_cannot_be_read_is_left_as_it_is(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    newest = sorted((copy / "checkpoints").iterdir())[-1]
    manifest = (newest / "manifest.json").read_text()
    (newest / "manifest.json").write_text(manifest.replace('"format_version": 1', '"format_version": 9'))
    with pytest.raises(
        UserError,
        match=r"has format 9, but this version reads formats up to 1\n.*resume with the version of fractal_dsl",
    ):
        resume(copy, console=Console(file=StringIO()))
    (newest / "manifest.json").write_text(manifest)

    def denied(folder: Path, name: str) -> Any:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("fractal_dsl.base.manifest.open_part", denied)
    with pytest.raises(UserError, match=r"cannot read .*: Permission denied\n.*Make it readable"):
        resume(copy, console=Console(file=StringIO()))
    assert newest.is_dir()


@pytest.mark.parametrize("hidden", [True, False])
def test_best_weights_that_were_altered_are_not_sealed(copy: Path, hidden: bool) -> None:
    best, manifest = copy / "best.safetensors", (copy / "manifest.json").read_bytes()
    if not hidden:
        (copy / ".weights.json").unlink()
    data = bytearray(best.read_bytes())
    data[-3] ^= 1
    best.write_bytes(data)
    with pytest.raises(UserError, match=r"best.safetensors is missing, altered or truncated"):
        resume(copy, console=Console(file=StringIO()))
    assert (copy / "manifest.json").read_bytes() == manifest


def test_the_plain_nets_weights_are_checked_before_anything_is_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step: Callable[..., Any] = Stepper.step
    seen: list[int] = []

    def stopped(self: Stepper, x: Any, y: Any, at: int, rate: float) -> Any:
        seen.append(at)
        if len(seen) == 20 + 13:
            os.kill(os.getpid(), signal.SIGINT)
        return step(self, x, y, at, rate)

    monkeypatch.setattr(Stepper, "step", stopped)
    folder = tmp_path / "run"
    start(folder, ("plain", 2), ("epochs", 2))
    best = folder / "plain" / "best.safetensors"
    best.write_bytes(best.read_bytes()[:-1] + b"#")

    def files() -> dict[Path, bytes]:
        return {f: f.read_bytes() for f in folder.rglob("*") if f.is_file() and f.name != ".lock"}

    before = files()
    with pytest.raises(UserError, match=r"plain/best.safetensors is missing, altered or truncated"):
        go_on(folder)
    assert files() == before  # its manifest, above all, does not vouch for what was altered


def test_weights_that_the_checkpoint_has_are_written_again(
    tmp_path: Path, unbroken: tuple[dict[str, Any], float], monkeypatch: pytest.MonkeyPatch
) -> None:
    measure, calls = Stepper.measure, list[int]()

    def stopped(self: Stepper, *args: Any, **options: Any) -> Any:
        calls.append(1)
        if len(calls) == 1:  # at the end of the first epoch, which is the best one as yet
            os.kill(os.getpid(), signal.SIGINT)
        return measure(self, *args, **options)

    monkeypatch.setattr(Stepper, "measure", stopped)
    start(tmp_path / "run")
    (tmp_path / "run/best.safetensors").unlink()
    (tmp_path / "run/last.safetensors").write_bytes(b"cut")
    go_on(tmp_path / "run")
    assert ends_of(tmp_path / "run") == unbroken[0]


def test_a_disk_that_is_full_from_the_first_leaves_nothing_and_promises_nothing(tmp_path: Path) -> None:
    limits, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.getsignal(signal.SIGXFSZ)
    try:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
        with pytest.raises(UserError, match=r"cannot write .*too large$"):
            start(tmp_path / "run")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert not (tmp_path / "run").exists()


def test_a_report_that_cannot_be_written_is_finished_by_resume(tmp_path: Path) -> None:
    def full(folder: Path) -> None:
        raise UserError(f"cannot write {folder / 'report.html'}: No space left on device")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(finish, "write_report", full)
        with pytest.raises(
            UserError, match=r"(?s)cannot write .*The trained state is kept in .*fractal-dsl train --resume"
        ):
            start(tmp_path / "run")
    go_on(tmp_path / "run")
    assert json.loads((tmp_path / "run" / "result.json").read_text())["status"] == "finished"


@pytest.mark.parametrize("minutes", [-5, 0, float("nan")])
def test_the_time_for_a_resumed_run_is_above_0(minutes: float, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="max_minutes is a time above 0"):
        resume(tmp_path, max_minutes=minutes)


def test_two_processes_do_not_train_one_run(copy: Path) -> None:
    hold = "import sys, pathlib; from fractal_dsl.base.lock import held\n"
    hold += "with held(pathlib.Path(sys.argv[1])): print(flush=True); sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", hold, copy], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout and other.stdout.readline()
        half_written = copy / "checkpoints" / ".fractal_dsl-tmp-abcd1_23"
        half_written.mkdir()
        with pytest.raises(UserError, match=f"is being trained by process {other.pid} on {socket.gethostname()}"):
            resume(copy, console=Console(file=StringIO()))
        assert half_written.is_dir()
        other.kill()
    go_on(copy)
    assert not half_written.exists() and (copy / ".lock").is_file()


def test_no_whole_checkpoint(copy: Path) -> None:
    for folder in (copy / "checkpoints").iterdir():
        (folder / "metrics.jsonl").unlink()
    with pytest.raises(UserError, match="no undamaged checkpoint"):
        resume(copy, console=Console(file=StringIO()))


@pytest.mark.parametrize(
    ("name", "old", "new", "expected"),
    [
        ("spec/spec.frac", "local=15%", "local=16%", "the spec in .* changed since its checkpoint"),
        ("spec/spec.frac", "linear(4)", "linear(3)", "no longer compiles"),
        ("config.json", '"epochs": 4', '"epochs": 9', "the settings in .* changed since its checkpoint"),
        ("config.json", '"epochs": 4', '"epochz": 9', "epochz"),
    ],
)
def test_a_run_that_was_changed(copy: Path, name: str, old: str, new: str, expected: str) -> None:
    text = (copy / name).read_text()
    assert old in text
    (copy / name).write_text(text.replace(old, new))
    with pytest.raises(UserError, match=expected):
        resume(copy, console=Console(file=StringIO()))


def test_what_cannot_be_resumed(tmp_path: Path, copy: Path) -> None:
    with pytest.raises(UserError, match="there is no folder"):
        resume(tmp_path / "nothing")
    with pytest.raises(UserError, match="not a training run that can be resumed"):
        resume(tmp_path)
    go_on(copy)
    with pytest.raises(UserError, match="is finished"):
        resume(copy)
    shutil.rmtree(copy / "checkpoints")
    (copy / "manifest.json").unlink()
    with pytest.raises(UserError, match="no checkpoint to resume from"):
        resume(copy, console=Console(file=StringIO()))


def test_checkpoints_hold_no_pickles_and_say_what_they_are(stopped: Path) -> None:
    newest = sorted((stopped / "checkpoints").iterdir())[-1]
    assert {f.name for f in newest.iterdir()} == {"state.safetensors", "metrics.jsonl", "manifest.json"}
    manifest = json.loads((newest / "manifest.json").read_text())
    assert "rule F(out: int) join mean" in manifest["spec"]["spec.frac"]
    assert manifest["config"]["epochs"] == 4
    assert manifest["graph_sha256"] == json.loads((stopped / "manifest.json").read_text())["graph_sha256"]
    assert {"torch", "fractal_dsl", "python"} <= manifest["versions"].keys()
    tensors = load_file(newest / "state.safetensors")
    kinds = {name.partition("/")[0] for name in tensors}
    assert kinds == {"model", "optimizer", "average", "epoch"}
    by_route = {name.partition("/")[0] for name in tensors if name.endswith("running_mean_column3")}
    assert by_route == {"model", "average"}
    assert len(list((stopped / "checkpoints").iterdir())) == 2


def test_a_full_disk_keeps_the_last_good_state(tmp_path: Path, unbroken: tuple[dict[str, Any], float]) -> None:
    step: Callable[..., Any] = Stepper.step
    limits, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.getsignal(signal.SIGXFSZ)

    def full(self: Stepper, x: Any, y: Any, at: int, rate: float) -> Any:
        if at == 14:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
        return step(self, x, y, at, rate)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Stepper, "step", full)
        try:
            with pytest.raises(UserError, match=r"cannot write .*too large\n.*fractal-dsl train --resume"):
                start(tmp_path / "run")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
            signal.signal(signal.SIGXFSZ, handler)
    go_on(tmp_path / "run")
    assert ends_of(tmp_path / "run") == unbroken[0]
