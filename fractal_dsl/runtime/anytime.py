"""Answers that get better with time: each column's, shallow first, then the whole net's.

FractalNet, section 5: a shallow column answers early, deeper ones refine. What several answers need is computed once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from time import perf_counter

import torch
from torch import Tensor

from fractal_dsl.base.errors import UserError
from fractal_dsl.graph.graph import Layer
from fractal_dsl.plans.plan import Plan
from fractal_dsl.runtime.bound import Bound
from fractal_dsl.runtime.module import FractalModule
from fractal_dsl.runtime.schedule import Scheduler
from fractal_dsl.runtime.slim import own_hooks
from fractal_dsl.runtime.steps import Step, same

Call = Callable[..., Tensor]
_INPUT = -1  # the key of the net's input; keys of steps count from 0


@dataclass(frozen=True)
class Answer:
    """``logits`` [batch, …] of column ``column``, or of the whole net (None).

    ``macs`` are the multiply-accumulates an image that were computed so far, shared ones once; ``seconds``, the
    time that computing took so far.
    """

    logits: Tensor
    column: int | None
    macs: int
    seconds: float

    @property
    def name(self) -> str:
        """``column 2``, or ``whole net``."""
        return "whole net" if self.column is None else f"column {self.column}"

    @property
    def confidence(self) -> Tensor:
        """[batch]: the largest softmax probability of each image, which is not calibrated."""
        return self.logits.softmax(1).amax(1)


def anytime(model: FractalModule, x: Tensor) -> Iterator[Answer]:
    """The answer of each column to ``x`` [batch, …], shallow first, then the whole net's; each is computed when it is
    asked for. A net without columns gives one answer. Raises UserError if the model is in train mode.

    >>> for answer in anytime(model, images):
    ...     if answer.confidence.min() > 0.9:
    ...         break
    """
    return Anytime(model)(x)


@dataclass(frozen=True, slots=True)
class _Call:
    """``values[result] = call(*operands)``, by keys; then the values in ``free`` are not needed any more."""

    call: Call
    operands: tuple[int, ...]
    result: int
    free: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Part:
    """What an answer adds to those before it: its calls, and their multiply-accumulates an image. ``alone`` are those
    of the same answer by itself."""

    column: int | None
    calls: tuple[_Call, ...]
    result: int
    macs: int
    alone: int


@dataclass(frozen=True, slots=True)
class _Found:
    """An answer's steps that no answer before it has, the key of its result, and the work of all its steps."""

    column: int | None
    steps: list[Step]
    result: int
    alone: int


