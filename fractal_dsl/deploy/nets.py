"""The nets that one training yields: each column, the whole net, and all of them as one anytime net."""

from __future__ import annotations

from collections.abc import Sequence

from fractal_dsl.base.errors import UserError
from fractal_dsl.deploy.origin import Origin
from fractal_dsl.graph.graph import JoinGraph
from fractal_dsl.runtime.fuse import alone, fuse
from fractal_dsl.runtime.module import FractalModule

WHOLE_NET = "whole"
ANYTIME = "anytime"


def net_names(graph: JoinGraph, columns: Sequence[int] | None, *, confident: bool) -> list[str]:
    """The nets to deploy: these columns (by default all), the whole net and, with several answers, the anytime net.

    ``confident`` says that the net's outputs are the logits of classes, which an anytime net needs. Raises UserError
    for a column that the net does not have.
    """
    for k in columns or ():
        if not graph.columns:
            raise UserError(f"net {graph.net} has no columns, because none of its rules has a join: omit --columns")
        graph.check_column(k)
    chosen = range(1, len(graph.columns) + 1) if columns is None else sorted({*columns})
    names = [f"column{k}" for k in chosen] + [WHOLE_NET]
    return names + [ANYTIME] * (confident and len(names) > 1)


def answers_of(graph: JoinGraph) -> list[str]:
    """The nets that an anytime net asks in order: every column, from shallow to deep, and the whole net."""
    return [f"column{k}" for k in range(1, len(graph.columns) + 1)] + [WHOLE_NET]


def plain_net(model: FractalModule, name: str, *, fold: bool = True) -> FractalModule:
    """A column or the whole net as a plain network for inference, with its batch norms folded."""
    net = alone(model) if name == WHOLE_NET else model.extract(int(name.removeprefix("column"))).eval()
    return fuse(net) if fold else net


def classifies(origin: Origin) -> bool:
    """Whether the outputs are the logits of one class for each input, whose softmax is a confidence."""
    trained = origin.trained
    return len(origin.model.output.shape) == 1 and (trained is None or trained.task == "classification")
