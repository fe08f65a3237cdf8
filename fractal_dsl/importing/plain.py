"""A net as a plain graph: each step is a layer or a join of the language, with its origin in the module."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from fractal_dsl.ops import LAYERS, OpValue, Tensor

INPUT = "input"
INPUTS = "inputs"
OUTPUTS = "outputs"
CONTAINERS = {"Sequential", "ModuleList", "ModuleDict", "Module", "GraphModule", "InterpreterModule"}
"""Classes that say nothing about what they hold."""


@dataclass(frozen=True)
class Scope:
    """A call of a submodule: its path, which is empty for the whole module, and the name of its class."""

    path: str
    cls: str


@dataclass(frozen=True)
class Place:
    """Where an operation stands: the submodules around it, outermost first, and its line of Python."""

    scopes: tuple[Scope, ...] = ()
    line: str = ""

    @property
    def path(self) -> str:
        """The path of the innermost submodule."""
        return self.scopes[-1].path if self.scopes else ""

    def text(self) -> str:
        """The place as the end of a message."""
        scope = self.scopes[-1] if self.scopes else None
        inside = f"\n  in module {scope.path} ({scope.cls})" if scope is not None and scope.path else ""
        return inside + (f"\n  at {self.line}" if self.line else "")


@dataclass(frozen=True)
class Step:
    """One layer or join.

    ``op`` is its name in the language, ``args`` all its arguments. ``inputs`` are the numbers of the steps that it
    reads. ``out`` is its shape. ``tensors`` maps the names of its weights in our module to those in the state of the
    imported one.
    """

    op: str
    args: Mapping[str, OpValue]
    inputs: tuple[int, ...]
    out: Tensor
    place: Place = field(default_factory=Place)
    tensors: Mapping[str, str] = field(default_factory=dict[str, str])

    @property
    def is_layer(self) -> bool:
        """Whether it is a layer, which reads one step."""
        return self.op in LAYERS


@dataclass(frozen=True)
class PlainGraph:
    """The steps of a net, each after those that it reads.

    The first is the input. Of a net with several inputs, it is an ``INPUTS`` step, which each ``INPUT`` step reads. The
    output of a net with several outputs is an ``OUTPUTS`` step, which reads them. These steps have the names as
    arguments."""

    steps: tuple[Step, ...]
    output: int

    def inputs(self) -> list[tuple[str, Tensor]]:
        """The names and types of the inputs; one input is ``x``."""
        if self.steps[0].op == INPUT:
            return [("x", self.steps[0].out)]
        return [(str(step.args["name"]), step.out) for step in self.steps if step.op == INPUT]

    def outputs(self) -> list[tuple[str, Tensor]]:
        """The names and types of the outputs. The names are empty if the outputs have none."""
        last = self.steps[self.output]
        if last.op != OUTPUTS:
            return [("", last.out)]
        names, types = str(last.args["names"]).split(), [self.steps[i].out for i in last.inputs]
        return [*zip(names or [""] * len(types), types, strict=True)]

    def ends(self) -> int:
        """The bit set of the steps that are inputs or join the outputs, and compute nothing."""
        return sum(1 << n for n, step in enumerate(self.steps) if step.op in (INPUT, INPUTS, OUTPUTS))

    def results(self) -> tuple[int, ...]:
        """The steps that compute the outputs."""
        last = self.steps[self.output]
        return last.inputs if last.op == OUTPUTS else (self.output,)

    def consumers(self) -> list[list[int]]:
        """For each step, the steps that read it, once for each time."""
        result: list[list[int]] = [[] for _ in self.steps]
        for number, step in enumerate(self.steps):
            for source in step.inputs:
                result[source].append(number)
        return result

    def live(self) -> PlainGraph:
        """The graph without the steps that do not reach the output, renumbered in topological order."""
        order: list[int] = []
        state: dict[int, bool] = {}
        stack = [self.output]
        while stack:
            number = stack[-1]
            if number not in state:
                state[number] = False
                stack += [i for i in reversed(self.steps[number].inputs) if i not in state]
            else:
                stack.pop()
                if not state[number]:
                    state[number] = True
                    order.append(number)
        inputs = sorted(n for n in order if self.steps[n].op == INPUT and n)
        order = [0, *inputs, *[n for n in order if n and n not in inputs]]
        new = {number: i for i, number in enumerate(order)}
        steps = [renumbered(self.steps[n], new) for n in order]
        return PlainGraph(tuple(steps), new[self.output])


def renumbered(step: Step, new: Mapping[int, int]) -> Step:
    """The step with other numbers for what it reads."""
    inputs = tuple([new.get(i, i) for i in step.inputs])
    return Step(step.op, step.args, inputs, step.out, step.place, step.tensors)
