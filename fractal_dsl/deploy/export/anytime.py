"""An anytime net as one ONNX model: nested ``If`` nodes, each with what the next answer adds to those before it.

The inputs are ``input`` [batch, …] and ``confidence``, a scalar from 0 to 1. The outputs are ``output`` [batch,
classes] and ``answer``, the number of the answer, from 0. It is the first one whose largest softmax probability reaches
the confidence for each input of the batch. Work and weights that answers share are in the model once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn

from fractal_dsl.deploy.export.onnx import OPSET, onnx_of
from fractal_dsl.deploy.export.program import example_of
from fractal_dsl.runtime.anytime import INPUT, Anytime, Increment
from fractal_dsl.runtime.instructions import modules_of
from fractal_dsl.runtime.module import FractalModule


class AnswerStep(nn.Module):
    """What one answer adds: from the values with the keys ``reads`` to those with the keys ``gives``."""

    def __init__(self, increment: Increment, reads: Sequence[int], gives: Sequence[int]) -> None:
        super().__init__()
        self.calls, self.reads, self.gives = increment.calls, reads, gives
        modules = {id(m): m for call in increment.calls for m in modules_of(call.call)}
        self.parts = nn.ModuleList(modules.values())

    variadic = True

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        values = dict(zip(self.reads, inputs, strict=True))
        for call in self.calls:
            values[call.result] = call.call(*[values[key] for key in call.operands])
        return tuple([values[key] for key in self.gives])


def steps_of(model: FractalModule) -> list[AnswerStep | int]:
    """The step of each answer, whose last value is the answer's logits, or the key of logits that are there already."""
    increments = Anytime(model).increments
    made = [{call.result for call in inc.calls} for inc in increments]
    reads = [
        {key for call in inc.calls for key in call.operands} - own for inc, own in zip(increments, made, strict=True)
    ]
    steps: list[AnswerStep | int] = []
    for i, increment in enumerate(increments):
        if not increment.calls:
            steps.append(increment.result)
            continue
        later = {key for keys in reads[i + 1 :] for key in keys} & made[i] - {increment.result}
        steps.append(AnswerStep(increment, sorted(reads[i]), [*sorted(later), increment.result]))
    return steps


def anytime_onnx(model: FractalModule) -> Any:
    """The answers of a net with columns as one ONNX ``ModelProto``."""
    steps = steps_of(model)
    weights = _Weights()
    parts = [weights.taken(proto, f"answer{i}") for i, proto in enumerate(_protos(steps, model))]
    logits = [_name(step if isinstance(step, int) else step.gives[-1]) for step in steps]
    return _Nest(parts, logits, model).model([*weights.kept.values()])


def _protos(steps: Sequence[AnswerStep | int], model: FractalModule) -> Iterator[Any]:
    """The steps as ONNX models, None for an answer without one. Values have the names of their keys."""
    examples: dict[int, Tensor] = {INPUT: example_of(model.input, 2)}
    for step in steps:
        if isinstance(step, int):
            yield None
            continue
        given = tuple([examples[key] for key in step.reads])
        with torch.no_grad():
            examples |= dict(zip(step.gives, step(*given), strict=True))
        names = [[_name(key) for key in keys] for keys in (step.reads, step.gives)]
        # the fusion of batch norms would give each answer weights of its own
        yield onnx_of(step, given, *names, fuse=False)


def _name(key: int) -> str:
    return "input" if key == INPUT else f"value{key}"


