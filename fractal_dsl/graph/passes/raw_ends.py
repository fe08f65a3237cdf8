"""Normalise raw inputs and give outputs in the targets' own unit, inside the net."""

from __future__ import annotations

from collections.abc import Mapping

from fractal_dsl.graph.graph import Input, Join, JoinGraph, Layer, Output, Site
from fractal_dsl.language.source import Span
from fractal_dsl.ops import NORMALISE, RESTORE, OpSpec, Tensor


def normalise_inputs(graph: JoinGraph, channels: Mapping[str, int]) -> JoinGraph:
    """A new graph that normalises inputs by channel before anything else reads them.

    Before::                        After::

        %0 = input image                %0 = input image
        %1 = conv2d(…) %0               %1 = normalise(channels=1) %0
                                        %2 = conv2d(…) %1

    ``channels`` has the number of means and deviations by input, which the layer has as buffers: that of the input's
    channels, or 1 for all of them. The graph is labelled, and the layers are in all columns.
    """
    result = graph.without_nodes(graph.stage)
    place: dict[int, int] = {}
    for number, node in graph.items():
        place[number] = at = number + len(result) - len(place)
        result.add(node, [place[o] for o in graph.operands(number)], id=at)
        if isinstance(node, Input) and node.name in channels:
            layer = _layer(graph, NORMALISE, channels[node.name], node.out, node.name if len(graph.inputs) > 1 else "")
            place[number] = result.add(layer, (at,), id=at + 1)
    return result


def restore_outputs(graph: JoinGraph, channels: Mapping[str, int]) -> JoinGraph:
    """A new graph that gives outputs in another unit: times a deviation plus a mean, by channel.

    Before::                        After::

        %1 = linear(…) %0               %1 = linear(…) %0
        %2 = output %1                  %2 = restore(channels=1) %1
                                        %3 = output %2

    ``channels`` has the number of means and deviations by output, which the layer has as buffers. The graph is
    labelled, and the layers are in all columns.
    """
    result = graph.without_nodes(graph.stage)
    for number, node in graph.items():
        given, at = graph.operands(number), number
        if isinstance(node, Output):
            for slot, (name, out) in enumerate(zip(node.names, node.outs, strict=True)):
                if name in channels:
                    layer = _layer(graph, RESTORE, channels[name], out, name if len(node.names) > 1 else "")
                    given[slot] = result.add(layer, (given[slot],), id=at)
                    at += 1
        result.add(node, given, id=at)
    return result


def raw_ends(graph: JoinGraph) -> dict[str, str]:
    """The paths of the modules that normalise a graph's inputs and restore the unit of its outputs, each with the name
    of the input or output."""
    names = {number: node.name for number, node in graph.inputs}
    end, output = graph.output
    names |= dict(zip(graph.operands(end), output.names, strict=True))
    ends: dict[str, str] = {}
    for number, node in graph.items():
        if isinstance(node, Layer) and node.spec is NORMALISE:
            ends[node.module] = names[graph.operands(number)[0]]
        elif isinstance(node, Layer) and node.spec is RESTORE:
            ends[node.module] = names[number]
    return ends


def _layer(graph: JoinGraph, spec: OpSpec, channels: int, shape: Tensor, of: str) -> Layer:
    """A layer in all columns, under a name that the net does not have. ``of`` names one of several ends."""
    placed = [node for _, node in graph.items() if isinstance(node, Layer | Join)]
    site = Site(placed[0].site.span if placed else Span(0, 0), (f"net {graph.net}",))
    taken = {part.partition(".")[0] for node in placed for part in (node.name, node.module)}
    first = name = f"{spec.name}_{of}" if of else spec.name
    count = 1
    while name in taken:
        count += 1
        name = f"{first}_{count}"
    return Layer(spec, {"channels": channels}, shape, shape, site, name, (1 << graph.n_columns) - 1, name)
