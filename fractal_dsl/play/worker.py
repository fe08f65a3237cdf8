"""A process that answers requests for the server. It is stopped if it takes too long or its answer is not needed."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

from fractal_dsl.base.errors import UserError
from fractal_dsl.play.answers import Picture, SpecText, answer

TIME_LIMIT = 20.0
"""The largest time for one answer, in seconds."""
MEMORY_LIMIT = 4 * 2**30
"""The largest size of a worker's data segment in bytes, if the system can limit it."""
_PATIENCE = 1.0
_SPAWN = multiprocessing.get_context("spawn")


class Superseded(Exception):
    """The same page has sent a newer request."""


class Worker:
    """Answers one request at a time in a process, which is restarted whenever it had to be stopped."""

    def __init__(self) -> None:
        self._turn = threading.Lock()
        self._start()

    def ask(self, text: SpecText, picture: Picture | None, superseded: Callable[[], bool]) -> dict[str, Any]:
        """The answer to a request.

        Raises Superseded as soon as the page has sent a newer request, and UserError if the answer takes too long.
        """
        with self._turn:
            if superseded():
                raise Superseded
            if not self._process.is_alive():
                self._restart()
            try:
                self._pipe.send((text, picture))
                self._wait(superseded)
                return self._pipe.recv()
            except (EOFError, OSError):
                self._restart()
                raise UserError("the compiler process has died, perhaps out of memory: lower the parameters") from None

    def _wait(self, superseded: Callable[[], bool]) -> None:
        """Wait for the answer. Stopping costs a second, so a request that may be done by then is not stopped."""
        begun = time.monotonic()
        while not self._pipe.poll(0.05):
            taken = time.monotonic() - begun
            if taken > _PATIENCE and superseded():
                self._restart()
                raise Superseded
            if taken > TIME_LIMIT:
                self._restart()
                raise UserError(
                    f"compiling took more than {TIME_LIMIT:g} seconds and was stopped: lower the parameters"
                )

    def _start(self) -> None:
        self._pipe, theirs = _SPAWN.Pipe()
        self._process = _SPAWN.Process(target=_work, args=(theirs,), daemon=True)
        self._process.start()
        theirs.close()

    def _restart(self) -> None:
        self.stop()
        self._start()

    def stop(self) -> None:
        """End the process, and Graphviz if it runs."""
        pid = self._process.pid
        if sys.platform != "win32" and pid is not None:
            with contextlib.suppress(OSError):  # it may not have its own process group yet
                os.killpg(pid, signal.SIGKILL)
        self._process.kill()
        self._process.join()
        self._pipe.close()


def _work(pipe: Connection) -> None:
    _confine()
    while True:
        try:
            text, picture = pipe.recv()
        except (EOFError, OSError):
            return
        if sys.platform != "win32":
            signal.alarm(int(TIME_LIMIT) + 5)  # end even if the server is gone
        pipe.send(answer(text, picture))
        if sys.platform != "win32":
            signal.alarm(0)


def _confine() -> None:
    """Use a process group, so that Ctrl-C reaches only the server and a stop also ends Graphviz. Limit the memory."""
    if sys.platform != "win32":
        import resource

        os.setsid()
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_LIMIT, MEMORY_LIMIT))
