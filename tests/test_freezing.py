"""Parts of a net that do not learn: `freeze`."""

from __future__ import annotations

import json
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file
from torch import nn
from typer.testing import CliRunner

from fractal_dsl import build, compile_text
from fractal_dsl.base.errors import UserError
from fractal_dsl.cli.app import app
from fractal_dsl.config import merge, parse_config
from fractal_dsl.tasks.classification import Classification
from fractal_dsl.training.freezing import check_frozen
from fractal_dsl.training.step import Stepper
from fractal_dsl.training.train import resume, train
from tests.support.runs import SPEC, ends_of, killed_at

TEXT = SPEC.replace("F[3](6).each(maxpool2d(2))", '(conv(3) @tag("stem")) >> (F[3](6).each(maxpool2d(2)) @tag("body"))')


@pytest.fixture(autouse=True)
def without_reports(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fractal_dsl.training.finish.write_report", lambda folder: None)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("net N(x: f32[4]) -> f32[4] = sum(id, linear(4) @drop(50%))", "in some drop-path plans"),
        ("net N(x: f32[4]) -> f32[4] = sum(relu @drop(10%), linear(4) @drop(50%))", "in some drop-path plans"),
        (
            "rule F join mean { F[1] = id | linear(4) }\nnet N(x: f32[4]) -> f32[4] with drop_path(50%) = F[1]",
            "in some drop-path plans",
        ),
        ("net N(x: f32[4]) -> f32[4] = relu", "It has no weights"),
    ],
)
def test_a_step_that_would_learn_nothing_is_refused(text: str, words: str) -> None:
    with pytest.raises(UserError, match=f"net N has nothing to learn.*{words}"):
        check_frozen(compile_text(text).graph, [])
    check_frozen(compile_text(text.replace("-> f32[4]", "-> f32[3]") + " >> linear(3)").graph, [])


def test_frozen_layers_beside_a_branch_that_may_be_left_out() -> None:
    text = 'net N(x: f32[4]) -> f32[4] = (linear(4) @tag("a")) >> sum(id, linear(4) @drop(50%))'
    with pytest.raises(UserError, match="freeze: nothing is left to learn in some drop-path plans"):
        check_frozen(compile_text(text).graph, ["a"])
    check_frozen(compile_text(text.replace("@drop(50%)", "")).graph, ["a"])


def begin(folder: Path, *overrides: tuple[str, Any], text: str = TEXT) -> str:
    spec, shown = compile_text(text), Console(file=StringIO(), width=200)
    train(spec, parse_config(merge(spec.program.train, overrides)), folder, console=shown)
    return shown.file.getvalue()  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("names", "options"),
    [
        (["stem"], []),
        (["body"], [("track_columns", True), ("plain", 2)]),
        (["stem", "body"], [("optimizer", {"name": "adamw", "weight_decay": 0.1}), ("ema", None), ("clip", 1.0)]),
        (["block1.column3", "conv.batchnorm2d"], [("accumulate", 2)]),
    ],
)
def test_frozen_weights_keep_their_bits_and_the_others_learn(
    tmp_path: Path, names: list[str], options: list[tuple[str, Any]]
) -> None:
    begin(tmp_path / "run", ("epochs", 2), ("freeze", names), *options)
    model = build(compile_text(TEXT), 0)
    before, after = model.state_dict(), load_file(tmp_path / "run" / "last.safetensors")
    tags = {
        node.module: {t.text for t in node.site.tags} for _, node in model.join_graph.items() if hasattr(node, "site")
    }
    learned = 0
    for name, value in after.items():
        module = name.rpartition(".")[0]
        frozen = bool({*names} & tags[module]) or any(f"{module}.".startswith(f"{n}.") for n in names)
        if frozen:
            assert torch.equal(value, before[name]), name
        elif name.endswith("weight"):
            assert not torch.equal(value, before[name]), name
            learned += 1
    assert learned


def test_killed_and_resumed_it_ends_with_the_same_bits(tmp_path: Path) -> None:
    options = (("epochs", 2), ("freeze", ["body"]), ("ema", None))
    begin(tmp_path / "whole", *options)
    with killed_at(8):
        begin(tmp_path / "run", *options)
    resume(tmp_path / "run", console=Console(file=StringIO()))
    assert ends_of(tmp_path / "run") == ends_of(tmp_path / "whole")


def test_frozen_parameters_have_no_gradient_and_no_optimizer() -> None:
    spec = compile_text(TEXT)
    model = build(spec, 0)
    stepper = Stepper(
        model, Classification(4), parse_config({**spec.program.train, "freeze": ["body"]}), torch.device("cpu")
    )
    stepper.train()
    stepper.step(torch.randn(8, 1, 8, 8), torch.randint(0, 4, (8,)), 0, 0.1)
    learning = {id(p) for group in stepper.optimizer.param_groups for p in group["params"]}
    assert learning == {id(p) for p in model.parameters() if p.requires_grad}
    norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    assert {m.training for m in norms} == {False, True}  # that of the stem goes on
    assert all(m.training == m.weight.requires_grad for m in norms)
    assert all(p.grad is None for p in model.parameters() if not p.requires_grad)


def test_names_that_are_none() -> None:
    graph = compile_text(TEXT).graph
    with pytest.raises(
        UserError, match=r"no tag and no module 'boddy'; its tags are stem, body\n  help: did you mean `body`"
    ):
        check_frozen(graph, ["stem", "boddy"])
    with pytest.raises(UserError, match="it has no tags: write @tag"):
        check_frozen(compile_text(SPEC).graph, ["x"])


def test_something_must_be_left_to_learn() -> None:
    graph = compile_text(TEXT).graph
    with pytest.raises(UserError, match="nothing is left to learn in some drop-path plans"):
        check_frozen(graph, ["stem", "body", "linear"])
    text = (
        'net N(x: f32[4]) -> f32[4] = F[2]\nrule F join mean { F[1] = linear(4) @tag("short")  '
        'F[n+1] = F[n] >> F[n] >> linear(4) | linear(4) @tag("short") }'
    )
    check_frozen(compile_text(text).graph, ["short"])
    dropped = compile_text(text.replace("-> f32[4] =", "-> f32[4] with drop_path(local=10%) ="))
    with pytest.raises(UserError, match="nothing is left to learn in some drop-path plans"):
        check_frozen(dropped.graph, ["short"])
    with pytest.raises(UserError, match="nothing is left to learn"):
        check_frozen(compile_text(text).graph, ["short"], plain=1)


def test_a_shared_block_is_frozen_everywhere() -> None:
    spec = compile_text('shared a = linear(4)\nnet N(x: f32[4]) -> f32[4] = (a @tag("t")) >> relu >> a >> linear(4)')
    model = build(spec, 0)
    Stepper(model, Classification(4), parse_config({"freeze": ["t"]}), torch.device("cpu"))
    assert sorted(p.requires_grad for p in model.parameters()) == [False, False, True, True]


def test_by_the_command_line(tmp_path: Path) -> None:
    (tmp_path / "net.frac").write_text(TEXT.replace("epochs     = 4", 'epochs = 1\n    freeze = ["body"]'))
    done = CliRunner().invoke(app, ["train", str(tmp_path / "net.frac"), "--out", str(tmp_path / "run")])
    assert done.exit_code == 0, done.output
    assert "body frozen" in done.output
    assert json.loads((tmp_path / "run" / "config.json").read_text())["freeze"] == ["body"]
    done = CliRunner().invoke(app, ["train", str(tmp_path / "net.frac"), "--set", 'freeze=["head"]'])
    assert "no tag and no module 'head'; its tags are stem, body" in str(done.exception)