class _Weights:
    """The weights of several models, each kept once: they are recognised by their content."""

    def __init__(self) -> None:
        self.kept: dict[str, Any] = {}

    def taken(self, proto: Any, prefix: str) -> list[Any]:
        """The nodes of a model, under names of their own, whose weights are moved here. None has no nodes."""
        if proto is None:
            return []
        names: dict[str, str] = {}
        for tensor in proto.graph.initializer:
            copied = type(tensor)()
            copied.CopyFrom(tensor)
            copied.name = ""
            digest = hashlib.sha256(copied.SerializeToString(deterministic=True)).hexdigest()[:24]
            names[tensor.name] = copied.name = f"weight_{digest}"
            self.kept[copied.name] = copied
        ends = {value.name for value in (*proto.graph.input, *proto.graph.output)}
        for node in proto.graph.node:
            for places in (node.input, node.output):
                places[:] = [names.get(n) or (n if n in ends or not n else f"{prefix}/{n}") for n in places]
            node.name = f"{prefix}/{node.name}"
        return list(proto.graph.node)


class _Nest:
    """Nests the nodes of each answer into an ``If`` behind those of the answer before it."""

    def __init__(self, parts: Sequence[list[Any]], logits: Sequence[str], model: FractalModule) -> None:
        onnx: Any = import_module("onnx")
        self.helper, self.types = onnx.helper, onnx.TensorProto
        self.parts, self.logits, self.net = parts, logits, model

    def model(self, weights: Sequence[Any]) -> Any:
        """The whole model. ``weights`` are its initializers."""
        helper, types, into = self.helper, self.types, self.net.input
        kind = types.INT64 if into.dtype == "i64" else types.FLOAT
        inputs = [
            helper.make_tensor_value_info("input", kind, ["batch", *into.shape]),
            helper.make_tensor_value_info("confidence", types.FLOAT, []),
        ]
        nodes, ends = self._answer(0)
        nodes += self._renamed(ends, ("output", "answer"))
        graph = helper.make_graph(nodes, "anytime", inputs, self._infos("output", "answer"), [*weights])
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10)

    def _answer(self, i: int) -> tuple[list[Any], tuple[str, str]]:
        """The nodes of answer i and those after it, and the names of the chosen logits and their number."""
        helper = self.helper
        number = helper.make_tensor("", self.types.INT64, [], [i])
        own = [*self.parts[i], helper.make_node("Constant", [], [f"number{i}"], value=number)]
        if i + 1 == len(self.parts):
            return own, (self.logits[i], f"number{i}")
        then = self._branch(f"ask{i + 1}", *self._answer(i + 1))
        stay = self._branch(f"stay{i}", [], (self.logits[i], f"number{i}"))
        ends = f"output{i}", f"answer{i}"
        choice = helper.make_node("If", [f"unsure{i}"], [*ends], then_branch=then, else_branch=stay)
        return [*own, *self._unsure(i), choice], ends

    def _unsure(self, i: int) -> list[Any]:
        """Whether an input of the batch has a largest softmax probability below the confidence."""
        node = self.helper.make_node
        axis = self.helper.make_tensor("", self.types.INT64, [1], [1])
        return [
            node("Softmax", [self.logits[i]], [f"softmax{i}"], axis=1),
            node("Constant", [], [f"axis{i}"], value=axis),
            node("ReduceMax", [f"softmax{i}", f"axis{i}"], [f"sure{i}"], keepdims=0),
            node("ReduceMin", [f"sure{i}"], [f"least{i}"], keepdims=0),
            node("Less", [f"least{i}", "confidence"], [f"unsure{i}"]),
        ]

    def _branch(self, name: str, nodes: list[Any], ends: tuple[str, str]) -> Any:
        """A branch of an ``If``. Its outputs must be made in it."""
        own = f"{name}/output", f"{name}/answer"
        return self.helper.make_graph([*nodes, *self._renamed(ends, own)], name, [], self._infos(*own))

    def _renamed(self, given: tuple[str, str], names: tuple[str, str]) -> list[Any]:
        return [self.helper.make_node("Identity", [old], [new]) for old, new in zip(given, names, strict=True)]

    def _infos(self, output: str, answer: str) -> list[Any]:
        info = self.helper.make_tensor_value_info
        shape = ["batch", *self.net.output.shape]
        return [info(output, self.types.FLOAT, shape), info(answer, self.types.INT64, [])]
