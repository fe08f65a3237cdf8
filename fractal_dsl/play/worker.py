"""A process that answers requests for the server. It is stopped when it takes too long or when nobody waits for it."""

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
"""Seconds that one answer may take."""
MEMORY_LIMIT = 4 * 2**30
"""Bytes that a worker may write to, where the system can limit them."""
_PATIENCE = 1.0
_SPAWN = multiprocessing.get_context("spawn")


class Superseded(Exception):
    """The same page has sent a newer request."""


class Worker:
    """Answers one question at a time, in a process that is started anew whenever it had to be stopped."""

    def __init__(self) -> None:
        self._turn = threading.Lock()
        self._start()

    def ask(self, text: SpecText, picture: Picture | None, superseded: Callable[[], bool]) -> dict[str, Any]:
        """The answer to a question. Raises Superseded as soon as it is known to be of no use, and UserError when it
        takes too long."""
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
        """Wait for the answer. A stop costs a second, so what may be done by then is not stopped."""
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
        """End the process, and the Graphviz that it may run."""
        pid = self._process.pid
        if sys.platform != "win32" and pid is not None:
            with contextlib.suppress(OSError):  # it may have no group of its own yet
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
            signal.alarm(int(TIME_LIMIT) + 5)  # the end, should the server itself be gone
        pipe.send(answer(text, picture))
        if sys.platform != "win32":
            signal.alarm(0)


def _confine() -> None:
    """A group of its own, so that Ctrl-C reaches the server alone and a stop reaches Graphviz too; and less memory."""
    if sys.platform != "win32":
        import resource

        os.setsid()
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_LIMIT, MEMORY_LIMIT))
