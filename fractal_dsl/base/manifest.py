"""The manifest of a folder: what it holds, and the hash of each of its files."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar, cast

import msgspec

from fractal_dsl.base.errors import UserError
from fractal_dsl.base.parts import is_part, open_part, read_json, write_part

MANIFEST = "manifest.json"


class DamagedError(UserError):
    """A folder is not as it was written: a part is missing, altered, or cut off."""


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What all manifests have. ``files`` are hashes by the paths from the folder; other keys may be there, too."""

    format: str
    format_version: int
    files: dict[str, str]
    versions: dict[str, str]
    sha256: str

    @property
    def made(self) -> str:
        """The version of fractal_dsl that wrote the folder."""
        return self.versions["fractal_dsl"]


M = TypeVar("M", bound=Manifest)

Count = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
Seed = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]


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
    folder: Path, what: str, type: type[M], *, format: str, version: int, parts: Sequence[str], remedy: str
) -> M:
    """The manifest of a folder whose parts are all there as they were written.

    ``what`` names such a folder; ``version`` is the newest that can be read; ``parts`` are what the manifest's
    ``files`` must have. Raises DamagedError, with the remedy, if a part is missing or altered; UserError if the folder
    is of another kind or version, or cannot be read.
    """
    path = folder / MANIFEST
    if folder.is_file():
        raise UserError(f"{folder} is a file, and a {what} is a folder")
    if not folder.is_dir():
        raise UserError(f"there is no folder {folder}")
    try:
        manifest = _parsed(folder, what, type, format, version)
    except FileNotFoundError:
        raise UserError(f"{folder} is no {what}: it has no {MANIFEST}") from None
    except (ValueError, RecursionError) as error:  # a ValidationError of msgspec is a ValueError
        raise DamagedError(f"{path} is damaged: {error}; {remedy}") from None
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from None
    for part in parts:
        require(folder, manifest, part, remedy)
    for name, digest in manifest.files.items():
        _check_file(folder, name, digest, remedy)
    return manifest


def require(folder: Path, manifest: Manifest, part: str, remedy: str) -> None:
    """Raise DamagedError, with the remedy, if a part is not among the files of a manifest."""
    if part not in manifest.files:
        raise DamagedError(f"{folder / MANIFEST} is damaged: its files have no {part}; {remedy}")


def _parsed(folder: Path, what: str, type: type[M], format: str, version: int) -> M:
    data = read_json(folder, MANIFEST)
    if not isinstance(data, dict):
        raise ValueError("it is no object")
    given = cast(dict[str, Any], data)
    if given.get("format") != format:
        raise UserError(f"{folder} is no {what}: its {MANIFEST} is that of another kind of folder")
    found = given.get("format_version")
    if isinstance(found, int) and not isinstance(found, bool) and not 1 <= found <= version:
        raise UserError(f"{folder} has format {found}, this version reads formats up to {version}")
    manifest = msgspec.convert(given, type)
    if "fractal_dsl" not in manifest.versions:
        raise ValueError("its versions have no fractal_dsl")
    if manifest.sha256 != _digest(given):
        raise ValueError("its hash is that of another text")
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
