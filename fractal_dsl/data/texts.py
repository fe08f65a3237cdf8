"""Texts as bytes, cut into disjoint stretches: a net reads a stretch, and predicts the byte after each of its bytes."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fractal_dsl.base.errors import UserError
from fractal_dsl.base.texts import counted
from fractal_dsl.data.tree import walked

_LOOK = 8192  # bytes that show whether a file is text, as in git


@dataclass(frozen=True)
class Texts:
    """``stretches`` uint8 [n, length + 1]: the inputs are all bytes but the last, the targets all but the first.

    ``files`` has the number of stretches and the hash of each file. ``skipped`` counts the skipped files, and the bytes
    at the ends of files that fill no stretch.
    """

    stretches: NDArray[np.uint8]
    files: dict[str, tuple[int, str]]
    skipped: Counter[str]

    def at(self, row: int, column: int) -> tuple[str, int]:
        """The file of a byte, and its offset there."""
        for name, (count, _) in self.files.items():
            if row < count:
                return name, row * self.stretches.shape[1] + column
            row -= count
        raise IndexError(row)


def read_texts(path: Path, include: Sequence[str], length: int, most: int) -> Texts:
    """Read a file, or the files in a folder whose names match one of ``include``, in the order of their names.

    Hidden and binary files in a folder, and those of ``length`` bytes or fewer, are skipped. Raises UserError if there
    is no stretch of length + 1 bytes, if the texts exceed ``most`` bytes, or if a file cannot be read.
    """
    skipped = Counter[str]()
    chosen = _chosen(path, include, skipped)
    pieces: list[NDArray[np.uint8]] = []
    files: dict[str, tuple[int, str]] = {}
    total = 0
    for file in chosen:
        content = _content(file)
        if path.is_dir() and b"\0" in content[:_LOOK]:
            skipped["binary"] += 1
            continue
        total += len(content)
        if total > most:
            raise UserError(f"the texts in {path} exceed {most / 1e9:.0f} GB: give a part of them")
        count, rest = divmod(len(content), length + 1)
        if not count:
            skipped["too short"] += 1
            continue
        skipped["bytes at the end"] += rest
        name = file.relative_to(path).as_posix() if path.is_dir() else file.name
        files[name] = count, hashlib.sha256(content).hexdigest()
        pieces.append(np.frombuffer(content, np.uint8)[: len(content) - rest].reshape(count, length + 1))
    if not pieces:
        raise UserError(_nothing(path, include, chosen, skipped, total, length))
    return Texts(np.concatenate(pieces), files, +skipped)


def _chosen(path: Path, include: Sequence[str], skipped: Counter[str]) -> list[Path]:
    if not path.is_dir():
        return [path]
    every = sorted(name for name, _ in walked(path, skipped))
    chosen = [name for name in every if any(fnmatch(Path(name).name, pattern) for pattern in include)]
    skipped["not included"] = len(every) - len(chosen)
    return [path / name for name in chosen]


def _content(file: Path) -> bytes:
    try:
        if file.exists() and not file.is_file():
            raise UserError(f"{file} is not a regular file")  # a pipe would block
        return file.read_bytes()
    except FileNotFoundError:
        raise UserError(f"there is no file or folder {file}") from None
    except OSError as error:
        raise UserError(f"cannot read {file}: {error.strerror}") from None


def _nothing(
    path: Path, include: Sequence[str], chosen: Sequence[Path], skipped: Counter[str], total: int, length: int
) -> str:
    if not path.is_dir():
        size = "is empty" if not total else f"has {counted(total, 'byte')}"
        return f"{path} {size}, but the net reads {length:,} bytes and predicts one more: give a longer text"
    if not chosen:
        patterns = "" if list(include) == ["*"] else f" that match {', '.join(include)}"
        return f"{path} contains no files{patterns}"
    if skipped["binary"] == len(chosen):
        return f"{path} contains only binary files: name a folder of texts"
    return f"no text in {path} is longer than the {length:,} bytes that the net reads"
