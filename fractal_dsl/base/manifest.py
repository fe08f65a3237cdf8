"""The manifest of a folder: what it holds, and the hash of each of its files."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from fractal_dsl.base.errors import UserError
from fractal_dsl.base.parts import is_part, open_part, read_json, write_part

MANIFEST = "manifest.json"


class DamagedError(UserError):
    """A folder is not as it was written: a part is missing, altered, or cut off."""


def sha256(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def all_files(folder: Path) -> list[str]:
    """The paths from a folder of everything below it that is no folder, hidden files and links among them."""
    found: list[str] = []
    for place, folders, files in os.walk(folder):
        links = [name for name in folders if (Path(place) / name).is_symlink()]
        found += [(Path(place) / name).relative_to(folder).as_posix() for name in [*files, *links]]
    return sorted(found)


def write_manifest(folder: Path, manifest: Mapping[str, Any], files: Iterable[str] | None = None) -> None:
    """Write a folder's manifest over those of ``files`` that are there, with a hash of the manifest itself.

    If ``files`` is not given, the caller has made the whole folder, and all of it counts.
    """
    names = all_files(folder) if files is None else sorted(files)
    hashes = {name: sha256(folder / name) for name in names if name != MANIFEST and is_part(folder, name)}
    whole = {**manifest, "files": hashes}
    write_part(folder, MANIFEST, json.dumps({**whole, "sha256": _digest(whole)}, indent=2) + "\n")


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
    if folder.is_file():
        raise UserError(f"{folder} is a file, and a {what} is a folder")
    if not folder.is_dir():
        raise UserError(f"there is no folder {folder}")
    try:
        manifest: dict[str, Any] = read_json(folder, MANIFEST)
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
    except FileNotFoundError:
        raise UserError(f"{folder} is no {what}: it has no {MANIFEST}") from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise DamagedError(f"{path} is damaged: {remedy}") from None
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from None
    for name, digest in files.items():
        _check_file(folder, name, digest, remedy)
    return manifest


def _check_file(folder: Path, name: str, digest: str, remedy: str) -> None:
    try:
        with open_part(folder, name) as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except (FileNotFoundError, NotADirectoryError):
        raise DamagedError(f"{folder} is incomplete: {name} is missing; {remedy}") from None
    except OSError as error:
        raise UserError(f"cannot read {folder / name}: {error.strerror}") from None
    if found != digest:
        raise DamagedError(f"{folder / name} is not as it was written: altered, or cut off; {remedy}")
