"""The part of an image that a net sees: its centre, ten crops or a random crop, scaled to the net's size.

Masks get the same parts, with ``exact``: each of their pixels is one of the original, not a blend.
"""

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

Box = tuple[int, int, int, int]
"""The left, upper, right and lower edge of a part of an image, in pixels."""


def middle(image: Image, size: tuple[int, int], crop_pct: float, *, exact: bool = False) -> Image:
    """The centre, of ``size`` (height, width), of the scaled image."""
    height, width = size
    image = scaled(image, size, crop_pct, exact=exact)
    left, top = round((image.width - width) / 2), round((image.height - height) / 2)
    return image.crop((left, top, left + width, top + height))


def seen(whole: tuple[int, int], size: tuple[int, int], crop_pct: float) -> Box:
    """The part of an image of size ``whole`` (width, height) that ``middle`` shows, in whole pixels of the image."""
    edges: list[tuple[int, int]] = []
    for length, scaled_to, kept in zip(whole, _target(whole, size, crop_pct), reversed(size), strict=True):
        first = round((scaled_to - kept) / 2)
        edges.append((first * length // scaled_to, -(-(first + kept) * length // scaled_to)))
    (left, right), (top, bottom) = edges
    return left, top, right, bottom


def ten_parts(image: Image, size: tuple[int, int], crop_pct: float) -> list[Image]:
    """The four corners and the centre, then the same of the mirrored image (Krizhevsky et al. 2012)."""
    from PIL.Image import Transpose

    height, width = size
    whole = scaled(image, size, crop_pct)
    right, bottom = whole.width - width, whole.height - height
    corners = [(0, 0), (right, 0), (0, bottom), (right, bottom), (round(right / 2), round(bottom / 2))]
    both = (whole, whole.transpose(Transpose.FLIP_LEFT_RIGHT))
    return [one.crop((x, y, x + width, y + height)) for one in both for x, y in corners]


def random_box(whole: tuple[int, int], smallest: float, rng: Random) -> Box:
    """A part of an image of size ``whole`` (width, height), for ``cut``.

    Its area is a random share from ``smallest`` to 1, and its aspect ratio 3:4 to 4:3. This is Inception's crop
    (Szegedy et al. 2014), drawn like torchvision's RandomResizedCrop.
    """
    across, down = whole
    for _ in range(_TRIES):
        area = across * down * rng.uniform(smallest, 1)
        ratio = math.exp(rng.uniform(math.log(3 / 4), math.log(4 / 3)))
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < w <= across and 0 < h <= down:
            left, top = rng.randint(0, across - w), rng.randint(0, down - h)
            break
    else:
        w = min(across, max(1, round(down * 4 / 3)))
        h = min(down, max(1, round(across * 4 / 3)))
        left, top = (across - w) // 2, (down - h) // 2
    return left, top, left + w, top + h


def cut(image: Image, box: Box, size: tuple[int, int], *, exact: bool = False) -> Image:
    """A part of the image, scaled to ``size`` (height, width)."""
    height, width = size
    return resized(image.crop(box), (width, height), exact=exact)


def scaled(image: Image, size: tuple[int, int], crop_pct: float, *, exact: bool = False) -> Image:
    """The image, scaled so that ``size`` is the share ``crop_pct`` of its tighter side.

    Raises UserError for an image so narrow that it would become too large.
    """
    height, width = size
    target = _target(image.size, size, crop_pct)
    if target[0] * target[1] > _LIMIT:
        raise UserError(
            f"it is {image.width:,} x {image.height:,} pixels, too narrow to scale to {width} x {height}: crop it"
        )
    return resized(image, target, exact=exact)


def _target(whole: tuple[int, int], size: tuple[int, int], crop_pct: float) -> tuple[int, int]:
    """The size (width, height) to which ``scaled`` scales an image of size ``whole`` (width, height)."""
    height, width = size
    scale = max(height / whole[1], width / whole[0]) / crop_pct
    return max(width, int(whole[0] * scale + 1e-6)), max(height, int(whole[1] * scale + 1e-6))


def pixels(image: Image) -> NDArray[np.uint8]:
    """The image as uint8 [channels, height, width]."""
    x = np.asarray(image, np.uint8)
    return x[None].copy() if x.ndim == 2 else np.ascontiguousarray(x.transpose(2, 0, 1))


def resized(image: Image, size: tuple[int, int], *, exact: bool = False) -> Image:
    """The image, scaled to ``size`` (width, height): bilinearly or, if ``exact``, by its nearest pixels."""
    from PIL.Image import Resampling

    how = Resampling.NEAREST if exact else Resampling.BILINEAR
    return image if image.size == size else image.resize(size, how)
