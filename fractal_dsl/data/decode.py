"""The decoder of image files, for training, evaluation and prediction alike.

``docs/data.md`` states the rules for users. The result has 8 bits for each channel, is upright, and has no alpha.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, cast

import numpy as np
from numpy.typing import NDArray

from fractal_dsl.base.errors import UserError

if TYPE_CHECKING:
    from PIL.Image import Image

FORMATS = ("PNG", "JPEG", "MPO", "WEBP", "GIF", "BMP", "TIFF", "PPM", "JPEG2000", "AVIF")
SUFFIXES = frozenset(
    ".png .apng .jpg .jpeg .jpe .jfif .mpo .webp .gif .bmp .dib .tif .tiff .ppm .pgm .pbm .pnm .pfm .jp2 .j2k "
    ".avif".split()
)
"""The suffixes of files in these formats."""

_EXACT = ("PNG", "TIFF", "BMP", "GIF", "PPM")  # for masks: the others may change values, as JPEG does
_WHOLE = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "I")  # modes of masks, and I;16 in any byte order
_ORIENTATION = 0x0112
_BITS_PER_SAMPLE, _PHOTOMETRIC = 258, 262  # TIFF tags


def decode(path: Path, channels: int, background: str = "white") -> Image:
    """The first frame of an image file, upright, in mode L for 1 channel, and RGB for 3.

    16-bit integers are divided by 257, and floats from 0 to 1 are multiplied by 255. Transparent pixels show the
    background, a colour name or ``#rrggbb``. Raises UserError, which names the file, if it is missing, damaged or of
    another format, or the range of its values is unknown.
    """

    def read(file: Image) -> Image:
        file.load()
        image = _blended(_eight_bits(_upright(file), file, path), background)
        return _in_mode(image, "RGB" if channels == 3 else "L")

    return _opened(path, read)


def decode_mask(path: Path) -> Image:
    """The whole numbers in an image file, upright, in mode I (32 bits): palette indices, or values as stored.

    A bit is 0 or 1. Raises UserError, which names the file, if it cannot be read, has colours or fractions, or is in a
    format that may change values.
    """
    return _opened(path, lambda file: _numbers(file, path))


def _opened(path: Path, read: Callable[[Image], Image]) -> Image:
    """What ``read`` makes of an opened image file. Raises UserError if it cannot be read."""
    image_module = pillow()
    if path.exists() and not (path.is_file() or path.is_dir()):
        _refuse(path, "it is not a regular file")  # a pipe would block
    try:
        with warnings.catch_warnings(), path.open("rb") as raw:
            warnings.simplefilter("ignore")  # Pillow warns of skipped tags, and of images of 90 to 180 megapixels
            if not raw.read(1):
                _refuse(path, "it is empty")
            raw.seek(0)
            with image_module.open(raw, formats=_formats(image_module)) as file:
                return read(file)
    except UserError:
        raise
    except FileNotFoundError:
        raise UserError(f"there is no file {path}") from None
    except IsADirectoryError:
        raise UserError(f"{path} is a folder: name the files in it, {path}/*") from None
    except image_module.UnidentifiedImageError:
        _refuse(path, f"it is in none of the formats {', '.join(FORMATS)}, or is truncated")
    except Exception as error:  # Pillow's readers raise almost anything for damaged bytes
        _refuse(path, (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__)


def pillow() -> Any:
    """The module ``PIL.Image``. Raises UserError if Pillow is not installed."""
    try:
        from PIL import Image
    except ModuleNotFoundError:
        raise UserError("image files need Pillow: pip install 'fractal_dsl[train]'") from None
    return Image


def _formats(image_module: Any) -> list[str]:
    """The formats that this build of Pillow reads."""
    image_module.init()
    return [name for name in FORMATS if name in image_module.OPEN]


def _refuse(path: Path, reason: str) -> NoReturn:
    raise UserError(f"{path} cannot be read as an image: {reason}")


def _upright(file: Image) -> Image:
    """The image turned by its EXIF orientation. An unreadable tag is ignored."""
    from PIL.Image import Transpose

    turns = {
        2: Transpose.FLIP_LEFT_RIGHT,
        3: Transpose.ROTATE_180,
        4: Transpose.FLIP_TOP_BOTTOM,
        5: Transpose.TRANSPOSE,
        6: Transpose.ROTATE_270,
        7: Transpose.TRANSVERSE,
        8: Transpose.ROTATE_90,
    }
    try:
        turn = turns.get(file.getexif().get(_ORIENTATION, 1))
    except Exception:  # damaged tags can raise anything
        turn = None
    return file if turn is None else file.transpose(turn)


def _eight_bits(image: Image, file: Image, path: Path) -> Image:
    """The image in mode L, LA, RGB or RGBA. ``file`` is the opened image, with its format and tags."""
    mode = image.mode
    if mode.startswith("I;16") or (mode == "I" and file.format in ("PNG", "PPM")):
        return _from_integers(image, file)
    if mode == "F":
        return _from_floats(image, path)
    if mode == "I":
        _refuse(path, "it contains 32-bit or signed integers, whose range is unknown: save it with 8 or 16 bits")
    if mode in ("CMYK", "YCbCr"):
        return image.convert("RGB")
    if mode not in ("1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX"):
        _refuse(path, f"it is in the colour space {mode}: save it as RGB or grey")
    if image.has_transparency_data:
        return (image.convert("LA") if mode == "La" else image).convert("RGBA")
    return _in_mode(image, "L" if mode in ("1", "L") else "RGB")


def _in_mode(image: Image, mode: str) -> Image:
    """The image in a mode. ``convert`` copies what is in it already, which takes half of the time of a large file."""
    return image if image.mode == mode else image.convert(mode)


def _from_integers(image: Image, file: Image) -> Image:
    """Convert 16 bits: a pixel from 257 v to 257 v + 256 becomes v. TIFF may have fewer bits, or white as 0."""
    from PIL import Image as image_module

    x = np.asarray(image).astype(np.int64)
    tags = cast(dict[int, Any], getattr(file, "tag_v2", {}))
    top = 2 ** int(tags.get(_BITS_PER_SAMPLE, (16,))[0]) - 1
    grey = (x * 255 // top).clip(0, 255).astype(np.uint8)
    if tags.get(_PHOTOMETRIC) == 0:
        grey = 255 - grey
    result = image_module.fromarray(grey)
    clear = file.info.get("transparency")
    if isinstance(clear, int):
        result.putalpha(image_module.fromarray(np.where(x == clear, 0, 255).astype(np.uint8)))
    return result


def _from_floats(image: Image, path: Path) -> Image:
    """Convert 0 to 1 to 0 to 255, rounded."""
    from PIL import Image as image_module

    x: NDArray[np.float32] = np.asarray(image)
    if not (x.size and np.isfinite(x).all() and x.min() >= 0 and x.max() <= 1):
        _refuse(path, "it contains floats outside 0 to 1: scale them, or save it with 8 or 16 bits")
    return image_module.fromarray((x.astype(np.float64) * 255 + 0.5).astype(np.uint8))


def _numbers(file: Image, path: Path) -> Image:
    """The stored numbers of an opened image, in mode I."""
    from PIL import Image as image_module

    if file.format not in _EXACT or "jpeg" in str(file.info.get("compression")):
        _refuse_mask(path, f"{file.format} may change values, so a mask must be a PNG, TIFF, BMP or GIF file")
    raw = _raw_mode(file)
    file.load()
    x = np.asarray(_upright(file))
    tags = cast(dict[int, Any], getattr(file, "tag_v2", {}))
    whole = file.mode in _WHOLE or file.mode.startswith("I;16")
    if not whole or raw is None or (tags.get(_PHOTOMETRIC) == 0 and file.mode != "1"):
        _refuse_mask(path, "it does not store whole numbers from 0 as they are: save it as PNG")
    if x.ndim == 3:
        colours, alpha = (x[..., :3], x[..., 3:]) if x.shape[2] > 2 else (x[..., :1], x[..., 1:])
        if ";16" in raw or (colours != colours[..., :1]).any() or (alpha != 255).any():
            _refuse_mask(path, "it contains colours: save the number of the class as the grey value or palette index")
        x = colours[..., 0]
    if file.mode == "L":  # Pillow scales grey of 2 and 4 bits to 0 to 255
        x = x // {"L;2": 85, "L;4": 17}.get(raw[:3], 1)
    return image_module.fromarray(x.astype(np.int32))


def _raw_mode(file: Image) -> str | None:
    """How an opened file stores pixels, such as "L;4"; None if its reader scales them."""
    name, _, _, args = cast(Any, file).tile[0]
    if file.format == "PPM" and name != "raw":
        return None
    return args if isinstance(args, str) else str(args[0])


def _refuse_mask(path: Path, reason: str) -> NoReturn:
    raise UserError(f"{path} cannot be read as a mask: {reason}")


def _blended(image: Image, background: str) -> Image:
    """The image over the background, without alpha."""
    if image.mode not in ("LA", "RGBA"):
        return image
    from PIL import Image as image_module
    from PIL import ImageColor

    below = image_module.new("RGBA", image.size, (*ImageColor.getrgb(background)[:3], 255))
    return image_module.alpha_composite(below, image.convert("RGBA")).convert("RGB")
