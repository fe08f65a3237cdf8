"""A net cut into consecutive parts, the stages of a pipeline. Only one value crosses each cut."""

from __future__ import annotations

from msgspec import Struct

from fractal_dsl.base.errors import UserError
from fractal_dsl.graph.graph import Join, JoinGraph, Layer, Site
from fractal_dsl.plans.plan_on_graph import node_cost


class Stretch(Struct, frozen=True):
    """A part of a net: its nodes, and the nodes whose values come in and go out."""

    nodes: frozenset[int]
    entry: int
    exit: int


def stretches(graph: JoinGraph, count: int) -> list[Stretch]:
    """Cut a net into ``count`` consecutive parts of about equal work, in multiply-accumulates.

    Raises UserError if it has too few places to cut.
    """
    numbers = list(graph.g.nodes)
    work = {number: node_cost(graph, number).macs for number in numbers}
    total = sum(work.values())
    done, at = 0, dict[int, int]()
    edges = _edges(graph)
    for number in numbers:
        done += work[number]
        if number in edges and 0 < done < total:
            at.setdefault(done, number)
    if len(at) < count - 1:
        parts = f"{len(at) + 1} part{'s' * (len(at) > 0)}"
        raise UserError(
            f"net {graph.net} can be cut into {parts} at the edges of its blocks, but there are {count} processes"
        )
    places = sorted(at)
    chosen: list[int] = []
    for i in range(1, count):
        free = places[len(chosen) and places.index(chosen[-1]) + 1 : len(places) - (count - 1 - i)]
        chosen.append(min(free, key=lambda place: abs(place - total * i / count)))
    cuts = [graph.input[0], *[at[place] for place in chosen], graph.output[0]]
    bounds = [numbers.index(cut) for cut in cuts]
    return [Stretch(frozenset(numbers[bounds[i] + 1 : bounds[i + 1] + 1]), cuts[i], cuts[i + 1]) for i in range(count)]


def _edges(graph: JoinGraph) -> set[int]:
    """Nodes after which the net can be cut.

    No other value crosses the cut, no weights are on both sides, and the cut is not inside a block.
    """
    numbers = list(graph.g.nodes)
    place = {number: i for i, number in enumerate(numbers)}
    last = {node.module: place[i] for i, node in graph.items() if isinstance(node, Layer | Join)}
    edges: set[int] = set()
    values = weights = 0
    for i, number in enumerate(numbers[:-1]):
        node, following = graph[number], graph[numbers[i + 1]]
        if isinstance(node, Layer | Join):
            weights = max(weights, last[node.module] if node.module else 0)
            if (
                values <= i
                and weights <= i
                and isinstance(following, Layer | Join)
                and _apart(node.site, following.site)
            ):
                edges.add(number)
        values = max(values, *[place[c] for c in graph.consumers(number)])
    return edges


def _apart(a: Site, b: Site) -> bool:
    return (not a.block or a.block != b.block) and not {*a.regions} & {*b.regions}
