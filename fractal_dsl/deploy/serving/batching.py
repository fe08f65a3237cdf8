"""Dynamic batching: requests that wait at the same time are computed together, by one thread."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from time import perf_counter

import numpy as np

from fractal_dsl.deploy.runtimes import Array, Arrays
from fractal_dsl.deploy.serving.metrics import Metrics
from fractal_dsl.deploy.serving.stages import ServedNet, Service


class Busy(Exception):
    """Too many inputs are waiting."""


@dataclass(frozen=True)
class Answered:
    """The outputs [examples, …] of a request, and the name of the net that answered each example."""

    outputs: Arrays
    nets: list[str]


@dataclass
class _Waiting:
    """A request. Without a confidence ``stage`` answers, else the first stage that is confident of an example."""

    inputs: Arrays
    stage: ServedNet
    confidence: float | None
    future: Future[Answered] = field(default_factory=lambda: Future[Answered]())

    def __len__(self) -> int:
        return len(self.inputs[0])


class Batcher:
    """Runs requests in a thread of its own. ``largest`` limits a batch, and ``room`` the examples that wait."""

    def __init__(self, service: Service, metrics: Metrics, *, largest: int, wait_ms: float, room: int) -> None:
        self.service, self.metrics, self.largest, self.wait, self.room = service, metrics, largest, wait_ms / 1000, room
        self.queue: deque[_Waiting] = deque()
        self.waiting = 0
        self.more = threading.Condition()
        self.stopped = False
        self.thread = threading.Thread(target=self._loop, name="batches", daemon=True)
        self.thread.start()

    async def answer(self, inputs: Arrays, *, budget: float | None, confidence: float | None) -> Answered:
        """The answers to inputs [n, …]. Raises Busy if too many examples are waiting or the service stops."""
        stage = self.service.stages[-1] if budget is None else self.service.within(budget)
        request = _Waiting(inputs, stage, confidence)
        with self.more:
            if self.stopped or self.waiting + len(request) > self.room:
                raise Busy
            self.waiting += len(request)
            self.queue.append(request)
            self.metrics.waiting = self.waiting
            self.more.notify()
        return await asyncio.wrap_future(request.future)

    def stop(self) -> None:
        """Answer what is waiting, and then end the thread."""
        with self.more:
            self.stopped = True
            self.more.notify()
        self.thread.join()

    def _loop(self) -> None:
        while batch := self._next():
            try:
                answered = self._run(batch)
            except Exception as error:
                for request in batch:
                    if not request.future.cancelled():
                        request.future.set_exception(error)
            else:
                for request, done in zip(batch, answered, strict=True):
                    if not request.future.cancelled():
                        request.future.set_result(done)

    def _next(self) -> list[_Waiting]:
        """The requests of the next batch. It waits a little for more than the first one; empty at the end."""
        with self.more:
            while not self.queue and not self.stopped:
                self.more.wait()
            until = perf_counter() + self.wait
            while self.waiting < self.largest and not self.stopped and (left := until - perf_counter()) > 0:
                self.more.wait(left)
            batch: list[_Waiting] = []
            size = 0
            while self.queue and (not batch or size + len(self.queue[0]) <= self.largest):
                batch.append(self.queue.popleft())
                size += len(batch[-1])
            self.waiting -= size
            self.metrics.waiting = self.waiting
            return batch

    def _run(self, batch: Sequence[_Waiting]) -> list[Answered]:
        """Each request's answers. Examples are asked stage by stage, and leave when they are answered."""
        x = tuple([np.concatenate(parts) for parts in zip(*[request.inputs for request in batch], strict=True)])
        sizes = [len(request) for request in batch]
        alone = np.repeat([r.confidence is None for r in batch], sizes)
        wanted = np.repeat([r.confidence if r.confidence is not None else 0.0 for r in batch], sizes)
        chosen = np.repeat([self.service.stages.index(r.stage) for r in batch], sizes)
        count = len(x[0])
        outputs = tuple([np.empty((count, *end.shape), np.float32) for end in self.service.ends.outputs.values()])
        answered = np.full(count, -1)
        last = len(self.service.stages) - 1
        for number, stage in enumerate(self.service.stages):
            rows = np.flatnonzero((answered < 0) & np.where(alone, chosen == number, True))
            if not len(rows):
                continue
            y = self._stage(stage, tuple([one[rows] for one in x]))
            sure = _confidence(y[0]) >= wanted[rows] if self.service.confident else np.ones(len(rows), bool)
            done = alone[rows] | sure | (number == last)
            for output, made in zip(outputs, y, strict=True):
                output[rows[done]] = made[done]
            answered[rows[done]] = number
            self.metrics.answered(stage.name, int(done.sum()))
        ends = np.cumsum(sizes)
        names = [stage.name for stage in self.service.stages]
        return [
            Answered(tuple([one[end - size : end] for one in outputs]), [names[i] for i in answered[end - size : end]])
            for end, size in zip(ends, sizes, strict=True)
        ]

    def _stage(self, stage: ServedNet, x: Arrays) -> Arrays:
        count, most = len(x[0]), stage.largest
        parts = [stage.run(tuple([one[at : at + most] for one in x])) for at in range(0, count, most)]
        self.metrics.batch(count)
        return parts[0] if len(parts) == 1 else tuple([np.concatenate(same) for same in zip(*parts, strict=True)])


def softmax(y: Array) -> Array:
    """The softmax over the last axis."""
    with np.errstate(over="ignore"):  # a difference beyond float32 is minus infinity, whose exponential is 0
        e = np.exp(y - y.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def _confidence(y: Array) -> Array:
    return softmax(y).max(1)
