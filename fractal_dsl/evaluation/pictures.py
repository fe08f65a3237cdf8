"""Inputs and masks as pictures."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_SIDE = 128


def palette(numbers: NDArray[np.integer[Any]]) -> NDArray[np.uint8]:
    """The colours [..., 3] of classes, as in PASCAL VOC: the bits of a number, dealt to red, green and blue in turn."""
    colours = np.zeros((*numbers.shape, 3), np.uint8)
    for place in range(8):
        for channel in range(3):
            bit = (numbers >> (3 * place + channel)) & 1
            colours[..., channel] |= (bit << (7 - place)).astype(np.uint8)
    return colours


def drawn(x: NDArray[Any]) -> Image.Image:
    """An input [channels, height, width] as an image, by its own range: in colour for 3 channels, else grey."""
    x = x.astype(np.float64)
    low, high = (0.0, 255.0) if x.min() >= 0 and 1 < x.max() <= 255 else (float(x.min()), float(x.max()))
    scaled = ((x - low) / max(high - low, 1e-12) * 255).round().astype(np.uint8)
    grey = len(x) != 3
    return Image.fromarray(scaled.mean(0).astype(np.uint8) if grey else scaled.transpose(1, 2, 0)).convert("RGB")


def png_base64(image: Image.Image) -> str:
    """The image as PNG in base64, at most 128 pixels wide and high."""
    image.thumbnail((_SIDE, _SIDE))
    file = io.BytesIO()
    image.save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()
