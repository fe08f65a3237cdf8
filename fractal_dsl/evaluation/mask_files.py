"""Writes predicted masks: for each image, a PNG with the number of each pixel's class, and one laid over the image."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain, count
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin

from fractal_dsl.base.errors import UserError
from fractal_dsl.base.files import replacing
from fractal_dsl.data.decode import decode
from fractal_dsl.data.framing import resized, seen
from fractal_dsl.data.inputs import NamedInput
from fractal_dsl.evaluation.pictures import drawn, palette
from fractal_dsl.runs.data_record import DataRecord, Images

_SOFTWARE = "fractal_dsl predict"
_UNSEEN = {"P": 255, "I;16": 65535}
_OPACITY = 0.5


class MaskFiles:
    """The files for some inputs in a folder: ``NAME-mask.png`` and ``NAME-overlay.png``.

    A mask has the size of its image, upright. Its pixels are the numbers of classes, with a palette, or 16-bit numbers
    for more than 255 classes. Pixels that the net does not see, because it sees the centre, are 255 (or 65535). In the
    overlay, class 0 and unseen pixels show the image alone.
    """

    def __init__(self, folder: Path, inputs: Sequence[NamedInput], record: DataRecord, classes: int) -> None:
        """Raises UserError if a file is in the way: an input, or one that an earlier prediction did not write."""
        self.record, self.mode = record, "P" if classes <= _UNSEEN["P"] else "I;16"
        self.places = [(folder / f"{stem}-mask.png", folder / f"{stem}-overlay.png") for stem in _stems(inputs)]
        given = {one.path.resolve() for one in inputs}
        for place in [place for both in self.places for place in both]:
            if place.resolve() in given or (place.exists() and not _ours(place)):
                raise UserError(f"{place} exists and is not a prediction: choose another folder with -o, or move it")

    def write(self, number: int, one: NamedInput, classes: NDArray[np.int64]) -> tuple[Path, Path]:
        """Write the mask [height, width] of the input with this number, and its overlay. Gives their paths."""
        image, box = self._view(one)
        whole = np.full((image.height, image.width), _UNSEEN[self.mode], np.int32)
        left, top, right, bottom = box
        small = Image.fromarray(classes.astype(np.int32))
        whole[top:bottom, left:right] = np.asarray(resized(small, (right - left, bottom - top), exact=True))
        mask_place, overlay_place = self.places[number]
        _save(_mask_image(whole, self.mode), mask_place)
        _save(_overlay(image, whole, _UNSEEN[self.mode]), overlay_place)
        return mask_place, overlay_place

    def _view(self, one: NamedInput) -> tuple[Image.Image, tuple[int, int, int, int]]:
        """The image in RGB, and the part of it that the net sees."""
        _, height, width = one.value.shape
        if one.row is not None:
            return drawn(one.value.numpy(), self.record.inputs), (0, 0, width, height)
        how = self.record.images or Images("white", 1.0)
        image = decode(one.path, 3, how.background)
        return image, seen(image.size, (height, width), how.crop_pct)


def _stems(inputs: Sequence[NamedInput]) -> list[str]:
    """A name for each input, made unique by a number, whatever the case of letters."""
    stems: list[str] = []
    taken: set[str] = set()
    for one in inputs:
        stem = one.path.stem if one.row is None else f"{one.path.stem}-{one.row}"
        names = chain([stem], (f"{stem}-{number}" for number in count(2)))
        stems.append(next(name for name in names if name.lower() not in taken))
        taken.add(stems[-1].lower())
    return stems


def _ours(place: Path) -> bool:
    """Whether an earlier prediction wrote the file."""
    try:
        with Image.open(place, formats=["PNG"]) as image:
            return image.info.get("Software") == _SOFTWARE
    except Exception:  # Pillow's readers raise almost anything for damaged bytes
        return False


def _save(image: Image.Image, place: Path) -> None:
    facts = PngImagePlugin.PngInfo()
    facts.add_text("Software", _SOFTWARE)
    with replacing(place) as temporary:
        image.save(temporary, "PNG", pnginfo=facts)


def _mask_image(numbers: NDArray[np.int32], mode: str) -> Image.Image:
    if mode == "I;16":
        return Image.fromarray(numbers.astype(np.uint16))
    image = Image.fromarray(numbers.astype(np.uint8)).convert("P")
    image.putdata(numbers.ravel())
    image.putpalette(palette(np.arange(256)).tobytes())
    return image


def _overlay(image: Image.Image, numbers: NDArray[np.int32], unseen: int) -> Image.Image:
    """The image, with each pixel of a class but 0 blended with the colour of its class."""
    shown = np.asarray(image.convert("RGB")).astype(np.float32)
    coloured = ((numbers != 0) & (numbers != unseen))[..., None]
    blended = np.where(coloured, (1 - _OPACITY) * shown + _OPACITY * palette(numbers), shown)
    return Image.fromarray(blended.round().astype(np.uint8))
