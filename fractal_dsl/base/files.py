"""Files that are there whole or not at all: written beside their place, then renamed.

The places here are those that the user names, as in ``-o link.svg``: a link there is followed. Parts of a run, a
compiled network or a sweep are written by ``parts``, which follows none.
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
"""All names that ``beside`` and ``replacing_folder`` give to what they write, for files with a plain suffix."""


@contextmanager
def replacing(path: Path) -> Generator[Path]:
    """A temporary file beside ``path`` to write to; it takes the path's place when the block ends well.

    The temporary name has the path's suffix. Where the path is a link, what it points to is replaced; a file that was
    there keeps its mode. Raises UserError where nothing can be written, or something other than a file is there.
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
    """``replacing`` in a folder that exists; a link at ``path`` is itself replaced, and not followed."""
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
        raise UserError(f"cannot write {path}: it is no ordinary file")
    return status


def write_text(path: Path, text: str) -> None:
    """Write a text in UTF-8, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="")


def rewrite_text(path: Path, text: str) -> None:
    """Write a file of the user's anew, in UTF-8: as ``write_text``, but a file of several names keeps them all.

    That one is written in place. Raises UserError for a file that is read-only.
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


@contextmanager
def replacing_folder(path: Path) -> Generator[Path]:
    """A temporary folder beside ``path`` to fill; it takes the path's place when the block ends well.

    What was at ``path`` is deleted: the caller makes sure that all of it may be. A link there is not followed.
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
    """Delete a file, a link itself, or a folder with all that is in it, as far as possible."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def remove_temporaries(folder: Path) -> None:
    """Delete what processes that were killed left half-written in a folder: names that this module makes, no others.

    Only a process that has the folder to itself, by a lock, may do so.
    """
    if folder.is_dir() and not folder.is_symlink():
        for path in [path for path in folder.iterdir() if _TEMPORARY.fullmatch(path.name)]:
            remove(path)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
