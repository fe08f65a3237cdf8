"""The part of an image that a net sees: its centre, ten crops or a random crop, scaled to the net's size."""

from __future__ import annotations

import math
from random import Random
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fractal_dsl.base.errors import UserError

if TYPE_CHECKING:
    from PIL.Image import Image

_LIMIT = 2**27
"""The largest number of pixels that an image is scaled to."""
_TRIES = 10


def middle(image: Image, size: tuple[int, int], crop_pct: float) -> Image:
    """The centre, of ``size`` (height, width), of the scaled image."""
    height, width = size
    image = scaled(image, size, crop_pct)
    left, top = round((image.width - width) / 2), round((image.height - height) / 2)
    return image.crop((left, top, left + width, top + height))


def ten_parts(image: Image, size: tuple[int, int], crop_pct: float) -> list[Image]:
    """The four corners and the centre, then the same of the mirrored image (Krizhevsky et al. 2012)."""
    from PIL.Image import Transpose

    height, width = size
    whole = scaled(image, size, crop_pct)
    right, bottom = whole.width - width, whole.height - height
    corners = [(0, 0), (right, 0), (0, bottom), (right, bottom), (round(right / 2), round(bottom / 2))]
    both = (whole, whole.transpose(Transpose.FLIP_LEFT_RIGHT))
    return [one.crop((x, y, x + width, y + height)) for one in both for x, y in corners]


def random_part(image: Image, size: tuple[int, int], smallest: float, rng: Random) -> Image:
    """A crop of random area (a share from ``smallest`` to 1) and aspect ratio (3:4 to 4:3), scaled to ``size``.

    This is Inception's crop (Szegedy et al. 2014), drawn like torchvision's RandomResizedCrop.
    """
    height, width = size
    for _ in range(_TRIES):
        area = image.width * image.height * rng.uniform(smallest, 1)
        ratio = math.exp(rng.uniform(math.log(3 / 4), math.log(4 / 3)))
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < w <= image.width and 0 < h <= image.height:
            left, top = rng.randint(0, image.width - w), rng.randint(0, image.height - h)
            break
    else:
        w = min(image.width, max(1, round(image.height * 4 / 3)))
        h = min(image.height, max(1, round(image.width * 4 / 3)))
        left, top = (image.width - w) // 2, (image.height - h) // 2
    return _resized(image.crop((left, top, left + w, top + h)), (width, height))


def scaled(image: Image, size: tuple[int, int], crop_pct: float) -> Image:
    """The image, scaled so that ``size`` is the share ``crop_pct`` of its tighter side.

    Raises UserError for an image so narrow that it would become too large.
    """
    height, width = size
    scale = max(height / image.height, width / image.width) / crop_pct
    target = (max(width, int(image.width * scale + 1e-6)), max(height, int(image.height * scale + 1e-6)))
    if target[0] * target[1] > _LIMIT:
        raise UserError(
            f"it is {image.width:,} x {image.height:,} pixels, too narrow to scale to {width} x {height}: crop it"
        )
    return _resized(image, target)


def pixels(image: Image) -> NDArray[np.uint8]:
    """The image as uint8 [channels, height, width]."""
    x = np.asarray(image, np.uint8)
    return x[None].copy() if x.ndim == 2 else np.ascontiguousarray(x.transpose(2, 0, 1))


def _resized(image: Image, size: tuple[int, int]) -> Image:
    from PIL.Image import Resampling

    return image if image.size == size else image.resize(size, Resampling.BILINEAR)
