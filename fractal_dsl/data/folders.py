"""Images in folders, one for each class: the user's own, and ImageNet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fractal_dsl import ops
from fractal_dsl.base.errors import UserError
from fractal_dsl.config import Augmentation, Folder, ImageNet, ResizedCrop
from fractal_dsl.data.draws import in_order, seed_for
from fractal_dsl.data.parts import ItemsPart, Part
from fractal_dsl.data.source import Examples, Moments, Rows, Splits, imagenet_moments
from fractal_dsl.data.vision import data_root, torchvision

_HELD = 1_000_000_000  # bytes
_FEW = 1000  # images that are read before worker processes have started


@dataclass(frozen=True)
class ImageFiles:
    """Files, each with its label, read as uint8 [channels, height, width]: the middle of the image.

    With ``crop``, in training, a random part of it instead (torchvision's RandomResizedCrop). With ``ten``, otherwise,
    the four corners and the middle, then these mirrored: [10, channels, height, width] (Krizhevsky et al. 2012).
    """

    files: Sequence[tuple[str, int]]
    names: Sequence[str]
    input: ops.Tensor
    crop_pct: float
    crop: ResizedCrop | None
    workers: int | None
    ten: bool = False

    def __len__(self) -> int:
        return len(self.files)

    @property
    def classes(self) -> int:
        """The number of folders."""
        return len(self.names)

    def moments(self, rows: Rows) -> Moments:
        """ImageNet's."""
        return imagenet_moments(self.input.shape[0])

    def part(self, rows: Rows, device: torch.device) -> Part:
        """These files."""
        return ItemsPart(self, rows.tolist(), device, self.workers)

    def read(self, index: int, seed: int, epoch: int | None) -> tuple[Tensor, int]:
        """An image and its label. Raises UserError if the file is no image, or damaged."""
        from PIL import Image

        v2 = torchvision("transforms.v2", "a folder of images")
        path, label = self.files[index]
        try:
            with Image.open(path) as file:
                image = file.convert("RGB" if self.input.shape[0] == 3 else "L")
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            raise UserError(f"{path} cannot be read as an image: {error}") from None
        if self.crop is not None and epoch is not None:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed_for("resized crop", seed, epoch, index))
                image = v2.RandomResizedCrop(self.input.shape[1:], scale=(self.crop.smallest, 1.0))(image)
        else:
            image = self._scaled(image, v2.functional)
            if self.ten:
                crops = v2.functional.ten_crop(image, list(self.input.shape[1:]))
                return torch.stack([v2.functional.pil_to_tensor(crop) for crop in crops]), label
            image = v2.functional.center_crop(image, list(self.input.shape[1:]))
        return v2.functional.pil_to_tensor(image), label

    def _scaled(self, image: Any, functional: Any) -> Any:
        """So that the net's size is ``crop_pct`` of the side that is the scarcer one."""
        height, width = self.input.shape[1:]
        scale = max(height / image.height, width / image.width) / self.crop_pct
        size = [max(height, int(image.height * scale + 1e-6)), max(width, int(image.width * scale + 1e-6))]
        if size != [image.height, image.width]:
            image = functional.resize(image, size, antialias=True)
        return image


def imagenet(config: ImageNet, into: ops.Tensor, augment: Augmentation) -> Splits:
    """ImageNet's folders. Raises UserError, which says how to get it, if they are not there."""
    root = Path(config.root) if config.root else data_root(None) / "imagenet"
    missing = [name for name in ("train", "val") if not (root / name).is_dir()]
    if missing:
        raise UserError(
            f"imagenet is not in {root.absolute()}: there is no folder {missing[0]}. It cannot be fetched for you: "
            "ask for it at https://image-net.org/download.php (ILSVRC2012), unpack it to train/CLASS/*.JPEG and "
            "val/CLASS/*.JPEG, and name the folder with `--set dataset.root=FOLDER`"
        )
    train, test = (_images(root / name, config, into, augment) for name in ("train", "val"))
    _same_classes(train, test)
    return Splits(train, test=test)


def folder(config: Folder, into: ops.Tensor, augment: Augmentation, *, hold: bool = True) -> Splits:
    """The images of a folder, in the parts that it has; in memory, if ``hold``, they are small enough and not cropped
    anew in each epoch. Raises UserError if there are none."""
    root = Path(config.path)
    if not root.is_dir():
        raise UserError(f"there is no folder {root.absolute()}")
    if (root / "train").is_dir():
        train = _images(root / "train", config, into, augment)
        others = [_images(place, config, into, augment) for place in _others(root)]
        for other in others:
            _same_classes(train, other)
    else:
        train, others = _images(root, config, into, augment), []
    parts = [train, *others]
    keep = hold and train.crop is None and sum(map(len, parts)) * prod(into.shape) <= _HELD
    train, *others = [_decoded(part) for part in parts] if keep else parts
    return Splits(train, *([None] * (len(others) == 1)), *others)


def _others(root: Path) -> list[Path]:
    """The folders of the validation and the test images; of one alone the images are those to test on."""
    validation = next((root / name for name in ("val", "validation", "valid") if (root / name).is_dir()), None)
    test = root / "test" if (root / "test").is_dir() else None
    return [place for place in (validation, test) if place]


def _images(root: Path, config: Folder | ImageNet, into: ops.Tensor, augment: Augmentation) -> ImageFiles:
    if into.dtype != "f32" or len(into.shape) != 3 or into.shape[0] not in (1, 3):
        raise UserError(f"images in folders are for nets that take f32[3, height, width] or f32[1, …], not {into}")
    try:
        found = torchvision("datasets", "a folder of images").ImageFolder(root)
    except FileNotFoundError as error:
        raise UserError(f"{root} must have a folder of images for each class: {error}") from None
    crop = augment if isinstance(augment, ResizedCrop) else None
    return ImageFiles(found.samples, found.classes, into, config.crop_pct, crop, config.workers)


def _decoded(part: ImageFiles) -> Examples:
    workers = part.workers if len(part) > _FEW else 0
    every = ItemsPart(part, range(len(part)), torch.device("cpu"), workers)
    images = [x.numpy() for x, _ in every.stream(in_order(len(part), 64), 0, None)]
    return Examples(np.concatenate(images), np.array([label for _, label in part.files], np.int64), part.classes)


def _same_classes(train: ImageFiles, other: ImageFiles) -> None:
    odd = sorted(set(train.names) ^ set(other.names))
    if odd:
        here, there = (Path(part.files[0][0]).parent.parent for part in (train, other))
        raise UserError(f"{here} and {there} must have the same classes; {', '.join(odd[:5])} is in one alone")
