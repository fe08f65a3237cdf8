"""The identity of files: one hash for each group of them."""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Iterable, Mapping
from pathlib import Path

from fractal_dsl.base.errors import UserError

_READ = 1_000_000_000  # bytes


def file_hashes(root: Path, groups: Mapping[str, Iterable[str]]) -> dict[str, str]:
    """A SHA-256 for the files of each group, given by their paths from ``root``.

    It covers names and contents, or names and sizes if all files together exceed 1 GB. Raises UserError if one cannot
    be read, or is not a regular file.
    """
    every = {group: [*names] for group, names in groups.items()}
    try:
        sizes = {name: _size(root / name) for names in every.values() for name in names}
        whole = sum(sizes.values()) <= _READ
        return {group: _hash(root, names, None if whole else sizes) for group, names in every.items()}
    except OSError as error:
        raise UserError(f"cannot read {error.filename}: {error.strerror}") from None


def name_key(name: str) -> bytes:
    """A name as bytes to hash. Accents are normalised, because file systems store them differently."""
    return unicodedata.normalize("NFC", name).encode("utf-8", "surrogateescape")


def _size(path: Path) -> int:
    if not path.is_file():
        raise UserError(f"{path} is not a regular file: remove it")
    return path.stat().st_size


def _hash(root: Path, names: Iterable[str], sizes: Mapping[str, int] | None) -> str:
    digest = hashlib.sha256()
    for name in names:
        content = hashlib.sha256((root / name).read_bytes()).hexdigest() if sizes is None else str(sizes[name])
        digest.update(name_key(name) + b"\0" + content.encode() + b"\0")
    return digest.hexdigest()
