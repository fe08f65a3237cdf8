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
from fractal_dsl.base.json_faults import explained
from fractal_dsl.base.parts import is_part, open_part, read_json, write_part

MANIFEST = "manifest.json"


class DamagedError(UserError):
    """A folder was changed after it was written: a file is missing, altered or truncated."""


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """The keys that all manifests have. ``files`` maps relative paths to hashes. Further keys are allowed."""

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
    """The relative paths of all files below a folder, including hidden files and links."""
    paths: list[str] = []
    for place, folders, files in os.walk(folder):
        links = [name for name in folders if (Path(place) / name).is_symlink()]
        paths += [(Path(place) / name).relative_to(folder).as_posix() for name in [*files, *links]]
    return sorted(paths)


def write_manifest(folder: Path, manifest: Mapping[str, Any], files: Iterable[str] | None = None) -> None:
    """Write a folder's manifest, with a hash of each of ``files`` that exists, and of the manifest itself.

    Without ``files``, the manifest covers every file in the folder.
    """
    names = all_files(folder) if files is None else sorted(files)
    hashes = {name: sha256(folder / name) for name in names if name != MANIFEST and is_part(folder, name)}
    whole = {**manifest, "files": hashes}
    write_part(folder, MANIFEST, json.dumps({**whole, "sha256": _digest(whole)}, indent=2) + "\n")


def _digest(manifest: Mapping[str, Any]) -> str:
    rest = {key: value for key, value in manifest.items() if key != "sha256"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def read_manifest(
    folder: Path, kind: str, type: type[M], *, format: str, version: int, parts: Sequence[str], remedy: str
) -> M:
    """The manifest of a folder, whose files are checked against it.

    ``kind`` names the kind of folder. ``version`` is the newest readable one. ``parts`` are the names that the
    manifest's ``files`` must contain. Raises DamagedError, with the remedy, if a part is missing or altered, and
    UserError if the folder is of another kind or version, or cannot be read.
    """
    path = folder / MANIFEST
    if folder.is_file():
        raise UserError(f"{folder} is a file, but a {kind} is a folder")
    if not folder.is_dir():
        raise UserError(f"there is no folder {folder}")
    try:
        manifest = _parsed(folder, kind, type, format, version)
    except FileNotFoundError:
        raise UserError(f"{folder} is not a {kind}: it has no {MANIFEST}") from None
    except msgspec.ValidationError as error:
        raise DamagedError(f"{path} is damaged ({explained(error)}): {remedy}") from None
    except (ValueError, RecursionError) as error:
        raise DamagedError(f"{path} is damaged ({error}): {remedy}") from None
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from None
    for part in parts:
        require(folder, manifest, part, remedy)
    for name, digest in manifest.files.items():
        _check_file(folder, name, digest, remedy)
    return manifest


def altered_files(folder: Path) -> list[str]:
    """The files of a folder, including its manifest, whose hash differs from the manifest. Missing files do not count.

    Raises OSError or ValueError if the manifest cannot be read.
    """
    data = read_json(folder, MANIFEST)
    if not isinstance(data, dict):
        return [MANIFEST]
    given = cast(dict[str, Any], data)
    files = given.get("files")
    hashes = cast(dict[str, Any], files) if isinstance(files, dict) else {}
    altered = [
        name
        for name, digest in hashes.items()
        if os.path.lexists(folder / name) and not (is_part(folder, name) and sha256(folder / name) == digest)
    ]
    return altered + [MANIFEST] * (given.get("sha256") != _digest(given))


def require(folder: Path, manifest: Manifest, part: str, remedy: str) -> None:
    """Raise DamagedError, with the remedy, if a part is not among the files of a manifest."""
    if part not in manifest.files:
        raise DamagedError(f"{folder / MANIFEST} is damaged (it does not list {part}): {remedy}")


def _parsed(folder: Path, kind: str, type: type[M], format: str, version: int) -> M:
    data = read_json(folder, MANIFEST)
    if not isinstance(data, dict):
        raise ValueError("it is not a JSON object")
    given = cast(dict[str, Any], data)
    if given.get("format") != format:
        raise UserError(f"{folder} is not a {kind}: its {MANIFEST} belongs to another kind of folder")
    actual = given.get("format_version")
    if isinstance(actual, int) and not isinstance(actual, bool) and not 1 <= actual <= version:
        raise UserError(f"{folder} has format {actual}, but this version reads formats up to {version}")
    manifest = msgspec.convert(given, type)
    if "fractal_dsl" not in manifest.versions:
        raise ValueError("its versions have no fractal_dsl")
    if manifest.sha256 != _digest(given):
        raise ValueError("it was edited: its hash does not match")
    return manifest


def _check_file(folder: Path, name: str, digest: str, remedy: str) -> None:
    try:
        with open_part(folder, name) as file:
            actual = hashlib.file_digest(file, "sha256").hexdigest()
    except (FileNotFoundError, NotADirectoryError):
        raise DamagedError(f"{folder} is incomplete ({name} is missing): {remedy}") from None
    except OSError as error:
        raise UserError(f"cannot read {folder / name}: {error.strerror}") from None
    if actual != digest:
        raise DamagedError(f"{folder / name} was altered or truncated: {remedy}")
