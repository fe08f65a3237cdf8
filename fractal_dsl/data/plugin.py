"""A user's own data set: a Python function that returns torch Datasets.

    # mydata.py
    def make(part: str) -> torch.utils.data.Dataset | None:
        ...

``dataset = "python:mydata:make"`` with ``--allow-python`` calls ``make("train")``, ``make("validation")`` and
``make("test")``. A Dataset has ``__len__`` and ``__getitem__``, which returns an input of the net's shape and a target.
The input is a tensor or an array: float32, used unchanged; uint8, an image, normalised by ImageNet's moments; or int64,
tokens. The target is a class number from 0, or whatever another task takes, in its own unit. For validation or test
examples the function may return None: they are then held out of the training examples. Random numbers that
``__getitem__`` draws from the global generators of torch, NumPy and Python are functions of (seed, epoch, index).
"""

from __future__ import annotations

import random
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fractal_dsl import ops
from fractal_dsl.base.errors import UserError
from fractal_dsl.config import Python
from fractal_dsl.data.draws import seed_for
from fractal_dsl.data.parts import Batch, Part, StreamedPart
from fractal_dsl.data.source import UNCHANGED, Moments, Rows, SourceRecord, Splits, imagenet_moments
from fractal_dsl.ops.foreign_python import Failed, load_object
from fractal_dsl.runs.data_record import Content, Split
from fractal_dsl.runs.tasks import TokenUnit
from fractal_dsl.tasks import Task
from fractal_dsl.tasks.targets import Targets

_TYPES = {"f32": (torch.float32, torch.uint8), "i64": (torch.int64,)}


@dataclass(frozen=True)
class PluginExamples:
    """The examples of a torch Dataset, checked against the net one by one."""

    dataset: Any
    name: str
    input: ops.Tensor
    workers: int
    task: Task | None = None
    unit: TokenUnit = "token"
    names: None = None  # classes and targets are known only when examples are read
    targets: None = None
    split: Split = "by order"

    def __len__(self) -> int:
        return len(self.dataset)

    def raw(self) -> Targets:
        """The target of the first example."""
        return self._target(0, self._get(0, 0, None)[1])

    def judged(self, task: Task) -> PluginExamples:
        """The examples for a task: targets are checked when they are read."""
        return replace(self, task=task)

    def places(self) -> NDArray[np.float64]:
        """Not available: the split is by order."""
        raise NotImplementedError

    def record(self, rows: Rows) -> SourceRecord:
        """The type of the first example, and the number of examples. The others are read only when needed."""
        first = self.read(0, 0, None)[0]
        return SourceRecord(str(first.dtype).removeprefix("torch."), None, {"all": Content(len(self), None)})

    def moments(self, rows: Rows) -> Moments:
        """ImageNet's moments for images of bytes; 0 and 1 for other numbers, which stay unchanged."""
        shape = self.input.shape
        if self.read(0, 0, None)[0].dtype == torch.uint8 and len(shape) == 3 and shape[0] in (1, 3):
            return imagenet_moments(shape[0])
        return UNCHANGED

    def part(self, rows: Rows, device: torch.device) -> Part:
        """The examples of these rows."""
        return StreamedPart(self, rows.tolist(), device, self.workers)

    def read(self, index: int, seed: int, epoch: int | None) -> Batch:
        """Read an example. Raises UserError if it does not fit the net, or the Dataset's own code fails."""
        x, y = self._get(index, seed, epoch)
        where = self._where(index)
        if tuple(x.shape) != self.input.shape or x.dtype not in _TYPES[self.input.dtype]:
            given = f"{str(x.dtype).removeprefix('torch.')} {list(x.shape)}"
            help = ": give `x.float()`" if x.is_floating_point() and tuple(x.shape) == self.input.shape else ""
            raise UserError(f"{where} is {given}, but the net takes {self.input}{help}")
        assert self.task is not None
        return x, torch.from_numpy(self.task.converted(self._target(index, y)))[0]

    def _get(self, index: int, seed: int, epoch: int | None) -> tuple[Tensor, NDArray[Any]]:
        """What the Dataset returns for an example."""
        with _seeded(seed_for("plugin", seed, -1 if epoch is None else epoch, index)):
            try:
                x, y = self.dataset[index]
                return torch.as_tensor(x), torch.as_tensor(y).numpy()
            except Exception as error:  # the user's code may raise anything
                reason = f"{type(error).__name__}: {error}"
                raise UserError(f"{self._where(index)} cannot be read: {reason}") from None

    def _where(self, index: int) -> str:
        return f"{self.name}: example {index}"

    def _target(self, index: int, y: NDArray[Any]) -> Targets:
        return Targets(y[None], lambda _: f"the target of {self._where(index)}")


def python_dataset(config: Python, into: ops.Tensor, allowed: bool) -> Splits:
    """The Datasets of a factory. Raises UserError if Python code is not allowed, or the factory fails."""
    if not allowed:
        raise UserError(f"the data set {config.factory} is Python code: add --allow-python if you trust it")
    try:
        factory = load_object(config.factory)
    except Failed as error:
        raise UserError(f"the data set {config.factory} cannot be loaded: {error}") from None

    def part(name: str) -> PluginExamples | None:
        try:
            dataset = factory(name)
            count = None if dataset is None else len(dataset)
        except Exception as error:  # the user's code may raise anything
            raise UserError(f'{config.factory}("{name}") failed: {type(error).__name__}: {error}') from None
        return (
            PluginExamples(dataset, f'{config.factory}("{name}")', into, config.workers) if count is not None else None
        )

    train = part("train")
    if train is None:
        raise UserError(f'{config.factory}("train") returned None, but training needs examples')
    return Splits(train, part("validation"), part("test"))


@contextmanager
def _seeded(seed: int) -> Generator[None]:
    """Seed the global generators of torch, NumPy and Python, and restore them after the block."""
    python, numpy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed % 2**32)
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)
