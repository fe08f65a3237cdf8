"""Precision and layout by a measurement: the run keeps the choice, and small nets never depend on it."""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch

from fractal_dsl.config import parse_config
from fractal_dsl.pipeline import compile_text
from fractal_dsl.training import layout
from fractal_dsl.training.layout import Way, seconds_by_way, with_way
from fractal_dsl.training.train import resume, train

CPU = torch.device("cpu")
TEXT = """
net N(x: f32[1, 8, 8]) -> f32[10] = conv2d(4, 3) >> batchnorm2d >> relu >> maxpool2d(2) >> flatten >> linear(10)
"""
TOKENS = "net N(x: i64[4]) -> f32[4, 10] = embedding(16, 8) >> linear(10)"
ROWS = "net N(x: f32[8]) -> f32[10] = linear(10)"


CUDA = torch.device("cuda")
FIRST, LAST, LOW = Way("fp32", False), Way("fp32", True), Way("bf16", True)


def way(
    monkeypatch: pytest.MonkeyPatch, seconds: tuple[float, ...], text: str = TEXT, small: int = 0, **settings: Any
) -> Way:
    """The chosen way if float32 with channels first takes the first time, then with channels last, then bf16."""
    times = dict(zip((FIRST, LAST, LOW, Way("bf16", False)), (*seconds, *seconds[-1:]), strict=False))
    monkeypatch.setattr(layout, "SMALL_STEP", small)
    monkeypatch.setattr(layout, "seconds_by_way", lambda *given: {way: times[way] for way in given[3]})
    monkeypatch.setattr(layout, "surroundings", lambda *_: nullcontext())
    supported = settings.pop("bf16", True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: supported)
    place, parallel, task = (settings.pop(k, v) for k, v in WHERE.items())
    config = with_way(compile_text(text), parse_config({"dataset": "digits", **settings}), place, 1, parallel, [task])
    assert config.precision != "auto" and config.channels_last != "auto"
    return Way(config.precision, config.channels_last)


WHERE: dict[str, Any] = {"place": CPU, "parallel": None, "task": "classification"}


def chosen(monkeypatch: pytest.MonkeyPatch, seconds: tuple[float, float], text: str = TEXT, **settings: Any) -> bool:
    return way(monkeypatch, seconds, text, **settings).channels_last


def test_the_layout_changes_where_it_is_clearly_faster(monkeypatch: pytest.MonkeyPatch) -> None:
    assert chosen(monkeypatch, (1.0, 0.8)) is True
    assert chosen(monkeypatch, (1.0, 0.97)) is False
    assert chosen(monkeypatch, (1.0, 1.2)) is False


@pytest.mark.parametrize("given", [True, False])
def test_a_layout_that_is_given_is_kept(given: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    assert chosen(monkeypatch, (1.0, 0.5), channels_last=given) is given
    assert chosen(monkeypatch, (1.0, 2.0), channels_last=given) is given


def test_what_cannot_be_measured_keeps_channels_first(monkeypatch: pytest.MonkeyPatch) -> None:
    fast = (1.0, 0.5)
    assert chosen(monkeypatch, fast, compile=True) is False
    assert chosen(monkeypatch, fast, parallel="fsdp") is False
    assert chosen(monkeypatch, fast, parallel="pipeline") is False
    assert chosen(monkeypatch, fast, parallel="ddp") is True
    assert chosen(monkeypatch, fast, text=ROWS) is False


def test_lower_precision_on_cuda_takes_channels_last(monkeypatch: pytest.MonkeyPatch) -> None:
    assert way(monkeypatch, (1.0, 2.0), place=CUDA, precision="bf16") == LOW
    assert way(monkeypatch, (1.0, 2.0), place=CUDA, precision="fp16") == Way("fp16", True)


def test_a_large_net_trains_in_bf16_on_cuda_where_it_is_faster(monkeypatch: pytest.MonkeyPatch) -> None:
    assert way(monkeypatch, (1.0, 0.9, 0.5), place=CUDA) == LOW
    assert way(monkeypatch, (1.0, 0.9, 0.95), place=CUDA) == LAST
    assert way(monkeypatch, (1.0, 1.0, 1.1), place=CUDA) == FIRST  # launches take the time
    assert way(monkeypatch, (1.0, 0.9, 0.5), place=CUDA, parallel="ddp") == LOW
    assert way(monkeypatch, (1.0, 0.9, 0.5), ROWS, place=CUDA) == Way("bf16", False)


def test_bf16_is_only_taken_where_it_is_safe(monkeypatch: pytest.MonkeyPatch) -> None:
    fast = (1.0, 0.9, 0.5)
    assert way(monkeypatch, fast) == LAST  # on a CPU
    assert way(monkeypatch, fast, place=CUDA, task="regression") == LAST
    assert way(monkeypatch, fast, place=CUDA, bf16=False) == LAST
    assert way(monkeypatch, fast, place=CUDA, precision="fp32") == LAST
    assert way(monkeypatch, fast, place=CUDA, small=10**12) == FIRST
    for setting in ({"compile": True}, {"cuda_graphs": True}, {"parallel": "fsdp"}):
        assert way(monkeypatch, fast, place=CUDA, **setting) == FIRST
    assert way(monkeypatch, fast, place=CUDA, channels_last=False) == Way("bf16", False)


def test_small_nets_are_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "seconds_by_way", lambda *_: pytest.fail("measured"))
    config = parse_config({"dataset": "digits"})
    assert (config.precision, config.channels_last) == ("auto", "auto")
    config = with_way(compile_text(TEXT), config, CPU, 1, None, ["classification"])
    assert (config.precision, config.channels_last) == ("fp32", False)


def test_a_measurement_leaves_random_numbers_and_threads_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "SMALL_STEP", 0)
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    config = with_way(
        compile_text(TEXT), parse_config({"dataset": "digits", "batch": 5}), CPU, 1, None, ["classification"]
    )
    assert config.channels_last in (True, False)
    assert torch.equal(torch.get_rng_state(), state) and torch.get_num_threads() == threads
    for text in (TEXT, TOKENS):
        seconds = seconds_by_way(compile_text(text), parse_config({"batch": 1}), CPU, [FIRST, Way("bf16", False)])
        assert all(time > 0 for time in seconds.values())


@pytest.mark.parametrize("last", [False, True])
def test_a_run_keeps_the_choice_and_resumes_with_it(
    last: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled = compile_text(TEXT)
    settings = {"dataset": "digits", "epochs": 2, "batch": 256}
    monkeypatch.setattr(layout, "SMALL_STEP", 0)
    times = {FIRST: 1.0, LAST: 0.5 if last else 2.0}
    monkeypatch.setattr(layout, "seconds_by_way", lambda *_: times)
    train(compiled, parse_config(settings), tmp_path / "whole", device="cpu")
    train(compiled, parse_config(settings | {"epochs": 1}), tmp_path / "half", device="cpu")
    stored = json.loads((tmp_path / "half" / "config.json").read_text())
    assert stored["channels_last"] is last and stored["precision"] == "fp32"
    monkeypatch.setattr(layout, "seconds_by_way", lambda *_: pytest.fail("measured"))
    resume(tmp_path / "half", device="cpu", epochs=2)
    train(compiled, parse_config(settings | {"channels_last": last}), tmp_path / "given", device="cpu")
    weights = [(tmp_path / run / "last.safetensors").read_bytes() for run in ("whole", "half", "given")]
    assert weights[0] == weights[2]
    assert json.loads((tmp_path / "half" / "result.json").read_text())["epochs"] == 2
