"""Normalise raw inputs inside the net."""

from __future__ import annotations

from fractal_dsl.graph.graph import Join, JoinGraph, Layer, Site
from fractal_dsl.language.source import Span
from fractal_dsl.ops import NORMALISE


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
    placed = [node for _, node in graph.items() if isinstance(node, Layer | Join)]
    site = Site(placed[0].site.span if placed else Span(0, 0), (f"net {graph.net}",))
    name = _free({part.partition(".")[0] for node in placed for part in (node.name, node.module)})
    every = (1 << graph.n_columns) - 1
    result = graph.without_nodes(graph.stage)
    result.add(given, id=start)
    layer = Layer(NORMALISE, {"channels": channels}, given.out, given.out, site, name, every, name)
    result.add(layer, (start,), id=start + 1)
    for number, node in graph.items():
        if number != start:
            result.add(node, [o + 1 for o in graph.operands(number)], id=number + 1)
    return result


def normaliser(graph: JoinGraph) -> str | None:
    """The path of the module that normalises a graph's input. None if nothing does."""
    return next((n.module for _, n in graph.items() if isinstance(n, Layer) and n.spec is NORMALISE), None)


def _free(taken: set[str]) -> str:
    """``normalise``, with a number if the net has that name."""
    name, count = "normalise", 1
    while name in taken:
        count += 1
        name = f"normalise_{count}"
    return name
