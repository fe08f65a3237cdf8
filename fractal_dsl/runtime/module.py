"""The network: a GraphModule that also runs under plans and extracts its columns."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, fx, nn
from torch.nn.modules.batchnorm import _BatchNorm as BatchNorm  # pyright: ignore[reportPrivateUsage]

from fractal_dsl.base.errors import UserError
from fractal_dsl.graph.graph import JoinGraph
from fractal_dsl.graph.lone_column import lone_column
from fractal_dsl.plans.plan import FULL, Plan
from fractal_dsl.plans.plan_on_graph import needed
from fractal_dsl.plans.space import PlanSpace, as_plan
from fractal_dsl.program.program import DropPath
from fractal_dsl.runtime.arguments import Inputs, forward_of, tensors_in
from fractal_dsl.runtime.batchnorm import Routed
from fractal_dsl.runtime.bound import Bound, Links, ModuleKind, copied, graph_signature, module_kind
from fractal_dsl.runtime.counted import Counted
from fractal_dsl.runtime.displayed import Displayed
from fractal_dsl.runtime.ended import Ended
from fractal_dsl.runtime.graph_to_fx import LARGE, graph_to_fx, module_tree, routes_apart
from fractal_dsl.runtime.instructions import Schedule
from fractal_dsl.runtime.partial_runs import Partial
from fractal_dsl.runtime.recording import recorder_of, warn_of_recording
from fractal_dsl.runtime.schedule import Scheduler, lasting, regions
from fractal_dsl.runtime.segments import Segments
from fractal_dsl.runtime.slim import own_hooks


class FractalModule(Counted, Displayed, Partial, Ended):
    """A compiled net.

    In eval mode, or without drop-path and ``@drop``, a call runs the whole graph. In train mode, each call draws a plan
    from ``(seed, step)``, increments ``step``, and computes only what the plan keeps (paper, section 3.1).
    """

    join_graph: JoinGraph
    seed: int

    def __init__(self, graph: JoinGraph, modules: Mapping[str, nn.Module], seed: int = 0) -> None:
        super().__init__(nn.Module(), fx.Graph(), class_name=graph.net)
        for name, child in module_tree(modules).named_children():
            self.add_module(name, child)
        self.graph = graph_to_fx(graph, modules)
        self._take(graph, {name: module_kind(module) for name, module in modules.items()}, seed, 0)
        if len(graph.inputs) > 1:
            cast(Any, type(self)).forward = forward_of(len(graph.inputs))
        if len(graph.g) <= LARGE and not any(p.is_meta for p in self.parameters()):
            self._generate()

    def _take(self, graph: JoinGraph, kinds: Mapping[str, ModuleKind], seed: int, step: int) -> None:
        self.join_graph, self.seed, self.step = graph, seed, step
        self._space = PlanSpace.of(graph)
        self._kinds = kinds
        self._elsewhere: dict[str, nn.Module] = {}
        self._edited = False
        self._level: int | None = None
        self._regions = regions(graph, None)
        self._segments: Segments | None = None
        self._bound: Bound | None = None
        self._schedules: Scheduler | None = None

    def modules_now(self, links: Links | None = None) -> Bound:
        """The current modules of the graph. The object stays the same until a module is replaced, among ``links`` if
        they are given.

        Raises UserError if a module is missing or the fx graph was edited, because plans follow the graph of the spec.
        """
        if self._edited:
            raise UserError(
                f"the fx graph of net {self.join_graph.net} was edited: its plans and columns, and training with "
                "drop-path, follow the graph of the spec. Change the spec instead, or run the edited graph alone, "
                "with `dense`, or in eval mode"
            )
        bound = self._bound
        if bound is None or not (links or bound.links).hold(self):
            self._bound = bound = Bound(self, self.join_graph, self._kinds, self._elsewhere)
            self._schedules = None
        return bound

    @property
    def _scheduler(self) -> Scheduler:
        return self._scheduler_of(self.modules_now())

    def _scheduler_of(self, bound: Bound) -> Scheduler:
        if self._schedules is None:
            self._schedules = Scheduler(self.join_graph, bound.modules, self._level, self._segments)
        return self._schedules

    # --- generated code

    _generated: Callable[[FractalModule, Tensor], Tensor] | None = None

    def recompile(self) -> Any:
        """Let fx generate the graph's code, which ``dense`` runs. Calls of the module depend on its mode."""
        if "join_graph" not in self.__dict__:  # under construction
            return None
        self._edited = graph_signature(self.graph) != graph_signature(graph_to_fx(self.join_graph, {}))
        return self._generate()

    def _generate(self) -> Any:
        code = super().recompile()
        cls = cast(Any, type(self))
        count = len(self.join_graph.inputs)
        cls._generated, cls.forward = cls.forward, FractalModule._forward if count == 1 else forward_of(count)
        return code

    @property
    def code(self) -> str:
        """The generated code of the whole graph."""
        if self._generated is None:
            self.recompile()
        return super().code

    def __str__(self) -> str:
        """The modules and the code."""
        return f"{nn.Module.__repr__(self)}\n\n{self.code}"

    def dense(self, *inputs: Tensor) -> Any:
        """Run the whole graph as generated code: [batch, …] to [batch, …]."""
        if self._generated is None:
            cast(Any, torch.compiler.disable)(self.recompile)()
        return cast(Any, self)._generated(*inputs)

    def __deepcopy__(self, memo: dict[int, Any]) -> FractalModule:
        memo |= {id(fact): fact for fact in (self.join_graph, self._kinds, self._elsewhere)}
        memo |= {id(cache): None for cache in (self._schedules, self._bound, self._segments)}
        twin = cast(FractalModule, super().__deepcopy__(memo))
        twin._take(self.join_graph, self._kinds, self.seed, self.step)
        twin._elsewhere |= self._elsewhere
        twin._level, twin._regions = self._level, self._regions
        if self._segments is not None:
            twin._segments = Segments(self.join_graph, self._segments.compile)
        twin.recompile()
        return twin

    def __reduce__(self) -> Any:
        raise UserError("a FractalModule cannot be pickled: use save_artifact, or save its state_dict")

    def forward(self, x: Tensor, plan: Plan | None = None) -> Tensor:
        """The output for a mini-batch, [batch, …] to [batch, …]. With a plan, the same as ``run``.

        A net with several inputs takes them in order, before the plan. One with several outputs returns a tuple.
        """
        return self._forward(x, plan)

    def _forward(self, x: Tensor, plan: Plan | None = None) -> Tensor:
        return self._answer((x,), plan)

    def _answer(self, inputs: tuple[Tensor, ...], plan: Plan | None) -> Any:
        if plan is not None:
            return self._run(inputs, plan)
        x = inputs[0]
        if self.training and self.draws:
            recorder = recorder_of(x)
            if recorder:
                warn_of_recording(recorder, self.join_graph.net)
            return self.dense(*inputs) if recorder == "torch.fx" else self._drawn(*inputs)
        if isinstance(x, fx.Proxy):
            return self.dense(*inputs)
        as_written = self._segments is None and not (self.training and self._regions)
        return self.dense(*inputs) if as_written else self._whole(*inputs)

    def _signature(self, x: Tensor) -> Tensor:
        """The signature for torch.fx, which makes each argument an input: a plan is not one."""
        return self(x)

    cast(Any, forward).__wrapped__ = cast(Any, _forward).__wrapped__ = _signature

    @cast(Any, torch.compiler.disable)
    def _whole(self, *inputs: Tensor) -> Any:
        return self._run(inputs, self.full_plan())

    @cast(Any, torch.compiler.disable)(reason="it draws a plan for each call: call `model.eval()` first")
    def _drawn(self, *inputs: Tensor) -> Any:
        """Run the next plan. ``torch.compile`` around the net skips this, because each plan is a different program.

        Without gradients, and with averaging batch norms (``momentum=None``), the caller is estimating statistics, as
        ``torch.optim.swa_utils.update_bn`` does. Then every route sees the mini-batch, and no plan is drawn.
        """
        if not torch.is_grad_enabled() and any(isinstance(m, BatchNorm) and m.momentum is None for m in self.modules()):
            columns = range(1, self.n_columns + 1) if routes_apart(self.join_graph) else ()
            return self.run_together(inputs, [self.full_plan(), *map(self.column_plan, columns)])[0]
        self.step += 1
        return self._run(inputs, self.plan(self.seed, self.step - 1))

    @property
    def graph(self) -> fx.Graph:
        """The whole net as an fx graph."""
        if "_space" in self.__dict__ and torch.compiler.is_exporting() and self.training and self.draws:
            # torch.export interprets the graph and does not call the module
            warn_of_recording("torch.export", self.join_graph.net)
        return self._graph

    @graph.setter
    def graph(self, g: fx.Graph) -> None:
        cast(Any, fx.GraphModule.graph).fset(self, g)

    def _run(self, inputs: tuple[Tensor, ...], plan: Plan) -> Any:
        return self._schedule(plan).answer(inputs)

    def _schedule(self, plan: Plan) -> Schedule:
        plan = as_plan(plan)
        known = self._schedules.lasting.get(plan) if self._schedules is not None else None
        bound = self.modules_now(known.links if known is not None else None)
        if plan.route != FULL or self.training:
            bound.check_routes()
        schedule = self._scheduler_of(bound).schedule(plan)
        if schedule.links is None and lasting(plan):
            schedule.links = bound.links_of(needed(self.join_graph, plan))
        return schedule

    # --- facts

    @property
    def drop_path(self) -> DropPath | None:
        """The net's drop-path, or None if it has none, or no join to drop operands of."""
        return self._space.drop_path

    @property
    def draws(self) -> bool:
        """Whether each training step draws a plan: the net has drop-path, or branches with ``@drop``."""
        return self._space.draws

    # --- plans

    def full_plan(self) -> Plan:
        """The plan under which everything is live."""
        return self._space.full()

    def column_plan(self, k: int) -> Plan:
        """The plan that runs column k alone. Raises UserError if there is no such column."""
        return self._space.column(k)

    def plan(self, seed: int, step: int) -> Plan:
        """The drop-path plan of a training step, a function of seed and step (paper, section 3.1)."""
        return self._space.drawn(seed, step)

    def plans(self, seed: int, step: int) -> list[Plan]:
        """All plans that a training step runs: the drawn one and, with ``columns=all``, each column."""
        return self._space.step(seed, step)

    def run(self, x: Inputs, plan: Plan) -> Tensor:
        """The output under a plan: [batch, …] to [batch, …]. Dropped paths are not computed. Several inputs are a
        tuple, and so are several outputs.

        Joins use only their live operands. A dropped operand of ``concat`` counts as zeros, and one of ``gated`` gets
        no weight. In a plan of the whole net with k of n operands live, ``sum`` and ``concat`` multiply by n / k, which
        keeps their expectation. If the plan drew branches of inline joins, ``sum``, ``mean`` and ``concat`` divide each
        live one by the probability that it is live, to the same end. Batch norms read, and in train mode update, the
        running statistics of the plan's route.

        Raises UserError for a plan of another net.
        """
        return cast(Tensor, self(*tensors_in(x), plan))

    def live(self, plan: Plan) -> set[nn.Module]:
        """The modules that run under a plan, including their submodules."""
        return self._scheduler.live(as_plan(plan))

    def run_together(self, x: Inputs, plans: Sequence[Plan]) -> list[Tensor]:
        """The outputs under several plans on one mini-batch. Shared work, before the first join, is done once.

        One backward pass may follow the sum of the losses, because the plans share their weights. If parts are
        recomputed, or the net itself has hooks, the plans run one after another.
        """
        plans = [*map(as_plan, plans)]
        if (self._regions and torch.is_grad_enabled()) or own_hooks(self):
            return [self.run(x, plan) for plan in plans]
        if self.training or any(plan.route != FULL for plan in plans):
            self.modules_now().check_routes()
        instructions, begin, outputs = self._scheduler.together(plans)
        values = dict(zip(begin, tensors_in(x), strict=True))
        for instruction in instructions:
            instruction.run(values)
        return [values[key] for key in outputs]

    # --- how it runs

    def checkpoint(self, level: int | None) -> None:
        """Recompute sub-fractals up to a level in the backward pass, which takes time and saves memory.

        Parts marked ``@checkpoint`` are always recomputed; with None, no others. Raises UserError for a level below 0.
        """
        if level is not None and level < 0:
            raise UserError(f"levels count from 0, found {level}")
        self._level, self._regions, self._schedules = level, regions(self.join_graph, level), None

    def compile(self, *args: Any, **kwargs: Any) -> None:
        """Compile the layers between two joins as one function each, with the arguments of ``torch.compile``.

        Each structure and shape is compiled once. A column is a single function.
        """
        self._segments = Segments(self.join_graph, cast(Any, partial(torch.compile, *args, **kwargs)))
        self._schedules = None

    # --- columns

    def column(self, k: int) -> fx.GraphModule:
        """Column k as a GraphModule that shares this net's current modules and uses the statistics of its route.

        Raises UserError if there is no such column.
        """
        graph, modules = self._column(k)
        column = fx.GraphModule(module_tree(modules), graph_to_fx(graph, modules, route=k), class_name=graph.net)
        column.training = self.training  # its modules keep their modes
        return column

    def extract(self, k: int) -> FractalModule:
        """Column k as a plain network: copies of its modules, with ordinary batch norms.

        Raises UserError if there is no such column.
        """
        graph, modules = self._column(k)
        modules = copied(modules)
        for module in modules.values():
            if isinstance(module, Routed):
                module.keep_route(k)
        extracted = FractalModule(graph, modules, self.seed)
        extracted.training = self.training
        return extracted

    def _column(self, k: int) -> tuple[JoinGraph, dict[str, nn.Module]]:
        """The graph of a column, and this net's modules for it."""
        graph, bound = lone_column(self.join_graph, k), self.modules_now()
        bound.check_routes()
        return graph, bound.modules_of(graph)
