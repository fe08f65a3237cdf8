"""Python classes of the user's in training: their random numbers and their state."""

from __future__ import annotations

from pathlib import Path

import pytest
import safetensors.torch as st

from fractal_dsl.config import parse_config
from fractal_dsl.language.source import Source
from fractal_dsl.pipeline import check
from fractal_dsl.training.train import resume, train
from tests.support.runs import killed_at

CODE = """
import torch
from torch import nn

class Noisy(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x):
        if self.training:
            self.calls.add_(1)
            x = nn.functional.dropout(x + 0.1 * torch.randn_like(x), 0.2)
        return x
"""
SPEC = """
extern layer noisy from "noisy_parts:Noisy"
net N(x: f32[1, 8, 8]) -> f32[4] = flatten >> (linear(8) >> noisy >> relu){marks} >> linear(4)
train {{ dataset = synthetic(size=80)  epochs = 2  batch = 16  save_steps = 2  recalibrate = "none" }}
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "noisy_parts.py").write_text(CODE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr("fractal_dsl.training.finish.write_report", lambda folder: None)
    return tmp_path


def trained(folder: Path, marks: str = "") -> None:
    (compiled,) = check(Source("spec.frac", SPEC.format(marks=marks)), allow_python=True)
    train(compiled, parse_config(compiled.program.train), folder, device="cpu")


def test_a_resumed_run_draws_the_same_numbers_and_keeps_buffers(here: Path) -> None:
    trained(here / "whole")
    with killed_at(5):
        trained(here / "killed")
    resume(here / "killed", allow_python=True)
    one, other = ((here / run / "last.safetensors").read_bytes() for run in ("whole", "killed"))
    assert one == other
    assert [int(value) for name, value in st.load(one).items() if name.endswith("calls")] == [6]


def test_a_part_that_is_recomputed_draws_the_same_numbers_and_counts_once(here: Path) -> None:
    trained(here / "whole")
    trained(here / "again", " @checkpoint")
    assert (here / "whole" / "last.safetensors").read_bytes() == (here / "again" / "last.safetensors").read_bytes()
