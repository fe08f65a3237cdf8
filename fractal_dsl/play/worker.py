"""A process that answers requests for the server. It is stopped if it takes too long or its answer is not needed."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from fractal_dsl.base.errors import UserError
from fractal_dsl.play.answers import answer
from fractal_dsl.play.asked import SpecText

TIME_LIMIT = 20.0
"""The largest time for one answer, in seconds."""
MEMORY_LIMIT = 4 * 2**30
"""The largest size of a worker's data segment in bytes, if the system can limit it."""
_PATIENCE = 1.0
_Question = tuple[str, SpecText, dict[str, Any], bool]
_SPAWN = multiprocessing.get_context("spawn")


class Superseded(Exception):
    """The same page has sent a newer request."""


class Worker:
    """Answers one request at a time in a process, which is restarted whenever it had to be stopped."""

    def __init__(self, *, allow_python: bool = False) -> None:
        """``allow_python`` lets ``extern`` load Python code."""
        self._allow_python = allow_python
        self._turn = threading.Lock()
        self._start()

    def ask(
        self,
        kind: str,
        text: SpecText,
        asked: Mapping[str, Any],
        superseded: Callable[[], bool] = lambda: False,
        *,
        trusted: bool = True,
    ) -> dict[str, Any]:
        """The answer to a question of one of ``answers.KINDS``. A text that is not ``trusted`` loads no Python code.

        Raises Superseded as soon as the page has sent a newer request, and UserError if the answer takes too long.
        """
        question = (kind, text, dict(asked), trusted)
        with self._turn:
            if superseded():
                raise Superseded
            if not self._process.is_alive():
                self._restart()
            try:
                if (answer := self._answer(question, superseded)) is None:
                    self._restart()
                    answer = self._answer(question, superseded)
                assert answer is not None, "a new process has loaded no Python code"
                return answer
            except (EOFError, OSError):
                self._restart()
                raise UserError("the compiler process has died, perhaps out of memory: lower the parameters") from None

    def _answer(self, question: _Question, superseded: Callable[[], bool]) -> dict[str, Any] | None:
        """The answer of the process; None if Python code that it has loaded has changed since."""
        self._pipe.send(question)
        self._wait(superseded)
        return self._pipe.recv()

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
        self._process = _SPAWN.Process(target=_work, args=(theirs, self._allow_python), daemon=True)
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


def _work(pipe: Connection, allow_python: bool) -> None:
    _confine()
    loaded: dict[str, float] = {}
    while True:
        try:
            kind, text, asked, trusted = pipe.recv()
        except (EOFError, OSError):
            return
        if sys.platform != "win32":
            signal.alarm(int(TIME_LIMIT) + 5)  # end even if the server is gone
        changed = any(_changed_at(path) != time for path, time in loaded.items())
        answered = None if changed else answer(kind, text, asked, allow_python=allow_python and trusted)
        if allow_python:
            loaded |= {path: _changed_at(path) for path in _modules_beside(text) if path not in loaded}
        pipe.send(answered)
        if sys.platform != "win32":
            signal.alarm(0)


def _confine() -> None:
    """Use a process group, so that Ctrl-C reaches only the server and a stop also ends Graphviz. Limit the memory."""
    if sys.platform != "win32":
        import resource

        os.setsid()
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_LIMIT, MEMORY_LIMIT))


def _modules_beside(text: SpecText) -> list[str]:
    """The files of loaded Python modules in the folder of a text. The user may edit them."""
    folder = f"{Path(text.source.name).resolve().parent}{os.sep}"
    files = [getattr(module, "__file__", None) for module in [*sys.modules.values()]]
    return [file for file in files if file and file.startswith(folder)]


def _changed_at(path: str) -> float:
    """The time of the last change of a file, in seconds; 0 if the file is gone."""
    try:
        return Path(path).stat().st_mtime
    except OSError:
        return 0.0
