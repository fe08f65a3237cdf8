"""A net that could copy the byte it must predict is refused before training."""

from __future__ import annotations

from pathlib import Path

import pytest

from fractal_dsl.base.errors import UserError
from fractal_dsl.config import parse_config
from fractal_dsl.pipeline import compile_text
from fractal_dsl.runtime import build
from fractal_dsl.tasks.causal import check_causal
from fractal_dsl.training.train import train

NET = "net Bytes(text: i64[8]) -> f32[8, 256] = embedding(256, 8) >> positions >> {body} >> linear(256)\n"
CAUSAL = [
    "relu",
    "sum(id, layernorm >> attention(2, causal=true))",
    "linear(16) >> gelu >> layernorm",
    "dropout(50%) >> attention(4, causal=true) ** 2",
]
SEEING = [
    "attention(2)",
    "attention(2, causal=true) >> attention(2)",
    "transpose(1, 2) >> linear(8) >> transpose(1, 2)",
    "transpose(1, 2) >> conv1d(8, 3, padding=1) >> transpose(1, 2)",
]


@pytest.mark.parametrize("body", CAUSAL)
def test_nets_that_look_back_pass(body: str) -> None:
    model = build(compile_text(NET.replace("{body}", body)), seed=0)
    check_causal(model, "Bytes")
    assert model.training


@pytest.mark.parametrize("body", SEEING)
def test_nets_that_look_ahead_are_refused(body: str) -> None:
    with pytest.raises(UserError, match=r"net Bytes sees the bytes that it must predict: its output at byte \d"):
        check_causal(build(compile_text(NET.replace("{body}", body)), seed=0), "Bytes")


def test_they_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_text("some text, again and again. " * 100)
    config = parse_config({"dataset": f"text:{tmp_path / 'x.txt'}", "epochs": 1})
    with pytest.raises(UserError, match="sees the bytes"):
        train(compile_text(NET.replace("{body}", "attention(2)")), config, tmp_path / "run")
    assert [path.name for path in tmp_path.iterdir()] == ["x.txt"]
    result = train(compile_text(NET.replace("{body}", "relu")), config, tmp_path / "run")
    assert result.status == "finished"
