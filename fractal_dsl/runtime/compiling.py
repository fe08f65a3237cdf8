"""Measures the time that torch.compile takes. It compiles each part of the net when that part first runs."""

from __future__ import annotations

import time

from torch._dynamo.callback import callback_handler


class CompileClock:
    """``with CompileClock() as clock``: ``clock.seconds`` is the compile time within the block."""

    def __enter__(self) -> CompileClock:
        self.seconds, self.began = 0.0, 0.0
        callback_handler.register_start_callback(self._start)
        callback_handler.register_end_callback(self._end)
        return self

    def __exit__(self, *_: object) -> None:
        callback_handler.remove_start_callback(self._start)
        callback_handler.remove_end_callback(self._end)

    def _start(self, *_: object) -> None:
        self.began = time.perf_counter()

    def _end(self, *_: object) -> None:
        self.seconds += time.perf_counter() - self.began
