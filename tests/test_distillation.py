"""Distillation from the whole net to its columns, against the same loss in plain torch and numpy."""

from __future__ import annotations

import json
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console
from typer.testing import CliRunner

from fractal_dsl.base.errors import UserError
from fractal_dsl.cli.app import app
from fractal_dsl.config import Distill, TrainConfig, merge, parse_config
from fractal_dsl.config.losses import TaskName
from fractal_dsl.data import seed_for
from fractal_dsl.pipeline import compile_text
from fractal_dsl.runtime import FractalModule, build
from fractal_dsl.tasks import Task
from fractal_dsl.tasks.classification import Classification
from fractal_dsl.tasks.multilabel import Multilabel
from fractal_dsl.tasks.regression import Regression
from fractal_dsl.tasks.segmentation import Segmentation
from fractal_dsl.tasks.tokens import Tokens
from fractal_dsl.training.step import Stepper
from fractal_dsl.training.train import resume, train
from tests.support.runs import ends_of, killed_at
from tests.support.tasks import NETS, spec_of

CPU = torch.device("cpu")
SPEC = """
layer conv(out: int) = conv2d(out, 3, padding=1) >> NORM relu
rule F(out: int) join mean {
    F[1]   = conv(out)
    F[n+1] = F[n] >> F[n] | conv(out)
}
net Tiny(image: f32[1, 8, 8]) -> f32[4] with DROP
    = F[3](4).each(maxpool2d(2)) >> flatten >> dropout(20%) >> linear(4)
"""
ALL = "drop_path(local=15%, columns=all)"
MIXED = "drop_path(local=15%, global=50%)"
W, T = 0.3, 4.0


def net(drop: str = ALL, norm: str = "batchnorm2d >>") -> FractalModule:
    return build(compile_text(SPEC.replace("DROP", drop).replace("NORM", norm)), 0)


def config(**settings: Any) -> TrainConfig:
    distill = {"weight": W, "temperature": T}
    return parse_config({"optimizer": {"lr": 0.1, "momentum": 0}, "distill": distill, "batch": 12, **settings})


def examples(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randn(12, 1, 8, 8, generator=torch.Generator().manual_seed(seed)), torch.arange(12) % 4


# --- a step


def reference_loss(output: torch.Tensor, y: torch.Tensor, teacher: torch.Tensor | None) -> torch.Tensor:
    """The loss as the paper on distillation writes it."""
    hard = -output.log_softmax(1)[range(len(y)), y].mean()
    if teacher is None:
        return hard
    p, q = (teacher / T).softmax(1), (output / T).softmax(1)
    return (1 - W) * hard + W * T**2 * (p * (p.log() - q.log())).sum(1).mean()


@pytest.mark.parametrize("drop", [ALL, MIXED])
@pytest.mark.parametrize("dropout", [0.0, 0.2])
def test_steps_are_those_of_plain_torch(drop: str, dropout: float) -> None:
    """Weights and the statistics of all routes. The teacher draws no dropout and leaves all statistics alone."""
    ours, theirs = net(drop).train(), net(drop).train()
    for model in (ours, theirs):
        next(m for m in model.modules() if isinstance(m, torch.nn.Dropout)).p = dropout
    stepper = Stepper(ours, Classification(4), config(), CPU)
    optimizer = torch.optim.SGD(theirs.parameters(), 0.1)
    taught = 0
    for step in range(12):
        x, y = examples(step)
        loss, _ = stepper.step(x, y, step, 0.1)
        torch.manual_seed(seed_for("dropout", 0, step))
        theirs.eval()
        with torch.no_grad():
            teacher = theirs.dense(x)
        theirs.train()
        optimizer.zero_grad(set_to_none=True)
        plans = theirs.plans(0, step)
        for i, plan in enumerate(plans):
            each = reference_loss(theirs.run(x, plan), y, teacher if plan.route else None)
            (each if i == 0 else each / 3).backward()
            taught += plan.route > 0
            if i == 0:
                assert loss == pytest.approx(each.item(), rel=1e-5)
        optimizer.step()
    assert taught >= 3
    for name, value in theirs.state_dict().items():
        assert torch.allclose(ours.state_dict()[name], value, atol=1e-6), name


def test_without_columns_in_a_step_nothing_changes() -> None:
    """Local steps learn from targets alone, bit by bit."""
    with_it, without = net(MIXED), net(MIXED)
    local = next(n for n in range(99) if not with_it.plan(0, n).route)
    x, y = examples()
    for model, settings in ((with_it, {}), (without, {"distill": None})):
        Stepper(model, Classification(4), config(**settings), CPU).step(x, y, local, 0.1)
    for a, b in zip(with_it.state_dict().values(), without.state_dict().values(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("parts", [2, 5])
def test_parts_of_a_mini_batch_add_up_to_it(parts: int) -> None:
    whole, split = net(norm=""), net(norm="")
    for model, accumulate in ((whole, 1), (split, parts)):
        next(m for m in model.modules() if isinstance(m, torch.nn.Dropout)).p = 0
        stepper = Stepper(model, Classification(4), config(accumulate=accumulate), CPU)
        for step in range(4):
            stepper.step(*examples(step), step, 0.1)
    for a, b in zip(whole.parameters(), split.parameters(), strict=True):
        assert torch.allclose(a, b, atol=1e-6)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_lower_precision_is_near_and_trains_every_weight(precision: str) -> None:
    """Autocast must not reuse weights that it cast for the teacher: these have no gradients."""
    exact, lower = net(norm=""), net(norm="")
    steppers = [
        Stepper(model, Classification(4), config(precision=p), CPU)
        for model, p in ((exact, "fp32"), (lower, precision))
    ]
    x, y = examples()
    a, b = (stepper.step(x, y, 0, 0.1)[0] for stepper in steppers)
    assert b == pytest.approx(a.item(), rel=0.02)
    right, near = (
        torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]) for model in (exact, lower)
    )
    assert (near - right).norm() < 0.1 * right.norm()


def test_frozen_batch_norms_stay_frozen() -> None:
    text = (
        SPEC.replace("DROP", ALL)
        .replace("NORM", "batchnorm2d >>")
        .replace("F[3](4).each(maxpool2d(2))", '(F[3](4).each(maxpool2d(2)) @tag("body"))')
    )
    model = build(compile_text(text), 0)
    stepper = Stepper(model, Classification(4), config(freeze=["body"]), CPU)
    stepper.train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    for step in range(3):
        stepper.step(*examples(step), step, 0.1)
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {"linear.weight", "linear.bias"}


# --- tasks


def softmax(x: np.ndarray, axis: int) -> np.ndarray:
    e = np.exp(x - x.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


def divergence(p: np.ndarray, q: np.ndarray, axis: int) -> np.ndarray:
    return (p * (np.log(p) - np.log(q))).sum(axis)


def classes(s: np.ndarray, t: np.ndarray, y: np.ndarray) -> float:
    return 9 * divergence(softmax(t / 3, 1), softmax(s / 3, 1), 1).mean()


def labels(s: np.ndarray, t: np.ndarray, y: np.ndarray) -> float:
    p, q = (1 / (1 + np.exp(-x / 3)) for x in (t, s))
    return 9 * (p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))).mean()


