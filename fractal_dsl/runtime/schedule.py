"""The schedule of a plan: the calls to make, in order. Dropped paths are not computed.

A backward walk from the output, through live operands of joins only, marks the nodes that are needed. Values are freed
after their last use. Parts whose activations the backward pass recomputes are regions.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

from msgspec.structs import replace
from torch import nn

from fractal_dsl.graph.graph import Join, JoinGraph, Layer
from fractal_dsl.plans.plan import FULL, Plan
from fractal_dsl.plans.space import PlanSpace
from fractal_dsl.runtime.calls import call_of, keeps_nothing
from fractal_dsl.runtime.instructions import Instruction, RecomputedRegion, Schedule, flat, modules_of, unchanged
from fractal_dsl.runtime.norm_counts import norm_call
from fractal_dsl.runtime.own_layout import OwnLayout, small_images
from fractal_dsl.runtime.segments import Segments
from fractal_dsl.runtime.slim import PooledRelu, Slim, lone_pool, slim_pool, slim_relu

RegionKey = tuple[int | None, int]
_Keys = dict[object, int]


class Scheduler:
    """Makes the schedules of one net.

    ``modules`` maps names to modules. Regions are the parts marked ``@checkpoint`` and, with ``level``, the largest
    sub-fractals up to that level. ``segments`` compiles the layers between joins. The cache does not grow with the
    number of plans: it holds the schedules of a few recurring plans, and the newest one.
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
        self.begin, self.end = [number for number, _ in graph.inputs], graph.output[0]  # which search the graph
        self.operands = {number: tuple(graph.operands(number)) for number in self.numbers}
        self.readers = Counter([o for operands in self.operands.values() for o in operands])
        self.joins = [number for number, _ in graph.joins()]
        self.dropping = [number for number, _ in graph.dropping()]
        self.regions = regions(graph, level)
        self.lasting: dict[Plan, Schedule] = {}
        self.slim_relus = {id(m): s for m in modules.values() if (s := slim_relu(m))}
        self.slim_pools = {id(m): s for m in modules.values() if (s := slim_pool(m))}
        self.lone_pools = {id(m): s for m in modules.values() if (s := lone_pool(m))}
        self.small = {id(modules[name]): OwnLayout(modules[name]) for name in small_images(graph, modules)}
        self.norms = {id(m): n for m in modules.values() if (n := norm_call(m))}
        self.newest: tuple[Plan, Schedule] | None = None
        self.inputs = {number for number, _ in graph.inputs}
        self.calls: dict[tuple[int, int], tuple[Any, int]] = {}

    def schedule(self, plan: Plan) -> Schedule:
        """The calls that a plan needs, in order. Raises UserError for a plan of another net."""
        if plan in self.lasting:
            return self.lasting[plan]
        if self.newest is not None and self.newest[0] == plan:
            return self.newest[1]
        single = [i.calling(self.norms.get(id(i.call), i.call)) for i in self._checked(plan, None)]
        instructions = Schedule(self._grouped(single) if self.regions else single, self.begin, self.end)
        self.newest = plan, instructions
        if lasting(plan):
            if len(self.lasting) > len(
                self.graph.columns
            ):  # each column and the whole net, not other plans with a route
                self.lasting.pop(next(iter(self.lasting)))
            self.lasting[plan] = instructions
        return instructions

    def keyed(self, plans: Sequence[Plan]) -> list[list[Instruction]]:
        """The calls of each plan. Calls with equal keys give equal values, under any of the plans."""
        keys: _Keys = {}
        return [self._checked(plan, keys) for plan in plans]

    def live(self, plan: Plan) -> set[nn.Module]:
        """The modules that a plan calls, including their submodules."""
        return {module for instruction in flat(self.schedule(plan)) for module in modules_of(instruction.call)}

    def together(self, plans: Sequence[Plan]) -> tuple[list[Instruction], list[int], list[int]]:
        """The calls of several plans, one for each key, with the keys of the inputs and of each plan's output."""
        begin = {number: -1 - i for i, (number, _) in enumerate(self.graph.inputs)}
        instructions: dict[int, Instruction] = {}
        outputs: list[int] = []
        for schedule in self.keyed(plans):
            at = dict(begin)
            for instruction in schedule:
                read = tuple([at[o] for o in instruction.operands])
                at[instruction.result] = read[0] if instruction.call is unchanged else instruction.key
                if instruction.call is not unchanged:
                    instructions.setdefault(
                        instruction.key, Instruction(instruction.call, read, instruction.key, (), instruction.key)
                    )
            outputs.append(at[self.end])
        seen = set(outputs)
        result: list[Instruction] = []
        for instruction in reversed(instructions.values()):
            free = tuple({*instruction.operands} - seen)
            seen |= {*instruction.operands}
            result.append(replace(instruction, free=free))
        return result[::-1], [*begin.values()], outputs

    def _checked(self, plan: Plan, keys: _Keys | None) -> list[Instruction]:
        self.space.check(plan)
        instructions = self._instructions(plan, keys)
        if self.segments is None:
            return self._slimmed(instructions, self.slim_pools if plan.route == FULL else self.lone_pools)
        return self.segments.fused(
            instructions, lambda instruction: self.regions.get(instruction.result), lasting(plan)
        )

    def _instructions(self, plan: Plan, keys: _Keys | None) -> list[Instruction]:
        """One call for each node. With ``keys``, identical calls on values with equal keys share a key."""
        live = dict(zip(self.joins, plan.live, strict=True))
        if plan.branches:
            live |= zip(self.dropping, plan.branches, strict=True)
        reads = dict(self.operands)
        for number, flags in live.items():
            reads[number] = tuple([o for o, on in zip(self.operands[number], flags, strict=True) if on])
        needed = self.graph.needed(reads)
        last = {operand: number for number in self.numbers if number in needed for operand in reads[number]}
        free: dict[int, list[int]] = {}
        for operand, reader in last.items():
            free.setdefault(reader, []).append(operand)

        key_of = {number: -1 - i for i, (number, _) in enumerate(self.graph.inputs)}
        instructions: list[Instruction] = []
        for number in self.numbers:
            if number not in needed or number in self.inputs:
                continue
            call, variant = self._call(number, live.get(number), plan.route)
            read = reads[number]
            key = number
            if keys is not None:
                inner = tuple([key_of[o] for o in read])
                identity = (number, variant, live.get(number), inner)
                key = inner[0] if call is unchanged else keys.setdefault(identity, len(keys))
                key_of[number] = key
            instructions.append(Instruction(call, read, number, tuple(free.get(number, ())), key))
        return instructions

    def _call(self, number: int, live: tuple[bool, ...] | None, route: int) -> tuple[Any, int]:
        """The call of a node, and its variant. Those of nodes that plans do not decide on are made once."""
        if live is not None:
            return call_of(self.graph, self.modules, number, live, route)
        if (number, route) not in self.calls:
            self.calls[number, route] = call_of(self.graph, self.modules, number, None, route)
        return self.calls[number, route]

    def _slimmed(self, instructions: list[Instruction], pools: Mapping[int, Slim]) -> list[Instruction]:
        """Let ReLU and max pooling save less if the readers of their results save nothing. Let convolutions of small
        images run in the layout of their weights."""
        kept: dict[int, bool] = {}
        result: list[Instruction] = []
        for instruction in reversed(self._pools_first(instructions, pools)):
            call = pools.get(id(instruction.call), instruction.call)
            if not kept.get(instruction.result, True):
                call = call.slim() if isinstance(call, PooledRelu) else self.slim_relus.get(id(call), call)
            keeps = kept.get(instruction.result, True) if call is unchanged else not keeps_nothing(call)
            for operand in instruction.operands:
                kept[operand] = keeps or kept.get(operand, False)
            result.append(instruction.calling(self.small.get(id(call), call)))
        return result[::-1]

    def _pools_first(self, instructions: list[Instruction], pools: Mapping[int, Slim]) -> list[Instruction]:
        """Let a max pooling that alone reads a ReLU, in all plans, run before it."""
        result = list(instructions)
        pooling = [(i, pool) for i, instruction in enumerate(instructions) if (pool := pools.get(id(instruction.call)))]
        places = {instruction.result: i for i, instruction in enumerate(instructions)} if pooling else {}
        for i, pool in pooling:
            instruction = instructions[i]
            place = places.get(instruction.operands[0])
            if place is None or self.readers[instruction.operands[0]] > 1:
                continue
            before = instructions[place]
            relu = self.slim_relus.get(id(before.call))
            if relu is not None and self.regions.get(before.result) == self.regions.get(instruction.result):
                result[place] = before.calling(unchanged)
                result[i] = instruction.calling(PooledRelu(relu, pool))
        return result

    def _grouped(self, instructions: list[Instruction]) -> list[Instruction | RecomputedRegion]:
        """Merge the instructions of each region. Its nodes are consecutive, because expansion is depth first."""
        readers: dict[int, int] = {}
        for i, instruction in enumerate(instructions):
            for operand in instruction.operands:
                readers[operand] = i
        result: list[Instruction | RecomputedRegion] = []
        done = 0
        for region, group in groupby(instructions, lambda instruction: self.regions.get(instruction.result)):
            part = list(group)
            done += len(part)
            inside = {instruction.result for instruction in part}
            if region is None or all(instruction.call is unchanged for instruction in part):
                result += part
                continue
            operands = tuple(dict.fromkeys(o for instruction in part for o in instruction.operands if o not in inside))
            results = tuple([instruction.result for instruction in part if readers[instruction.result] >= done])
            free = tuple({f for instruction in part for f in instruction.free} - inside)
            result.append(RecomputedRegion(tuple(part), operands, results, free))
        return result


def lasting(plan: Plan) -> bool:
    """Whether a plan recurs: it runs a column or the whole net, and drew no branches of inline joins."""
    return not plan.branches and (plan.route != FULL or all(map(all, plan.live)))


def regions(graph: JoinGraph, level: int | None) -> dict[int, RegionKey]:
    """The outermost region of each node that lies in one."""
    return {number: region for number in graph.g.nodes if (region := _region(graph, number, level))}


def _region(graph: JoinGraph, number: int, level: int | None) -> RegionKey | None:
    node = graph[number]
    if not isinstance(node, Layer | Join):
        return None
    return next((r for r in node.site.regions if r[0] is None or (level is not None and r[0] <= level)), None)
