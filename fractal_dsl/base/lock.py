"""Locks on files, which the system lets go of when the processes that hold them have ended, killed or not."""

from __future__ import annotations

import os
import socket
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from fractal_dsl.base.errors import UserError

LOCK = ".lock"
"""In the folder of a run: who trains it, and the lock."""


def flock(file: IO[bytes], *, wait: bool) -> bool:
    """Lock an open file for this process, and those that inherit it; False if another one has it.

    Raises ImportError on a system without such locks, OSError on a disk without them.
    """
    import fcntl

    try:
        fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextmanager
def held(run: Path) -> Generator[None]:
    """Keep other processes from training in the folder of a run, where the system and the disk have locks.

    Raises UserError if another process trains in it, or nothing can be written there.
    """
    try:
        file = (run / LOCK).open("a+b")
    except OSError as error:
        raise UserError(f"cannot write {run / LOCK}: {error.strerror}") from None
    with file:
        try:
            free = flock(file, wait=False)
        except (ImportError, OSError):
            free = True
        if not free:
            file.seek(0)
            host, _, pid = file.read().decode("utf-8", "replace").strip().rpartition(" ")
            holder = f"process {pid} on {host}" if host else "another process"
            raise UserError(f"{run} is being trained by {holder}: wait until it ends, or stop it")
        file.truncate(0)
        file.write(f"{socket.gethostname()} {os.getpid()}\n".encode())
        file.flush()
        yield
