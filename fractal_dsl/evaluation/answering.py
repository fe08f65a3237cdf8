"""How a trained net answers: as a whole, one column by itself, or its columns in turn until one is sure enough."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from time import perf_counter

import torch
from torch import Tensor

from fractal_dsl.base.errors import UserError
from fractal_dsl.runtime.anytime import Answer, Anytime
from fractal_dsl.runtime.arguments import each, merged, size_of
from fractal_dsl.runtime.module import FractalModule

_BATCH = 256
Confidence = Callable[[Tensor], Tensor]
"""The confidence of outputs [batch, …], from 0 to 1: [batch]."""


@dataclass(frozen=True)
class Way:
    """Who answers: the whole net, ``column`` by itself, or the columns in turn from shallow to deep.

    In turn, the first column with ``confidence`` (0 to 1) answers, or the last one within ``budget_ms`` milliseconds.
    """

    column: int | None = None
    confidence: float | None = None
    budget_ms: float | None = None

    @property
    def in_turn(self) -> bool:
        """Whether the columns answer in turn."""
        return self.confidence is not None or self.budget_ms is not None

    def check(self) -> None:
        """Raise UserError if the options contradict each other."""
        if self.column is not None and self.in_turn:
            option = "--confidence" if self.confidence is not None else "--budget-ms"
            raise UserError(f"--column asks one column, and {option} asks the columns in turn: leave one option out")


class Answerer:
    """Answers inputs with one net in one way. Several inputs or outputs of one example are a tuple. ``sure`` is the
    confidence of outputs, for answers in turn."""

    def __init__(self, model: FractalModule, way: Way) -> None:
        """Raises UserError if the net has no such column."""
        self.planned, self.way = Anytime(model), way
        self.seconds: list[float] = []
        if way.column is None:
            self.plan, self.macs = model.full_plan(), self.planned.increments[-1].alone
        else:
            self.plan = model.column_plan(way.column)
            self.macs = self.planned.increments[way.column - 1].alone

    def each(self, values: Sequence[Tensor], sure: Confidence) -> Iterator[Answer]:
        """The answer to each input […]: in mini-batches, or one at a time if the columns answer in turn."""
        if self.way.in_turn:
            yield from (self.one(each(lambda one: one[None], x), sure) for x in values)
            return
        for first in range(0, len(values), _BATCH):
            answer = self.together(merged([*values[first : first + _BATCH]], torch.stack))
            for row in range(size_of(answer.logits)):
                output = each(lambda all, row=row: all[row : row + 1], answer.logits)
                yield Answer(output, answer.column, answer.macs, answer.seconds)

    def one(self, x: Tensor, sure: Confidence) -> Answer:
        """The answer to one input [1, …]."""
        way = self.way
        if not way.in_turn:
            return self.together(x)
        budget = None if way.budget_ms is None else way.budget_ms / 1000
        if budget is not None and not self.seconds:
            self.seconds = self.planned.measure(x)
        answer = self.planned.until(x, confidence=way.confidence, budget=budget, seconds=self.seconds, sure=sure)
        return replace(answer, logits=each(torch.Tensor.cpu, answer.logits))

    def together(self, x: Tensor) -> Answer:
        """The answers to a mini-batch. ``seconds`` is the time for each of them."""
        start = perf_counter()
        with torch.no_grad():
            outputs = each(torch.Tensor.cpu, self.planned.model.run(x, self.plan))
        return Answer(outputs, self.way.column, self.macs, (perf_counter() - start) / size_of(x))
