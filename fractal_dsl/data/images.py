"""Image files and arrays as a trained net takes them: in the values of its data set, before they are normalised."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fractal_dsl import ops
from fractal_dsl.base.errors import UserError
from fractal_dsl.config import Dataset, Digits, Npz, Python

_NAMES = ("inputs", "images", "x", "x_test", "test_images")  # of arrays in an archive


def read_inputs(
    path: Path, into: ops.Tensor, dataset: Dataset | None, vocabulary: int | None = None
) -> list[tuple[str, Tensor]]:
    """The inputs in a file, each with a name and as a tensor of the shape of ``into``, not yet normalised.

    An image file is converted to the net's channels (1: grey, 3: RGB), scaled so that it covers the net's size, and its
    middle is cut out, as the images of a data set ``folder`` are. The arrays of .npy and .npz files hold one input or
    several, of exactly the net's shape (channels first or last) and with values as in the data set; tokens are below
    ``vocabulary``. Raises UserError if a file holds no such thing.
    """
    if path.suffix.lower() not in (".npy", ".npz"):
        return [(str(path), _image(path, into, dataset))]
    array = _array(path)
    rows = _rows(array, into.shape)
    if rows is None:
        raise UserError(f"{path} is {array.dtype} {list(array.shape)}, and the net takes {into}, one or several of it")
    inputs = torch.from_numpy(_values(rows, into, vocabulary, path))
    names = [str(path)] if len(rows) == 1 else [f"{path}[{i}]" for i in range(len(rows))]
    return list(zip(names, inputs, strict=True))


def _rows(x: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any] | None:
    """An array as [n, *shape]; None if it is of another shape."""
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


def _values(x: NDArray[Any], into: ops.Tensor, vocabulary: int | None, path: Path) -> NDArray[Any]:
    """Numbers of a type that the net takes."""
    if x.dtype.kind not in ("ui" if into.dtype == "i64" else "buif"):
        raise UserError(f"{path} holds {x.dtype}, and the net takes {into}")
    if into.dtype == "i64":
        if x.size and (x.min() < 0 or (vocabulary is not None and x.max() >= vocabulary)):
            raise UserError(f"{path} holds tokens from {x.min():,} to {x.max():,}, and the net knows {vocabulary:,}")
        return x.astype(np.int64)
    if x.dtype == np.uint8:
        return x
    x = x.astype(np.float32)
    if not np.isfinite(x).all():
        raise UserError(f"{path} holds numbers that are infinite or none at all")
    return x


def _image(path: Path, into: ops.Tensor, dataset: Dataset | None) -> Tensor:
    if into.dtype != "f32" or len(into.shape) != 3 or into.shape[0] not in (1, 3):
        raise UserError(f"{path}: the net takes {into}, which no image file holds: give inputs as .npy or .npz")
    if isinstance(dataset, Npz | Python):
        raise UserError(
            f"{path}: this net was trained on values of your own (`{dataset.name}`), and those of an image file are 0 "
            "to 255: give inputs as .npy or .npz, with values as in training"
        )
    x = torch.from_numpy(read_image(path, into.shape, float(getattr(dataset, "crop_pct", 1.0))))
    return x.float() * (16 / 255) if isinstance(dataset, Digits) else x  # their values are 0 to 16


def read_image(path: Path, shape: tuple[int, ...], crop_pct: float) -> NDArray[np.uint8]:
    """The middle of an image, uint8 of ``shape`` [channels, height, width]: scaled so that this is ``crop_pct`` of the
    side that is the scarcer one, and cut. Raises UserError if the file is no image."""
    try:
        from PIL import Image
    except ModuleNotFoundError:
        raise UserError("image files are read with Pillow: pip install 'fractal_dsl[predict]'") from None
    channels, height, width = shape
    try:
        with Image.open(path) as file:
            image = file.convert("RGB" if channels == 3 else "L")
    except FileNotFoundError:
        raise UserError(f"there is no file {path}") from None
    except IsADirectoryError:
        raise UserError(f"{path} is a folder: name the files in it, {path}/*") from None
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise UserError(f"{path} cannot be read as an image: {error}") from None
    scale = max(height / image.height, width / image.width) / crop_pct
    size = (max(width, int(image.width * scale + 1e-6)), max(height, int(image.height * scale + 1e-6)))
    if size != image.size:
        image = image.resize(size, Image.Resampling.BILINEAR)
    left, top = round((size[0] - width) / 2), round((size[1] - height) / 2)
    pixels = np.asarray(image.crop((left, top, left + width, top + height)), np.uint8)
    return pixels.reshape(height, width, channels).transpose(2, 0, 1).copy()


def _array(path: Path) -> NDArray[Any]:
    try:
        found: Any = np.load(path, allow_pickle=False)
        if isinstance(found, np.ndarray):
            return cast(NDArray[Any], found)
        with found as archive:
            names = [n for n in _NAMES if n in archive.files] or archive.files
            if len(names) != 1 and names[0] not in _NAMES:
                there = ", ".join(archive.files) or "nothing"
                raise UserError(f"{path} must have an array `inputs` or `images`, or one array alone; it has {there}")
            return archive[names[0]]
    except FileNotFoundError:
        raise UserError(f"there is no file {path}") from None
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from None
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        said = "it holds Python objects" if "allow_pickle" in str(error) else "it is damaged, or something else"
        raise UserError(f"{path} is no array as NumPy saves them: {said}") from None
