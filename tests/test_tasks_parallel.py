"""Runs of each task on two processes: the same losses as on one, and the same bits after a kill."""

from __future__ import annotations

import json
import random
import shutil
import time
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from fractal_dsl.config import merge, parse_config
from fractal_dsl.config.losses import TaskName
from fractal_dsl.pipeline import compile_text
from fractal_dsl.runs.tasks import TASKS
from fractal_dsl.training.parallel import ParallelKind
from fractal_dsl.training.train import resume, train
from tests.support.runs import ends_of
from tests.support.tasks import NETS, spec_of
from tests.test_parallel import start, together

slow = pytest.mark.slow
WAYS = [
    pytest.param(task, way, marks=() if (task, way) == ("regression", "ddp") else slow)
    for task in NETS
    for way in ("ddp", "fsdp", "pipeline")
]


def run(folder: Path, text: str, way: ParallelKind | None) -> None:
    """Train, or go on."""
    console = Console(file=StringIO())
    if list((folder / "checkpoints").glob("step-*")):
        resume(folder, console=console, parallel=way)
    else:
        compiled = compile_text(text)
        config = parse_config(merge(compiled.program.train, [("save_steps", 3), ("optimizer", "sgd")]))
        train(compiled, config, folder, console=console, parallel=way)


@pytest.mark.parametrize(("task", "way"), WAYS)
def test_two_processes_train_as_one_and_resume_to_the_bit(task: TaskName, way: ParallelKind, tmp_path: Path) -> None:
    text = spec_of(task, tmp_path, epochs=2)
    run(tmp_path / "one", text, None)
    together(run, tmp_path / "two", text, way)
    one, two = (json.loads((tmp_path / name / "result.json").read_text()) for name in ("one", "two"))
    keys = {"loss", *(m.key for m in TASKS[task].metrics)} & one.keys()
    assert {key: two[key] for key in keys} == pytest.approx({key: one[key] for key in keys}, rel=1e-3, abs=1e-3)
    assert [sum(row) for row in two.get("confusion", [])] == [sum(row) for row in one.get("confusion", [])]

    started = start(run, tmp_path / "killed", text, way)
    while not (tmp_path / "killed" / "checkpoints" / "step-00000006").exists():
        assert all(process.is_alive() for process, _ in started), "it has ended"
        time.sleep(0.01)
    for process, _ in random.sample(started, 2):
        process.kill()
        process.join()
    shutil.copytree(tmp_path / "killed", tmp_path / "copy")
    together(run, tmp_path / "killed", text, way)
    assert ends_of(tmp_path / "killed") == ends_of(tmp_path / "two")
