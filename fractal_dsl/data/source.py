"""Sources of examples, and their split into parts."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from fractal_dsl import ops
from fractal_dsl.data.parts import MemoryPart, Part
from fractal_dsl.runs.data_record import Content, Images, Split
from fractal_dsl.runs.table import Table
from fractal_dsl.runs.tasks import TokenUnit
from fractal_dsl.tasks import Task
from fractal_dsl.tasks.targets import TargetNaming, Targets

MAX_BYTES = 4_000_000_000
"""The memory limit for examples."""
TEST_SHARE = 0.2
_SPLIT = 1605_07648  # every run has the same test examples

Rows = NDArray[np.int64]
Moments = tuple[NDArray[np.float32], NDArray[np.float32]]
"""Mean and deviation by channel, each [channels]."""
UNCHANGED: Moments = (np.zeros(1, np.float32), np.ones(1, np.float32))


@dataclass(frozen=True)
class SourceRecord:
    """What a run stores about a source. ``range`` is None if it is unknown.

    For a ``table``, ``new`` counts the rows with values that no training row has.
    """

    dtype: str
    range: tuple[float, float] | None
    contents: dict[str, Content]
    images: Images | None = None
    skipped: Counter[str] = field(default_factory=Counter[str])
    unreadable: tuple[str, ...] = ()
    table: Table | None = None
    new: Counter[str] = field(default_factory=Counter[str])


class ExampleSource(Protocol):
    """Examples with their targets, which for classes are positions in ``names``. None means known only when read."""

    @property
    def names(self) -> tuple[str, ...] | None:
        """The names of the classes, of the labels or of the numbers in a target."""
        ...

    @property
    def targets(self) -> NDArray[Any] | None:
        """The targets [n, …]: as stored, and int64 or float32 once they are ``judged``."""
        ...

    @property
    def unit(self) -> TokenUnit:
        """What one token stands for, if targets are tokens."""
        ...

    def raw(self) -> Targets:
        """The targets as stored, or the first of them if they are known only when read."""
        ...

    def judged(self, task: Task) -> ExampleSource:
        """The examples with the targets that a task takes. Raises UserError, which names the first wrong one."""
        ...

    @property
    def input(self) -> ops.Tensor:
        """The type and shape of one input."""
        ...

    @property
    def split(self) -> Split:
        """What decides which examples are held out: file names, the examples' content, or their order."""
        ...

    def __len__(self) -> int: ...

    def places(self) -> NDArray[np.float64]:
        """A number from 0 to 1 for each example, a hash of its name or content. Not available for a split by order."""
        ...

    def record(self, rows: Rows) -> SourceRecord:
        """What to store about a source, of which these rows are trained on."""
        ...

    def moments(self, rows: Rows) -> Moments:
        """Mean and deviation for normalisation, of these rows if they are in memory."""
        ...

    def part(self, rows: Rows, device: torch.device) -> Part:
        """The examples of these rows, for a device."""
        ...


@dataclass(frozen=True)
class Splits:
    """The parts that a data set has. A part that is None is held out of the training examples."""

    train: ExampleSource
    validation: ExampleSource | None = None
    test: ExampleSource | None = None

    def given(self) -> dict[str, ExampleSource]:
        """The existing parts, by name."""
        every = {"train": self.train, "validation": self.validation, "test": self.test}
        return {name: source for name, source in every.items() if source is not None}

    def judged(self, task: Task) -> Splits:
        """The parts with the targets that a task takes. Raises UserError, which names the first wrong one."""
        return Splits(**{name: source.judged(task) for name, source in self.given().items()})

    def rows(self, validation: float) -> tuple[tuple[ExampleSource, Rows], ...]:
        """The training, validation (this share of the training examples) and test examples.

        Without its own test examples, a fifth of a data set is used for testing. Its own validation examples are used
        if the share is not 0. The name or content of an example decides its part, so it stays there when others come or
        go. The shares are met on average.
        """
        by_order = self.train.split == "by order"
        train, held, tests = (self._by_order if by_order else self._by_place)(validation)
        return (
            (self.train, train),
            _whole(self.validation) if self.validation and validation else (self.train, held),
            _whole(self.test) if self.test else (self.train, tests),
        )

    def _by_order(self, validation: float) -> tuple[Rows, Rows, Rows]:
        count = len(self.train)
        order = np.random.RandomState(_SPLIT).permutation(count)
        tests = 0 if self.test else round(TEST_SHARE * count)
        held = 0 if self.validation else round(validation * (count - tests))
        train = order[tests + held :] if tests + held else np.arange(count)
        held_rows, labels = order[tests : tests + held], classes_of(self.train)
        if labels is not None:  # each class keeps an example for training
            unseen = ~np.isin(labels[held_rows], labels[train])
            train, held_rows = np.concatenate([train, held_rows[unseen]]), held_rows[~unseen]
        return train, held_rows, order[:tests]

    def _by_place(self, validation: float) -> tuple[Rows, Rows, Rows]:
        places, share = self.train.places(), 0.0 if self.test else TEST_SHARE
        tests = places < share
        held = ~tests & ((places - share) / (1 - share) < (0 if self.validation else validation))
        labels = classes_of(self.train)
        if labels is not None:  # each class keeps an example for training
            trained = np.bincount(labels[~tests & ~held], minlength=int(labels.max(initial=0)) + 1)
            held &= trained[labels] > 0
        order = np.argsort(places, kind="stable")
        return order[~(tests | held)[order]], order[held[order]], order[tests[order]]


