"""Mini-batches that a thread prepares: the same ones, in the same order, and the share of time spent waiting."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Generator
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console

from fractal_dsl.base.errors import UserError
from fractal_dsl.config import parse_config
from fractal_dsl.data.ahead import ahead
from fractal_dsl.data.parts import Batch
from fractal_dsl.pipeline import compile_text
from fractal_dsl.runs.files import RunFiles
from fractal_dsl.runs.report import facts
from fractal_dsl.training.step import Stepper
from fractal_dsl.training.train import resume, train
from fractal_dsl.training.waiting import Waiting, waiting_text
from tests.support.runs import ends_of, killed_at

CPU = torch.device("cpu")
COMPILED = compile_text(
    "net N(x: f32[3, 8, 8]) -> f32[2] with init('xavier') = conv2d(4, 3) >> batchnorm2d >> relu >> dropout(20%) >> "
    "flatten >> linear(2)".replace("'", '"')
)


def numbered(count: int, wrong: int | None = None, seen: list[str] | None = None) -> Generator[Batch]:
    """Mini-batches 0, 1, …; ``seen`` collects the threads that prepare them, and then "closed"."""
    try:
        for i in range(count):
            if seen is not None:
                seen.append(threading.current_thread().name)
            if i == wrong:
                raise UserError(f"example {i} is damaged")
            yield torch.tensor([i]), torch.tensor([-i])
    finally:
        if seen is not None:
            seen.append("closed")


@pytest.mark.parametrize("count", [0, 1, 2, 7])
def test_the_mini_batches_are_the_same(count: int) -> None:
    assert [(x.item(), y.item()) for x, y in ahead(numbered(count), CPU)] == [(i, -i) for i in range(count)]


def test_the_caller_prepares_the_first_and_a_thread_the_others() -> None:
    seen: list[str] = []
    assert len([*ahead(numbered(4, seen=seen), CPU)]) == 4
    assert seen == [threading.current_thread().name, *["mini-batches ahead"] * 3, "closed"]


def test_the_next_one_is_prepared_while_one_is_used() -> None:
    seen: list[str] = []
    batches = ahead(numbered(9, seen=seen), CPU)
    next(batches)
    deadline = time.monotonic() + 10
    while len(seen) < 3 and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.05)
    assert len(seen) == 3  # the used one, one that is ready, and one that waits for room
    batches.close()


@pytest.mark.parametrize("wrong", [0, 1, 5])
def test_an_error_is_raised_where_its_mini_batch_would_come(wrong: int) -> None:
    before: list[int] = []
    with pytest.raises(UserError, match=f"example {wrong} is damaged"):
        before += [int(x) for x, _ in ahead(numbered(7, wrong), CPU)] or []
    batches, before = ahead(numbered(7, wrong), CPU), []
    with pytest.raises(UserError):
        before.extend(int(x) for x, _ in batches)
    assert before == [*range(wrong)]


@pytest.mark.parametrize("used", [1, 3])
def test_closing_ends_the_thread(used: int) -> None:
    seen: list[str] = []
    batches = ahead(numbered(100, seen=seen), CPU)
    for _ in range(used):
        next(batches)
    batches.close()
    assert seen[-1] == "closed" and len(seen) <= used + 3
    assert not [thread for thread in threading.enumerate() if thread.name == "mini-batches ahead"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root, rng = tmp_path_factory.mktemp("images"), np.random.default_rng(0)
    for part, count in (("train", 20), ("test", 4)):
        for i in range(count):
            path = root / part / "ab"[i % 2] / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, 255, (12, 14, 3), np.uint8)).save(path)
    return root


def settings(folder: Path, workers: int, **others: Any) -> Any:
    dataset = {"name": "folder", "path": str(folder), "workers": workers}
    return parse_config(
        {"dataset": dataset, "augment": "resized_crop", "epochs": 2, "batch": 4, "validation": 0, "save_steps": 1}
        | others
    )


def test_a_run_does_not_depend_on_workers_nor_on_interruptions(folder: Path, tmp_path: Path) -> None:
    quiet = Console(file=StringIO())
    ends = []
    for workers, killed in ((0, False), (2, False), (2, True)):
        out = tmp_path / f"{workers}-{killed}"
        if killed:
            with killed_at(7):
                train(COMPILED, settings(folder, workers), out, device="cpu", console=quiet)
            resume(out, device="cpu", console=quiet)
        else:
            train(COMPILED, settings(folder, workers), out, device="cpu", console=quiet)
        ends.append(ends_of(out))
    assert ends[0] == ends[1] == ends[2]


def test_a_reader_that_is_killed_during_a_step_is_explained(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step: Any = Stepper.step

    def deadly(self: Stepper, x: Any, y: Any, number: int, rate: float) -> Any:
        if number == 2:
            for child in multiprocessing.active_children():
                os.kill(child.pid or 0, signal.SIGKILL)
            time.sleep(0.5)  # torch's handler raises here
        return step(self, x, y, number, rate)

    monkeypatch.setattr(Stepper, "step", deadly)
    with pytest.raises(
        UserError, match=r"(?s)a process that reads data ended.*resume with: fractal-dsl train --resume"
    ):
        train(COMPILED, settings(folder, 2, batch=1), tmp_path / "run", device="cpu", console=Console(file=StringIO()))


def test_the_share_of_the_time_spent_waiting_is_shown(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fractal_dsl.data.folders import ImageFiles

    read: Any = ImageFiles.read

    def slow(self: ImageFiles, index: int, seed: int, epoch: int | None) -> Batch:
        time.sleep(0.05 * (epoch is not None))
        return read(self, index, seed, epoch)

    monkeypatch.setattr(ImageFiles, "read", slow)
    text = StringIO()
    train(COMPILED, settings(folder, 0), tmp_path / "run", device="cpu", console=Console(file=text, width=200))
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert all(0.5 < line["waiting"] <= 1 for line in lines)
    assert f"waiting for data {lines[0]['waiting']:.0%}" in text.getvalue()
    share = facts(RunFiles.read(tmp_path / "run"))["waiting for data"]
    assert share.endswith("% of the time of the epochs") and float(share.partition("%")[0]) > 50


def test_waiting_goes_on_from_what_an_epoch_has_waited() -> None:
    waiting = Waiting(CPU)
    waiting.start(3.0)

    def slow() -> Generator[int]:
        for i in range(3):
            time.sleep(0.02)
            yield i

    assert [*waiting.watched(slow())] == [0, 1, 2]
    assert 3.06 <= waiting.seconds < 4
    waiting.start(0.0)
    assert waiting.seconds == 0
    assert [waiting_text(share) for share in (0.0, 0.009, 0.124)] == ["", "", "waiting for data 12%"]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
def test_on_cuda_the_device_waits() -> None:
    place = torch.device("cuda")

    def copied() -> Generator[Batch]:
        for i in range(5):
            time.sleep(0.05)
            yield torch.full((4,), float(i)).pin_memory().to(place, non_blocking=True), torch.zeros(4, device=place)

    waiting = Waiting(place)
    waiting.start(0.0)
    sums = [float(x.sum()) for x, _ in waiting.watched(ahead(copied(), place))]
    torch.cuda.synchronize()
    assert sums == [0.0, 4.0, 8.0, 12.0, 16.0]
    assert 0.2 < waiting.seconds < 2
