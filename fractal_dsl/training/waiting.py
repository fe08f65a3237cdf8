"""The time for which training waits for data."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from typing import Any, TypeVar, cast

import torch

Item = TypeVar("Item")


class Waiting:
    """Adds up ``seconds`` for which nothing was computed because the next mini-batch was not ready.

    On CUDA it is the device that waits: the host may be some steps ahead of it.
    """

    def __init__(self, device: torch.device) -> None:
        self.cuda, self._seconds = device.type == "cuda", 0.0
        self._pending = deque[tuple[Any, Any]]()

    def start(self, seconds: float) -> None:
        """Begin an epoch, or continue one that has waited so long."""
        self._seconds = seconds
        self._pending.clear()

    def watched(self, items: Iterator[Item]) -> Iterator[Item]:
        """The items, each with the time until it is there."""
        while True:
            begin = self._now()
            try:
                item = next(items)
            except StopIteration:
                return
            end = self._now()
            if self.cuda:
                self._pending.append((begin, end))
            else:
                self._seconds += end - begin
            yield item

    @property
    def seconds(self) -> float:
        """The time so far, on CUDA of the steps that the device has done."""
        while self._pending and self._pending[0][1].query():
            begin, end = self._pending.popleft()
            self._seconds += begin.elapsed_time(end) / 1000
        return self._seconds

    def _now(self) -> Any:
        if not self.cuda:
            return time.perf_counter()
        event = cast(Any, torch.cuda).Event(enable_timing=True)
        event.record()
        return event


def waiting_text(share: float) -> str:
    """For example "waiting for data 12%", empty below one percent."""
    return f"waiting for data {share:.0%}" if share >= 0.01 else ""