def _whole(source: ExampleSource) -> tuple[ExampleSource, Rows]:
    return source, np.arange(len(source))


def place(key: bytes) -> float:
    """A number from 0 to 1, uniformly distributed over keys."""
    return int.from_bytes(hashlib.blake2b(key, digest_size=8).digest(), "big") / 2**64


@dataclass(frozen=True)
class Examples:
    """Examples in memory: ``inputs``, uint8, float32 or int64 (tokens) [n, …], and ``targets`` [n, …].

    Targets are of any type until they are ``judged``, and then int64 or float32. ``named`` names them in errors.
    Elements of targets that equal ``ignored`` do not count. Images from files keep the place and the record of their
    ``origin``.
    """

    inputs: NDArray[Any]
    targets: NDArray[Any]
    names: tuple[str, ...] | None = None
    split: Split = "by order"
    origin: ExampleSource | None = None
    named: TargetNaming = "example {}".format
    ignored: int | None = None
    unit: TokenUnit = "token"

    def __len__(self) -> int:
        return len(self.targets)

    @property
    def input(self) -> ops.Tensor:
        """The type and shape of one input."""
        return ops.Tensor("i64" if self.inputs.dtype == np.int64 else "f32", self.inputs.shape[1:])

    def raw(self) -> Targets:
        """The targets as stored."""
        return Targets(self.targets, self.named, self.names, self.ignored)

    def judged(self, task: Task) -> Examples:
        """The examples with the targets that a task takes, and the names of its classes or labels."""
        return replace(self, targets=task.converted(self.raw()), names=self.names or task.numbered())

    def places(self) -> NDArray[np.float64]:
        """A hash of each file's name, or of each input's bytes."""
        return self.origin.places() if self.origin else np.array([place(x.tobytes()) for x in self.inputs], np.float64)

    def record(self, rows: Rows) -> SourceRecord:
        """The record of the files, or else the range of these rows and a hash of the examples of each class."""
        if self.origin:
            return self.origin.record(rows)
        seen = self.inputs[rows]
        span = (float(seen.min()), float(seen.max())) if seen.size else None
        labels, names = classes_of(self), self.names or ()
        if labels is None:
            contents = {"all": _content(self.inputs, self.targets)}
        else:
            contents = {name: _content(self.inputs[labels == i]) for i, name in enumerate(names)}
        return SourceRecord(str(self.inputs.dtype), span, contents)

    def moments(self, rows: Rows) -> Moments:
        """The moments of these rows by channel. Tokens stay unchanged."""
        if self.inputs.dtype == np.int64:
            return UNCHANGED
        mean, std = zip(
            *[_moments(self.inputs[:, channel], rows) for channel in range(self.inputs.shape[1])], strict=True
        )
        return np.array(mean, np.float32), np.array(std, np.float32).clip(1e-3)

    def part(self, rows: Rows, device: torch.device) -> Part:
        """The examples of these rows, on the device."""
        inputs, targets = torch.from_numpy(self.inputs).to(device), torch.from_numpy(self.targets).to(device)
        if len(rows) == len(self) and np.array_equal(rows, np.arange(len(self))):
            return MemoryPart(inputs, targets)
        chosen = torch.from_numpy(rows).to(device)
        return MemoryPart(inputs[chosen], targets[chosen])


def _content(*arrays: NDArray[Any]) -> Content:
    """The number of examples, and a hash of their inputs and perhaps targets."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(array).data if array.size else b"")
    return Content(len(arrays[0]), digest.hexdigest())


def classes_of(source: ExampleSource) -> NDArray[np.int64] | None:
    """The class of each example, if examples have one class each and it is known."""
    targets = source.targets
    return targets if targets is not None and targets.ndim == 1 and targets.dtype == np.int64 else None


def numbered(classes: int) -> tuple[str, ...]:
    """Numbers as the names of classes that have no names."""
    return tuple(map(str, range(classes)))


def _moments(channel: NDArray[Any], rows: Rows) -> tuple[float, float]:
    """Mean and deviation. Bytes are counted, which takes no memory."""
    if channel.dtype != np.uint8:
        kept = channel[rows].astype(np.float64)
        return float(kept.mean()), float(kept.std())
    counts = np.bincount(channel[rows].ravel(), minlength=256)
    values = np.arange(256)
    mean = float((counts * values).sum() / counts.sum())
    return mean, float(np.sqrt((counts * (values - mean) ** 2).sum() / counts.sum()))


# ImageNet's, on the scale 0 to 255, for images that are not all in memory
_IMAGENET = {3: ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375)), 1: ((114.5,), (57.6,))}


def imagenet_moments(channels: int) -> Moments:
    """The customary moments for images of 3 channels or 1 channel, on the scale 0 to 255."""
    mean, std = _IMAGENET[channels]
    return np.array(mean, np.float32), np.array(std, np.float32)
