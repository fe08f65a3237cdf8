"""Anytime answers: the columns answer in turn, from shallow to deep, and then the whole net.

A shallow column answers early and deeper ones refine the answer (paper, abstract). Shared work is computed once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from time import perf_counter
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from fractal_dsl.base.errors import UserError
from fractal_dsl.plans.plan import Plan
from fractal_dsl.plans.plan_on_graph import node_cost
from fractal_dsl.runtime.arguments import Inputs, tensors_in
from fractal_dsl.runtime.bound import Bound
from fractal_dsl.runtime.instructions import Instruction, unchanged
from fractal_dsl.runtime.module import FractalModule
from fractal_dsl.runtime.schedule import Scheduler
from fractal_dsl.runtime.slim import own_hooks

Operation = Callable[..., Tensor]
INPUT = -1
"""The key of the net's first input; those of further inputs count down. Keys of instructions count from 0."""


@dataclass(frozen=True)
class Answer:
    """``logits`` [batch, …] of column ``column``, or of the whole net (None).

    ``macs`` counts the multiply-accumulates per image so far, shared ones once. ``seconds`` is the computing time.
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
        """The largest softmax probability of each image [batch]. It is not calibrated."""
        return largest_probability(self.logits)


def largest_probability(logits: Tensor) -> Tensor:
    """The largest softmax probability over axis 1, for logits [batch, classes]: [batch]."""
    return logits.softmax(1).amax(1)


def anytime(model: FractalModule, x: Tensor) -> Iterator[Answer]:
    """Yield each column's answer to ``x`` [batch, …], from shallow to deep, then the whole net's.

    Each answer is computed when it is requested. A net without columns gives one answer. Raises UserError if the model
    is in train mode.

    >>> for answer in anytime(model, images):
    ...     if answer.confidence.min() > 0.9:
    ...         break
    """
    return Anytime(model)(x)


@dataclass(frozen=True, slots=True)
class Call:
    """``values[result] = call(*operands)``, by keys. Afterwards the values in ``free`` are no longer needed."""

    call: Operation
    operands: tuple[int, ...]
    result: int
    free: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Increment:
    """What an answer adds to those before it: its calls, and their multiply-accumulates per image.

    ``alone`` counts those of the same answer by itself.
    """

    column: int | None
    calls: tuple[Call, ...]
    result: int
    macs: int
    alone: int


@dataclass(frozen=True, slots=True)
class _AnswerSchedule:
    """The instructions that an answer adds to those before it, the key of its result, and its whole work."""

    column: int | None
    instructions: list[Instruction]
    result: int
    alone: int


_PLANNED: WeakKeyDictionary[FractalModule, tuple[Bound, dict[tuple[int, ...], tuple[Increment, ...]]]] = (
    WeakKeyDictionary()
)
"""What each model's answers add to each other, by the columns, and the modules that they call. It is planned once."""


