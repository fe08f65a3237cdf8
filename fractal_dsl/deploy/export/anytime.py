"""An anytime net as one ONNX model: nested ``If`` nodes, each with what the next answer adds to those before it.

The inputs are those of the net and, last, ``confidence``, a scalar from 0 to 1. The outputs are those of the net and,
last, ``answer``, the number of the answer, from 0. It is the first one whose largest softmax probability, of the first
output, reaches the confidence for each example of the batch. Work and weights that answers share are in the model once.
Names of the net's own inputs and outputs have no slash, which all other names have.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn

from fractal_dsl.deploy.export.onnx import OPSET, onnx_of
from fractal_dsl.deploy.export.program import examples_of
from fractal_dsl.deploy.nets import Ends, ends_of
from fractal_dsl.runtime.anytime import INPUT, Anytime, Call
from fractal_dsl.runtime.instructions import modules_of
from fractal_dsl.runtime.module import FractalModule


class AnswerStep(nn.Module):
    """What one answer adds: from the values with the keys ``reads`` to those with the keys ``gives``."""

    def __init__(self, calls: Sequence[Call], reads: Sequence[int], gives: Sequence[int]) -> None:
        super().__init__()
        self.calls, self.reads, self.gives = calls, reads, gives
        modules = {id(m): m for call in calls for m in modules_of(call.call)}
        self.parts = nn.ModuleList(modules.values())

    variadic = True

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        values = dict(zip(self.reads, inputs, strict=True))
        for call in self.calls:
            values[call.result] = call.call(*[values[key] for key in call.operands])
        return tuple([values[key] for key in self.gives])


def steps_of(
    model: FractalModule, columns: Sequence[int] | None = None
) -> tuple[list[AnswerStep | None], list[tuple[int, ...]]]:
    """The step of each answer, None if it adds nothing to those before it, and the keys of each answer's outputs."""
    increments = Anytime(model, columns).increments
    several = {inc.calls[-1].result: inc.calls[-1].operands for inc in increments if inc.calls}
    several = several if len(model.outputs) > 1 else {}  # the last call only puts several outputs together
    outputs = [several.get(inc.result, (inc.result,)) for inc in increments]
    calls = [[call for call in inc.calls if call.result not in several] for inc in increments]
    made = [{call.result for call in some} for some in calls]
    reads = [{key for call in some for key in call.operands} - own for some, own in zip(calls, made, strict=True)]
    steps: list[AnswerStep | None] = []
    for i, some in enumerate(calls):
        wanted = {key for keys in (*reads[i + 1 :], *outputs[i:]) for key in keys}
        steps.append(AnswerStep(some, sorted(reads[i]), sorted(wanted & made[i])) if some else None)
    return steps, outputs


def anytime_onnx(model: FractalModule, columns: Sequence[int] | None = None) -> Any:
    """The answers of these columns, by default of all, and of the whole net as one ONNX ``ModelProto``."""
    ends = ends_of(model)
    names = {INPUT - i: name for i, name in enumerate(ends.inputs)}
    steps, outputs = steps_of(model, columns)
    weights = _Weights()
    parts = [weights.taken(proto, f"answer/{i}") for i, proto in enumerate(_protos(steps, ends, names))]
    results = [[_name(key, names) for key in keys] for keys in outputs]
    return _Nest(parts, results, ends).model([*weights.kept.values()])


def _protos(steps: Sequence[AnswerStep | None], ends: Ends, inputs: Mapping[int, str]) -> Iterator[Any]:
    """The steps as ONNX models, None for an answer without one. Values have the names of their keys."""
    examples: dict[int, Tensor] = dict(zip(inputs, examples_of([*ends.inputs.values()], 2), strict=True))
    for step in steps:
        if step is None:
            yield None
            continue
        given = tuple([examples[key] for key in step.reads])
        with torch.no_grad():
            examples |= dict(zip(step.gives, step(*given), strict=True))
        names = [[_name(key, inputs) for key in keys] for keys in (step.reads, step.gives)]
        # the fusion of batch norms would give each answer weights of its own
        yield onnx_of(step, given, *names, fuse=False)


