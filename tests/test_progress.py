"""The progress of a training on terminals of any width, and the estimate at its beginning."""

from __future__ import annotations

from io import StringIO

import pytest
import torch
from rich.console import Console

from fractal_dsl.runs.tasks import TASKS
from fractal_dsl.training.progress import ProgressView
from fractal_dsl.training.waiting import Waiting


class Clock:
    """A clock that a test sets."""

    now = 1000.0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("fractal_dsl.training.progress.time.perf_counter", lambda: clock.now)
    return clock


def begun(console: Console, steps: int) -> ProgressView:
    view = ProgressView(console, torch.device("cpu"))
    view.run(steps, 0, TASKS["classification"])
    view.epoch("epoch 100/400", torch.zeros(()), torch.zeros(()), 0, 0.0, Waiting(torch.device("cpu")))
    return view


@pytest.mark.parametrize("width", [60, 80, 100, 120, 200])
def test_progress_is_one_line_on_any_terminal(clock: Clock, width: int) -> None:
    console = Console(file=StringIO(), width=width, force_terminal=True)
    view = begun(console, 200_000)
    view.waiting.start(3.0)
    for _ in range(20):
        clock.now += 1.0
        view.add(torch.tensor(2.3456), torch.tensor(50.0), 100)
    lines = console.render_lines(view.bar.get_renderable(), console.options)
    assert len(lines) == 1
    text = "".join(segment.text for segment in lines[0])
    assert "loss 2.3456" in text and "…" not in text
    assert ("left" in text) == (width >= 80) and ("images/s" in text) == (width >= 100)


@pytest.mark.parametrize("width", [40, 60, 80, 200])
def test_lines_are_folded_between_figures(width: int) -> None:
    said = "epoch 12/30  loss 2.0613  accuracy  9.43%  validation  6.94% (columns 43.1% 41.0%)  rate 0.02; into a/path"
    console = Console(file=StringIO(), width=width)
    view = ProgressView(console, torch.device("cpu"))
    view.line(said)
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert all(len(line) <= width for line in lines) and lines[0].startswith("epoch 12/30  loss 2.0613")
    assert " ".join(" ".join(lines).split()) == " ".join(said.split())
    for figure in ("accuracy  9.43%", "validation  6.94%", "(columns 43.1% 41.0%)"):
        assert any(figure in line for line in lines)
    command = "fractal-dsl train --resume a/very/long/path; and  more " * 5
    view.line(command, whole=True)
    assert command in console.file.getvalue()  # type: ignore[attr-defined]


def test_time_and_memory_are_estimated_at_the_beginning(clock: Clock) -> None:
    console = Console(file=StringIO(), width=100)
    view = begun(console, 101)
    for seconds in (50.0, 2.0, 2.0):  # the first step warms up
        clock.now += seconds
        view.add(torch.tensor(1.0), torch.tensor(50.0), 100)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert text.count("training will take about 3:18, and ") == 1 and ": measured on 1 step\n" in text

    short = Console(file=StringIO(), width=100)
    view = begun(short, 10)
    for _ in range(5):
        clock.now += 2.0
        view.add(torch.tensor(1.0), torch.tensor(50.0), 100)
    assert "about" not in short.file.getvalue()  # type: ignore[attr-defined]
