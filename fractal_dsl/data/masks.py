"""Images with a mask each, whose pixels are the classes of the image's pixels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import prod
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from fractal_dsl import ops
from fractal_dsl.base.errors import UserError
from fractal_dsl.config import Augmentation, Folder, ResizedCrop
from fractal_dsl.data.decode import decode, decode_mask
from fractal_dsl.data.draws import in_order, seed_for
from fractal_dsl.data.file_hashes import file_hashes, name_key
from fractal_dsl.data.framing import cut, middle, pixels, random_box, resized
from fractal_dsl.data.pairs import Pairs
from fractal_dsl.data.parts import Batch, Part, StreamedPart
from fractal_dsl.data.source import Examples, Moments, Rows, SourceRecord, Splits, imagenet_moments, numbered, place
from fractal_dsl.runs.data_record import Content, Images, Split
from fractal_dsl.runs.tasks import TokenUnit
from fractal_dsl.tasks import Task
from fractal_dsl.tasks.targets import Targets

if TYPE_CHECKING:
    from PIL.Image import Image

_HELD = 1_000_000_000  # bytes
_FEW = 1000  # up to this many images, worker processes do not pay
_NUMBERS = 2**16
_CUSTOM = 255  # the usual number for pixels that do not count


@dataclass(frozen=True)
class Coding:
    """Maps the numbers in masks to classes. ``values`` has the number of each class; ``code`` is the target of pixels
    whose number is ``ignored``."""

    values: Sequence[int]
    ignored: int | None
    code: int

    @classmethod
    def of(cls, config: Folder, classes: int) -> Coding:
        """By the settings: 0, 1, … are the classes, and 255 is ignored unless it is one of them."""
        values = config.values or range(classes)
        if len(values) != classes:
            raise UserError(f"`dataset.values` has {len(values)} numbers, but the net has {classes} classes")
        ignored = config.ignored if config.ignored is not None else None if _CUSTOM in values else _CUSTOM
        if ignored in values:
            raise UserError(f"masks cannot ignore {ignored}, which is a class of the net: change `dataset.ignored`")
        return cls(values, ignored, next(code for code in (ignored, _CUSTOM, _NUMBERS) if code and code >= classes))

    @cached_property
    def _table(self) -> NDArray[np.int32]:
        """The target of each number, or -1."""
        table = np.full(_NUMBERS, -1, np.int32)
        table[[*self.values]] = np.arange(len(self.values))
        if self.ignored is not None:
            table[self.ignored] = self.code
        return table

    def targets(self, numbers: NDArray[np.int32], path: Path) -> NDArray[np.int32]:
        """The class of each pixel. Raises UserError for a number that is no class."""
        inside = (numbers >= 0) & (numbers < _NUMBERS)
        targets = np.where(inside, self._table[np.where(inside, numbers, 0)], -1)
        if (unknown := np.argwhere(targets < 0)).size:
            row, column = unknown[0].tolist()
            known = f"0 to {len(self.values) - 1}" if isinstance(self.values, range) else f"in {self.values}"
            also = "" if self.ignored is None else f", and {self.ignored} is ignored"
            raise UserError(
                f"{path} has the number {numbers[row, column]} in row {row}, column {column}, but the net's classes "
                f"are {known}{also}. Set `dataset.values` to the number of each class, in order"
            )
        return targets


@dataclass(frozen=True)
class MaskedImages:
    """Images, uint8 [channels, height, width], and their masks, int64 [height, width] of the net's output.

    With ``crop``, training reads a random part of both.
    """

    pairs: Pairs
    input: ops.Tensor
    size: tuple[int, int]
    config: Folder
    coding: Coding
    crop: ResizedCrop | None = None
    unreadable: tuple[str, ...] = ()
    targets: None = None  # known only when read
    split: Split = "by name"
    unit: TokenUnit = "token"

    def __len__(self) -> int:
        return len(self.pairs.files)

    @property
    def names(self) -> tuple[str, ...]:
        """The classes by number."""
        return numbered(len(self.coding.values))

    def raw(self) -> Targets:
        """A mask of class 0: masks are read later."""
        return Targets(np.zeros((1, *self.size), np.int64), self._mask, self.names, self.coding.code)

    def _mask(self, row: int) -> str:
        return str(self.pairs.masks / self.pairs.files[row][1])

    def judged(self, task: Task) -> MaskedImages:
        """The same: masks suit no other task. Raises UserError if the task takes other targets."""
        task.converted(self.raw())
        return self

    def places(self) -> NDArray[np.float64]:
        """A hash of each image's name."""
        return np.array([place(name_key(name)) for name, _ in self.pairs.files], np.float64)

    def record(self, rows: Rows) -> SourceRecord:
        """Bytes, and hashes of the images and of the masks."""
        images = Images(self.config.background, self.config.crop_pct)
        return SourceRecord("uint8", (0.0, 255.0), self._contents, images, self.pairs.skipped, self.unreadable)

    @cached_property
    def _contents(self) -> dict[str, Content]:
        images, masks = zip(*self.pairs.files, strict=True)
        hashes = file_hashes(self.pairs.images, {"images": images}) | file_hashes(self.pairs.masks, {"masks": masks})
        return {name: Content(len(self), digest) for name, digest in hashes.items()}

    def moments(self, rows: Rows) -> Moments:
        """The moments of ImageNet."""
        return imagenet_moments(self.input.shape[0])

    def part(self, rows: Rows, device: torch.device) -> Part:
        """The files of these rows."""
        return StreamedPart(self, rows.tolist(), device, self.config.workers)

    def read(self, index: int, seed: int, epoch: int | None) -> Batch:
        """An image and its mask. Raises UserError if a file is damaged, or the two do not belong together."""
        return self.framed(index, *self.decoded(index), seed, epoch)

    def decoded(self, index: int) -> tuple[Image, Image]:
        """An image and its mask as stored. Raises UserError if a file is damaged."""
        image, mask = self.pairs.files[index]
        channels = self.input.shape[0]
        return decode(self.pairs.images / image, channels, self.config.background), decode_mask(self.pairs.masks / mask)

    def framed(self, index: int, image: Image, mask: Image, seed: int, epoch: int | None) -> Batch:
        """The parts of an image and of its mask that the net sees. Raises UserError if the two do not belong
        together."""
        path, mask_path = (root / name for root, name in zip(self.pairs.roots, self.pairs.files[index], strict=True))
        if image.size != mask.size:
            sizes = [f"{one.width} x {one.height}" for one in (mask, image)]
            raise UserError(f"{mask_path} is {sizes[0]} pixels, but its image {path} is {sizes[1]}")
        mask = _mask_image(self.coding.targets(np.asarray(mask), mask_path))
        _, height, width = self.input.shape
        try:
            if self.crop is not None and epoch is not None:
                box = random_box(image.size, self.crop.smallest, Random(seed_for("resized crop", seed, epoch, index)))
                image, mask = cut(image, box, (height, width)), cut(mask, box, (height, width), exact=True)
            else:
                crop_pct = self.config.crop_pct
                image, mask = (
                    middle(image, (height, width), crop_pct),
                    middle(mask, (height, width), crop_pct, exact=True),
                )
        except UserError as error:
            raise UserError(f"{path} does not fit the net: {error}") from None
        targets = np.asarray(resized(mask, (self.size[1], self.size[0]), exact=True))
        return torch.from_numpy(pixels(image)), torch.from_numpy(targets.astype(np.int64))