def _name(key: int, inputs: Mapping[int, str]) -> str:
    return inputs.get(key, f"value/{key}")


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

    def __init__(self, parts: Sequence[list[Any]], results: Sequence[list[str]], ends: Ends) -> None:
        onnx: Any = import_module("onnx")
        self.helper, self.types = onnx.helper, onnx.TensorProto
        self.parts, self.results, self.ends = parts, results, ends
        names = {*ends.inputs, *ends.outputs}
        self.confidence, self.answer = (n if n not in names else f"anytime/{n}" for n in ("confidence", "answer"))

    def model(self, weights: Sequence[Any]) -> Any:
        """The whole model. ``weights`` are its initializers."""
        helper, types = self.helper, self.types
        kinds = {"i64": types.INT64, "f32": types.FLOAT}
        inputs = [
            helper.make_tensor_value_info(name, kinds[into.dtype], ["batch", *into.shape])
            for name, into in self.ends.inputs.items()
        ]
        inputs.append(helper.make_tensor_value_info(self.confidence, types.FLOAT, []))
        nodes, given = self._answer(0)
        names = [*self.ends.outputs, self.answer]
        nodes += self._renamed(given, names)
        graph = helper.make_graph(nodes, "anytime", inputs, self._infos(names), [*weights])
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10)

    def _answer(self, i: int) -> tuple[list[Any], list[str]]:
        """The nodes of answer i and those after it, and the names of the chosen outputs and of the answer's number."""
        helper = self.helper
        number = helper.make_tensor("", self.types.INT64, [], [i])
        own = [*self.parts[i], helper.make_node("Constant", [], [f"number/{i}"], value=number)]
        given = [*self.results[i], f"number/{i}"]
        if i + 1 == len(self.parts):
            return own, given
        then = self._branch(f"ask/{i + 1}", *self._answer(i + 1))
        stay = self._branch(f"stay/{i}", [], given)
        chosen = [f"chosen/{i}/{j}" for j, _ in enumerate(given)]
        choice = helper.make_node("If", [f"unsure/{i}"], chosen, then_branch=then, else_branch=stay)
        return [*own, *self._unsure(i), choice], chosen

    def _unsure(self, i: int) -> list[Any]:
        """Whether an example of the batch has a largest softmax probability below the confidence."""
        node = self.helper.make_node
        axis = self.helper.make_tensor("", self.types.INT64, [1], [1])
        return [
            node("Softmax", [self.results[i][0]], [f"softmax/{i}"], axis=1),
            node("Constant", [], [f"axis/{i}"], value=axis),
            node("ReduceMax", [f"softmax/{i}", f"axis/{i}"], [f"sure/{i}"], keepdims=0),
            node("ReduceMin", [f"sure/{i}"], [f"least/{i}"], keepdims=0),
            node("Less", [f"least/{i}", self.confidence], [f"unsure/{i}"]),
        ]

    def _branch(self, name: str, nodes: list[Any], given: Sequence[str]) -> Any:
        """A branch of an ``If``. Its outputs must be made in it."""
        own = [f"{name}/{i}" for i, _ in enumerate(given)]
        return self.helper.make_graph([*nodes, *self._renamed(given, own)], name, [], self._infos(own))

    def _renamed(self, given: Sequence[str], names: Sequence[str]) -> list[Any]:
        return [self.helper.make_node("Identity", [old], [new]) for old, new in zip(given, names, strict=True)]

    def _infos(self, names: Sequence[str]) -> list[Any]:
        """The types of the net's outputs and of the answer's number, under these names."""
        info = self.helper.make_tensor_value_info
        shapes = [["batch", *out.shape] for out in self.ends.outputs.values()]
        outputs = [info(name, self.types.FLOAT, shape) for name, shape in zip(names, shapes, strict=False)]
        return [*outputs, info(names[-1], self.types.INT64, [])]
