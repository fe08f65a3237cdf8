"""Places the steps that no input reaches, such as learned tensors, where they are read."""

from __future__ import annotations

from fractal_dsl.importing.plain import INPUTS, PlainGraph, Step
from fractal_dsl.importing.regions import Regions

_SOURCES = ("parameter", "distances", "window_mask")


def attached(graph: PlainGraph) -> PlainGraph:
    """Sources read the last step before all that they reach, so that they are branches of the join that reads them; if
    there is none, the first of several inputs.

    ``attend(q, k, v, parameter >> …)`` is then a block of one input, wherever the source stood before."""
    apart = _apart(graph)
    if not apart:
        return graph
    joined = [
        Step(s.op, s.args, tuple([i for i in s.inputs if i not in apart]) if n not in apart else (0,), s.out)
        for n, s in enumerate(graph.steps)
    ]
    regions, tops = Regions(PlainGraph(tuple(joined), graph.output)), dict[int, int]()
    for number in range(len(graph.steps) - 1, 0, -1):
        step = graph.steps[number]
        for source in apart.intersection(step.inputs):
            top = tops.get(number, 0) if number in apart else regions.dominator[number]
            tops[source] = regions.common(tops[source], top) if source in tops else top
    start = 1 if graph.steps[0].op == INPUTS else 0
    steps = [
        Step(s.op, s.args, (tops.get(n, 0) or start,), s.out, s.place, s.tensors) if s.op in _SOURCES else s
        for n, s in enumerate(graph.steps)
    ]
    return PlainGraph(tuple(steps), graph.output).live()


def _apart(graph: PlainGraph) -> set[int]:
    """The steps that depend on sources only."""
    result: set[int] = set()
    for number, step in enumerate(graph.steps):
        if step.op in _SOURCES or (step.inputs and result.issuperset(step.inputs)):
            result.add(number)
    return result
