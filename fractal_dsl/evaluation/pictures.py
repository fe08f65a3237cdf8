"""Inputs and masks as pictures."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fractal_dsl.runs.data_record import Inputs

_SIDE = 128


def palette(numbers: NDArray[np.integer[Any]]) -> NDArray[np.uint8]:
    """The colours [..., 3] of classes, as in PASCAL VOC: the bits of a number, dealt to red, green and blue in turn."""
    colours = np.zeros((*numbers.shape, 3), np.uint8)
    for place in range(8):
        for channel in range(3):
            bit = (numbers >> (3 * place + channel)) & 1
            colours[..., channel] |= (bit << (7 - place)).astype(np.uint8)
    return colours


def drawn(x: NDArray[Any], inputs: Inputs) -> Image.Image:
    """An input [channels, height, width] as an image: in colour for 3 channels, else grey.

    The range of the training inputs becomes black to white; where that is unknown, the input's own range.
    """
    x = x.astype(np.float64)
    low = float(x.min()) if inputs.low is None else inputs.low
    high = float(x.max()) if inputs.high is None else inputs.high
    scaled = ((x - low) / max(high - low, 1e-12) * 255).round().clip(0, 255).astype(np.uint8)
    return Image.fromarray(scaled.transpose(1, 2, 0) if len(x) == 3 else scaled.mean(0).astype(np.uint8)).convert("RGB")


def png_base64(image: Image.Image) -> str:
    """The image as PNG in base64, at most 128 pixels wide and high."""
    image.thumbnail((_SIDE, _SIDE))
    file = io.BytesIO()
    image.save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()
