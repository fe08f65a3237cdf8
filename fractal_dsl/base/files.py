"""Atomic writes: a file or folder is written beside its place and then renamed.

These functions write to paths that the user names, such as ``-o link.svg``, and follow a link there. ``parts`` writes
the files of a run, a compiled network or a sweep, and follows no links.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from fractal_dsl.base.errors import UserError

_PREFIX = ".fractal_dsl-tmp-"
_TEMPORARY = re.compile(re.escape(_PREFIX) + r"[a-z0-9_]{8}(-old|\.[a-z]+)?")
"""Every temporary name that ``beside`` and ``replacing_folder`` create, for files with a plain suffix."""


@contextmanager
def replacing(path: Path) -> Generator[Path]:
    """A temporary file beside ``path``, which replaces it when the block ends without an error.

    The temporary name has the path's suffix. If the path is a link, its target is replaced. A replaced file keeps its
    mode. Raises UserError if the path cannot be written or is not a regular file.
    """
    try:
        path = path.resolve() if path.is_symlink() else path
        path.parent.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError) as error:  # RuntimeError: links in a circle
        raise UserError(f"cannot write {path}: {getattr(error, 'strerror', None) or error}") from None
    with beside(path) as temporary:
        yield temporary


@contextmanager
def beside(path: Path) -> Generator[Path]:
    """Like ``replacing``, in a folder that exists. A link at ``path`` is itself replaced, not followed."""
    try:
        there = path.exists() and not path.is_symlink()
        mode = stat.S_IMODE(_regular(path).st_mode) if there else 0o666 & ~_umask()
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=_PREFIX, suffix=path.suffix)
        os.close(handle)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}") from None
    temporary = Path(name)
    try:
        temporary.chmod(mode)
        yield temporary
        temporary.replace(path)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}") from None
    finally:
        temporary.unlink(missing_ok=True)


def _regular(path: Path) -> os.stat_result:
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise UserError(f"cannot write {path}: it is not a regular file")
    return status


def write_text(path: Path, text: str) -> None:
    """Write a text in UTF-8, atomically."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="")


def rewrite_text(path: Path, text: str) -> None:
    """Rewrite a user's file in UTF-8, atomically.

    A file with several hard links is written in place, so that all of them change. Raises UserError if the file is
    read-only.
    """
    try:
        status = _regular(path)
        if not status.st_mode & 0o222 or not os.access(path, os.W_OK):
            raise UserError(f"cannot write {path}: it is read-only")
        if status.st_nlink == 1:
            write_text(path, text)
        else:
            path.write_bytes(text.encode())
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}") from None


_LITTLE = 10 << 20  # bytes


def room_note(folder: Path) -> str:
    """`` (the disk of FOLDER has 12 kB left)`` if a write there failed, perhaps, because the disk is full."""
    try:
        free = shutil.disk_usage(folder).free
    except OSError:
        return ""
    return f" (the disk of {folder} has {free // 1000:,} kB left)" if free < _LITTLE else ""


@contextmanager
def writing_into(folder: Path) -> Generator[None]:
    """Turn an OSError in the block into a UserError that names the folder."""
    try:
        yield
    except OSError as error:
        note = room_note(folder)
        reason = error.strerror or ("No space left on device" if note else error)  # NumPy gives no reason
        raise UserError(f"cannot write into {folder}: {reason}{note}") from None


@contextmanager
def replacing_folder(path: Path) -> Generator[Path]:
    """A temporary folder beside ``path``, which replaces it when the block ends without an error.

    Whatever was at ``path`` is deleted: the caller must make sure that nothing is lost. A link there is not followed.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=_PREFIX))
        temporary.chmod(0o777 & ~_umask())
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}") from None
    old = temporary.with_name(temporary.name + "-old")
    try:
        yield temporary
        if os.path.lexists(path):
            path.rename(old)
        try:
            temporary.rename(path)
        except OSError:
            if os.path.lexists(old):
                old.rename(path)
            raise
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}") from None
    finally:
        remove(temporary)
        remove(old)


def remove(path: Path) -> None:
    """Delete a file, a link (not its target), or a folder with its contents, as far as possible."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def remove_temporaries(folder: Path) -> None:
    """Delete the temporary files that killed processes left in a folder: only names that this module creates.

    Only a process that holds the folder's lock may call this.
    """
    if folder.is_dir() and not folder.is_symlink():
        for path in [path for path in folder.iterdir() if _TEMPORARY.fullmatch(path.name)]:
            remove(path)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
