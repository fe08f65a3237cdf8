"""A process that imports torch once and starts the trials of a worker as copies of itself.

Each trial is a process of its own, with a session and a log of its own, as if it were started from the command line. So
a trial that fails or is killed harms no other. Importing what a training run needs takes longer than to train a small
net.

The two sides talk over a socket. A request is the words of a command with the descriptor of a log. The answers are the
number of the process and, when it has ended, its exit code. The process stays known until the next message, so that a
signal never reaches another process of the same number.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib import import_module
from runpy import run_module
from typing import Protocol

from fractal_dsl.language.text_to_syntax.parser import lark

_LARGEST = 100_000
"""Bytes of a message, which a Unix socket takes at once."""
_LOADED = (
    "fractal_dsl.cli.app",
    "fractal_dsl.cli.train",
    "fractal_dsl.training.train",
    "fractal_dsl.runs.report",
    "torch._dynamo",
    "matplotlib.figure",
    "matplotlib.backends.backend_svg",
)


class Process(Protocol):
    """A process of a trial, such as ``subprocess.Popen``."""

    def wait(self, timeout: float | None = None) -> int:
        """The exit code, negative for a signal. Raises TimeoutExpired if the process still runs."""
        ...

    def poll(self) -> int | None:
        """The exit code, or None if the process still runs."""
        ...

    def terminate(self) -> None:
        """Ask the process to save and end."""
        ...

    def kill(self) -> None:
        """End the process at once."""
        ...


class Forks:
    """Starts the commands of one worker, one after another: ``with Forks(environment) as forks``.

    The process that is copied starts with the first command. Where processes cannot be copied safely, which is outside
    Linux, each command gets an interpreter of its own.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        self.environment = environment
        self.channel: socket.socket | None = None
        self.server: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Forks:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the process that is copied. Copies that run go on."""
        if self.channel is not None and self.server is not None:
            self.channel.close()
            self.server.wait()
        self.channel = self.server = None

    def start(self, words: Sequence[str], log: int) -> Process:
        """Start ``python`` with these words. It prints into the file ``log``."""
        if sys.platform == "linux" and list(words[:2]) == ["-m", "fractal_dsl"]:
            try:
                return self._copy(words[2:], log)
            except OSError:  # it was killed, or could not start
                self.close()
        line = [sys.executable, *words]
        none = subprocess.DEVNULL
        return subprocess.Popen(
            line, stdin=none, stdout=log, stderr=log, env=dict(self.environment), start_new_session=True
        )

    def _copy(self, words: Sequence[str], log: int) -> Process:
        if self.channel is None:
            self.channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            with theirs:
                self.server = subprocess.Popen(
                    [sys.executable, "-m", __name__, str(theirs.fileno())],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    env=dict(self.environment),
                    pass_fds=[theirs.fileno()],
                    start_new_session=True,
                )
        self.channel.settimeout(None)
        socket.send_fds(self.channel, [json.dumps(list(words)).encode()], [log])
        answer = self.channel.recv(_LARGEST)
        if not answer:
            raise ConnectionResetError("the process that is copied ended")
        return _Copy(self.channel, int(answer))


class _Copy:
    """A copy of the server that runs a command."""

    def __init__(self, channel: socket.socket, number: int) -> None:
        self.channel, self.number = channel, number
        self.code: int | None = None

    def wait(self, timeout: float | None = None) -> int:
        if self.code is None:
            self.channel.settimeout(timeout)
            try:
                answer = self.channel.recv(_LARGEST)
            except TimeoutError:
                raise subprocess.TimeoutExpired("trial", timeout or 0.0) from None
            if not answer:  # the server was killed, and nobody else knows when the copy ends
                self.kill()
            self.code = int(answer) if answer else -signal.SIGKILL
        return self.code

    def poll(self) -> int | None:
        try:
            return self.wait(1e-6)
        except subprocess.TimeoutExpired:
            return None

    def terminate(self) -> None:
        self._send(signal.SIGTERM)

    def kill(self) -> None:
        self._send(signal.SIGKILL)

    def _send(self, number: signal.Signals) -> None:
        if self.code is None:
            with suppress(ProcessLookupError):
                os.kill(self.number, number)


def serve(channel: socket.socket) -> list[str] | None:
    """Run commands until the other side closes the channel, then return None. In a copy, return its command's words."""
    number = None
    while True:
        request, logs, _, _ = socket.recv_fds(channel, _LARGEST, 1)
        if number is not None:
            os.waitpid(number, 0)
        if not request:
            return None
        number = os.fork()
        if number == 0:
            channel.close()
            _detach(logs[0])
            return json.loads(request)
        os.close(logs[0])
        channel.send(str(number).encode())
        ended = os.waitid(os.P_PID, number, os.WEXITED | os.WNOWAIT)
        assert ended is not None
        code = ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status
        channel.send(str(code).encode())


def _detach(log: int) -> None:
    """Let this process print into a log, in a session of its own."""
    os.setsid()
    for number in (1, 2):
        os.dup2(log, number)
    os.close(log)


def main() -> None:
    """Load what training needs, run commands, and in a copy run its command as ``python -m fractal_dsl`` does."""
    for name in _LOADED:
        with suppress(ImportError):  # the command itself says what is missing
            import_module(name)
    lark()
    gc.collect()
    gc.freeze()  # collecting garbage in a copy would copy all pages
    try:
        words = serve(socket.socket(fileno=int(sys.argv[1])))
    except OSError:  # the sweep was killed
        return
    if words is not None:
        sys.argv[1:] = words
        run_module("fractal_dsl", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
