"""File locks, which the system releases when the processes that hold them end, even if they are killed.

The library ``filelock`` does not fit. A process that trains must inherit the lock of its sweep's trial, but the
library's locks do not pass to other processes. On a disk without locks it leaves a file that outlives a killed process.
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
"""The lock of a run's folder. It names the host and the process that trains the run."""


class Lock:
    """A lock on a file, with one holder at a time. ``acquire`` waits for it, ``claim`` does not.

    The lock lasts until every process that inherited the file has closed it or ended. The lock on a trial's log thus
    lasts as long as the trial's process. A link is not followed. All methods raise UserError if the file cannot be
    opened, and NoLocks if the system or the disk has no locks.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def acquire(self) -> None:
        """Wait for the lock and take it."""
        self._take(wait=True)

    def claim(self) -> bool:
        """Take the lock if it is free, and return whether it was."""
        return self._take(wait=False)

    def release(self) -> None:
        """Release the lock."""
        self.file.close()

    @contextmanager
    def held(self) -> Generator[None]:
        """Hold the lock for a block."""
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
            raise NoLocks(f"cannot lock {self.path}: the system or the disk has no POSIX locks") from None
        self.file: IO[bytes] = file
        return True


class NoLocks(UserError):
    """The system or the disk has no locks."""


def open_to_append(path: Path) -> IO[bytes]:
    """Open a file for reading and appending. Raises UserError for a link, and for anything but a regular file."""
    flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    try:
        if path.is_symlink():
            raise OSError(errno.ELOOP, "it is a link, and links are not followed")
        handle = os.open(path, flags, 0o666)
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            os.close(handle)
            raise OSError(errno.EINVAL, "it is not a regular file")
        return os.fdopen(handle, "a+b")
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}") from None


@contextmanager
def held(run: Path) -> Generator[None]:
    """Keep other processes from training in a run's folder, if the system and the disk have locks.

    Raises UserError if another process trains there, or the lock cannot be written.
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
