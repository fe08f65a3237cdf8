"""Predictions of a trained net: by the first confident column, or the last one within a time budget."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any, cast

import torch
from torch import Tensor

from fractal_dsl.base.errors import UserError
from fractal_dsl.data import vocabulary_of
from fractal_dsl.data.inputs import read_inputs
from fractal_dsl.evaluation.evaluate import choose_device, to_stderr
from fractal_dsl.evaluation.run import Run, Weights
from fractal_dsl.runs.data_record import DataRecord
from fractal_dsl.runtime.anytime import Answer, Anytime

_BATCH = 256
Naming = Callable[[int], str]
"""The name of a class by its number."""


@dataclass(frozen=True)
class Prediction:
    """The most probable classes of one input, by the softmax, which is not calibrated.

    ``classes`` are numbers and ``names`` their names. ``column`` is the one that answered; None is the whole net.
    ``macs`` counts the multiply-accumulates, and ``ms`` is the time in milliseconds.
    """

    file: str
    classes: list[int]
    names: list[str]
    probabilities: list[float]
    column: int | None
    macs: int
    ms: float

    def as_json(self) -> dict[str, Any]:
        """``file``, the best ``class``, its ``name`` and ``probability``, the ``top`` ones, ``column`` and ``ms``."""
        keys = ("class", "name", "probability")
        top = [
            dict(zip(keys, row, strict=True)) for row in zip(self.classes, self.names, self.probabilities, strict=True)
        ]
        return {"file": self.file, **top[0], "top": top, "column": self.column, "ms": self.ms}


def predict(
    run: Run,
    paths: Sequence[Path],
    *,
    confidence: float | None = None,
    budget_ms: float | None = None,
    top: int = 1,
    weights: Weights = "best",
    device: str | None = None,
    say: Callable[[str], object] = to_stderr,
) -> Iterator[Prediction]:
    """Yield a prediction for each input in the files, in order.

    With ``confidence`` (0 to 1), the first column that is so confident answers; with ``budget_ms``, the last one within
    the budget, which starts after normalisation. Inputs then run one at a time. With neither, the whole net answers in
    mini-batches. All files are read first. Raises UserError if one cannot be read or does not fit the net; calls
    ``say`` for probable mistakes.
    """
    place = choose_device(device)
    trained = run.data()
    model = run.load(weights).to(place)
    vocabulary = vocabulary_of(model.join_graph)
    inputs = [named for path in paths for named in read_inputs(path, model.input, trained, vocabulary, say)]
    if not inputs:
        raise UserError("there is nothing to predict: the files contain no inputs")
    names, values = [name for name, _ in inputs], [x for _, x in inputs]
    normalised = _normalised(trained, values, place)
    planned, name = Anytime(model), trained.name_of
    if confidence is None and budget_ms is None:
        return _whole(planned, names, normalised, top, name)
    return _one_by_one(planned, names, normalised, confidence, budget_ms, top, name)


def _normalised(trained: DataRecord, values: Sequence[Tensor], place: torch.device) -> Sequence[Tensor]:
    """The inputs of the net: normalised values, or tokens as they are."""
    if values[0].dtype == torch.int64:
        return [x.to(place) for x in values]
    by_channel = (-1, *(1,) * (values[0].ndim - 1))
    mean, std = (torch.tensor(m, device=place).reshape(by_channel) for m in (trained.mean, trained.std))
    return [(x.to(place).float() - mean) / std for x in values]


def _whole(
    planned: Anytime, names: Sequence[str], values: Sequence[Tensor], top: int, name: Naming
) -> Iterator[Prediction]:
    model = planned.model
    for first in range(0, len(values), _BATCH):
        x = torch.stack([*values[first : first + _BATCH]])
        start = perf_counter()
        with torch.no_grad():
            logits = model(x).cpu()
        seconds = (perf_counter() - start) / len(x)
        for i, row in enumerate(logits):
            yield _prediction(
                names[first + i], Answer(row[None], None, planned.increments[-1].alone, seconds), top, name
            )


def _one_by_one(
    planned: Anytime,
    names: Sequence[str],
    values: Sequence[Tensor],
    confidence: float | None,
    budget_ms: float | None,
    top: int,
    name: Naming,
) -> Iterator[Prediction]:
    seconds = planned.measure(values[0][None])
    budget = None if budget_ms is None else budget_ms / 1000
    for file, x in zip(names, values, strict=True):
        answer = planned.until(x[None], confidence=confidence, budget=budget, seconds=seconds)
        yield _prediction(file, answer, top, name)


def _prediction(file: str, answer: Answer, top: int, name: Naming) -> Prediction:
    shares, classes = answer.logits[0].float().softmax(0).topk(min(top, answer.logits.shape[1]))
    labels, probabilities = cast(list[int], classes.tolist()), cast(list[float], shares.tolist())
    return Prediction(
        file, labels, list(map(name, labels)), probabilities, answer.column, answer.macs, 1000 * answer.seconds
    )
