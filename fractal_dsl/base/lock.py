"""Locks on files, which the system lets go of when the processes that hold them have ended, killed or not.

The library ``filelock`` does not serve here: a lock of a sweep's trial must be inherited by the process that trains,
and its locks do not pass to other processes; on a disk without locks it leaves a file that outlives a killed process.
"""

from __future__ import annotations

import errno
import os
import socket
import stat
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from fractal_dsl.base.errors import UserError

LOCK = ".lock"
"""In the folder of a run: who trains it, and the lock."""


class Lock:
    """A file that one holder at a time has locked: ``acquire`` waits for it, ``claim`` does not.

    It is held until all processes that inherited the file have ended or closed it: that of a trial's log, as long as
    the trial's process lives. A link is not followed. All raise UserError where the file cannot be opened, NoLocks
    where the system or the disk has no locks.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def acquire(self) -> None:
        """Wait until nobody else has it."""
        self._take(wait=True)

    def claim(self) -> bool:
        """Take it, if nobody else has it."""
        return self._take(wait=False)

    def release(self) -> None:
        """Let go of it."""
        self.file.close()

    @contextmanager
    def held(self) -> Generator[None]:
        """Hold it for a block."""
        self.acquire()
        try:
            yield
        finally:
            self.release()

    def _take(self, *, wait: bool) -> bool:
        file = open_to_append(self.path)
        try:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            return False
        except (ImportError, OSError):
            file.close()
            raise NoLocks(f"cannot lock {self.path}: the system or the disk has no locks as POSIX has them") from None
        self.file: IO[bytes] = file
        return True


class NoLocks(UserError):
    """The system or the disk has no locks."""


def open_to_append(path: Path) -> IO[bytes]:
    """Open a file to read it and to append to it. Raises UserError for a link, and for what is no regular file."""
    flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    try:
        if path.is_symlink():
            raise OSError(errno.ELOOP, "it is a link, and is not followed")
        handle = os.open(path, flags, 0o666)
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            os.close(handle)
            raise OSError(errno.EINVAL, "it is no ordinary file")
        return os.fdopen(handle, "a+b")
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}") from None


@contextmanager
def held(run: Path) -> Generator[None]:
    """Keep other processes from training in the folder of a run, where the system and the disk have locks.

    Raises UserError if another process trains in it, or nothing can be written there.
    """
    lock = Lock(run / LOCK)
    try:
        free = lock.claim()
    except NoLocks:
        yield
        return
    if not free:
        with open_to_append(lock.path) as file:
            file.seek(0)
            host, _, pid = file.read(1000).decode("utf-8", "replace").strip().rpartition(" ")
        holder = f"process {pid} on {host}" if host else "another process"
        raise UserError(f"{run} is being trained by {holder}: wait until it ends, or stop it")
    try:
        lock.file.truncate(0)
        lock.file.write(f"{socket.gethostname()} {os.getpid()}\n".encode())
        lock.file.flush()
        yield
    finally:
        lock.release()
