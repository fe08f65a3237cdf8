"""The builder of plain graphs, and the values that operations take and give."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx

from fractal_dsl.importing.modules import with_defaults
from fractal_dsl.importing.plain import INPUT, INPUTS, OUTPUTS, Place, PlainGraph, Step
from fractal_dsl.importing.refusal import Refusal
from fractal_dsl.ops import JOINS, LAYERS, REQUIRED, OpValue, ShapeError, Tensor


@dataclass(frozen=True)
class Ref:
    """The output of a step."""

    number: int
    out: Tensor

    @property
    def rank(self) -> int:
        """The number of axes, with the batch."""
        return len(self.out.shape) + 1


@dataclass(frozen=True, eq=False)
class Held:
    """A tensor that does not depend on the input. ``name`` is that of a parameter or buffer with the same elements in
    the same order, or empty. ``made`` tells how it was computed from others, if that is known. ``node`` computes it."""

    value: torch.Tensor
    name: str = ""
    made: Scaled | Standard | Relative | None = None
    node: fx.Node | None = None


@dataclass(frozen=True)
class Scaled:
    """A parameter times a number."""

    name: str
    factor: float


@dataclass(frozen=True)
class Relative:
    """The biases of the pairs of pixels in a window, from a table [distances, heads]."""

    table: str


@dataclass(frozen=True)
class Standard:
    """The weight of a convolution with standardised filters, which may have gains."""

    weight: str
    gain: Scaled | None
    eps: float


@dataclass(frozen=True)
class Padded:
    """A step padded with minus infinity at the ends of its axes, which a maximum pooling is about to read."""

    ref: Ref
    sides: tuple[int, ...]


@dataclass(frozen=True)
class Lengths:
    """The lengths of a step's vectors along an axis, at least ``eps``, by which they are about to be divided."""

    ref: Ref
    dim: int
    eps: float = 0.0


@dataclass(frozen=True)
class Expanded:
    """A step with axes of size 1 repeated, as a sum or a product that is about to read it does by itself."""

    ref: Ref


@dataclass(frozen=True)
class Stacked:
    """Tensors of one shape side by side along a new axis, which some operation is about to reduce."""

    items: tuple[Ref, ...]
    dim: int


class Builder:
    """Adds steps to a plain graph. ``place`` is that of the operation at hand, and ``folded`` the number of axes of its
    steps that are folded into the batch in the module; -1 if the module has no batch there. ``operand`` makes a step of
    a tensor that does not depend on the input, to be read beside a step of a rank, and ``number`` tells the number that
    such a tensor has everywhere."""

    def __init__(self, inputs: Sequence[tuple[str, Tensor]], batch: int) -> None:
        several = len(inputs) > 1
        self.steps = [Step(INPUTS if several else INPUT, {}, (), inputs[0][1])]
        self.steps += [Step(INPUT, {"name": name}, (0,), out) for name, out in inputs if several]
        self.inputs = [Ref(number, out) for number, (_, out) in enumerate(inputs, 1 if several else 0)]
        self.place = Place()
        self.batch = batch
        self.settled: dict[Any, tuple[Ref, int]] = {}
        self.folded = 0
        self.operand: Callable[[Held, int], Ref | None] = lambda held, rank: None
        self.number: Callable[[Held], float | None] = lambda held: None

    @property
    def start(self) -> Ref:
        """What the steps read that depend on no input, such as learned tensors."""
        return Ref(0, self.steps[0].out)

    def layer(self, op: str, x: Any, tensors: Mapping[str, str] | None = None, **args: OpValue) -> Ref:
        """Add a layer on ``x``. Raises Refusal if the language has no such layer, or it does not take this input."""
        if not isinstance(x, Ref):
            raise Refusal(f"`{op}` has a constant as its input", self.place)
        if op == "id":
            return x
        if op not in LAYERS:
            raise Refusal(f"the language has no layer for `{op}`", self.place)
        spec, full = LAYERS[op], with_defaults(op, args)
        try:
            out = spec.out(x.out, full)
        except ShapeError as error:
            raise Refusal(error.message, self.place) from None
        return self._add(Step(op, full, (x.number,), out, self.place, tensors or {}))

    def join(self, op: str, operands: Sequence[Any], tensors: Mapping[str, str] | None = None, **args: OpValue) -> Ref:
        """Add a join of several tensors; of one, it is that tensor. Raises Refusal."""
        rank = max([o.rank for o in operands if isinstance(o, Ref)], default=0)
        refs: list[Ref] = []
        for operand in operands:
            ref = self.operand(operand, rank) if isinstance(operand, Held) and rank else operand
            if not isinstance(ref, Ref):
                raise Refusal(f"`{op}` has a constant operand", self.place)
            refs.append(ref)
        if len(refs) == 1:
            return refs[0]
        if op not in JOINS:
            raise Refusal(f"the language has no join for `{op}`", self.place)
        full = {p.name: args.get(p.name, None if p.default is REQUIRED else p.default) for p in JOINS[op].params}
        try:
            out = JOINS[op].out(tuple([r.out for r in refs]), full)
        except ShapeError as error:
            shapes = " and ".join(dict.fromkeys(str(r.out) for r in refs))
            raise Refusal(f"{error.message}, not {shapes}", self.place) from None
        return self._add(Step(op, full, tuple([r.number for r in refs]), out, self.place, tensors or {}))

    def operands(self, x: Any, op: str) -> list[Ref]:
        """The operands of a value that a join of this kind computes; else the value itself."""
        step = self.steps[x.number] if isinstance(x, Ref) else None
        if step is None or step.op != op:
            return [x]
        return [Ref(i, self.steps[i].out) for i in step.inputs]

    def _add(self, step: Step) -> Ref:
        self.steps.append(step)
        return Ref(len(self.steps) - 1, step.out)

    def finish(self, outputs: Sequence[Ref], names: Sequence[str]) -> PlainGraph:
        """The graph of what the outputs need. ``names`` are those of several outputs, or empty."""
        number = outputs[0].number
        if len(outputs) > 1:
            inputs = tuple([ref.number for ref in outputs])
            number = self._add(Step(OUTPUTS, {"names": " ".join(names)}, inputs, outputs[0].out)).number
        return PlainGraph(tuple(self.steps), number).live()
