"""Normalise raw inputs and give outputs in the targets' own unit, inside the net."""

from __future__ import annotations

from fractal_dsl.graph.graph import Join, JoinGraph, Layer, Output, Site
from fractal_dsl.language.source import Span
from fractal_dsl.ops import NORMALISE, RESTORE, OpSpec, Tensor


def normalise_input(graph: JoinGraph, channels: int) -> JoinGraph:
    """A new graph that normalises its input by channel before anything else reads it.

    Before::                        After::

        %0 = input image                %0 = input image
        %1 = conv2d(…) %0               %1 = normalise(channels=1) %0
                                        %2 = conv2d(…) %1

    ``channels`` is the number of means and deviations, which the layer has as buffers: that of the input's channels, or
    1 for all of them. The graph is labelled, and the layer is in all columns.
    """
    start, given = graph.input
    result = graph.without_nodes(graph.stage)
    result.add(given, id=start)
    result.add(_layer(graph, NORMALISE, channels, given.out), (start,), id=start + 1)
    for number, node in graph.items():
        if number != start:
            result.add(node, [o + 1 for o in graph.operands(number)], id=number + 1)
    return result


def restore_output(graph: JoinGraph, channels: int) -> JoinGraph:
    """A new graph that gives its output in another unit: times a deviation plus a mean, by channel.

    Before::                        After::

        %1 = linear(…) %0               %1 = linear(…) %0
        %2 = output %1                  %2 = restore(channels=1) %1
                                        %3 = output %2

    ``channels`` is the number of means and deviations, which the layer has as buffers. The graph is labelled, and the
    layer is in all columns.
    """
    result = graph.without_nodes(graph.stage)
    for number, node in graph.items():
        if isinstance(node, Output):
            result.add(_layer(graph, RESTORE, channels, node.out), graph.operands(number), id=number)
            result.add(node, (number,), id=number + 1)
        else:
            result.add(node, graph.operands(number), id=number)
    return result


def raw_ends(graph: JoinGraph) -> set[str]:
    """The paths of the modules that normalise a graph's input and restore the unit of its output."""
    ends = (NORMALISE, RESTORE)
    return {n.module for _, n in graph.items() if isinstance(n, Layer) and any(n.spec is spec for spec in ends)}


def _layer(graph: JoinGraph, spec: OpSpec, channels: int, shape: Tensor) -> Layer:
    """A layer in all columns, under a name that the net does not have."""
    placed = [node for _, node in graph.items() if isinstance(node, Layer | Join)]
    site = Site(placed[0].site.span if placed else Span(0, 0), (f"net {graph.net}",))
    taken = {part.partition(".")[0] for node in placed for part in (node.name, node.module)}
    name, count = spec.name, 1
    while name in taken:
        count += 1
        name = f"{spec.name}_{count}"
    return Layer(spec, {"channels": channels}, shape, shape, site, name, (1 << graph.n_columns) - 1, name)
