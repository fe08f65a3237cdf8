"""What data sets are made of: sources of examples, in the parts that they come in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from fractal_dsl import ops
from fractal_dsl.data.parts import MemoryPart, Part

MAX_BYTES = 4_000_000_000
"""What the examples in memory may take."""
TEST_SHARE = 0.2
_SPLIT = 1605_07648  # which examples are test examples is the same for every run

Rows = NDArray[np.int64]
Moments = tuple[NDArray[np.float32], NDArray[np.float32]]
"""Mean and deviation by channel, each [channels]."""
UNCHANGED: Moments = (np.zeros(1, np.float32), np.ones(1, np.float32))


class Source(Protocol):
    """Examples with labels from 0 to ``classes`` - 1; None where they are known only as they are read."""

    @property
    def classes(self) -> int | None: ...

    @property
    def input(self) -> ops.Tensor:
        """What one input is."""
        ...

    def __len__(self) -> int: ...

    def moments(self, rows: Rows) -> Moments:
        """Mean and deviation to normalise by, of these rows if they are at hand."""
        ...

    def part(self, rows: Rows, device: torch.device) -> Part:
        """These rows, for a device."""
        ...


@dataclass(frozen=True)
class Splits:
    """The parts that a data set comes in; what is None is held out of the training examples."""

    train: Source
    validation: Source | None = None
    test: Source | None = None

    def rows(self, validation: float) -> tuple[tuple[Source, Rows], ...]:
        """What to train on, to validate with (this share of the training examples), and to test with.

        Without test examples of its own, a fifth of a data set is tested on. Validation examples of its own are
        used if the share is not 0.
        """
        count = len(self.train)
        order = np.random.RandomState(_SPLIT).permutation(count)
        tests = 0 if self.test else round(TEST_SHARE * count)
        held = 0 if self.validation else round(validation * (count - tests))
        train = order[tests + held :] if tests + held else np.arange(count)
        return (
            (self.train, train),
            _whole(self.validation) if self.validation and validation else (self.train, order[tests : tests + held]),
            _whole(self.test) if self.test else (self.train, order[:tests]),
        )


def _whole(source: Source) -> tuple[Source, Rows]:
    return source, np.arange(len(source))


@dataclass(frozen=True)
class Examples:
    """In memory: ``inputs`` uint8, float32 or int64 (tokens) [n, …], and ``labels`` int64 [n]."""

    inputs: NDArray[Any]
    labels: NDArray[np.int64]
    classes: int

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def input(self) -> ops.Tensor:
        """What one input is."""
        return ops.Tensor("i64" if self.inputs.dtype == np.int64 else "f32", self.inputs.shape[1:])

    def moments(self, rows: Rows) -> Moments:
        """Of these rows, by channel; tokens are left as they are."""
        if self.inputs.dtype == np.int64:
            return UNCHANGED
        mean, std = zip(
            *[_moments(self.inputs[:, channel], rows) for channel in range(self.inputs.shape[1])], strict=True
        )
        return np.array(mean, np.float32), np.array(std, np.float32).clip(1e-3)

    def part(self, rows: Rows, device: torch.device) -> Part:
        """These rows on the device."""
        inputs, labels = torch.from_numpy(self.inputs).to(device), torch.from_numpy(self.labels).to(device)
        if len(rows) == len(self):
            return MemoryPart(inputs, labels)
        chosen = torch.from_numpy(rows).to(device)
        return MemoryPart(inputs[chosen], labels[chosen])


def _moments(channel: NDArray[Any], rows: Rows) -> tuple[float, float]:
    """Mean and deviation; of bytes by counting them, which takes no memory."""
    if channel.dtype != np.uint8:
        kept = channel[rows].astype(np.float64)
        return float(kept.mean()), float(kept.std())
    counts = np.bincount(channel[rows].ravel(), minlength=256)
    values = np.arange(256)
    mean = float((counts * values).sum() / counts.sum())
    return mean, float(np.sqrt((counts * (values - mean) ** 2).sum() / counts.sum()))


# of ImageNet, for images that are not all in memory; of numbers from 0 to 255
_IMAGENET = {3: ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375)), 1: ((114.5,), (57.6,))}


def imagenet_moments(channels: int) -> Moments:
    """The moments that are usual for images of 3 channels or of 1, of numbers from 0 to 255."""
    mean, std = _IMAGENET[channels]
    return np.array(mean, np.float32), np.array(std, np.float32)
