"""The metrics of each task against scikit-learn, and its losses against their definitions."""

from __future__ import annotations

import math
import subprocess
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as reference
from torch import Tensor
from torch.nn import functional as F

from fractal_dsl import ops
from fractal_dsl.config import parse_config
from fractal_dsl.runs.tasks import TASKS
from fractal_dsl.runtime.world import ALONE
from fractal_dsl.tasks import Task
from fractal_dsl.tasks.infer import make

CPU = torch.device("cpu")
seeds = st.integers(0, 2**32 - 1)
quick = settings(max_examples=15, deadline=None)


def task(name: Any, *shape: int, **config: Any) -> Any:
    return make(parse_config(config), name, "Net", ops.Tensor("f32", shape))


def measured(judge: Task, output: Tensor, targets: Tensor, parts: int = 3) -> dict[str, float]:
    """The figures, of mini-batches of unequal sizes."""
    meter = judge.meter()
    for x, y in zip(output.tensor_split(parts), targets.tensor_split(parts), strict=True):
        if len(x):
            meter.update(x, y)
    found = meter.compute(ALONE)
    known = {"loss", *(m.key for m in TASKS[judge.name].metrics)}
    assert found.keys() <= known and TASKS[judge.name].score.key in found
    return found


@quick
@given(seeds, st.integers(2, 9), st.integers(1, 40))
def test_classification(seed: int, classes: int, count: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    output = torch.randn(count, classes, generator=generator)
    y = torch.randint(classes, (count,), generator=generator)
    found = measured(task("classification", classes), output, y)
    best = output.argmax(1).numpy()
    assert found["loss"] == pytest.approx(F.cross_entropy(output, y).item(), rel=1e-5)
    assert found["accuracy"] == (best == y.numpy()).mean()
    assert found["macro_f1"] == pytest.approx(reference.f1_score(y, best, average="macro", zero_division=0))
    assert ("top5" in found) == (classes > 5)
    if classes > 5:
        top = reference.top_k_accuracy_score(y, output, k=5, labels=range(classes))
        assert found["top5"] == pytest.approx(top)


@quick
@given(seeds, st.integers(1, 5), st.integers(2, 40))
def test_labels(seed: int, labels: int, count: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    output = torch.randn(count, labels, generator=generator).mul(4).round().div(2)  # with ties
    y = torch.randint(2, (count, labels), generator=generator).float()
    y[0], y[1] = 1, 0  # every label occurs
    found = measured(task("multilabel", labels), output, y)
    expected = np.mean([reference.average_precision_score(y[:, i], output[:, i]) for i in range(labels)])
    assert found["loss"] == pytest.approx(F.binary_cross_entropy_with_logits(output, y).item(), rel=1e-5)
    assert found["mean_average_precision"] == pytest.approx(expected)
    scores = [reference.f1_score(y[:, i], output[:, i] > 0, zero_division=0) for i in range(labels)]
    assert found["f1"] == pytest.approx(np.mean(scores))


@quick
@given(seeds, st.sampled_from([(), (3,), (2, 2, 3)]), st.integers(2, 30), st.sampled_from([1e-4, 1.0, 1e4]))
def test_regression(seed: int, rest: tuple[int, ...], count: int, unit: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    shape = rest or (1,)
    y = torch.randn(count, *shape, generator=generator).mul(unit).add(7 * unit)
    judge = task("regression", *shape).fitted(y.numpy(), CPU)
    output = torch.randn(count, *shape, generator=generator)
    found = measured(judge, output, y)
    values = judge.values(output)
    channels = [x.double().movedim(1, -1).reshape(-1, shape[0]).numpy() for x in (y, values)]
    assert found["rmse"] == pytest.approx(reference.root_mean_squared_error(y.flatten(), values.flatten()), rel=1e-4)
    assert found["mae"] == pytest.approx(reference.mean_absolute_error(y.flatten(), values.flatten()), rel=1e-4)
    assert found["r2"] == pytest.approx(reference.r2_score(*channels), rel=1e-3, abs=1e-3)
    assert judge.loss(output, y).item() == pytest.approx(found["loss"], rel=1e-5)
    own = measured(replace(judge, restored=True), values, y)  # as a deployed net answers
    assert own == pytest.approx(found, rel=1e-2, abs=1e-3)


@quick
@given(seeds, st.integers(2, 5), st.integers(1, 6))
def test_segmentation(seed: int, classes: int, count: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    output = torch.randn(count, classes, 4, 3, generator=generator)
    y = torch.randint(classes, (count, 4, 3), generator=generator)
    y[torch.rand(y.shape, generator=generator) < 0.3] = 255
    found = measured(task("segmentation", classes, 4, 3), output, y)
    kept = y != 255
    if not kept.any():
        assert found == {"loss": 0.0, "mean_iou": 0.0, "pixel_accuracy": 0.0}
        return
    best, true = output.argmax(1)[kept].numpy(), y[kept].numpy()
    assert found["pixel_accuracy"] == pytest.approx((best == true).mean())
    assert found["mean_iou"] == pytest.approx(reference.jaccard_score(true, best, average="macro"))
    each = [
        F.cross_entropy(output[i][:, kept[i]].T, y[i][kept[i]]).item() if kept[i].any() else 0 for i in range(count)
    ]
    assert found["loss"] == pytest.approx(np.mean(each), rel=1e-5)


@quick
@given(seeds, st.integers(2, 7), st.integers(1, 5))
def test_tokens(seed: int, vocabulary: int, count: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    output = torch.randn(count, 6, vocabulary, generator=generator)
    y = torch.randint(vocabulary, (count, 6), generator=generator)
    y[:, 0] = -100
    found = measured(task("tokens", 6, vocabulary), output, y)
    nats = F.cross_entropy(output[:, 1:].flatten(0, 1), y[:, 1:].flatten()).item()
    assert found["perplexity"] == pytest.approx(math.exp(nats), rel=1e-5)
    assert found["bits_per_token"] == pytest.approx(nats / math.log(2), rel=1e-5)
    assert found["accuracy"] == pytest.approx((output.argmax(2) == y)[:, 1:].float().mean().item())


TARGETS: dict[str, tuple[tuple[int, ...], Any]] = {
    "classification": ((4,), lambda n: torch.arange(n) % 4),
    "multilabel": ((3,), lambda n: (torch.arange(3 * n).view(n, 3) % 2).float()),
    "regression": ((2,), lambda n: torch.arange(2.0 * n).view(n, 2)),
    "segmentation": ((3, 4, 4), lambda n: torch.arange(16 * n).view(n, 4, 4) % 3),
    "tokens": ((5, 6), lambda n: torch.arange(5 * n).view(n, 5) % 6),
}


@pytest.mark.parametrize("name", TARGETS)
def test_parts_of_a_batch_add_up_to_the_whole(name: str) -> None:
    """So accumulation and the shares of processes give the gradients of the whole mini-batch."""
    shape, targets = TARGETS[name]
    y = targets(12)
    judge = task(name, *shape).fitted(y.numpy(), CPU)
    if name in ("segmentation", "tokens"):
        y[3:6] = judge.ignored
        y[0, 0] = judge.ignored
    output = torch.randn(12, *shape)
    parts = [judge.loss(output[i : i + 3], y[i : i + 3]) for i in range(0, 12, 3)]
    assert torch.stack(parts).mean().item() == pytest.approx(judge.loss(output, y).item(), rel=1e-5)
    sums = [judge.running(output[i : i + 3], y[i : i + 3]) for i in range(0, 12, 3)]
    assert float(sum(sums)) == pytest.approx(float(judge.running(output, y)), rel=1e-5)
    assert judge.losses(output, y).mean().item() == pytest.approx(judge.loss(output, y).item(), rel=1e-5)
    sure = judge.confidence(output)
    assert (sure is None) == (name == "regression")
    assert sure is None or (sure.shape == (12,) and bool(((sure >= 0) & (sure <= 1)).all()))


def test_losses_that_the_settings_choose() -> None:
    y = np.array([[1.0], [3.0], [8.0]], np.float32)
    output, standard = torch.tensor([[0.5], [-1.0], [2.5]]), torch.from_numpy((y - y.mean()) / y.std())
    for loss, expected in [
        ("squared", F.mse_loss(output, standard)),
        ("absolute", F.l1_loss(output, standard)),
        ({"name": "huber", "delta": 0.4}, F.huber_loss(output, standard, delta=0.4)),
    ]:
        judge = task("regression", 1, loss=loss).fitted(y, CPU)
        assert judge.loss(output, torch.from_numpy(y)).item() == pytest.approx(expected.item(), rel=1e-6)


def test_weights_of_classes_leave_the_size_of_the_loss() -> None:
    train, logits = np.array([0] * 9 + [1] * 3), torch.randn(12, 2)
    y = torch.from_numpy(train)
    each = F.cross_entropy(logits, y, reduction="none")
    for loss, weights in [
        ({"name": "cross_entropy", "balanced": True}, torch.tensor([12 / 18, 2.0])),
        ({"name": "cross_entropy", "class_weights": [1.0, 3.0]}, torch.tensor([12 / 18, 2.0])),
    ]:
        judge = task("classification", 2, loss=loss).fitted(train, CPU)
        assert judge.weights.values == pytest.approx(weights)
        assert judge.loss(logits, y).item() == pytest.approx((each * weights[y]).mean().item(), rel=1e-6)
    labels = np.eye(4, 2, dtype=np.float32)
    judge = task("multilabel", 2, loss={"name": "binary_cross_entropy", "balanced": True}).fitted(labels, CPU)
    assert judge.ones.tolist() == [3, 3]


@pytest.mark.slow
def test_torchmetrics_is_imported_late_and_without_torchvision() -> None:
    """A torchvision that does not suit torch cannot be imported, and scipy.signal takes a second."""
    code = """
import sys
from dataclasses import replace
import fractal_dsl.tasks.infer, fractal_dsl.training.train
assert not any(name.startswith("torchmetrics") for name in sys.modules)
from fractal_dsl.tasks.metrics import metric
metric("MeanMetric")
names = [name for name in sys.modules if name.startswith(("torchvision", "scipy.signal"))]
assert "torchmetrics" in sys.modules and not names, names
import scipy.signal
assert scipy.signal.convolve([1, 2], [1]).tolist() == [1, 2]
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_outputs_that_are_not_finite_leave_no_undefined_figure() -> None:
    for name, (shape, targets) in TARGETS.items():
        y = targets(6)
        judge = task(name, *shape).fitted(y.numpy(), CPU)
        found = measured(judge, torch.full((6, *shape), float("inf")), y)
        assert found.keys() >= {"loss", TASKS[judge.name].score.key}
        assert not math.isfinite(found["loss"]) or name == "multilabel"
