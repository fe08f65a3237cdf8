"""Examples in memory for nets with several inputs, several outputs, or both."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fractal_dsl import ops
from fractal_dsl.data.parts import MemoryPart, Part
from fractal_dsl.data.source import Examples, Moments, Rows, SourceRecord, classes_of, place
from fractal_dsl.runs.data_record import Content, Inputs, Split
from fractal_dsl.runs.tasks import TokenUnit
from fractal_dsl.runtime.arguments import one_or_several
from fractal_dsl.tasks import Task
from fractal_dsl.tasks.several import Several
from fractal_dsl.tasks.targets import Targets


@dataclass(frozen=True)
class SeveralExamples:
    """``inputs`` and ``targets_of`` hold examples by the name of an input or an output; both are of the same examples.

    Only the inputs of an element of ``inputs`` count, and only the targets of an element of ``targets_of``, which names
    only the first output if all share their targets.
    """

    inputs: Mapping[str, Examples]
    targets_of: Mapping[str, Examples]

    def alone(self) -> Examples:
        """The examples of one input and one output, or one that all share."""
        return self.main

    @property
    def main(self) -> Examples:
        """The targets of the first output."""
        return next(iter(self.targets_of.values()))

    @property
    def names(self) -> tuple[str, ...] | None:
        """The names of the first output's classes or labels."""
        return self.main.names

    @property
    def targets(self) -> NDArray[Any]:
        """The targets of the first output."""
        return self.main.targets

    @property
    def unit(self) -> TokenUnit:
        """What one token stands for."""
        return self.main.unit

    def raw(self) -> Targets:
        """The targets of the first output as stored."""
        return self.main.raw()

    def raws(self) -> dict[str, Targets]:
        """The targets of each output as stored: of the first one if all share them."""
        return {name: one.raw() for name, one in self.targets_of.items()}

    def judged(self, task: Task) -> SeveralExamples:
        """The examples with the targets that the task of each output takes."""
        if not isinstance(task, Several) or len(self.targets_of) == 1:
            name, main = next(iter(self.targets_of.items()))
            return replace(self, targets_of={name: main.judged(task)})
        judged: dict[str, Examples] = {}
        for head in task.heads:
            one = self.targets_of[head.name]
            judged[head.name] = replace(one, targets=head.converted(one.raw()), names=one.names or head.task.numbered())
        return replace(self, targets_of=judged)

    @property
    def input(self) -> ops.Tensor:
        """The type and shape of the first input."""
        return next(iter(self.inputs.values())).input

    @property
    def split(self) -> Split:
        """The content of an example, all its inputs, decides its part."""
        return "by content"

    def __len__(self) -> int:
        return len(self.main)

    def places(self) -> NDArray[np.float64]:
        """A hash of the bytes of all inputs of each example."""
        rows = zip(*[one.inputs for one in self.inputs.values()], strict=True)
        return np.array([place(b"".join([x.tobytes() for x in row])) for row in rows], np.float64)

    def record(self, rows: Rows) -> SourceRecord:
        """The range of the first input, and a hash of all inputs and targets of each class of the first output."""
        first = next(iter(self.inputs.values())).record(rows)
        arrays = [one.inputs for one in self.inputs.values()]
        labels = classes_of(self.main)
        others = [one.targets for one in self.targets_of.values()][0 if labels is None else 1 :]
        groups: dict[str, Any] = {"all": slice(None)}
        if labels is not None:
            groups = {name: labels == i for i, name in enumerate(self.names or ())}
        contents = {name: _content([array[chosen] for array in (*arrays, *others)]) for name, chosen in groups.items()}
        return replace(first, contents=contents)

    def moments(self, rows: Rows) -> Moments:
        """The moments of the first input."""
        return self.moments_of(rows)[0]

    def moments_of(self, rows: Rows) -> list[Moments]:
        """The moments of each input."""
        return [one.moments(rows) for one in self.inputs.values()]

    def types(self) -> dict[str, ops.Tensor]:
        """The type and shape of each input."""
        return {name: one.input for name, one in self.inputs.items()}

    def kinds(self, rows: Rows) -> dict[str, Inputs]:
        """What a run records of each input: its type, its shape and its range."""
        kinds: dict[str, Inputs] = {}
        for name, one in self.inputs.items():
            record = one.record(rows)
            low, high = record.range or (None, None)
            kinds[name] = Inputs(record.dtype, list(one.input.shape), low, high)
        return kinds

    def of_output(self, name: str) -> Examples:
        """The first input with the targets of an output."""
        return self.targets_of.get(name, self.main)

    def part(self, rows: Rows, device: torch.device) -> Part:
        """The examples of these rows, on the device."""
        chosen = torch.from_numpy(rows)
        inputs = [torch.from_numpy(one.inputs)[chosen].to(device) for one in self.inputs.values()]
        targets = [torch.from_numpy(one.targets)[chosen].to(device) for one in self.targets_of.values()]
        return MemoryPart(one_or_several(inputs), one_or_several(targets))


def _content(arrays: list[NDArray[Any]]) -> Content:
    """The number of examples and a hash of their arrays."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(array).data if array.size else b"")
    return Content(len(arrays[0]), digest.hexdigest())
