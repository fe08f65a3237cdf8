"""Arrays: the packaged digits, and the user's NumPy archives."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fractal_dsl import ops
from fractal_dsl.base.errors import UserError
from fractal_dsl.config import Npz
from fractal_dsl.data.source import MAX_BYTES, Examples, Splits, numbered
from fractal_dsl.data.values import checked_values

_INPUTS, _TARGETS = ("inputs", "images", "x"), ("targets", "labels", "masks", "y")
_PARTS = {"train": ("train",), "validation": ("val", "validation"), "test": ("test",)}


def digits() -> Splits:
    """The 1,797 digits of scikit-learn, uint8 [1797, 1, 8, 8]."""
    with (files("fractal_dsl") / "data" / "digits.npz").open("rb") as file:
        archive = np.load(file, allow_pickle=False)
        return Splits(Examples(archive["images"][:, None], archive["labels"].astype(np.int64), numbered(10)))


def npz(config: Npz, into: ops.Tensor, vocabulary: int | None) -> Splits:
    """The arrays of an archive, in the net's layout. Raises UserError if it has no usable arrays."""
    path = Path(config.path)
    arrays = _read(path)
    arrays_of = {part: _pair(path, arrays, part) for part in _PARTS}
    if arrays_of["train"] is None:
        there = ", ".join(sorted(arrays)) or "nothing"
        raise UserError(
            f"{path} must have arrays `inputs` and `targets`, `images` and `labels`, `x` and `y`, or "
            f"x_train and y_train, but it has {there}"
        )
    for name in [name for pair in arrays_of.values() if pair for name in pair]:
        if not arrays[name].ndim or not len(arrays[name]):
            raise UserError(f"{path}: {name} has no examples: its shape is {list(arrays[name].shape)}")
    inputs = {part: _inputs(arrays[n[0]], into, vocabulary, f"{path}: {n[0]}") for part, n in arrays_of.items() if n}
    made: dict[str, Examples] = {}
    for part, names in arrays_of.items():
        if names:
            made[part] = _examples(path, inputs[part], arrays[names[1]], names, config.ignored)
    return Splits(made["train"], made.get("validation"), made.get("test"))


def _pair(path: Path, arrays: Mapping[str, object], part: str) -> tuple[str, str] | None:
    """The names of a part's inputs and targets, as NumPy users, Keras (``x_train``) and MedMNIST (``train_images``)
    write them; None if there are none. The part's name may be missing for training examples. Raises UserError if two
    arrays could be meant.
    """
    pair: list[str] = []
    for bases in (_INPUTS, _TARGETS):
        names = [n for base in bases for p in _PARTS[part] for n in (f"{base}_{p}", f"{p}_{base}")]
        names += bases if part == "train" else ()
        there = [name for name in names if name in arrays]
        if len(there) > 1:
            raise UserError(f"{path} has both {there[0]} and {there[1]}: keep the one to use")
        pair += there
    return (pair[0], pair[1]) if len(pair) == 2 else None


def _examples(path: Path, x: NDArray[Any], y: NDArray[Any], names: tuple[str, str], ignored: int | None) -> Examples:
    """The inputs and targets of a part. Raises UserError if their numbers differ."""
    if len(x) != len(y):
        raise UserError(
            f"{path} has {len(x):,} {names[0]} and {len(y):,} {names[1]}, but needs a target for each input"
        )
    if y.dtype.kind not in "buif":
        raise UserError(f"{path}: {names[1]} contains {y.dtype}, but targets must be numbers")
    return Examples(x, y, split="by content", named=f"{path}: {names[1]}[{{}}]".format, ignored=ignored)


def _read(path: Path) -> dict[str, NDArray[Any]]:
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
        if size > MAX_BYTES:
            raise UserError(
                f"{path} unpacks to {size / 1e9:.1f} GB, but at most {MAX_BYTES / 1e9:.0f} GB fit in memory"
            )
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from None
    except (zipfile.BadZipFile, ValueError, EOFError) as error:
        reason = "it contains Python objects" if "allow_pickle" in str(error) else "it is damaged or of another type"
        raise UserError(f"{path} is not an archive of arrays as numpy.savez writes it: {reason}") from None


def _inputs(x: NDArray[Any], into: ops.Tensor, vocabulary: int | None, where: str) -> NDArray[Any]:
    """The inputs in the net's type, channels first. Another shape is kept, and reported later."""
    if x.shape[1:] != into.shape:
        if (1, *x.shape[1:]) == into.shape:
            x = x[:, None]
        elif x.ndim > 2 and (x.shape[-1], *x.shape[1:-1]) == into.shape:
            x = np.ascontiguousarray(np.moveaxis(x, -1, 1))
    return checked_values(x, into, vocabulary, where)
