"""Data sets that sit in memory: one uint8 tensor of images on the device, made into numbers batch by batch."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from math import prod
from random import Random

import numpy as np
import torch
from torch import Tensor

from fractal_dsl import ops
from fractal_dsl.config import Dataset, Digits, Synthetic, TrainConfig
from fractal_dsl.diagnostics import UserError

TEST_SHARE = 0.2
_MAX_BYTES = 4_000_000_000
_SPLIT = 1605_07648  # which images are test images is the same for every run


@dataclass(frozen=True)
class Part:
    """``images`` uint8 [n, …] and ``labels`` int64 [n]."""

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class ImageSet:
    """Images in three parts that share none. ``mean`` and ``std`` are those of the training images, by channel."""

    name: str
    train: Part
    validation: Part
    test: Part
    mean: Tensor
    std: Tensor

    def describe(self) -> str:
        """The name and how many images there are for what."""
        parts = {"training": self.train, "validation": self.validation, "test": self.test}
        return f"{self.name}: {', '.join(f'{len(part):,} {use}' for use, part in parts.items())} images"

    def batch(self, part: Part, rows: Tensor | slice) -> tuple[Tensor, Tensor]:
        """Images as float32 [batch, …] of mean 0 and deviation 1, and their labels [batch]."""
        return (part.images[rows].float() - self.mean) / self.std, part.labels[rows]


def load(config: TrainConfig, net: str, into: ops.Tensor, out: ops.Tensor, device: torch.device) -> ImageSet:
    """The configured data set for a net with input ``into`` and output ``out``, on the device.

    Raises UserError if there is none, it does not fit the net, or too few images are left to train on.
    """
    choice = config.dataset
    if choice is None:
        raise UserError(
            f'what shall {net} train on? write `dataset = "digits"` into the file\'s `train` block, '
            "or add `--set dataset=digits` (or `synthetic`)"
        )
    if len(out.shape) != 1 or out.dtype != "f32" or out.shape[0] < 2:
        raise UserError(f"training needs a number for each class, f32[classes]; net {net} gives {out}")
    if into.dtype != "f32":
        raise UserError(f"training needs images of floating-point numbers; net {net} takes {into}")
    images, labels = _read(choice, into.shape, out.shape[0])
    classes = int(labels.max()) + 1
    if images.shape[1:] != into.shape or classes != out.shape[0]:
        found = ops.Tensor("f32", images.shape[1:])
        raise UserError(
            f"`{choice.name}` has images {found} of {classes} classes, but net {net} takes {into} and gives {out}; "
            f"declare `net {net}(image: {found}) -> f32[{classes}]`, or add `--set dataset=synthetic`, "
            "which makes images of the net's own shape"
        )
    return _split(choice.name, images, labels, config, device)


def batch_order(images: int, batch: int, seed: int, epoch: int) -> tuple[Tensor, ...]:
    """The rows of each mini-batch of an epoch, a function of seed and epoch alone.

    All mini-batches have ``batch`` images; those left over, others in each epoch, sit it out.
    """
    generator = torch.Generator().manual_seed(seed_for("batch order", seed, epoch))
    batch = min(batch, images)
    order = torch.randperm(images, generator=generator)
    return tuple(order[start : start + batch] for start in range(0, images - batch + 1, batch))


def seed_for(what: str, *counters: int) -> int:
    """A seed of 63 bits from counters; neighbours are independent, because a text goes through SHA-512."""
    return Random(" ".join([what, *map(str, counters)])).getrandbits(63)


def _read(choice: Dataset, shape: tuple[int, ...], outputs: int) -> tuple[np.ndarray, np.ndarray]:
    match choice:
        case Digits():
            with (files("fractal_dsl") / "data" / "digits.npz").open("rb") as file:
                archive = np.load(file, allow_pickle=False)
                return archive["images"][:, None], archive["labels"].astype(np.int64)
        case Synthetic():
            return _synthetic(choice, shape, choice.classes or outputs)
        case _:
            raise UserError(
                f"this version cannot load `{choice.name}` yet: it has `digits` and `synthetic`; "
                "`--set dataset=synthetic` trains this net on made-up images of its own shape"
            )


def _synthetic(config: Synthetic, shape: tuple[int, ...], classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Every class has a coarse random pattern; an image is it, shifted by up to an eighth, plus noise."""
    if config.size * prod(shape) > _MAX_BYTES:
        raise UserError(f"{config.size:,} images of {list(shape)} do not fit into memory: lower `dataset.size`")
    if config.size < 4 * classes:
        raise UserError(f"{config.size:,} images are too few for {classes} classes: raise `dataset.size`")
    rng = np.random.RandomState(config.seed % 2**32)  # its numbers are the same in every version of NumPy
    labels = np.arange(config.size, dtype=np.int64) % classes
    coarse = rng.standard_normal((classes, shape[0], *(min(4, s) for s in shape[1:])))
    axes = tuple(range(1, len(shape)))
    patterns = coarse
    for axis in axes:
        patterns = patterns.take(np.arange(shape[axis]) * min(4, shape[axis]) // shape[axis], axis + 1)
    images = np.empty((config.size, *shape), np.uint8)
    for i, label in enumerate(labels):
        shift = tuple(int(rng.randint(-(s // 8), s // 8 + 1)) for s in shape[1:])
        image = np.roll(patterns[label], shift, axes) + config.noise * rng.standard_normal(shape)
        images[i] = np.clip(image * 32 + 128, 0, 255)
    return images, labels


def _split(name: str, images: np.ndarray, labels: np.ndarray, config: TrainConfig, device: torch.device) -> ImageSet:
    order = np.random.RandomState(_SPLIT).permutation(len(labels))
    tests = round(TEST_SHARE * len(labels))
    held = round(config.validation * (len(labels) - tests))
    train = order[tests + held :]

    def part(rows: np.ndarray) -> Part:
        return Part(torch.from_numpy(images[rows]).to(device), torch.from_numpy(labels[rows]).to(device))

    axes = (0, *range(2, images.ndim))
    kept = images[train].astype(np.float32)
    by_channel = (-1, *(1,) * (images.ndim - 2))
    mean, std = kept.mean(axes).reshape(by_channel), kept.std(axes).reshape(by_channel).clip(1e-3)
    return ImageSet(
        name,
        part(train),
        part(order[tests : tests + held]),
        part(order[:tests]),
        torch.from_numpy(mean).to(device),
        torch.from_numpy(std).to(device),
    )