class Anytime:
    """The answers of one model, as ``anytime`` gives them. They are planned again only if a module was replaced.

    ``columns`` are those to ask before the whole net, by default all. Raises UserError if the model itself has hooks:
    shared work belongs to no single call of the model.
    """

    def __init__(self, model: FractalModule, columns: Sequence[int] | None = None) -> None:
        self.model = model
        every = range(1, len(model.join_graph.columns) + 1)
        self.columns = tuple(every if columns is None else sorted({*columns}))
        self._inputs = {INPUT - i for i, _ in enumerate(model.inputs)}
        _ = self.increments

    @property
    def increments(self) -> tuple[Increment, ...]:
        """What each answer adds to those before it."""
        bound = self._present()
        known = _PLANNED.get(self.model)
        if known is None or known[0] is not bound:
            known = _PLANNED[self.model] = bound, {}
        if self.columns not in known[1]:
            known[1][self.columns] = self._plan(bound)
        return known[1][self.columns]

    def _present(self) -> Bound:
        if own_hooks(self.model):
            raise UserError("anytime answers do not call the hooks of the model itself: register them on its modules")
        return self.model.modules_now()

    def _plan(self, bound: Bound) -> tuple[Increment, ...]:
        model, columns = self.model, self.columns
        plans: list[tuple[int | None, Plan]] = [(k, model.column_plan(k)) for k in columns]
        plans.append((None, model.full_plan()))
        if columns:
            bound.check_routes()
        inputs = {number: INPUT - i for i, (number, _) in enumerate(model.join_graph.inputs)}
        made: set[int] = {*inputs.values()}
        planned: list[_AnswerSchedule] = []
        operands: dict[int, tuple[int, ...]] = {}
        schedules = Scheduler(model.join_graph, bound.modules).keyed([plan for _, plan in plans])
        for (column, _), schedule in zip(plans, schedules, strict=True):
            key = dict(inputs)
            instructions: list[Instruction] = []
            for instruction in schedule:
                read = tuple([key[o] for o in instruction.operands])
                key[instruction.result] = read[0] if instruction.call is unchanged else instruction.key
                if instruction.call is not unchanged:
                    operands[instruction.key] = read
                    instructions.append(instruction)
            result = key[model.join_graph.output[0]]
            needed = {result} - made
            new: list[Instruction] = []
            for instruction in reversed(instructions):
                if instruction.key in needed:
                    needed |= {*operands[instruction.key]} - made
                    new.append(instruction)
            made |= {instruction.key for instruction in new}
            planned.append(_AnswerSchedule(column, new[::-1], result, sum(map(self._macs, instructions))))
        return self._increments(planned, operands)

    def _increments(
        self, planned: Sequence[_AnswerSchedule], operands: Mapping[int, tuple[int, ...]]
    ) -> tuple[Increment, ...]:
        """The increments. Every value is freed after its last use in any of them."""
        kept = {answer.result for answer in planned}
        read: set[int] = set()
        increments: list[Increment] = []
        for answer in reversed(planned):
            calls: list[Call] = []
            for instruction in reversed(answer.instructions):
                reads = operands[instruction.key]
                free = {*reads} - read - kept - self._inputs
                read |= {*reads}
                calls.append(Call(instruction.call, reads, instruction.key, tuple(free)))
            macs = sum(map(self._macs, answer.instructions))
            increments.append(Increment(answer.column, tuple(calls[::-1]), answer.result, macs, answer.alone))
        return tuple(increments[::-1])

    def _macs(self, instruction: Instruction) -> int:
        return node_cost(self.model.join_graph, instruction.result).macs

    def __call__(self, x: Inputs) -> Iterator[Answer]:
        """Yield the answers to ``x``, each computed when it is requested."""
        if self.model.training:
            raise UserError("anytime answers need eval mode: call `model.eval()` first")
        return self._answers(x, self.increments)

    def _answers(self, x: Inputs, increments: Sequence[Increment]) -> Iterator[Answer]:
        values = {INPUT - i: one for i, one in enumerate(tensors_in(x))}
        device = tensors_in(x)[0].device
        seconds, macs = 0.0, 0
        for increment in increments:
            start = perf_counter()
            with torch.no_grad():
                for call in increment.calls:
                    values[call.result] = call.call(*[values[o] for o in call.operands])
                    for key in call.free:
                        del values[key]
            if device.type != "cpu":
                torch.accelerator.synchronize(device)
            seconds += perf_counter() - start
            macs += increment.macs
            yield Answer(values[increment.result], increment.column, macs, seconds)

    def measure(self, x: Inputs, repeats: int = 5) -> list[float]:
        """The median seconds that each increment takes for ``x``, after one warm-up run."""
        for _ in self(x):
            pass
        runs = [[0.0, *[answer.seconds for answer in self(x)]] for _ in range(repeats)]
        return [median(run[i + 1] - run[i] for run in runs) for i in range(len(self.increments))]

    def until(
        self,
        x: Inputs,
        *,
        confidence: float | None = None,
        budget: float | None = None,
        seconds: Sequence[float] = (),
        sure: Callable[[Tensor], Tensor] = largest_probability,
    ) -> Answer:
        """The first answer to ``x`` that is confident enough for every image, or the last one within the budget.

        ``confidence`` is from 0 to 1, and ``sure`` gives that of outputs [batch, …]: [batch]. ``budget`` is in seconds
        and needs ``seconds``, the result of ``measure``. An answer is skipped if it would overrun the budget: its
        measured time is scaled up if earlier answers took longer than measured. The first answer is always given.
        """
        expected = 0.0
        for i, answer in enumerate(self(x)):
            if i + 1 == len(self.increments):
                return answer
            if confidence is not None and bool(sure(answer.logits).min() >= confidence):
                return answer
            if budget is not None:
                expected += seconds[i]
                pace = max(1.0, answer.seconds / expected)
                if answer.seconds + pace * seconds[i + 1] > budget:
                    return answer
        raise AssertionError("a net has at least one answer")
