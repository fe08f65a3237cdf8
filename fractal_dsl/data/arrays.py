"""Arrays: the packaged digits, and NumPy archives of the user's."""

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
from fractal_dsl.data.values import checked

# the names that archives have: keras', medmnist's, and plain ones
_NAMES = {
    "train": [
        ("inputs", "labels"),
        ("images", "labels"),
        ("x", "y"),
        ("x_train", "y_train"),
        ("train_images", "train_labels"),
    ],
    "validation": [("x_val", "y_val"), ("val_images", "val_labels")],
    "test": [("x_test", "y_test"), ("test_images", "test_labels")],
}


def digits() -> Splits:
    """The 1,797 digits of scikit-learn, uint8 [1797, 1, 8, 8]."""
    with (files("fractal_dsl") / "data" / "digits.npz").open("rb") as file:
        archive = np.load(file, allow_pickle=False)
        return Splits(Examples(archive["images"][:, None], archive["labels"].astype(np.int64), numbered(10)))


def npz(config: Npz, into: ops.Tensor, vocabulary: int | None, outputs: int) -> Splits:
    """The arrays of an archive, laid out as the net takes them. Raises UserError if it has none that can be used."""
    path = Path(config.path)
    arrays = _read(path)
    found = {
        part: next(((x, y) for x, y in names if x in arrays and y in arrays), None) for part, names in _NAMES.items()
    }
    if found["train"] is None:
        there = ", ".join(sorted(arrays)) or "nothing"
        raise UserError(f"{path} must have arrays `inputs` and `labels`, or x_train and y_train; it has {there}")
    inputs = {part: _inputs(arrays[n[0]], into, vocabulary, f"{path}: {n[0]}") for part, n in found.items() if n}
    labels = {part: _labels(arrays[n[1]], f"{path}: {n[1]}") for part, n in found.items() if n}
    for part, names in found.items():
        if names and len(inputs[part]) != len(labels[part]):
            counts = f"{len(inputs[part]):,} {names[0]} and {len(labels[part]):,} {names[1]}"
            raise UserError(f"{path} has {counts}: it must have a label for each")
    names = numbered(_classes(path, labels["train"], labels, outputs))
    made = {part: Examples(inputs[part], labels[part], names, "by content") for part in inputs}
    return Splits(made["train"], made.get("validation"), made.get("test"))


def _classes(path: Path, train: NDArray[np.int64], labels: Mapping[str, NDArray[np.int64]], outputs: int) -> int:
    """How many there are, counted from 0. Raises UserError where they are counted from another number."""
    low, high = int(train.min()) if train.size else 0, max(int(y.max(initial=-1)) for y in labels.values())
    if low > 0 and outputs != high + 1:
        raise UserError(
            f"{path}: labels run from {low} to {high} and none is 0, but classes are counted from 0. Subtract {low} "
            f"from the labels: they then run from 0 to {high - low}, for a net that gives f32[{high - low + 1}]"
        )
    return high + 1


def _read(path: Path) -> dict[str, NDArray[Any]]:
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
        if size > MAX_BYTES:
            raise UserError(
                f"{path} unpacks to {size / 1e9:.1f} GB, and {MAX_BYTES / 1e9:.0f} GB can be held in memory"
            )
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from None
    except (zipfile.BadZipFile, ValueError, EOFError) as error:
        said = "it holds Python objects" if "allow_pickle" in str(error) else "it is damaged, or something else"
        raise UserError(f"{path} is no archive of arrays, as numpy.savez makes them: {said}") from None


def _inputs(x: NDArray[Any], into: ops.Tensor, vocabulary: int | None, where: str) -> NDArray[Any]:
    """Of the net's type, channels first. What is of another shape stays as it is, to be reported with the net's."""
    if x.shape[1:] != into.shape:
        if (1, *x.shape[1:]) == into.shape:
            x = x[:, None]
        elif x.ndim > 2 and (x.shape[-1], *x.shape[1:-1]) == into.shape:
            x = np.ascontiguousarray(np.moveaxis(x, -1, 1))
    return checked(x, into, vocabulary, where)


def _labels(y: NDArray[Any], where: str) -> NDArray[np.int64]:
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if y.ndim != 1 or y.dtype.kind not in "ui" or (y.size and y.min() < 0):
        raise UserError(
            f"{where} must be a class for each input, whole numbers from 0; it is {y.dtype} {list(y.shape)}"
        )
    return y.astype(np.int64)
