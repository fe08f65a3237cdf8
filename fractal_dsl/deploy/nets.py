"""The nets that one training yields: each column, the whole net, and all of them as one anytime net."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fractal_dsl import ops
from fractal_dsl.base.errors import UserError
from fractal_dsl.config.losses import TaskName
from fractal_dsl.deploy.origin import Origin
from fractal_dsl.graph.graph import JoinGraph
from fractal_dsl.runtime.fuse import alone, fuse
from fractal_dsl.runtime.module import FractalModule

WHOLE_NET = "whole"
ANYTIME = "anytime"


@dataclass(frozen=True)
class Ends:
    """The inputs and outputs of exported files by name: ``input`` and ``output`` if there is one, or else their own."""

    inputs: Mapping[str, ops.Tensor]
    outputs: Mapping[str, ops.Tensor]


def ends_of(model: FractalModule) -> Ends:
    """The inputs and outputs of the files of a net."""

    def named(ends: Mapping[str, ops.Tensor], alone: str) -> Mapping[str, ops.Tensor]:
        return ends if len(ends) > 1 else {alone: next(iter(ends.values()))}

    return Ends(named(model.inputs, "input"), named(model.outputs, "output"))


def net_names(graph: JoinGraph, columns: Sequence[int] | None, *, confident: bool) -> list[str]:
    """The nets to deploy: these columns (by default all), the whole net and, with several answers, the anytime net.

    ``confident`` says that the first output is the logits of classes, which an anytime net needs. Raises UserError for
    a column that the net does not have.
    """
    for k in columns or ():
        if not graph.columns:
            raise UserError(f"net {graph.net} has no columns, because none of its rules has a join: omit --columns")
        graph.check_column(k)
    names = answers_of(graph, columns)
    return names + [ANYTIME] * (confident and len(names) > 1)


def answers_of(graph: JoinGraph, columns: Sequence[int] | None = None) -> list[str]:
    """The nets that an anytime net asks in order: these columns, by default all, shallow to deep, and the whole net."""
    chosen = range(1, len(graph.columns) + 1) if columns is None else sorted({*columns})
    return [f"column{k}" for k in chosen] + [WHOLE_NET]


def plain_net(model: FractalModule, name: str, *, fold: bool = True) -> FractalModule:
    """A column or the whole net as a plain network for inference, with its batch norms folded."""
    net = alone(model) if name == WHOLE_NET else model.extract(int(name.removeprefix("column"))).eval()
    return fuse(net) if fold else net


def classifies(origin: Origin) -> bool:
    """Whether the first output is the logits of one class, whose softmax is a confidence."""
    first = next(iter(origin.model.outputs.values()))
    return len(first.shape) == 1 and task_of(origin) == "classification"


def task_of(origin: Origin) -> TaskName:
    """The task of the first output. That of a net which was not trained is classification."""
    return origin.facts.get("task", "classification")
