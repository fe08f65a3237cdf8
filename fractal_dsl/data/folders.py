"""Images in one folder for each class: the user's own, and ImageNet."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from functools import cached_property
from math import prod
from pathlib import Path
from random import Random

import numpy as np
import torch
from numpy.typing import NDArray

from fractal_dsl import ops
from fractal_dsl.base.errors import UserError
from fractal_dsl.config import Augmentation, Folder, ImageNet, ResizedCrop
from fractal_dsl.data.decode import decode, pillow
from fractal_dsl.data.draws import in_order, seed_for
from fractal_dsl.data.file_hashes import file_hashes, name_key
from fractal_dsl.data.framing import cut, middle, pixels, random_box, ten_parts
from fractal_dsl.data.masks import masked
from fractal_dsl.data.pairs import read_pairs
from fractal_dsl.data.parts import Batch, Part, StreamedPart
from fractal_dsl.data.source import Examples, Moments, Rows, SourceRecord, Splits, imagenet_moments, place
from fractal_dsl.data.tree import Tree, check_same, read_parts, read_tree
from fractal_dsl.data.vision import data_root
from fractal_dsl.runs.data_record import Content, Images, Split
from fractal_dsl.runs.tasks import TokenUnit
from fractal_dsl.tasks import Task
from fractal_dsl.tasks.targets import Targets

_HELD = 1_000_000_000  # bytes
_FEW = 1000  # up to this many images, worker processes do not pay


@dataclass(frozen=True)
class ImageFiles:
    """Labelled image files, read as uint8 [channels, height, width]: the centre of each image.

    With ``crop``, training reads a random part instead. With ``ten``, evaluation reads the four corners and the centre,
    then the same of the mirrored image: [10, channels, height, width].
    """

    tree: Tree
    input: ops.Tensor
    config: Folder | ImageNet
    crop: ResizedCrop | None = None
    ten: bool = False
    unreadable: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.tree.files)

    @property
    def names(self) -> tuple[str, ...]:
        """The folders' names."""
        return self.tree.names

    @property
    def targets(self) -> NDArray[np.int64]:
        """The class of each file."""
        return np.array([label for _, label in self.tree.files], np.int64)

    @property
    def unit(self) -> TokenUnit:
        """The default: images have no tokens."""
        return "token"

    def raw(self) -> Targets:
        """The class of each file."""
        return Targets(self.targets, lambda i: str(self.tree.root / self.tree.files[i][0]), self.names)

    def judged(self, task: Task) -> ImageFiles:
        """This source itself; it supports classification only. Raises UserError for a task with other targets."""
        task.converted(self.raw())
        return self

    @property
    def split(self) -> Split:
        """By file name: the path within the folder of the part."""
        return "by name"

    def places(self) -> NDArray[np.float64]:
        """A hash of each name, whose accents are normalised."""
        return np.array([place(name_key(name)) for name, _ in self.tree.files], np.float64)

    def record(self, rows: Rows) -> SourceRecord:
        """Bytes, and a hash of the files of each class: of names and contents, or sizes if they exceed 1 GB in all."""
        images = Images(self.config.background, self.config.crop_pct)
        return SourceRecord("uint8", (0.0, 255.0), self._contents, images, self.tree.skipped, self.unreadable)

    @cached_property
    def _contents(self) -> dict[str, Content]:
        groups: dict[str, list[str]] = {name: [] for name in self.names}
        for name, label in self.tree.files:
            groups[self.names[label]].append(name)
        return {
            name: Content(len(groups[name]), digest) for name, digest in file_hashes(self.tree.root, groups).items()
        }

    def moments(self, rows: Rows) -> Moments:
        """The moments of ImageNet."""
        return imagenet_moments(self.input.shape[0])

    def part(self, rows: Rows, device: torch.device) -> Part:
        """The files of these rows."""
        return StreamedPart(self, rows.tolist(), device, self.config.workers)

    def read(self, index: int, seed: int, epoch: int | None) -> Batch:
        """An image and its class. Raises UserError if the file is not an image, or is damaged."""
        name, label = self.tree.files[index]
        target = torch.tensor(label)
        path, (channels, height, width) = self.tree.root / name, self.input.shape
        image, size = decode(path, channels, self.config.background), (height, width)
        try:
            if self.crop is not None and epoch is not None:
                rng = Random(seed_for("resized crop", seed, epoch, index))
                box = random_box(image.size, self.crop.smallest, rng)
                return torch.from_numpy(pixels(cut(image, box, size))), target
            if self.ten:
                parts = ten_parts(image, size, self.config.crop_pct)
                return torch.from_numpy(np.stack(list(map(pixels, parts)))), target
            return torch.from_numpy(pixels(middle(image, size, self.config.crop_pct))), target
        except UserError as error:
            raise UserError(f"{path} does not fit the net: {error}") from None


