"""What a plan leaves of a net, as calls in order: nothing that was dropped is computed.

A walk back from the output, through live operands of joins only, marks what is needed. Values are given up
after their last use. Parts whose activations are recomputed in the backward pass are regions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import groupby

from torch import nn

from fractal_dsl.graph.graph import Join, JoinGraph, Layer, Output
from fractal_dsl.plans.plan import FULL, Plan
from fractal_dsl.plans.space import PlanSpace
from fractal_dsl.runtime.calls import SUMS, Concat, call_of
from fractal_dsl.runtime.segments import Segments
from fractal_dsl.runtime.slim import Slim, slim_pool, slim_relu
from fractal_dsl.runtime.steps import Region, Step, flat, modules_of, same

RegionKey = tuple[int | None, int]
_Keys = dict[object, int]


class Scheduler:
    """Makes the schedules of one net.

    ``modules`` are by name. Regions are the parts marked ``@checkpoint`` and, with ``level``, the largest
    sub-fractals up to that level. ``segments`` compiles layers between joins. What is kept does not grow with the
    number of plans: the schedules of a few plans that come again, and the newest.
    """

    def __init__(
        self,
        graph: JoinGraph,
        modules: Mapping[str, nn.Module],
        level: int | None = None,
        segments: Segments | None = None,
    ) -> None:
        self.graph, self.modules, self.segments = graph, modules, segments
        self.space = PlanSpace.of(graph)
        self.numbers = list(graph.g.nodes)
        self.operands = {number: tuple(graph.operands(number)) for number in self.numbers}
        self.joins = [number for number, _ in graph.joins()]
        self.regions = regions(graph, level)
        self.lasting: dict[Plan, list[Step | Region]] = {}
        self.slim_relus = {id(m): s for m in modules.values() if (s := slim_relu(m))}
        self.slim_pools = {id(m): s for m in modules.values() if (s := slim_pool(m))}
        self.newest: tuple[Plan, list[Step | Region]] | None = None

    def schedule(self, plan: Plan) -> list[Step | Region]:
        """The calls that a plan needs, in order. Raises UserError for the plan of another net."""
        if plan in self.lasting:
            return self.lasting[plan]
        if self.newest is not None and self.newest[0] == plan:
            return self.newest[1]
        found = self._found(plan, None)
        steps = self._grouped(found) if self.regions else list[Step | Region](found)
        self.newest = plan, steps
        if lasting(plan):
            if len(self.lasting) > len(self.graph.columns):  # each column and the whole net; not what else has a route
                self.lasting.pop(next(iter(self.lasting)))
            self.lasting[plan] = steps
        return steps

    def keyed(self, plans: Sequence[Plan]) -> list[list[Step]]:
        """The calls that each of several plans needs. Equal keys mean equal values, under whichever of the plans."""
        keys: _Keys = {}
        return [self._found(plan, keys) for plan in plans]

    def live(self, plan: Plan) -> set[nn.Module]:
        """The modules that a plan calls, and those inside them."""
        return {module for step in flat(self.schedule(plan)) for module in modules_of(step.call)}

    def together(self, plans: Sequence[Plan]) -> tuple[list[Step], int, list[int]]:
        """The calls that several plans need, those of one key once; where the input is to be, and each plan's output.

        Values have keys in place of numbers.
        """
        start = self.graph.input[0]
        begin = -1
        steps: dict[int, Step] = {}
        outputs: list[int] = []
        for found in self.keyed(plans):
            at = {start: begin}
            for step in found:
                read = tuple([at[o] for o in step.operands])
                at[step.result] = read[0] if step.call is same else step.key
                if step.call is not same:
                    steps.setdefault(step.key, Step(step.call, read, step.key, (), step.key))
            outputs.append(at[self.graph.output[0]])
        seen = set(outputs)
        result: list[Step] = []
        for step in reversed(steps.values()):
            free = tuple({*step.operands} - seen)
            seen |= {*step.operands}
            result.append(replace(step, free=free))
        return result[::-1], begin, outputs

    def _found(self, plan: Plan, keys: _Keys | None) -> list[Step]:
        self.space.check(plan)
        steps = self._steps(plan, keys)
        if self.segments is None:
            return self._slimmed(steps)
        return self.segments.fused(steps, lambda step: self.regions.get(step.result), lasting(plan))

    def _steps(self, plan: Plan, keys: _Keys | None) -> list[Step]:
        """The calls, one a node. With ``keys``, calls of one identity on values of equal keys have one key."""
        live = dict(zip(self.joins, plan.live, strict=True))
        reads = dict(self.operands)
        for number, flags in live.items():
            reads[number] = tuple([o for o, on in zip(self.operands[number], flags, strict=True) if on])
        needed = self.graph.needed(reads)
        last = {operand: number for number in self.numbers if number in needed for operand in reads[number]}
        free: dict[int, list[int]] = {}
        for operand, reader in last.items():
            free.setdefault(reader, []).append(operand)

        key_of = {self.graph.input[0]: -1}
        steps: list[Step] = []
        for number in self.numbers:
            if number not in needed or not isinstance(self.graph[number], Layer | Join | Output):
                continue
            call, route = call_of(self.graph, self.modules, number, live.get(number), plan.route)
            read = reads[number]
            key = number
            if keys is not None:
                inner = tuple([key_of[o] for o in read])
                identity = (number, route, live.get(number), inner)
                key = inner[0] if call is same else keys.setdefault(identity, len(keys))
                key_of[number] = key
            steps.append(Step(call, read, number, tuple(free.get(number, ())), key))
        return steps

    def _slimmed(self, steps: list[Step]) -> list[Step]:
        """ReLU and max pooling keep less where what reads their results keeps nothing of them."""
        kept: dict[int, bool] = {}
        result: list[Step] = []
        for step in reversed(steps):
            call = self.slim_pools.get(id(step.call), step.call)
            if not kept.get(step.result, True):
                call = self.slim_relus.get(id(call), call)
            keeps = (
                kept.get(step.result, True) if call is same else not (isinstance(call, Slim | Concat) or call in SUMS)
            )
            for operand in step.operands:
                kept[operand] = kept.get(operand, False) or keeps
            result.append(replace(step, call=call))
        return result[::-1]

    def _grouped(self, steps: list[Step]) -> list[Step | Region]:
        """Steps of one region as one: its nodes follow each other, for expansion goes depth first."""
        readers: dict[int, int] = {}
        for i, step in enumerate(steps):
            for operand in step.operands:
                readers[operand] = i
        result: list[Step | Region] = []
        done = 0
        for region, group in groupby(steps, lambda step: self.regions.get(step.result)):
            part = list(group)
            done += len(part)
            inside = {step.result for step in part}
            if region is None or all(step.call is same for step in part):
                result += part
                continue
            operands = tuple(dict.fromkeys(o for step in part for o in step.operands if o not in inside))
            results = tuple([step.result for step in part if readers[step.result] >= done])
            free = tuple({f for step in part for f in step.free} - inside)
            result.append(Region(tuple(part), operands, results, free))
        return result


def lasting(plan: Plan) -> bool:
    """Whether a plan comes again and again: a column's, or the whole net's."""
    return plan.route != FULL or all(map(all, plan.live))


def regions(graph: JoinGraph, level: int | None) -> dict[int, RegionKey]:
    """The outermost region of each node that is in one."""
    return {number: region for number in graph.g.nodes if (region := _region(graph, number, level))}


def _region(graph: JoinGraph, number: int, level: int | None) -> RegionKey | None:
    node = graph[number]
    if not isinstance(node, Layer | Join):
        return None
    return next((r for r in node.site.regions if r[0] is None or (level is not None and r[0] <= level)), None)
