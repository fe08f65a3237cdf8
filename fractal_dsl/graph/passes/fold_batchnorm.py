"""Fold batch norms into the convolutions and linear layers before them, for inference."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from msgspec.structs import replace

from fractal_dsl.graph.graph import Join, JoinGraph, Layer
from fractal_dsl.ops import LAYERS, Args, OpSpec, OpValue
from fractal_dsl.ops.spec import REQUIRED

Folds = Mapping[int, tuple[int, ...]]
"""Weighted layers that can include a batch norm, each with the nodes that it replaces, the batch norm last."""


def foldable(graph: JoinGraph) -> Folds:
    """The layers that ``fold_batchnorm`` can fold a batch norm into.

    It cannot fold into layers whose output another node reads or whose weights are shared, into linear layers with
    more than one axis (the batch norm acts on another axis), or into transposed convolutions in groups.
    """
    uses = Counter(node.module for _, node in graph.items() if isinstance(node, Layer | Join))
    folds: dict[int, tuple[int, ...]] = {}
    for number, node in graph.items():
        if not (isinstance(node, Layer) and node.spec.name.startswith("batchnorm")):
            continue
        between = [number]
        before = graph.operands(number)[0]
        while _does_nothing(graph, before):
            between.append(before)
            before = graph.operands(before)[0]
        weighted = graph[before]
        if isinstance(weighted, Layer) and uses[weighted.module] == 1 and _takes(graph, before, weighted):
            folds[before] = tuple(reversed(between))
    return folds


def fold_batchnorm(graph: JoinGraph, folds: Folds) -> JoinGraph:
    """A new graph in which each weighted layer of ``folds`` includes the batch norm after it.

    Before::                              After::

        %2 = conv2d(…, bias=False) %1         %2 = conv2d(…, bias=True) %1
        %3 = dropout2d(p=0.1) %2
        %4 = batchnorm2d(…) %3
        %5 = relu() %4                        %5 = relu() %2

    A dropout between the two is removed: in inference it does nothing.
    """
    alias = {gone: number for number, behind in folds.items() for gone in behind}
    result = graph.without_nodes(graph.stage)
    for number, node in graph.items():
        if number in alias:
            continue
        if isinstance(node, Layer) and number in folds:
            spec, args = _biased(node)
            node = replace(node, spec=spec, args=args)
        result.add(node, [alias.get(o, o) for o in graph.operands(number)], id=number)
    return result


def _does_nothing(graph: JoinGraph, number: int) -> bool:
    """Whether a layer has one reader and passes its input on unchanged in inference."""
    node = graph[number]
    if not isinstance(node, Layer) or len(graph.consumers(number)) != 1:
        return False
    return node.spec.family == "dropout" or node.spec.name == "id"


def _takes(graph: JoinGraph, number: int, node: Layer) -> bool:
    """Whether a batch norm can be folded into a layer."""
    if len(graph.consumers(number)) != 1:
        return False
    match node.spec.name.rstrip("123d"):
        case "conv":
            return True
        case "convtranspose":
            return node.args["groups"] == 1
        case "linear":
            return len(node.out.shape) == 1
        case "project":
            return node.spec.torch(node.into, node.args).target != "nn.Identity"
        case _:
            return False


def _biased(node: Layer) -> tuple[OpSpec, Args]:
    """The layer with a bias; a projection as the layer that it comes down to."""
    if node.spec.name != "project":
        return node.spec, {**node.args, "bias": True}
    rank = len(node.into.shape) - 1
    spec = LAYERS[f"conv{rank}d" if rank else "linear"]
    given: dict[str, OpValue] = {"out_features": node.args["out"], "bias": True}
    if rank:
        given = {"out_channels": node.args["out"], "kernel_size": 1, "stride": node.args["stride"], "bias": True}
    return spec, {**{p.name: p.default for p in spec.params if p.default is not REQUIRED}, **given}
