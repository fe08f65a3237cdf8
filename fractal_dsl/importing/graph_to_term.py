"""A plain graph as a term: decomposition into series and parallel parts by dominators."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fractal_dsl.importing.plain import PlainGraph
from fractal_dsl.importing.refusal import Refusal
from fractal_dsl.importing.regions import Regions
from fractal_dsl.importing.terms import Bundle, Call, Chain, Merge, Term


def graph_to_term(graph: PlainGraph, shared: Mapping[int, str]) -> Chain:
    """The net as a term. ``shared`` names the steps whose weights other steps use, too. Raises Refusal for a graph that
    is not nested series and parallel."""
    return _Decomposition(graph, shared).between(0, graph.output)


class _Decomposition:
    def __init__(self, graph: PlainGraph, shared: Mapping[int, str]) -> None:
        self.graph, self.shared, self.regions = graph, shared, Regions(graph)

    def between(self, top: int, number: int) -> Chain:
        """The steps from a dominator, left out, to a step."""
        steps: list[Term] = []
        while number != top:
            above = self.regions.dominator[number]
            steps.append(self.local(above, number))
            number = above
        return Chain(tuple(reversed(steps)))

    def local(self, top: int, number: int) -> Term:
        """A step and all between it and its dominator."""
        step = self.graph.steps[number]
        if step.is_layer:
            if number in self.shared:
                return Call(self.shared[number], (), 1 << number)
            return Call(step.op, tuple(step.args.items()), 1 << number)
        branches = self.branches(top, number, step.inputs)
        return Merge(step.op, tuple(step.args.items()), tuple(branches), 1 << number)

    def branches(self, top: int, join: int, inputs: Sequence[int]) -> list[Chain]:
        """Operands of a join from a step that dominates them. Operands with steps in common are one branch, which ends
        in open columns."""
        result: list[Chain] = []
        for group in self.regions.groups(top, inputs):
            operands = [inputs[slot] for slot in group]
            if len(group) == 1:
                result.append(self.between(top, operands[0]))
                continue
            nearest = operands[0]
            for other in operands[1:]:
                nearest = self.regions.common(nearest, other)
            step = self.graph.steps[join]
            if nearest == top or step.op != "mean" or group[-1] - group[0] + 1 != len(group):
                raise Refusal("its branches share steps, so it is not nested series and parallel parts", step.place)
            columns = Bundle(tuple(self.branches(nearest, join, operands)))
            result.append(Chain((*self.between(top, nearest).steps, columns)))
        return result
