"""What a plan leaves of a net, as calls in order: nothing that was dropped is computed.

A walk back from the output, through live operands of joins only, marks what is needed. Values are given up
after their last use. Parts whose activations are recomputed in the backward pass are regions. For
``torch.compile``, layers that follow each other between joins are segments; those of one structure are compiled once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby
from types import FunctionType
from typing import Any, cast

from torch import Tensor, nn
from torch.utils import checkpoint

from fractal_dsl.base.errors import UserError
from fractal_dsl.graph.graph import Join, JoinGraph, Layer, Output
from fractal_dsl.plans.plan import FULL, Plan
from fractal_dsl.runtime.batchnorm import Routed
from fractal_dsl.runtime.joins import REDUCTIONS, join_concat
from fractal_dsl.runtime.layers import Gated
from fractal_dsl.runtime.slim import Slim, slim_pool, slim_relu

Values = dict[int, Tensor]


@dataclass(frozen=True, slots=True)
class Step:
    """One call: ``values[result] = call(*operands)``; then the values in ``free`` are not needed any more.

    Steps of one net with equal keys give equal values for equal inputs in eval mode, under whatever plan.
    """

    call: Callable[..., Tensor]
    operands: tuple[int, ...]
    result: int
    free: tuple[int, ...]
    key: int

    def run(self, values: Values) -> None:
        """Put the result among the values."""
        values[self.result] = self.call(*[values[o] for o in self.operands])
        for number in self.free:
            del values[number]


@dataclass(frozen=True, slots=True)
class Region:
    """Steps of which only the inputs are kept for the backward pass, which runs them again."""

    steps: tuple[Step, ...]
    operands: tuple[int, ...]
    results: tuple[int, ...]
    free: tuple[int, ...]
    holders: tuple[nn.Module, ...]  # the modules that have buffers

    def run(self, values: Values) -> None:
        """Put the results among the values."""
        given = [values[o] for o in self.operands]
        results = cast(Any, checkpoint).checkpoint(self._again, *given, use_reentrant=False, context_fn=self._contexts)
        for number in self.free:
            del values[number]
        values.update(zip(self.results, results, strict=True))

    def _contexts(self) -> tuple[Any, Any]:
        return nullcontext(), _Frozen(self.holders)

    def _again(self, *operands: Tensor) -> tuple[Tensor, ...]:
        inner = dict(zip(self.operands, operands, strict=True))
        for step in self.steps:
            inner[step.result] = step.call(*[inner[o] for o in step.operands])
        return tuple([inner[r] for r in self.results])


class _Frozen:
    """While it is entered, buffers are stood in for by copies: running statistics have counted the mini-batch already.

    The backward pass may enter it more than once.
    """

    def __init__(self, modules: Sequence[nn.Module]) -> None:
        self.modules = modules

    def __enter__(self) -> None:
        self.ours = [(m, name, buffer) for m in self.modules for name, buffer in m.named_buffers(recurse=False)]
        for module, name, buffer in self.ours:
            setattr(module, name, buffer.clone())

    def __exit__(self, *_: object) -> None:
        for module, name, buffer in self.ours:
            setattr(module, name, buffer)


class Scheduler:
    """Makes the schedules of one net.

    ``modules`` are by name. Regions are the parts marked ``@checkpoint`` and, with ``level``, the largest
    sub-fractals up to that level. ``compile`` is torch.compile with its options, if segments are to be compiled.
    """

    def __init__(
        self,
        graph: JoinGraph,
        modules: Mapping[str, nn.Module],
        level: int | None = None,
        compile: Callable[..., Callable[..., Tensor]] | None = None,
    ) -> None:
        self.graph, self.modules, self.compile = graph, modules, compile
        self.segments: dict[object, Callable[..., Tensor]] = {}
        self.numbers = list(graph.g.nodes)
        self.operands = {number: tuple(graph.operands(number)) for number in self.numbers}
        self.joins = [number for number, _ in graph.joins()]
        self.regions = {number: region for number in self.numbers if (region := _region(graph, number, level))}
        self.keys: dict[object, int] = {}
        self.columns: dict[Plan, list[Step | Region]] = {}
        self.slim_relus = {id(m): s for m in modules.values() if (s := slim_relu(m))}
        self.slim_pools = {id(m): s for m in modules.values() if (s := slim_pool(m))}
        self.newest: tuple[Plan, list[Step | Region]] | None = None

    def schedule(self, plan: Plan) -> list[Step | Region]:
        """The calls that a plan needs, in order. Those of columns, of the whole net and of the newest plan are kept."""
        if plan in self.columns:
            return self.columns[plan]
        fits = len(plan.live) == len(self.joins) and 0 <= plan.route <= max(1, len(self.graph.columns))
        for number, flags in zip(self.joins, plan.live, strict=False):
            fits = fits and any(flags) and len(flags) == len(self.operands[number])
        if not fits:
            raise UserError(f"the plan {plan.text()} is not one of net {self.graph.net}: draw it from the same net")
        if self.newest is not None and self.newest[0] == plan:
            return self.newest[1]
        found = self._found(plan)
        steps = self._grouped(found) if self.regions else list[Step | Region](found)
        self.newest = plan, steps
        if lasting(plan):
            self.columns[plan] = steps
        return steps

    def live(self, plan: Plan) -> set[nn.Module]:
        """The modules that a plan calls, and those inside them."""
        steps = [step for s in self.schedule(plan) for step in (s.steps if isinstance(s, Region) else (s,))]
        return {module for step in steps for module in _modules(step.call)}

    def _found(self, plan: Plan) -> list[Step]:
        steps = self._steps(plan)
        return self._slimmed(steps) if self.compile is None else self._fused(steps)

    def _slimmed(self, steps: list[Step]) -> list[Step]:
        """ReLU and max pooling keep less where what reads their results keeps nothing of them."""
        kept: dict[int, bool] = {}
        result: list[Step] = []
        for step in reversed(steps):
            call = self.slim_pools.get(id(step.call), step.call)
            if not kept.get(step.result, True):
                call = self.slim_relus.get(id(call), call)
            keeps = (
                kept.get(step.result, True) if call is same else not (isinstance(call, Slim | _Concat) or call in _SUMS)
            )
            for operand in step.operands:
                kept[operand] = kept.get(operand, False) or keeps
            result.append(replace(step, call=call))
        return result[::-1]

    def together(self, plans: Sequence[Plan]) -> tuple[list[Step], list[int]]:
        """The calls that several plans need, those of one key once, and where each plan's output is. Values have
        keys in place of numbers; that of the input is ``keys`` of its number.
        """
        start = self.graph.input[0]
        steps: dict[int, Step] = {}
        outputs: list[int] = []
        for plan in plans:
            at = {start: self._key(start)}
            for step in self._found(plan):
                read = tuple([at[o] for o in step.operands])
                at[step.result] = step.key
                if step.call is not same:
                    steps.setdefault(step.key, Step(step.call, read, step.key, (), step.key))
            outputs.append(at[self.graph.output[0]])
        seen = set(outputs)
        result: list[Step] = []
        for step in reversed(steps.values()):
            free = tuple({*step.operands} - seen)
            seen |= {*step.operands}
            result.append(Step(step.call, step.operands, step.result, free, step.key))
        return result[::-1], outputs

    def _steps(self, plan: Plan) -> list[Step]:
        live = dict(zip(self.joins, plan.live, strict=True))
        reads = dict(self.operands)
        for number, flags in live.items():
            reads[number] = tuple([o for o, on in zip(self.operands[number], flags, strict=True) if on])
        last: dict[int, int] = {}
        needed = {self.graph.output[0]}
        for number in reversed(self.numbers):
            if number in needed:
                for operand in reads[number]:
                    needed.add(operand)
                    last.setdefault(operand, number)
        free: dict[int, list[int]] = {}
        for operand, reader in last.items():
            free.setdefault(reader, []).append(operand)

        keys: dict[int, int] = {}
        steps: list[Step] = []
        for number in self.numbers:
            node = self.graph[number]
            if number not in needed or not isinstance(node, Layer | Join | Output):
                keys[number] = self._key(number)
                continue
            call, route = self._call(number, node, live.get(number), plan.route)
            read = reads[number]
            inner = tuple([keys[o] for o in read])
            keys[number] = inner[0] if call is same else self._key((number, route, live.get(number), inner))
            steps.append(Step(call, read, number, tuple(free.get(number, ())), keys[number]))
        return steps

    def _key(self, identity: object) -> int:
        return self.keys.setdefault(identity, len(self.keys))

    def _call(
        self, number: int, node: Layer | Join | Output, live: tuple[bool, ...] | None, route: int
    ) -> tuple[Callable[..., Tensor], int]:
        """What computes a node, and the route that it goes by; 0 where all routes are alike."""
        match node:
            case Output():
                return same, 0
            case Layer() if node.idle:
                return same, 0
            case Layer():
                module = self.modules[node.module]
                if route and isinstance(module, Routed) and module.has_route(route):
                    return partial(module, route=route), route
                return module, 0
            case Join() if node.spec.name == "concat":
                return _Concat(self.graph, number, node, live), 0
            case Join() if node.spec.torch is not None:
                return _live_part(self.modules[node.module], live), 0
            case Join():
                alone = live is not None and sum(live) == 1
                return same if alone else REDUCTIONS[node.spec.name], 0

    def _fused(self, steps: list[Step]) -> list[Step]:
        """Layers that follow each other as one compiled step each; regions are not crossed."""
        result: list[Step] = []
        chain: list[Step] = []
        for step in [*steps, None]:
            if chain and (step is None or step.operands != (chain[-1].result,) or not self._follows(chain[-1], step)):
                result += [self._segment(chain)] if any(map(self._is_layer, chain)) else chain
                chain = []
            if step is not None:
                chain.append(step)
        return result

    def _follows(self, first: Step, second: Step) -> bool:
        layers = all(step.call is same or self._is_layer(step) for step in (first, second))
        return layers and first.result in second.free and self._region(first) == self._region(second)

    def _is_layer(self, step: Step) -> bool:
        return step.call is not same and isinstance(self.graph[step.result], Layer)

    def _region(self, step: Step) -> tuple[int | None, int] | None:
        return self.regions.get(step.result)

    def _segment(self, chain: list[Step]) -> Step:
        """A chain as one call. Chains of one structure share their code, and so what is compiled of it."""
        assert self.compile is not None
        calls = [step.call for step in chain if step.call is not same]
        parts = [(call.func, call.keywords["route"]) if isinstance(call, partial) else (call, None) for call in calls]
        structure = tuple([(repr(module), route) for module, route in parts])
        if structure not in self.segments:
            name = f"segment_{len(self.segments) + 1}"
            code = run_layers.__code__.replace(co_name=name, co_qualname=name)  # Dynamo's cache goes by code
            self.segments[structure] = self.compile(FunctionType(code, run_layers.__globals__, name))
        free = tuple([f for step in chain for f in step.free if f not in {s.result for s in chain}])
        call = partial(self.segments[structure], tuple(parts))
        return Step(call, chain[0].operands, chain[-1].result, free, chain[-1].key)

    def _grouped(self, steps: list[Step]) -> list[Step | Region]:
        """Steps of one region as one: its nodes follow each other, for expansion goes depth first."""
        readers: dict[int, int] = {}
        for i, step in enumerate(steps):
            for operand in step.operands:
                readers[operand] = i
        result: list[Step | Region] = []
        done = 0
        for region, group in groupby(steps, self._region):
            part = list(group)
            done += len(part)
            inside = {step.result for step in part}
            if region is None or all(step.call is same for step in part):
                result += part
                continue
            operands = tuple(dict.fromkeys(o for step in part for o in step.operands if o not in inside))
            results = tuple([step.result for step in part if readers[step.result] >= done])
            free = tuple({f for step in part for f in step.free} - inside)
            holders = {
                id(m): m for step in part for m in _modules(step.call) if any(True for _ in m.buffers(recurse=False))
            }
            result.append(Region(tuple(part), operands, results, free, tuple(holders.values())))
        return result


def lasting(plan: Plan) -> bool:
    """Whether a plan comes again and again: a column's, or the whole net's."""
    return plan.route != FULL or all(map(all, plan.live))


def _region(graph: JoinGraph, number: int, level: int | None) -> tuple[int | None, int] | None:
    """The outermost region that a node is in."""
    node = graph[number]
    if not isinstance(node, Layer | Join):
        return None
    return next((r for r in node.site.regions if r[0] is None or (level is not None and r[0] <= level)), None)


def run_layers(layers: Sequence[tuple[nn.Module, int | None]], x: Tensor) -> Tensor:
    """Layers one after another, each with its route, if it goes by one."""
    for module, route in layers:
        x = module(x) if route is None else module(x, route=route)
    return x


_SUMS = {REDUCTIONS["sum"], REDUCTIONS["mean"]}


def _modules(call: Callable[..., Tensor]) -> list[nn.Module]:
    """All the modules of a call."""
    if isinstance(call, Slim):
        call = call.module
    if isinstance(call, partial):
        if call.args:
            return [m for module, _ in call.args[0] for m in module.modules()]
        call = call.func
    return list(call.modules()) if isinstance(call, nn.Module) else []


def same(x: Tensor) -> Tensor:
    """The operand itself."""
    return x


def _live_part(join: nn.Module, live: tuple[bool, ...] | None) -> Callable[..., Tensor]:
    """A join with weights, over what is live; one operand alone is handed on as it is."""
    if live is None or all(live):
        return join
    if sum(live) == 1:
        return same
    return partial(join, live=[i for i, on in enumerate(live) if on]) if isinstance(join, Gated) else join


class _Concat:
    """A concatenation in which dropped operands are zeros."""

    def __init__(self, graph: JoinGraph, number: int, node: Join, live: tuple[bool, ...] | None) -> None:
        dim = node.args["dim"]
        assert isinstance(dim, int)
        self.dim = dim if dim > 0 else dim + len(node.out.shape) + 1
        self.sizes = [graph[o].out.shape[self.dim - 1] for o in graph.operands(number)]
        self.live = live or (True,) * len(self.sizes)

    def __call__(self, *operands: Tensor) -> Tensor:
        given = iter(operands)
        like = operands[0]
        parts = [
            next(given) if on else like.new_zeros([*like.shape[: self.dim], size, *like.shape[self.dim + 1 :]])
            for on, size in zip(self.live, self.sizes, strict=True)
        ]
        return join_concat(parts, self.dim)
