"""Reads image files and arrays for a trained net, in the values that it was trained on, before normalisation."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fractal_dsl import ops
from fractal_dsl.base.errors import UserError
from fractal_dsl.base.texts import counted, shortened
from fractal_dsl.data.decode import decode
from fractal_dsl.data.framing import middle, pixels
from fractal_dsl.data.tables.source import read_rows
from fractal_dsl.data.values import checked_values
from fractal_dsl.runs.data_record import DataRecord, Images, Inputs
from fractal_dsl.runs.table import Table

_NAMES = ("inputs", "images", "x", "x_test", "test_images")  # common names of arrays
_DIGITS = 16 / 255  # the packaged digits' values are 0 to 16
_FAR = 16  # times the net's size
_SEEN = 0.5  # share of an image


class NamedInput(NamedTuple):
    """An input of a net, not yet normalised. ``row`` is its number in an array; None for an image file."""

    name: str
    value: Tensor
    path: Path
    row: int | None


def read_examples(
    path: Path,
    inputs: Mapping[str, ops.Tensor],
    trained: DataRecord,
    vocabularies: Mapping[str, int | None],
    say: Callable[[str], object],
) -> list[NamedInput]:
    """``read_inputs`` for a net with any number of inputs. A value of several inputs is a tuple.

    The arrays of an .npz file are then ``x.NAME`` or ``NAME``, by the names of the inputs.
    """
    if len(inputs) == 1:
        ((name, into),) = inputs.items()
        return read_inputs(path, into, trained, vocabularies[name], say)
    wanted = ", ".join(f"x.{name}" for name in inputs)
    if path.suffix.lower() != ".npz":
        raise UserError(f"{path}: the net has several inputs, {shortened([*inputs])}: give an .npz file with {wanted}")
    arrays = _archive(path)
    columns: list[Tensor] = []
    for name, into in inputs.items():
        there = [n for n in (f"{base}.{name}" for base in _NAMES) if n in arrays] + [name] * (name in arrays)
        if len(there) != 1:
            has = shortened([*arrays]) or "nothing"
            raise UserError(f"{path} must have one array for each input, {wanted}, but it has {has}")
        where, record = f"{path}: {there[0]}", trained.of_input(name)
        columns.append(_checked(arrays[there[0]], into, record.inputs, vocabularies[name], where, say))
    counts = {name: len(column) for name, column in zip(inputs, columns, strict=True)}
    if len({*counts.values()}) > 1:
        raise UserError(f"{path} has as many of each input as examples, but there are {_counts(counts)}")
    rows = cast(list[Tensor], [*zip(*columns, strict=True)])
    return [NamedInput(str(path) if len(rows) == 1 else f"{path}[{row}]", x, path, row) for row, x in enumerate(rows)]


def _counts(counts: Mapping[str, int]) -> str:
    return " and ".join(f"{count:,} of `{name}`" for name, count in counts.items())


def _checked(
    array: NDArray[Any],
    into: ops.Tensor,
    trained: Inputs,
    vocabulary: int | None,
    where: str,
    say: Callable[[str], object],
) -> Tensor:
    """An array of one or several inputs as a tensor [n, …]. Raises UserError if it does not fit."""
    rows = _rows(array, into.shape)
    if rows is None:
        raise UserError(f"{where} is {array.dtype} {list(array.shape)}, but the net takes {into}, one or several")
    inputs = torch.from_numpy(checked_values(rows, into, vocabulary, where))
    if into.dtype == "f32":
        _check_range(rows, trained, where, say)
    return inputs


def read_inputs(
    path: Path, into: ops.Tensor, trained: DataRecord, vocabulary: int | None, say: Callable[[str], object]
) -> list[NamedInput]:
    """The inputs in a file, each a tensor of the shape of ``into``.

    An image file is decoded as in training, scaled to cover the net's size, and cropped at the centre. The arrays of
    .npy and .npz files hold one or several inputs of exactly the net's shape (channels first or last), with values as
    in training; tokens are below ``vocabulary``. The rows of tables are encoded as in training, for nets that were
    trained on a table. Raises UserError if a file has no such input; calls ``say`` for probable mistakes.
    """
    if path.suffix.lower() == ".frac":
        raise UserError(f"{path} is a spec. Give inputs of the net: image files, tables, or .npy or .npz files")
    if trained.table is not None and path.suffix.lower() not in (".npy", ".npz"):
        return _table_rows(path, into, trained.table, say)
    if path.suffix.lower() not in (".npy", ".npz"):
        return [NamedInput(str(path), _image(path, into, trained, say), path, None)]
    inputs = _checked(_array(path), into, trained.inputs, vocabulary, str(path), say)
    names = [str(path)] if len(inputs) == 1 else [f"{path}[{i}]" for i in range(len(inputs))]
    return [NamedInput(name, x, path, row) for row, (name, x) in enumerate(zip(names, inputs, strict=True))]


def _table_rows(path: Path, into: ops.Tensor, table: Table, say: Callable[[str], object]) -> list[NamedInput]:
    """The rows of a table, named by their lines. Reports values that the net was not trained on."""
    names, rows, new = read_rows(path, table, into)
    if new:
        values = [f"{counted(count, 'row')} with {value}" for value, count in new.most_common()]
        say(f"note: {path} has values that the net was not trained on, so its answers may be poor: {shortened(values)}")
    inputs = torch.from_numpy(rows)
    return [NamedInput(name, x, path, row) for row, (name, x) in enumerate(zip(names, inputs, strict=True))]


def _rows(x: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any] | None:
    """An array as [n, *shape], or None if it has another shape."""
    last = (*shape[1:], shape[0])
    if x.shape == shape:
        return x[None]
    if x.shape[1:] == shape:
        return x
    if len(shape) > 1 and shape[0] == 1 and x.shape[-len(shape) + 1 :] == shape[1:] and x.ndim <= len(shape):
        return x.reshape(-1, *shape)
    if len(shape) > 1 and last in (x.shape, x.shape[1:]):
        return np.ascontiguousarray(np.moveaxis(x.reshape(-1, *last), -1, 1))
    return None


def _check_range(x: NDArray[Any], trained: Inputs, where: str, say: Callable[[str], object]) -> None:
    """Refuse values on another scale than in training, such as floats from 0 to 1 for a net trained on bytes."""
    if trained.low is None or trained.high is None or not x.size:
        return
    low, high, width = float(x.min()), float(x.max()), max(trained.high - trained.low, 1e-6)
    text = f"{where} contains {x.dtype} from {low:g} to {high:g}, but the net was trained on {trained.text()}"
    bytes_trained = trained.dtype == "uint8"
    if bytes_trained and (low < 0 or high > 255):
        raise UserError(f"{text}: give values as in training")
    if bytes_trained and trained.high > 1 and high <= 1 and x.dtype.kind in "fb":
        raise UserError(f"{text}: multiply them by {trained.high:g} if they are the same images")
    if not bytes_trained and x.dtype == np.uint8 and high > trained.high + width:
        raise UserError(f"{text}: scale them as in training")
    shrunk = 0 <= low <= high <= 1 and trained.high > 16
    if shrunk or low < trained.low - width or high > trained.high + width:
        say(f"note: {text}: if they are on another scale, the answers are meaningless")


def decoding(into: ops.Tensor, trained: DataRecord) -> tuple[Images, float] | None:
    """How image files become inputs: the decoder's rules, and the factor for its values from 0 to 255.

    None if image files cannot hold inputs of the net, or have other values than those that it was trained on.
    """
    inputs, scale = trained.inputs, _DIGITS if trained.dataset == "digits" else 1.0
    holds = into.dtype == "f32" and len(into.shape) == 3 and into.shape[0] in (1, 3)
    if not holds or inputs.dtype != "uint8" or (scale == 1 and inputs.high is not None and inputs.high < 128):
        return None
    return trained.images or Images("white", 1.0), scale


def _image(path: Path, into: ops.Tensor, trained: DataRecord, say: Callable[[str], object]) -> Tensor:
    if into.dtype != "f32" or len(into.shape) != 3 or into.shape[0] not in (1, 3):
        raise UserError(
            f"{path}: the net takes {into}, which image files cannot hold: give inputs as .npy or "
            f".npz{_prompt(trained)}"
        )
    decoded = decoding(into, trained)
    if decoded is None:
        raise UserError(
            f"{path}: the net was trained on {trained.inputs.text()} (`{trained.dataset}`), but image files have "
            "values from 0 to 255: give inputs as .npy or .npz, with values as in training"
        )
    (how, scale), (channels, height, width) = decoded, into.shape
    image = decode(path, channels, how.background)
    ratio = sorted((image.height / height, image.width / width))
    if ratio[0] > _FAR or ratio[1] < 1 / 2 or ratio[0] / ratio[1] < _SEEN:
        say(
            f"note: {path} is {image.width:,} x {image.height:,} pixels, but the net sees {width} x {height}: it is "
            f"scaled by {1 / ratio[0]:.2g}, and the net sees {ratio[0] / ratio[1]:.0%} of it"
        )
    try:
        x = torch.from_numpy(pixels(middle(image, (height, width), how.crop_pct)))
    except UserError as error:
        raise UserError(f"{path} does not fit the net: {error}") from None
    return x.float() * scale if scale != 1 else x


def _prompt(trained: DataRecord) -> str:
    return ", or a text with --prompt" if trained.targets and trained.targets.unit == "byte" else ""


def _array(path: Path) -> NDArray[Any]:
    """The inputs in a file: an array, or an array of an archive."""
    loaded = _loaded(path, lambda archive: [n for n in _NAMES if n in archive] or archive)
    if isinstance(loaded, np.ndarray):
        return loaded
    names = [*loaded]
    if len(names) != 1 and (not names or names[0] not in _NAMES):
        there = ", ".join(names) or "nothing"
        raise UserError(f"{path} must have an array `inputs` or `images`, or one array alone, but has {there}")
    return loaded[names[0]]


def _archive(path: Path) -> dict[str, NDArray[Any]]:
    """All arrays of an archive by name."""
    loaded = _loaded(path, lambda archive: archive)
    if isinstance(loaded, np.ndarray):
        raise UserError(f"{path} is an array, and not an archive of arrays")
    return loaded


def _loaded(path: Path, chosen: Callable[[list[str]], list[str]]) -> NDArray[Any] | dict[str, NDArray[Any]]:
    """An array, or the ``chosen`` ones of an archive by name."""
    try:
        loaded: Any = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return cast(NDArray[Any], loaded)
        with loaded as archive:
            return {name: archive[name] for name in chosen(archive.files)}
    except FileNotFoundError:
        raise UserError(f"there is no file {path}") from None
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from None
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        reason = "it contains Python objects" if "allow_pickle" in str(error) else "it is damaged or of another type"
        raise UserError(f"{path} is not an array as NumPy saves it: {reason}") from None