def imagenet(config: ImageNet, into: ops.Tensor, augment: Augmentation) -> Splits:
    """ImageNet's folders. Raises UserError, with how to get them, if they are missing."""
    root = Path(config.root) if config.root else data_root(None) / "imagenet"
    missing = [name for name in ("train", "val") if not (root / name).is_dir()]
    if missing:
        raise UserError(
            f"imagenet is not in {root.absolute()}: there is no folder {missing[0]}. It cannot be downloaded for you: "
            "request it at https://image-net.org/download.php (ILSVRC2012), unpack it to train/CLASS/*.JPEG and "
            "val/CLASS/*.JPEG, and name the folder with `--set dataset.root=FOLDER`"
        )
    _check_images(into)
    trees = [read_tree(root / name, nested=False) for name in ("train", "val")]
    check_same(*trees)
    train, test = (_images(tree, config, into, augment) for tree in trees)
    return Splits(train, test=test)


def folder(
    config: Folder,
    into: ops.Tensor,
    out: ops.Tensor,
    augment: Augmentation,
    validation: float,
    *,
    hold: bool = True,
) -> Splits:
    """The images of a folder, in its parts: with masks if it has some, or else in classes.

    They are held in memory if ``hold`` is set, they fit, and they are not cropped anew in each epoch. ``validation`` is
    the share of training images that is held out. Raises UserError if there are none, or they do not fit the net.
    """
    root = Path(config.path)
    _check_images(into)
    if pairs := read_pairs(root):
        return masked(pairs, config, into, out, augment, validation)
    if len(out.shape) == 3:
        raise UserError(
            f"{root} has no masks for a net that gives {out}: it needs the folders {root}/images and {root}/masks"
        )
    trees = read_parts(root, config.nested)
    parts = {name: _images(tree, config, into, augment) for name, tree in trees.items()}
    if "test" not in parts and "validation" in parts:
        parts["test"] = parts.pop("validation")
    keep = hold and parts["train"].crop is None and sum(map(len, parts.values())) * prod(into.shape) <= _HELD
    return Splits(**({name: _decoded(part) for name, part in parts.items()} if keep else parts))


def _check_images(into: ops.Tensor) -> None:
    if into.dtype != "f32" or len(into.shape) != 3 or into.shape[0] not in (1, 3):
        raise UserError(f"image folders are for nets that take f32[3, height, width] or f32[1, …], not {into}")
    pillow()


def _images(tree: Tree, config: Folder | ImageNet, into: ops.Tensor, augment: Augmentation) -> ImageFiles:
    images = ImageFiles(tree, into, config, augment if isinstance(augment, ResizedCrop) else None)
    return _readable(images) if config.skip_unreadable else images


def _readable(images: ImageFiles) -> ImageFiles:
    """The readable files; the others are listed. Raises UserError if a class has none left."""
    kept, lost = list[tuple[str, int]](), list[str]()
    every = StreamedPart(_Trial(images), range(len(images)), torch.device("cpu"), _workers(images))
    readable = torch.cat([good for good, _ in every.stream(in_order(len(images), 64), 0, None)]).numpy()
    for (name, label), good in zip(images.tree.files, readable, strict=True):
        kept.append((name, label)) if good else lost.append(name)
    left = {label for _, label in kept}
    if gone := [name for i, name in enumerate(images.names) if i not in left]:
        raise UserError(f"no image of class {gone[0]} in {images.tree.root} can be read")
    skipped = images.tree.skipped + Counter({"unreadable": len(lost)})
    return replace(images, tree=replace(images.tree, files=kept, skipped=skipped), unreadable=tuple(lost))


@dataclass(frozen=True)
class _Trial:
    """Tests whether images can be read."""

    images: ImageFiles

    def __len__(self) -> int:
        return len(self.images)

    def read(self, index: int, seed: int, epoch: int | None) -> Batch:
        """Whether the image can be read, twice."""
        try:
            self.images.read(index, seed, None)
        except UserError:
            return torch.tensor(False), torch.tensor(False)
        return torch.tensor(True), torch.tensor(True)


def _workers(images: ImageFiles) -> int | None:
    return images.config.workers if len(images) > _FEW else 0


def _decoded(images: ImageFiles) -> Examples:
    every = StreamedPart(images, range(len(images)), torch.device("cpu"), _workers(images))
    read = [x.numpy() for x, _ in every.stream(in_order(len(images), 64), 0, None)]
    x, named = np.concatenate(read), images.raw().name
    return Examples(x, images.targets, images.names, images.split, images, named=named)