def numbers(s: np.ndarray, t: np.ndarray, y: np.ndarray) -> float:
    return np.abs(s - t).mean()


def pixels(s: np.ndarray, t: np.ndarray, y: np.ndarray) -> float:
    """The mean over examples of their counted elements; 0 for an example without any."""
    each = 9 * divergence(softmax(t / 3, 1), softmax(s / 3, 1), 1)
    return float(np.mean([e[n != 255].mean() if (n != 255).any() else 0 for e, n in zip(each, y, strict=True)]))


def tokens(s: np.ndarray, t: np.ndarray, y: np.ndarray) -> float:
    return pixels(s.swapaxes(1, 2), t.swapaxes(1, 2), y)


IGNORING = torch.tensor([[0, 1, 255], [2, 255, 255], [255, 255, 255], [0, 0, 1]])
CASES: dict[str, tuple[Task, tuple[int, ...], torch.Tensor, Any]] = {
    "classification": (Classification(5, smoothing=0.1), (4, 5), torch.arange(4), classes),
    "multilabel": (Multilabel(5, ones=torch.full((5,), 3.0)), (4, 5), torch.ones(4, 5), labels),
    "regression": (Regression((5,), "absolute"), (4, 5), torch.ones(4, 5), numbers),
    "segmentation": (Segmentation(5, (1, 3), 255), (4, 5, 1, 3), IGNORING[:, None], pixels),
    "tokens": (Tokens(5, (3,), 255), (4, 3, 5), IGNORING, tokens),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("size", [1.0, 30.0])
def test_the_divergence_of_each_task(name: str, size: float) -> None:
    task, shape, y, oracle = CASES[name]
    rng = np.random.default_rng(0)
    s, t = (rng.normal(size=shape) * size for _ in range(2))
    output = torch.from_numpy(s).float().requires_grad_()
    value = task.distillation(output, torch.from_numpy(t).float(), y, 3.0)
    value.backward()
    assert value.dtype == torch.float32 and output.grad is not None and output.grad.isfinite().all()
    assert value.item() == pytest.approx(oracle(s, t, y.numpy()), rel=1e-4)
    assert task.distillation(output, output.detach(), y, 3.0).item() == pytest.approx(0, abs=1e-5)
    half = [task.distillation(output[i : i + 2], torch.from_numpy(t[i : i + 2]), y[i : i + 2], 3.0) for i in (0, 2)]
    assert sum(half).item() / 2 == pytest.approx(value.item(), rel=1e-4)  # type: ignore[union-attr]


def test_gradients_are_as_large_at_any_high_temperature() -> None:
    """For high temperatures the gradient tends to (output - teacher) / classes, for centred logits (section 2.1)."""
    output, teacher = torch.randn(6, 5), torch.randn(6, 5)
    output, teacher = ((x - x.mean(1, keepdim=True)) for x in (output, teacher))
    output.requires_grad_()
    Classification(5).distillation(output, teacher, torch.arange(5), 200.0).backward()
    assert output.grad is not None
    assert torch.allclose(output.grad, (output - teacher).detach() / 5 / 6, atol=1e-3)


@pytest.mark.parametrize("task", NETS)
def test_every_task_trains_and_resumes_to_the_bit(task: TaskName, tmp_path: Path) -> None:
    text = spec_of(task, tmp_path, epochs=2)
    compiled = compile_text(text)

    def run(name: str) -> None:
        settings = parse_config(merge(compiled.program.train, [("save_steps", 3), ("distill.weight", 0.6)]))
        train(compiled, settings, tmp_path / name, console=Console(file=StringIO()))

    run("whole")
    with killed_at(7):
        run("killed")
    resume(tmp_path / "killed", console=Console(file=StringIO()))
    assert ends_of(tmp_path / "killed") == ends_of(tmp_path / "whole")
    lines = [json.loads(line) for line in (tmp_path / "whole" / "metrics.jsonl").read_text().splitlines()]
    assert np.isfinite([line["train_loss"] for line in lines]).all()


# --- the setting


def test_it_is_written_in_the_train_block_on_the_command_line_and_in_python() -> None:
    block = 'train { dataset = "digits"  distill = distill(weight=0.3, temperature=4) }'
    spec = SPEC.replace("DROP", ALL).replace("NORM", "") + block
    assert parse_config(compile_text(spec).program.train).distill == Distill(weight=0.3, temperature=4.0)
    assert TrainConfig(distill=Distill(weight=0.3)).distill == parse_config({"distill": {"weight": 0.3}}).distill
    assert parse_config({"distill": "distill"}).distill == Distill()
    assert parse_config(merge({"distill": {"temperature": 3.0}}, [("distill.weight", 0.2)])).distill == Distill(
        weight=0.2, temperature=3.0
    )
    assert parse_config({"distill": None}).distill is None


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"distill": {"weight": 0.0}}, "`distill.weight` must be above 0"),
        ({"distill": {"weight": 1.5}}, "`distill.weight` must be at most 1"),
        ({"distill": {"temperature": 0.0}}, "`distill.temperature` must be above 0"),
        ({"distill": {"wieght": 0.5}}, "did you mean `weight`"),
        ({"distill": "kd"}, "unknown distill `kd`"),
        ({"distill": "distill", "cuda_graphs": True}, "`cuda_graphs` cannot be combined with `distill`"),
    ],
)
def test_wrong_settings_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as error:
        parse_config(settings)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("drop", "message"),
    [
        ("drop_path(local=15%)", "training of net Tiny runs no single columns"),
        ('init("xavier")', "training of net Tiny runs no single columns"),
        ("drop_path(global=100%)", "no step trains the whole net Tiny"),
    ],
)
def test_nets_without_pupils_or_teacher_are_refused(drop: str, message: str, tmp_path: Path) -> None:
    compiled = compile_text(SPEC.replace("DROP", drop).replace("NORM", ""))
    with pytest.raises(UserError, match=message):
        train(compiled, parse_config({"dataset": "synthetic", "distill": "distill"}), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_numbers_have_no_temperature(tmp_path: Path) -> None:
    compiled = compile_text(spec_of("regression", tmp_path, epochs=1))
    settings = merge(compiled.program.train, [("distill.temperature", 3.0)])
    with pytest.raises(UserError, match=r"`distill.temperature` is for classes and labels"):
        train(compiled, parse_config(settings), tmp_path / "run")


def test_the_flag_of_train(tmp_path: Path) -> None:
    spec = tmp_path / "net.frac"
    block = "train { dataset = synthetic(size=60)  epochs = 1  distill = distill(temperature=3) }"
    spec.write_text(SPEC.replace("DROP", ALL).replace("NORM", "") + block)
    done = CliRunner().invoke(app, ["train", str(spec), "--distill", "0.25", "--out", str(tmp_path / "run")])
    assert done.exit_code == 0, done.output
    stored = json.loads((tmp_path / "run" / "config.json").read_text())
    assert stored["distill"] == {"name": "distill", "weight": 0.25, "temperature": 3.0}
