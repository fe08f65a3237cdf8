"""The inputs that exported files are checked and timed with, and the answers that they must give."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fractal_dsl.base.errors import UserError
from fractal_dsl.base.escaping import command
from fractal_dsl.data import ImageSet, vocabulary_of
from fractal_dsl.deploy.nets import ANYTIME, WHOLE_NET
from fractal_dsl.deploy.origin import Origin
from fractal_dsl.deploy.runtimes import Array
from fractal_dsl.evaluation.evaluate import as_trained, images_for
from fractal_dsl.runs.tasks import TASKS, Metric
from fractal_dsl.runtime.anytime import Anytime
from fractal_dsl.runtime.module import FractalModule
from fractal_dsl.runtime.world import ALONE

_REAL, _RANDOM, _CALIBRATION = 16, 16, 256
_BYTES = 500_000_000
"""The memory limit for test inputs and for outputs: of larger sets, an even selection is used."""
_BATCH = 256


@dataclass(frozen=True)
class Samples:
    """Raw inputs. ``checks`` are some test inputs and random ones.

    ``tests`` are the test inputs, of ``given`` in all, with their ``targets``. Without data they are random, and
    ``images``, the data set, is None. ``training`` are training inputs, by which the ranges of int8 are chosen, if they
    were asked for.
    """

    checks: Array
    tests: Array
    targets: Tensor
    images: ImageSet | None
    given: int
    training: Array | None = None

    @property
    def metric(self) -> Metric | None:
        """The figure that decides between nets. None without data."""
        return None if self.images is None else TASKS[self.images.task.name].score

    def score(self, outputs: Array) -> float | None:
        """The score of a net with these outputs for ``tests``. None without data."""
        if self.images is None or self.metric is None:
            return None
        meter = self.images.task.meter()
        for at in range(0, len(outputs), _BATCH):
            meter.update(torch.from_numpy(outputs[at : at + _BATCH]), self.targets[at : at + _BATCH])
        return meter.compute(ALONE)[self.metric.key]


def samples_of(origin: Origin, say: Callable[[str], object], *, int8: bool, allow_python: bool) -> Samples:
    """The inputs for a run, from its test data, or random inputs for a compiled network.

    ``int8`` asks for training inputs, too.
    Raises UserError if the test data cannot be read; ``say`` gets a note if they differ from those of the training.
    """
    model = origin.model
    into = model.input
    images = None
    if origin.trained is not None:
        images = _test_data(origin, say, allow_python)
    random = _random(origin, _RANDOM)
    if images is None:
        if int8:
            raise UserError(
                f"int8 needs training examples to choose its ranges by, and {origin.folder} has none: give a run"
            )
        return Samples(random, random, torch.zeros(0), None, 0)
    size = int(np.prod(into.shape)) * 4 + int(np.prod(model.output.shape)) * 4
    many = len(images.test)
    count = min(many, max(_REAL, _BYTES // size))
    rows = torch.linspace(0, many - 1, count, dtype=torch.float64).round().long()
    batches = [*images.batches(images.test, [rows[at : at + _BATCH] for at in range(0, count, _BATCH)])]
    tests, targets = np.concatenate([x.numpy() for x, _ in batches]), torch.cat([y for _, y in batches])
    checks = np.concatenate([tests[:_REAL], random])
    training = images.batch(images.train, slice(0, _CALIBRATION))[0].numpy() if int8 else None
    return Samples(checks, tests, targets, images, many, training)


def _test_data(origin: Origin, say: Callable[[str], object], allow_python: bool) -> ImageSet:
    assert origin.trained is not None
    try:
        place, trained = torch.device("cpu"), origin.trained
        images = images_for(origin.model, origin.compiled, origin.config, place, allow_python, trained)
    except UserError as error:
        without = command("fractal-dsl", "compile", str(origin.folder))
        raise UserError(
            f"the test data of {origin.folder} cannot be read: {error}. To deploy without them, `{without}` and deploy "
            "the compiled network"
        ) from None
    return as_trained(images, origin.trained, origin.folder, say).raw()


def _random(origin: Origin, count: int) -> Array:
    """Inputs within the range that the net was trained on."""
    into, rng = origin.model.input, np.random.default_rng(0)
    if into.dtype == "i64":
        return rng.integers(0, vocabulary_of(origin.model.join_graph) or 2, (count, *into.shape))
    inputs: Mapping[str, Any] = origin.facts.get("inputs") or {}
    low, high = inputs.get("low"), inputs.get("high")
    if low is None or high is None:
        moments = origin.facts.get("normalisation")
        shape = (-1, *(1,) * (len(into.shape) - 1))
        mean, std = (np.array(moments[k]).reshape(shape) for k in ("mean", "std")) if moments else (0.0, 1.0)
        return (mean + std * rng.standard_normal((count, *into.shape))).astype(np.float32)
    return rng.uniform(low, high, (count, *into.shape)).astype(np.float32)


@dataclass(frozen=True)
class Expected:
    """What a net must answer to ``checks``: an output for each answer, and its confidence (0 without classes)."""

    outputs: Array
    confidences: Array


def expected(model: FractalModule, name: str, checks: Array) -> Expected:
    """The module's own outputs [answers, inputs, …] and confidences [answers, inputs] for raw inputs, unfolded."""
    x = torch.from_numpy(checks)
    with torch.no_grad():
        if name == ANYTIME:
            outputs = [answer.logits for answer in Anytime(model)(x)]
        else:
            outputs = [model.run(x, plan_of(model, name))]
    together = torch.stack(outputs)
    sure = together.softmax(2).amax(2) if together.ndim == 3 else torch.zeros(together.shape[:2])
    return Expected(together.numpy(), sure.numpy())


def plan_of(model: FractalModule, name: str) -> Any:
    """The plan of a column or of the whole net."""
    return model.full_plan() if name == WHOLE_NET else model.column_plan(int(name.removeprefix("column")))


def difference(given: Array, answers: Array, right: Expected, confidence: float) -> float:
    """The largest difference between outputs and expected ones, relative to the largest expected number of the input.

    It is infinite for outputs that are not finite, of another shape, or by an answer that was not due.
    """
    if given.shape != right.outputs.shape[1:] or not np.isfinite(given).all():
        return float("inf")
    worst = 0.0
    for i, (y, answer) in enumerate(zip(given, answers, strict=True)):
        sure = right.confidences[:-1, i]
        near = bool((np.abs(sure - confidence) < 1e-3).any())
        due = next((k for k, c in enumerate(sure) if c >= confidence), len(sure))
        if not near and answer != due:
            return float("inf")
        e = right.outputs[answer, i]
        worst = max(worst, float(np.abs(y - e).max() / max(np.abs(e).max(), 1e-6)))
    return worst


def agreement(model: FractalModule, name: str, tests: Array, outputs: Array) -> float:
    """The share of test inputs for which a net of classes gives the module's own answer."""
    same = 0
    for at in range(0, len(tests), _BATCH):
        x = torch.from_numpy(tests[at : at + _BATCH])
        with torch.inference_mode():
            own = model.run(x, plan_of(model, name)).argmax(1).numpy()
        same += int((outputs[at : at + _BATCH].argmax(1) == own).sum())
    return same / len(tests)
