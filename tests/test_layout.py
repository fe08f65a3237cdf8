"""Channels last by a measurement: the run keeps the choice, and small nets never depend on it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from fractal_dsl.config import parse_config
from fractal_dsl.pipeline import compile_text
from fractal_dsl.training import layout
from fractal_dsl.training.layout import layout_seconds, with_layout
from fractal_dsl.training.train import resume, train

CPU = torch.device("cpu")
TEXT = """
net N(x: f32[1, 8, 8]) -> f32[10] = conv2d(4, 3) >> batchnorm2d >> relu >> maxpool2d(2) >> flatten >> linear(10)
"""
ROWS = "net N(x: f32[8]) -> f32[10] = linear(10)"


def chosen(
    monkeypatch: pytest.MonkeyPatch, seconds: tuple[float, float], text: str = TEXT, **settings: object
) -> object:
    monkeypatch.setattr(layout, "SMALL_STEP", 0)
    monkeypatch.setattr(layout, "layout_seconds", lambda *_: seconds)
    place, parallel = settings.pop("place", CPU), settings.pop("parallel", None)
    config = parse_config({"dataset": "digits", **settings})
    return with_layout(compile_text(text), config, place, 1, parallel).channels_last  # type: ignore[arg-type]


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
    assert chosen(monkeypatch, (1.0, 2.0), place=torch.device("cuda"), precision="bf16") is True


def test_small_nets_are_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "layout_seconds", lambda *_: pytest.fail("measured"))
    config = parse_config({"dataset": "digits"})
    assert config.channels_last == "auto"
    assert with_layout(compile_text(TEXT), config, CPU, 1, None).channels_last is False


def test_a_measurement_leaves_random_numbers_and_threads_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "SMALL_STEP", 0)
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    config = with_layout(compile_text(TEXT), parse_config({"dataset": "digits", "batch": 5}), CPU, 1, None)
    assert config.channels_last in (True, False)
    assert torch.equal(torch.get_rng_state(), state) and torch.get_num_threads() == threads
    first, last = layout_seconds(compile_text(TEXT), parse_config({"batch": 1}), CPU)
    assert first > 0 and last > 0


@pytest.mark.parametrize("last", [False, True])
def test_a_run_keeps_the_choice_and_resumes_with_it(
    last: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled = compile_text(TEXT)
    settings = {"dataset": "digits", "epochs": 2, "batch": 256}
    monkeypatch.setattr(layout, "SMALL_STEP", 0)
    monkeypatch.setattr(layout, "layout_seconds", lambda *_: (1.0, 0.5 if last else 2.0))
    train(compiled, parse_config(settings), tmp_path / "whole", device="cpu")
    train(compiled, parse_config(settings | {"epochs": 1}), tmp_path / "half", device="cpu")
    assert json.loads((tmp_path / "half" / "config.json").read_text())["channels_last"] is last
    monkeypatch.setattr(layout, "layout_seconds", lambda *_: pytest.fail("measured"))
    resume(tmp_path / "half", device="cpu", epochs=2)
    train(compiled, parse_config(settings | {"channels_last": last}), tmp_path / "given", device="cpu")
    weights = [(tmp_path / run / "last.safetensors").read_bytes() for run in ("whole", "half", "given")]
    assert weights[0] == weights[2]
    assert json.loads((tmp_path / "half" / "result.json").read_text())["epochs"] == 2
