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

from fractal_dsl.deploy.runtimes import Array
from fractal_dsl.deploy.serving.metrics import Metrics
from fractal_dsl.deploy.serving.stages import ServedNet, Service


class Busy(Exception):
    """Too many inputs are waiting."""


@dataclass(frozen=True)
class Answered:
    """The outputs [inputs, …] of a request, and the name of the net that gave each."""

    outputs: Array
    nets: list[str]


@dataclass
class _Waiting:
    """A request. Without a confidence ``stage`` answers, else the first stage that is confident of an input."""

    inputs: Array
    stage: ServedNet
    confidence: float | None
    future: Future[Answered] = field(default_factory=lambda: Future[Answered]())


class Batcher:
    """Runs requests in a thread of its own. ``largest`` limits a batch, and ``room`` the inputs that wait."""

    def __init__(self, service: Service, metrics: Metrics, *, largest: int, wait_ms: float, room: int) -> None:
        self.service, self.metrics, self.largest, self.wait, self.room = service, metrics, largest, wait_ms / 1000, room
        self.queue: deque[_Waiting] = deque()
        self.waiting = 0
        self.more = threading.Condition()
        self.stopped = False
        self.thread = threading.Thread(target=self._loop, name="batches", daemon=True)
        self.thread.start()

    async def answer(self, inputs: Array, *, budget: float | None, confidence: float | None) -> Answered:
        """The answers to inputs [n, …]. Raises Busy if too many inputs are waiting or the service stops."""
        stage = self.service.stages[-1] if budget is None else self.service.within(budget)
        request = _Waiting(inputs, stage, confidence)
        with self.more:
            if self.stopped or self.waiting + len(inputs) > self.room:
                raise Busy
            self.waiting += len(inputs)
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
            while self.queue and (not batch or size + len(self.queue[0].inputs) <= self.largest):
                batch.append(self.queue.popleft())
                size += len(batch[-1].inputs)
            self.waiting -= size
            self.metrics.waiting = self.waiting
            return batch

    def _run(self, batch: Sequence[_Waiting]) -> list[Answered]:
        """Each request's answers. Inputs are asked stage by stage, and leave when they are answered."""
        x = np.concatenate([request.inputs for request in batch])
        sizes = [len(request.inputs) for request in batch]
        alone = np.repeat([r.confidence is None for r in batch], sizes)
        wanted = np.repeat([r.confidence if r.confidence is not None else 0.0 for r in batch], sizes)
        chosen = np.repeat([self.service.stages.index(r.stage) for r in batch], sizes)
        outputs = np.empty((len(x), *self.service.output.shape), np.float32)
        answered = np.full(len(x), -1)
        last = len(self.service.stages) - 1
        for number, stage in enumerate(self.service.stages):
            rows = np.flatnonzero((answered < 0) & np.where(alone, chosen == number, True))
            if not len(rows):
                continue
            y = self._stage(stage, x[rows])
            sure = _confidence(y) >= wanted[rows] if y.ndim == 2 else np.ones(len(rows), bool)
            done = alone[rows] | sure | (number == last)
            outputs[rows[done]], answered[rows[done]] = y[done], number
            self.metrics.answered(stage.name, int(done.sum()))
        ends = np.cumsum(sizes)
        names = [stage.name for stage in self.service.stages]
        return [
            Answered(outputs[end - size : end], [names[i] for i in answered[end - size : end]])
            for end, size in zip(ends, sizes, strict=True)
        ]

    def _stage(self, stage: ServedNet, x: Array) -> Array:
        parts = [stage.run(np.ascontiguousarray(x[at : at + stage.largest])) for at in range(0, len(x), stage.largest)]
        self.metrics.batch(len(x))
        return parts[0] if len(parts) == 1 else np.concatenate(parts)


def softmax(y: Array) -> Array:
    """The softmax over the last axis."""
    e = np.exp(y - y.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def _confidence(y: Array) -> Array:
    return softmax(y).max(1)
