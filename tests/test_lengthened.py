"""More epochs for a run: `train --resume RUN --epochs N`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from fractal_dsl.base.errors import UserError
from fractal_dsl.cli.app import app
from fractal_dsl.evaluation.run import Run
from fractal_dsl.training.run_writer import RunWriter
from tests.support.runs import SPEC, ends_of
from tests.test_resume import go_on, start

CONSTANT = ("schedule", "constant")


@pytest.fixture(autouse=True)
def without_reports(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fractal_dsl.training.finish.write_report", lambda folder: None)


def ends(folder: Path) -> dict[str, Any]:
    return {key: value for key, value in ends_of(folder).items() if key != "result"}


@pytest.mark.parametrize("schedule", ["constant", "step"])
def test_with_such_a_schedule_it_is_a_run_that_had_them_from_the_start(tmp_path: Path, schedule: str) -> None:
    options: list[tuple[str, Any]] = [("schedule", schedule), ("plain", 1)]
    if schedule == "step":
        options.append(("schedule.at", [1, 3]))
    start(tmp_path / "whole", *options)
    start(tmp_path / "run", *options, ("epochs", 2))
    said = go_on(tmp_path / "run", epochs=4)
    assert "the run has 4 epochs now, not 2. The learning rate so far was that of a run of 4 epochs" in said
    assert "so the result equals that of such a run" in said
    assert ends(tmp_path / "run") == ends(tmp_path / "whole")
    assert Run.open(tmp_path / "run").config == Run.open(tmp_path / "whole").config
    assert json.loads((tmp_path / "run" / "epochs.json").read_text()) == [2, 4]


def test_other_schedules_go_on_as_in_a_run_of_that_length(tmp_path: Path) -> None:
    start(tmp_path / "run", ("epochs", 2), ("schedule", "halving"))
    said = go_on(tmp_path / "run", epochs=8)
    assert "The halving schedule follows that: the learning rate goes from 0.005 to 0.05" in said
    rates = [json.loads(line)["lr"] for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert rates == pytest.approx([0.05, 0.005, 0.05, 0.05, 0.005, 0.005, 0.0005, 0.00005])


@pytest.mark.slow
def test_killed_at_any_moment_of_it_the_run_can_be_resumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    start(tmp_path / "whole", CONSTANT)
    for writes in range(4):
        run = tmp_path / f"run-{writes}"
        start(run, CONSTANT, ("epochs", 2))
        left = [writes]

        def counted(name: str, left: list[int] = left) -> Any:
            wrapped = getattr(RunWriter, name)

            def write(self: RunWriter, *args: Any) -> None:
                left[0] -= 1
                if left[0] < 0:
                    raise KeyboardInterrupt
                wrapped(self, *args)

            return write

        with monkeypatch.context() as patch:
            for name in ("_seal", "_write_json"):
                patch.setattr(RunWriter, name, counted(name))
            with pytest.raises(KeyboardInterrupt):
                go_on(run, epochs=4)
        if writes:  # before, it is still finished
            go_on(run)
        if json.loads((run / "config.json").read_text())["epochs"] == 2:
            go_on(run, epochs=4)
        assert ends(run) == ends(tmp_path / "whole")


def test_an_early_stopped_run_gets_its_patience_again(tmp_path: Path) -> None:
    options = (("patience", 1), ("optimizer.lr", 1e-9), ("ema", None), CONSTANT)
    start(tmp_path / "run", *options)
    stopped = len((tmp_path / "run" / "metrics.jsonl").read_text().splitlines())
    assert json.loads((tmp_path / "run" / "result.json").read_text())["ended"] == "patience"
    said = go_on(tmp_path / "run", epochs=6)
    assert "and another 1 epoch to improve on epoch" in said
    assert len((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()) > stopped


def test_epochs_are_only_raised(tmp_path: Path) -> None:
    start(tmp_path / "run", CONSTANT, ("epochs", 2))
    with pytest.raises(UserError, match="has 2 epochs, and --epochs can only raise that, not to 1"):
        go_on(tmp_path / "run", epochs=1)
    with pytest.raises(UserError, match=r"is finished.*--epochs 4"):
        go_on(tmp_path / "run", epochs=2)


@pytest.mark.parametrize("damage", ["checkpoint", "settings"])
def test_a_run_that_cannot_go_on_stays_as_it_is(tmp_path: Path, damage: str) -> None:
    run = tmp_path / "run"
    start(run, CONSTANT, ("epochs", 2))
    if damage == "checkpoint":
        for file in run.glob("checkpoints/step-*/*"):
            file.write_bytes(file.read_bytes()[:-5])
    else:
        settings = json.loads((run / "config.json").read_text())
        (run / "config.json").write_text(json.dumps(settings | {"batch": settings["batch"] + 1}))
    before = _parts(run)
    with pytest.raises(UserError, match=r"damaged|changed"):
        go_on(run, epochs=4)
    assert _parts(run) == before


def _parts(run: Path) -> dict[Path, tuple[bytes, int]]:
    """The files of a run, except its lock and its checkpoints, and when they were written."""
    files = [file for file in run.rglob("[!.]*") if file.is_file() and "checkpoints" not in file.parts]
    return {file: (file.read_bytes(), file.stat().st_mtime_ns) for file in files}


def invoke(*words: object) -> Any:
    return CliRunner().invoke(app, [str(word) for word in words])


def test_by_the_command_line(tmp_path: Path) -> None:
    (tmp_path / "net.frac").write_text(SPEC)
    run = str(tmp_path / "run")
    done = invoke("train", tmp_path / "net.frac", "--out", run, "--epochs", 1, "--set", "schedule=constant")
    assert done.exit_code == 0, done.output
    done = invoke("train", "--resume", run, "--epochs", 2)
    assert done.exit_code == 0, done.output
    assert "epoch 2/2" in done.output
    again = invoke("train", "--resume", run)
    assert again.exit_code == 1
    assert "is finished" in str(again.exception)