@dataclass(frozen=True)
class _Survey:
    """Reads every pair once, before training: whether it can be read, and the classes in its mask."""

    images: MaskedImages

    def __len__(self) -> int:
        return len(self.images)

    def read(self, index: int, seed: int, epoch: int | None) -> Batch:
        """Whether the pair can be read, bool [], and which classes its mask has, bool [classes].

        Raises UserError if it cannot, unless ``skip_unreadable`` is set.
        """
        images, classes = self.images, torch.zeros(len(self.images.names), dtype=torch.bool)
        try:
            image, mask = images.decoded(index)
        except UserError:
            if not images.config.skip_unreadable:
                raise
            return torch.tensor(False), classes
        targets = images.framed(index, image, mask, seed, None)[1]
        classes[targets[targets != images.coding.code].unique()] = True
        return torch.tensor(True), classes


def masked(
    parts: Mapping[str, Pairs],
    config: Folder,
    into: ops.Tensor,
    out: ops.Tensor,
    augment: Augmentation,
    validation: float,
) -> Splits:
    """The images of a folder with their masks, for a net that gives ``out``.

    They are held in memory if they fit, and are not cropped anew in each epoch. Raises UserError, which names the file,
    if a pair is damaged or does not fit the net, or a class is missing in training.
    """
    if len(out.shape) != 3 or out.dtype != "f32":
        raise UserError(f"{config.path} has masks, for nets that give f32[classes, height, width], not {out}")
    classes, height, width = out.shape
    coding, crop = Coding.of(config, classes), augment if isinstance(augment, ResizedCrop) else None
    read, seen = dict[str, MaskedImages](), dict[str, NDArray[np.bool_]]()
    for part, pairs in parts.items():
        every = MaskedImages(pairs, into, (height, width), config, coding, crop)
        read[part], seen[part] = _surveyed(every)
    if "test" not in read and "validation" in read:
        read["test"], seen["test"] = read.pop("validation"), seen.pop("validation")
    splits = Splits(**read)
    _check_seen(splits, read, seen, validation)
    size = prod(into.shape) + 8 * height * width
    keep = crop is None and size * sum(map(len, read.values())) <= _HELD
    return Splits(**{part: _decoded(images) for part, images in read.items()}) if keep else splits


