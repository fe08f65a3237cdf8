"""Files that are there whole or not at all: written beside their place, then renamed."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
import tempfile
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

from fractal_dsl.base.errors import UserError

MANIFEST = "manifest.json"


class DamagedError(UserError):
    """A folder is not as it was written: a part is missing, altered, or cut off."""


def sha256(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def file_hashes(folder: Path, without: Sequence[str] = ()) -> dict[str, str]:
    """The SHA-256 of every file below a folder but hidden ones and its manifest, by its path from there.

    What is called as in ``without``, or lies in a folder called so, is left out.
    """
    found = sorted(f for f in folder.rglob("*") if f.is_file() and f.name[0] != "." and f != folder / MANIFEST)
    paths = {f: f.relative_to(folder) for f in found}
    return {path.as_posix(): sha256(f) for f, path in paths.items() if not {*path.parts} & {*without}}


def write_manifest(folder: Path, manifest: Mapping[str, Any], without: Sequence[str] = ()) -> None:
    """Write a folder's manifest over all the files that it has, with a hash of the manifest itself.

    ``without`` names files and folders that go on changing, and so are not in it.
    """
    whole = {**manifest, "files": file_hashes(folder, without)}
    write_text(folder / MANIFEST, json.dumps({**whole, "sha256": _digest(whole)}, indent=2) + "\n")


def _digest(manifest: Mapping[str, Any]) -> str:
    rest = {key: value for key, value in manifest.items() if key != "sha256"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def read_manifest(
    folder: Path, what: str, *, format: str, version: int, keys: Sequence[str], parts: Sequence[str], remedy: str
) -> dict[str, Any]:
    """The manifest of a folder whose parts are all there as they were written.

    ``what`` names such a folder; ``keys`` and ``parts`` are what the manifest and its ``files`` must have. Raises
    DamagedError, with the remedy, if a part is missing or altered; UserError if the folder is of another kind or
    version, or cannot be read.
    """
    path = folder / MANIFEST
    if not folder.is_dir():
        raise UserError(f"there is no folder {folder}")
    if not path.is_file():
        raise UserError(f"{folder} is no {what}: it has no {MANIFEST}")
    try:
        manifest: dict[str, Any] = json.loads(path.read_text("utf-8"))
        if manifest["format"] != format:
            raise UserError(f"{folder} is no {what}: its {MANIFEST} is that of another kind of folder")
        if manifest["format_version"] != version:
            raise UserError(f"{folder} has format {manifest['format_version']}, this version reads {version}")
        files: dict[str, str] = manifest["files"]
        if not files.keys() >= {*parts} or any(key not in manifest for key in keys):
            raise KeyError
        str(manifest["versions"]["fractal_dsl"])
        if manifest["sha256"] != _digest(manifest):
            raise KeyError
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise DamagedError(f"{path} is damaged: {remedy}") from None
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from None
    for name, digest in files.items():
        relative = PurePosixPath(name)
        file = folder / relative
        if relative.is_absolute() or ".." in relative.parts or not file.is_file():
            raise DamagedError(f"{folder} is incomplete: {name} is missing; {remedy}")
        try:
            found = sha256(file)
        except OSError as error:
            raise UserError(f"cannot read {file}: {error.strerror}") from None
        if found != digest:
            raise DamagedError(f"{file} is not as it was written: altered, or cut off; {remedy}")
    return manifest


@contextmanager
def replacing(path: Path) -> Generator[Path]:
    """A temporary file beside ``path`` to write to; it takes the path's place when the block ends well.

    The temporary name has the path's suffix. Where the path is a link, what it points to is replaced; a file that was
    there keeps its mode. Raises UserError where nothing can be written, or something other than a file is there.
    """
    try:
        path = path.resolve() if path.is_symlink() else path
        path.parent.mkdir(parents=True, exist_ok=True)
        mode = stat.S_IMODE(_regular(path).st_mode) if path.exists() else 0o666 & ~_umask()
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}-", suffix=path.suffix)
        os.close(handle)
    except (OSError, RuntimeError) as error:  # RuntimeError: links in a circle
        raise UserError(f"cannot write {path}: {getattr(error, 'strerror', None) or error}") from None
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
    """A temporary folder beside ``path`` to fill; it takes the path's place when the block ends well."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}-"))
        temporary.chmod(0o777 & ~_umask())
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}") from None
    old = temporary.with_name(temporary.name + "-old")
    try:
        yield temporary
        if path.exists():
            path.rename(old)
        try:
            temporary.rename(path)
        except OSError:
            if old.exists():
                old.rename(path)
            raise
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}") from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