class Anytime:
    """The answers of one model, planned once, and again when one of its modules was replaced; see ``anytime``.

    Raises UserError if the model itself has hooks: work that answers share belongs to no call of the model.
    """

    def __init__(self, model: FractalModule) -> None:
        self.model = model
        self._bound = self._present()
        self._planned = self._plan(self._bound)

    @property
    def parts(self) -> tuple[Part, ...]:
        """What each answer adds to those before it."""
        bound = self._present()
        if bound is not self._bound:
            self._bound, self._planned = bound, self._plan(bound)
        return self._planned

    def _present(self) -> Bound:
        if own_hooks(self.model):
            raise UserError("anytime answers do not call the hooks of the model itself: register them on its modules")
        return self.model.modules_now()

    def _plan(self, bound: Bound) -> tuple[Part, ...]:
        model = self.model
        columns = range(1, len(model.join_graph.columns) + 1)
        plans: list[tuple[int | None, Plan]] = [(k, model.column_plan(k)) for k in columns]
        plans.append((None, model.full_plan()))
        if columns:
            bound.check_routes()
        made: set[int] = {_INPUT}
        found: list[_Found] = []
        operands: dict[int, tuple[int, ...]] = {}
        schedules = Scheduler(model.join_graph, bound.modules).keyed([plan for _, plan in plans])
        for (column, _), schedule in zip(plans, schedules, strict=True):
            key = {model.join_graph.input[0]: _INPUT}
            steps: list[Step] = []
            for step in schedule:
                read = tuple([key[o] for o in step.operands])
                key[step.result] = read[0] if step.call is same else step.key
                if step.call is not same:
                    operands[step.key] = read
                    steps.append(step)
            result = key[model.join_graph.output[0]]
            needed = {result} - made
            new: list[Step] = []
            for step in reversed(steps):
                if step.key in needed:
                    needed |= {*operands[step.key]} - made
                    new.append(step)
            made |= {step.key for step in new}
            found.append(_Found(column, new[::-1], result, sum(map(self._macs, steps))))
        return self._parts(found, operands)

    def _parts(self, found: Sequence[_Found], operands: Mapping[int, tuple[int, ...]]) -> tuple[Part, ...]:
        """The parts, in which every value is given up after its last use in any of them."""
        kept = {answer.result for answer in found}
        read: set[int] = set()
        parts: list[Part] = []
        for answer in reversed(found):
            calls: list[_Call] = []
            for step in reversed(answer.steps):
                reads = operands[step.key]
                free = {*reads} - read - kept - {_INPUT}
                read |= {*reads}
                calls.append(_Call(step.call, reads, step.key, tuple(free)))
            macs = sum(map(self._macs, answer.steps))
            parts.append(Part(answer.column, tuple(calls[::-1]), answer.result, macs, answer.alone))
        return tuple(parts[::-1])

    def _macs(self, step: Step) -> int:
        node = self.model.join_graph[step.result]
        return node.spec.cost(node.into, node.out, node.args)[1] if isinstance(node, Layer) else 0

    def __call__(self, x: Tensor) -> Iterator[Answer]:
        """The answers to ``x``, each computed when it is asked for."""
        if self.model.training:
            raise UserError("anytime answers are a trained net's: call `model.eval()` first")
        return self._answers(x, self.parts)

    def _answers(self, x: Tensor, parts: Sequence[Part]) -> Iterator[Answer]:
        values = {_INPUT: x}
        seconds, macs = 0.0, 0
        for part in parts:
            start = perf_counter()
            with torch.no_grad():
                for call in part.calls:
                    values[call.result] = call.call(*[values[o] for o in call.operands])
                    for key in call.free:
                        del values[key]
            if x.device.type != "cpu":
                torch.accelerator.synchronize(x.device)
            seconds += perf_counter() - start
            macs += part.macs
            yield Answer(values[part.result], part.column, macs, seconds)

    def measure(self, x: Tensor, repeats: int = 5) -> list[float]:
        """The seconds that each part takes for ``x`` (medians), after one run that does not count."""
        for _ in self(x):
            pass
        runs = [[0.0, *[answer.seconds for answer in self(x)]] for _ in range(repeats)]
        return [median(run[i + 1] - run[i] for run in runs) for i in range(len(self.parts))]

    def until(
        self,
        x: Tensor,
        *,
        confidence: float | None = None,
        budget: float | None = None,
        seconds: Sequence[float] = (),
    ) -> Answer:
        """The first answer to ``x`` that is confident enough for every image, or the last one within the budget.

        ``confidence`` is 0 to 1; ``budget`` is in seconds and needs ``seconds``, what ``measure`` found: an answer is
        not begun if the time that its part took for its multiply-accumulates then, and longer in proportion if those
        before it took longer now, would overrun the budget. The first answer is always given.
        """
        expected = 0.0
        for i, answer in enumerate(self(x)):
            if i + 1 == len(self.parts):
                return answer
            if confidence is not None and bool(answer.confidence.min() >= confidence):
                return answer
            if budget is not None:
                expected += seconds[i]
                pace = max(1.0, answer.seconds / expected)
                if answer.seconds + pace * seconds[i + 1] > budget:
                    return answer
        raise AssertionError("a net has at least one answer")
