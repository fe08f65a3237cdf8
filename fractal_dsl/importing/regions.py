"""Dominators of a plain graph, and the regions between a step and its dominator."""

from __future__ import annotations

from collections.abc import Sequence

from fractal_dsl.importing.plain import INPUT, OUTPUTS, PlainGraph


class Regions:
    """Dominators, by Cooper, Harvey and Kennedy, *A simple, fast dominance algorithm*, 2001; one pass is
    enough without cycles.

    ``dominator[n]`` is the last step before step n that every path to n passes; that of several outputs is step 0,
    because they are the net's and of no part of it. ``above[n]`` is the bit set of step n and all before it."""

    def __init__(self, graph: PlainGraph) -> None:
        self.graph = graph
        self.inputs = sum(1 << n for n, step in enumerate(graph.steps) if step.op == INPUT)
        self.dominator = [0] * len(graph.steps)
        self.depth = [0] * len(graph.steps)
        self.above = [1] * len(graph.steps)
        for number, step in enumerate(graph.steps):
            if number == 0:
                continue
            nearest = step.inputs[0]
            for other in step.inputs[1:]:
                nearest = self.common(nearest, other)
            nearest = 0 if step.op == OUTPUTS else nearest
            self.dominator[number] = nearest
            self.depth[number] = self.depth[nearest] + 1
            for source in step.inputs:
                self.above[number] |= self.above[source]
            self.above[number] |= 1 << number

    def postdominators(self) -> list[int]:
        """For each step, the first step that every path from it to the output passes; the output's is itself."""
        readers = self.graph.consumers()
        result = list(range(len(readers)))
        depth = [0] * len(readers)
        for number in reversed(range(len(readers))):
            nearest: int | None = None
            for other in readers[number]:
                nearest = other if nearest is None else nearest
                while nearest != other:
                    if depth[nearest] >= depth[other]:
                        nearest = result[nearest]
                    else:
                        other = result[other]
            if nearest is not None:
                result[number], depth[number] = nearest, depth[nearest] + 1
        return result

    def common(self, a: int, b: int) -> int:
        """The nearest step that dominates both, which may be one of them."""
        while a != b:
            if self.depth[a] >= self.depth[b]:
                a = self.dominator[a]
            else:
                b = self.dominator[b]
        return a

    def within(self, top: int, number: int) -> int:
        """The bit set of the steps between a dominator, left out, and a step. Inputs have names and do not count."""
        return self.above[number] & ~self.above[top] & ~self.inputs

    def groups(self, top: int, operands: Sequence[int]) -> list[list[int]]:
        """Operands below a step that dominates them, by position, in groups that have steps in common."""
        groups: list[tuple[int, list[int]]] = []
        for slot, operand in enumerate(operands):
            region, slots = self.within(top, operand), [slot]
            rest: list[tuple[int, list[int]]] = []
            for other, members in groups:
                if other & region:
                    region, slots = region | other, members + slots
                else:
                    rest.append((other, members))
            groups = [*rest, (region, sorted(slots))]
        return sorted([slots for _, slots in groups])
