"""Finds the first operation of a module that the language computes otherwise, by running both step by step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx

from fractal_dsl.importing.building import Builder, Ref
from fractal_dsl.importing.ends import Examples
from fractal_dsl.importing.plain import Place, Step
from fractal_dsl.importing.same import TOLERANCE, apart, random_like
from fractal_dsl.ops import JOINS, LAYERS
from fractal_dsl.runtime.graph_to_fx import make_module
from fractal_dsl.runtime.joins import REDUCTIONS, join_broadcast, join_concat


class _Differs(Exception):
    """The operation at hand gives other numbers than its steps."""


class _Steps:
    """The numbers of the steps of a lowered graph, beside those of the module."""

    def __init__(self, module: fx.GraphModule, x: Examples) -> None:
        self.state = dict(module.named_parameters(remove_duplicate=False))
        self.state |= dict(module.named_buffers(remove_duplicate=False))
        self.numbers = [*x]
        self.place = Place()

    def __call__(self, builder: Builder, value: Any, real: Any) -> None:
        """Compare the value of an operation. Raises _Differs."""
        for step in builder.steps[len(self.numbers) :]:
            self.numbers.append(self._run(builder, step))
        if isinstance(value, Ref) and isinstance(real, Tensor) and real.is_floating_point():
            ours = self.numbers[value.number]
            if ours.shape != real.shape or not apart(ours, real) <= 10 * TOLERANCE:
                self.place = builder.place
                raise _Differs

    def _run(self, builder: Builder, step: Step) -> Tensor:
        operands = [self.numbers[i] for i in step.inputs]
        if step.is_layer:
            call = LAYERS[step.op].torch(builder.steps[step.inputs[0]].out, step.args)
        elif (of_count := JOINS[step.op].torch) is not None:
            call = of_count(len(operands), step.args)
        elif step.op == "concat":
            return join_concat(operands, int(str(step.args["dim"])))
        elif len({x.shape for x in operands}) > 1:
            return join_broadcast(step.op, step.out.shape, *operands)
        else:
            return REDUCTIONS[step.op](*operands)
        module = make_module(call).eval()
        for name, value in module.state_dict().items():
            if name in step.tensors:
                value.copy_(self.state[step.tensors[name]].reshape(value.shape))
        return module(*operands)


def first_difference(module: fx.GraphModule, examples: Examples, lowered: Callable[..., Any]) -> Place:
    """The place of the first operation that the language computes otherwise; an empty one if it cannot be told."""
    x = random_like(examples, len(examples[0]))
    steps = _Steps(module, x)
    try:
        with torch.no_grad():
            lowered(module, x, steps)
    except Exception:  # whatever it is, the nets differ, and the caller says so
        return steps.place
    return Place()
