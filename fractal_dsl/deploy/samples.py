"""The inputs that exported files are checked and timed with, and the answers that they must give."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from fractal_dsl import ops
from fractal_dsl.base.errors import UserError
from fractal_dsl.base.escaping import command
from fractal_dsl.data import ImageSet, vocabularies_of
from fractal_dsl.deploy.nets import ANYTIME, WHOLE_NET
from fractal_dsl.deploy.origin import Origin
from fractal_dsl.deploy.runtimes import Array, Arrays
from fractal_dsl.evaluation.evaluate import as_trained, images_for
from fractal_dsl.runs.tasks import TASKS, Metric
from fractal_dsl.runtime.anytime import Anytime
from fractal_dsl.runtime.arguments import Inputs, each, merged, one_or_several, tensors_in
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

    checks: Arrays
    tests: Arrays
    targets: Inputs
    images: ImageSet | None
    given: int
    training: Arrays | None = None

    @property
    def metric(self) -> Metric | None:
        """The figure that decides between nets. None without data."""
        return None if self.images is None else TASKS[self.images.task.name].score

    def score(self, outputs: Arrays) -> float | None:
        """The score of a net with these outputs for ``tests``. None without data."""
        if self.images is None or self.metric is None:
            return None
        meter = self.images.task.meter()
        for at in range(0, len(outputs[0]), _BATCH):
            batch = slice(at, at + _BATCH)
            given = one_or_several([torch.from_numpy(one[batch]) for one in outputs])
            meter.update(given, cast(Tensor, each(lambda y, batch=batch: y[batch], self.targets)))
        return meter.compute(ALONE)[self.metric.key]


def samples_of(origin: Origin, say: Callable[[str], object], *, int8: bool, allow_python: bool) -> Samples:
    """The inputs for a run, from its test data, or random inputs for a compiled network.

    ``int8`` asks for training inputs, too.
    Raises UserError if the test data cannot be read; ``say`` gets a note if they differ from those of the training.
    """
    model = origin.model
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
    size = 4 * sum(math.prod(end.shape) for end in (*model.inputs.values(), *model.outputs.values()))
    many = len(images.test)
    count = min(many, max(_REAL, _BYTES // size))
    rows = torch.linspace(0, many - 1, count, dtype=torch.float64).round().long()
    batches = [*images.batches(images.test, [rows[at : at + _BATCH] for at in range(0, count, _BATCH)])]
    tests, targets = _arrays(merged([x for x, _ in batches])), merged([y for _, y in batches])
    checks = tuple([np.concatenate([real[:_REAL], drawn]) for real, drawn in zip(tests, random, strict=True)])
    training = _arrays(images.batch(images.train, slice(0, _CALIBRATION))[0]) if int8 else None
    return Samples(checks, tests, targets, images, many, training)


def _arrays(x: Inputs) -> Arrays:
    return tuple([one.numpy() for one in tensors_in(x)])


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


def _random(origin: Origin, count: int) -> Arrays:
    """Inputs within the range that the net was trained on."""
    rng, facts = np.random.default_rng(0), origin.facts
    vocabularies = vocabularies_of(origin.model.join_graph)
    several: Mapping[str, Any] = facts.get("by_input") or {}
    drawn: list[Array] = []
    for name, into in origin.model.inputs.items():
        if into.dtype == "i64":
            drawn.append(rng.integers(0, vocabularies[name] or 2, (count, *into.shape)))
        elif several:
            drawn.append(_drawn(rng, count, into, several[name]["inputs"], several[name]))
        else:
            drawn.append(_drawn(rng, count, into, facts.get("inputs") or {}, facts.get("normalisation")))
    return tuple(drawn)


def _drawn(
    rng: np.random.Generator, count: int, into: ops.Tensor, inputs: Mapping[str, Any], moments: Mapping[str, Any] | None
) -> Array:
    low, high = inputs.get("low"), inputs.get("high")
    if low is None or high is None:
        shape = (-1, *(1,) * (len(into.shape) - 1))
        mean, std = (np.array(moments[k]).reshape(shape) for k in ("mean", "std")) if moments else (0.0, 1.0)
        return (mean + std * rng.standard_normal((count, *into.shape))).astype(np.float32)
    return rng.uniform(low, high, (count, *into.shape)).astype(np.float32)


@dataclass(frozen=True)
class Expected:
    """What a net must answer to ``checks``: for each of its outputs those of all answers [answers, inputs, …], and the
    confidence of each answer [answers, inputs] (0 without classes)."""

    outputs: Arrays
    confidences: Array


def expected(model: FractalModule, name: str, checks: Arrays, columns: Sequence[int] | None = None) -> Expected:
    """The module's own answers to raw inputs, unfolded. ``columns`` are those that the anytime net asks."""
    x = one_or_several([torch.from_numpy(one) for one in checks])
    with torch.no_grad():
        if name == ANYTIME:
            outputs = [answer.logits for answer in Anytime(model, columns)(x)]
        else:
            outputs = [model.run(x, plan_of(model, name))]
    together = tensors_in(merged(outputs, torch.stack))
    first = together[0]
    sure = first.softmax(2).amax(2) if first.ndim == 3 else torch.zeros(first.shape[:2])
    return Expected(_arrays(together), sure.numpy())


def plan_of(model: FractalModule, name: str) -> Any:
    """The plan of a column or of the whole net."""
    return model.full_plan() if name == WHOLE_NET else model.column_plan(int(name.removeprefix("column")))


def difference(given: Arrays, answers: Array, right: Expected, confidence: float) -> float:
    """The largest difference between outputs and expected ones, relative to the largest expected number of the output.

    It is infinite for outputs that are not finite, of another shape, or by an answer that was not due.
    """
    if [one.shape for one in given] != [one.shape[1:] for one in right.outputs]:
        return float("inf")
    if not all(np.isfinite(one).all() for one in given):
        return float("inf")
    worst = 0.0
    for i, answer in enumerate(answers):
        sure = right.confidences[:-1, i]
        near = bool((np.abs(sure - confidence) < 1e-3).any())
        due = next((k for k, c in enumerate(sure) if c >= confidence), len(sure))
        if not near and answer != due:
            return float("inf")
        for y, e in zip([one[i] for one in given], [one[answer, i] for one in right.outputs], strict=True):
            worst = max(worst, float(np.abs(y - e).max() / max(np.abs(e).max(), 1e-6)))
    return worst


def agreement(model: FractalModule, name: str, tests: Arrays, outputs: Arrays) -> float:
    """The share of test inputs for which the first output, of classes, gives the module's own answer."""
    same, count = 0, len(tests[0])
    for at in range(0, count, _BATCH):
        x = one_or_several([torch.from_numpy(one[at : at + _BATCH]) for one in tests])
        with torch.inference_mode():
            own = tensors_in(model.run(x, plan_of(model, name)))[0].argmax(1).numpy()
        same += int((outputs[0][at : at + _BATCH].argmax(1) == own).sum())
    return same / count
