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

For a net with several inputs, the input is a mapping from their names, or a tuple in their order. For a net with
several outputs, the target is a mapping from the names of those that are trained, or one target that all share.
"""

from __future__ import annotations

import random
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fractal_dsl import ops
from fractal_dsl.base.errors import UserError
from fractal_dsl.base.texts import shortened
from fractal_dsl.config import Python
from fractal_dsl.data.draws import seed_for
from fractal_dsl.data.parts import Batch, Part, StreamedPart
from fractal_dsl.data.source import UNCHANGED, Moments, Rows, SourceRecord, Splits, imagenet_moments
from fractal_dsl.ops.foreign_python import Failed, load_object
from fractal_dsl.runs.data_record import Content, Inputs, Split
from fractal_dsl.runs.tasks import TokenUnit
from fractal_dsl.runtime.arguments import one_or_several, tensors_in
from fractal_dsl.tasks import Task
from fractal_dsl.tasks.several import heads_of
from fractal_dsl.tasks.targets import Targets

_TYPES = {"f32": (torch.float32, torch.uint8), "i64": (torch.int64,)}


@dataclass(frozen=True)
class PluginExamples:
    """The examples of a torch Dataset, checked against the net one by one."""

    dataset: Any
    name: str
    inputs: Mapping[str, ops.Tensor]
    outputs: Sequence[str]
    workers: int
    task: Task | None = None
    unit: TokenUnit = "token"
    names: None = None  # classes and targets are known only when examples are read
    targets: None = None
    split: Split = "by order"

    def __len__(self) -> int:
        return len(self.dataset)

    @property
    def input(self) -> ops.Tensor:
        """The type and shape of the first input."""
        return next(iter(self.inputs.values()))

    def types(self) -> Mapping[str, ops.Tensor]:
        """The type and shape of each input, which examples must have."""
        return self.inputs

    def raw(self) -> Targets:
        """The target of the first example, for the first output."""
        return next(iter(self.raws().values()))

    def raws(self) -> dict[str, Targets]:
        """The targets of the first example by output: of the first output if all share them."""
        return {name: self._target(0, y) for name, y in self._get(0, 0, None)[1].items()}

    def judged(self, task: Task) -> PluginExamples:
        """The examples for a task: targets are checked when they are read."""
        return replace(self, task=task)

    def places(self) -> NDArray[np.float64]:
        """Not available: the split is by order."""
        raise NotImplementedError

    def record(self, rows: Rows) -> SourceRecord:
        """The type of the first example, and the number of examples. The others are read only when needed."""
        first = next(iter(self.kinds(rows).values()))
        return SourceRecord(first.dtype, None, {"all": Content(len(self), None)})

    def kinds(self, rows: Rows) -> dict[str, Inputs]:
        """What a run records of each input: its type and its shape."""
        first = tensors_in(self.read(0, 0, None)[0])
        return {name: Inputs(_dtype(x), list(x.shape), None, None) for name, x in zip(self.inputs, first, strict=True)}

    def moments(self, rows: Rows) -> Moments:
        """The moments of the first input."""
        return self.moments_of(rows)[0]

    def moments_of(self, rows: Rows) -> list[Moments]:
        """ImageNet's moments for images of bytes; 0 and 1 for other numbers, which stay unchanged."""
        return [
            imagenet_moments(len(x)) if x.dtype == torch.uint8 and x.ndim == 3 and len(x) in (1, 3) else UNCHANGED
            for x in tensors_in(self.read(0, 0, None)[0])
        ]

    def part(self, rows: Rows, device: torch.device) -> Part:
        """The examples of these rows."""
        return StreamedPart(self, rows.tolist(), device, self.workers)

    def read(self, index: int, seed: int, epoch: int | None) -> Batch:
        """Read an example. Raises UserError if it does not fit the net, or the Dataset's own code fails."""
        inputs, targets = self._get(index, seed, epoch)
        for name, x in inputs.items():
            into = self.inputs[name]
            if tuple(x.shape) != into.shape or x.dtype not in _TYPES[into.dtype]:
                help = ": give `x.float()`" if x.is_floating_point() and tuple(x.shape) == into.shape else ""
                which = f", input `{name}`," if len(inputs) > 1 else ""
                raise UserError(
                    f"{self._where(index)}{which} is {_dtype(x)} {list(x.shape)}, but the net takes {into}{help}"
                )
        assert self.task is not None
        own = {head.name: head for head in heads_of(self.task)} if len(targets) > 1 else {}
        made = [
            torch.from_numpy(own.get(name, self.task).converted(self._target(index, y)))[0]
            for name, y in targets.items()
        ]
        return one_or_several([*inputs.values()]), one_or_several(made)

    def _get(self, index: int, seed: int, epoch: int | None) -> tuple[dict[str, Tensor], dict[str, NDArray[Any]]]:
        """What the Dataset returns for an example, by input and by output."""
        with _seeded(seed_for("plugin", seed, -1 if epoch is None else epoch, index)):
            try:
                x, y = self.dataset[index]
                inputs = self._inputs(x)
                targets = self._targets(y)
                return (
                    {name: torch.as_tensor(one) for name, one in inputs.items()},
                    {name: torch.as_tensor(one).numpy() for name, one in targets.items()},
                )
            except UserError:
                raise
            except Exception as error:  # the user's code may raise anything
                reason = f"{type(error).__name__}: {error}"
                raise UserError(f"{self._where(index)} cannot be read: {reason}") from None

    def _targets(self, y: Any) -> dict[str, Any]:
        """The targets by output. What is no mapping is the target of all of them."""
        if isinstance(y, Mapping):
            return self._named(cast(Mapping[str, Any], y), self.outputs, "target")
        return {self.outputs[0]: y}

    def _inputs(self, x: Any) -> dict[str, Any]:
        """The inputs by name: given by name, or in order. One input is given alone."""
        if isinstance(x, Mapping):
            given = cast(Mapping[str, Any], x)
            return self._named(given, [*self.inputs], "input")
        if len(self.inputs) == 1:
            return {next(iter(self.inputs)): x}
        if not isinstance(x, list | tuple) or len(cast(Sequence[Any], x)) != len(self.inputs):
            raise UserError(
                f"the inputs of {self._where(index=0)} must be a mapping, or a tuple of {len(self.inputs)}, for "
                f"{shortened([*self.inputs])}"
            )
        return dict(zip(self.inputs, cast(Sequence[Any], x), strict=True))

    def _named(self, given: Mapping[str, Any], names: Sequence[str], kind: str) -> dict[str, Any]:
        """The values of these names, in order. Raises UserError if one is missing, or there is another."""
        if {*given} != {*names}:
            raise UserError(
                f"{self.name} has {kind}s for {shortened([*map(str, given)]) or 'nothing'}, but the net needs "
                f"{shortened([*names])}"
            )
        return {name: given[name] for name in names}

    def _where(self, index: int) -> str:
        return f"{self.name}: example {index}"

    def _target(self, index: int, y: NDArray[Any]) -> Targets:
        return Targets(y[None], lambda _: f"the target of {self._where(index)}")


def python_dataset(config: Python, into: Mapping[str, ops.Tensor], trained: Sequence[str], allowed: bool) -> Splits:
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
            PluginExamples(dataset, f'{config.factory}("{name}")', into, trained, config.workers)
            if count is not None
            else None
        )

    train = part("train")
    if train is None:
        raise UserError(f'{config.factory}("train") returned None, but training needs examples')
    return Splits(train, part("validation"), part("test"))


def _dtype(x: Tensor) -> str:
    return str(x.dtype).removeprefix("torch.")


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
