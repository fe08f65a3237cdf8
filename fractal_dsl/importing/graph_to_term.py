"""A plain graph as a term: decomposition into series and parallel parts by dominators."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from fractal_dsl.importing.plain import INPUT, INPUTS, OUTPUTS, PlainGraph
from fractal_dsl.importing.regions import Regions
from fractal_dsl.importing.terms import Bundle, Call, Chain, Merge, Term, Value, Where, chain_of


def graph_to_term(graph: PlainGraph, shared: Mapping[int, str], closed: int = 0) -> Chain:
    """The net as a term. ``shared`` names the steps whose weights other steps use, too.

    The columns of a mean stay open, for a rule to be found, unless the mean is in the bit set ``closed``.
    Where parts are not nested series and parallel, ``where`` names the steps that several others read. The inputs of a
    net with several have their names in its whole body, so the values that read some of them are bound there."""
    net = _Decomposition(graph, shared, closed)
    if graph.steps[0].op == INPUTS and any(top == 0 for top, _ in net.values):
        return chain_of(net.where(0, graph.output))
    return net.between(0, graph.output)


class _Decomposition:
    def __init__(self, graph: PlainGraph, shared: Mapping[int, str], closed: int) -> None:
        self.graph, self.shared, self.closed, self.regions = graph, shared, closed, Regions(graph)
        self.values = _values(graph, self.regions)

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
        if step.op == INPUT:
            return Value(str(step.args["name"]))
        if step.is_layer:
            return self.layer(number)
        if (top, number) in self.values and not self._bundles(top, number):
            return self.where(top, number)
        return self.merge(number, self.branches(top, number, step.inputs))

    def layer(self, number: int) -> Call:
        """A layer, or the block that all steps with its weights share."""
        step = self.graph.steps[number]
        if number in self.shared:
            return Call(self.shared[number], (), 1 << number)
        return Call(step.op, tuple(step.args.items()), 1 << number)

    def merge(self, number: int, branches: Sequence[Chain]) -> Merge:
        """A join of branches."""
        step = self.graph.steps[number]
        args = () if step.op == OUTPUTS else tuple(step.args.items())
        return Merge(step.op, args, tuple(branches), 1 << number)

    def branches(self, top: int, join: int, inputs: Sequence[int]) -> list[Chain]:
        """Operands of a join from a step that dominates them. Operands with steps in common are one branch, which ends
        in open columns."""
        result: list[Chain] = []
        for group in self.regions.groups(top, inputs):
            operands = [inputs[slot] for slot in group]
            if len(group) == 1:
                result.append(self.between(top, operands[0]))
                continue
            nearest = self._nearest(operands)
            columns = Bundle(tuple(self.branches(nearest, join, operands)))
            result.append(Chain((*self.between(top, nearest).steps, columns)))
        return result

    def _nearest(self, operands: Sequence[int]) -> int:
        nearest = operands[0]
        for other in operands[1:]:
            nearest = self.regions.common(nearest, other)
        return nearest

    def _bundles(self, top: int, join: int) -> bool:
        """Whether a mean reads columns that are open, as a rule builds them."""
        mean = self.graph.steps[join].op == "mean" and not self.closed >> join & 1
        return mean and self._open(top, self.graph.steps[join].inputs)

    def _open(self, top: int, inputs: Sequence[int]) -> bool:
        for group in self.regions.groups(top, inputs):
            operands = [inputs[slot] for slot in group]
            if len(group) > 1:
                nearest = self._nearest(operands)
                contiguous = group[-1] - group[0] + 1 == len(group)
                if nearest == top or not contiguous or not self._open(nearest, operands):
                    return False
        return True

    def where(self, top: int, number: int) -> Where | Chain:
        """A join whose branches have steps in common, which get names."""
        named = sorted(self._named(top, number))
        names = dict(zip(named, _names(len(named), [name for name, _ in self.graph.inputs()]), strict=True))
        values = tuple([self.expression(top, value, names, value) for value in named])
        body = self.expression(top, number, names, number)
        return Where(body, tuple(names.values()), values) if named else body

    def _named(self, top: int, number: int) -> set[int]:
        """The steps of a part that need names: its own, and those of the parts inside that read some of them."""
        inside = self.regions.within(top, number)
        parts = {part: values for part, values in self.values.items() if inside >> part[1] & 1}
        own = {part: values for part, values in parts.items() if part[0] == top}
        bare = [values for part, values in own.items() if part[1] == number or not self._bundles(*part)]
        result = {value for values in bare for value in values}
        count = -1
        while len(result) != count:
            count = len(result)
            for (first, end), values in parts.items():
                within = self.regions.within(first, end) & ~(1 << end)
                if (first == top or inside >> first & 1) and any(within >> value & 1 for value in result):
                    result.update(values)
        return result

    def expression(self, top: int, number: int, names: Mapping[int, str], this: int) -> Chain:
        """A step as a block on the input of the body at hand, by the values that it mentions."""
        steps: list[Term] = []
        while number != top:
            if number in names and number != this:
                steps.append(Value(names[number]))
                break
            step, above = self.graph.steps[number], self.regions.dominator[number]
            if step.op == INPUT:
                steps.append(self.local(above, number))
                break
            inside = self.regions.within(above, number) & ~(1 << number)
            if step.is_layer:
                steps.append(self.layer(number))
                number = step.inputs[0]
            elif not any(inside >> value & 1 for value in names):
                steps.append(self.local(above, number))
                number = above
            else:
                steps.append(self.merge(number, [self.expression(top, i, names, this) for i in step.inputs]))
                break
        return Chain(tuple(reversed(steps)))


def _names(count: int, taken: Sequence[str]) -> list[str]:
    """Names for values: letters, or numbered if there are many."""
    letters = [letter for letter in "abcefgh" if letter not in taken]  # d, n and w are variables of loops
    if count <= len(letters):
        return letters[:count]
    numbered = [f"v{i + 1}" for i in range(count + len(taken))]
    return [name for name in numbered if name not in taken][:count]


def _values(graph: PlainGraph, regions: Regions) -> dict[tuple[int, int], list[int]]:
    """The steps that need a name, by the dominator and the join of the smallest part around them.

    A step that is read several times, perhaps by one join, needs none if all paths from it meet again in a join that it
    dominates.
    """
    after, readers = regions.postdominators(), graph.consumers()
    result: dict[tuple[int, int], list[int]] = defaultdict(list)
    for number in range(1, len(graph.steps)):
        shared = len(readers[number]) > 1 and regions.dominator[after[number]] != number
        if not shared or graph.steps[number].op == INPUT:
            continue
        end = after[number]
        while not (regions.above[number] >> regions.dominator[end] & 1 and _dominates(regions, end, number)):
            end = after[end]
        result[regions.dominator[end], end].append(number)
    return result


def _dominates(regions: Regions, end: int, number: int) -> bool:
    """Whether the dominator of a step is a strict dominator of another step."""
    top = regions.dominator[end]
    return top != number and regions.common(top, number) == top