def _surveyed(images: MaskedImages) -> tuple[MaskedImages, NDArray[np.bool_]]:
    """The readable pairs, and the classes in each of them [pairs, classes]."""
    every = StreamedPart(_Survey(images), range(len(images)), torch.device("cpu"), _workers(images))
    good, classes = (torch.cat(x).numpy() for x in zip(*every.stream(in_order(len(images), 64), 0, None), strict=True))
    files = images.pairs.files
    lost = tuple(name for (name, _), right in zip(files, good, strict=True) if not right)
    if len(lost) == len(files):
        raise UserError(f"no image in {images.pairs.images} can be read with its mask")
    kept = [pair for pair, right in zip(files, good, strict=True) if right]
    skipped = images.pairs.skipped + Counter({"unreadable": len(lost)})
    return replace(images, pairs=replace(images.pairs, files=kept, skipped=skipped), unreadable=lost), classes[good]


def _check_seen(
    splits: Splits, read: Mapping[str, MaskedImages], seen: Mapping[str, NDArray[np.bool_]], validation: float
) -> None:
    """Raise UserError if training sees no pixel of a class that another mask or the net has."""
    trained = np.any(seen["train"][splits.rows(validation)[0][1]], axis=0, keepdims=True)[0]
    for number in np.flatnonzero(~trained):
        for part, images in read.items():
            if (having := np.flatnonzero(seen[part][:, number])).size:
                path = images.pairs.masks / images.pairs.files[int(having[0])][1]
                raise UserError(f"{path} has pixels of class {number}, but no training mask has: add training images")
    folder = read["train"].pairs.masks
    if not trained[1:].any():
        raise UserError(
            f"the masks in {folder} have only pixels of class 0 or none. If 255 is a class in them, list the number of "
            "each class in `dataset.values`, for example [0, 255]"
        )
    if not trained[-1]:
        last = int(np.flatnonzero(trained)[-1])
        raise UserError(
            f"the masks in {folder} have classes from 0 to {last}, but the net gives {len(trained)}: declare "
            f"f32[{last + 1}, height, width]"
        )


def _decoded(images: MaskedImages) -> Examples:
    every = StreamedPart(images, range(len(images)), torch.device("cpu"), _workers(images))
    inputs, targets = zip(*every.stream(in_order(len(images), 64), 0, None), strict=True)
    x, y = torch.cat(inputs).numpy(), torch.cat(targets).numpy()
    named, ignored = images.raw().name, images.coding.code
    return Examples(x, y, images.names, images.split, images, named=named, ignored=ignored)


def _mask_image(targets: NDArray[np.int32]) -> Image:
    from PIL import Image

    return Image.fromarray(targets)


def _workers(images: MaskedImages) -> int | None:
    return images.config.workers if len(images) > _FEW else 0
