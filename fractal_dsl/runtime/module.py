"""The network as users hold it: a GraphModule that also runs under plans and hands out its columns."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, fx, nn
from torch.nn.modules.batchnorm import _BatchNorm as BatchNorm  # pyright: ignore[reportPrivateUsage]

from fractal_dsl import ops
from fractal_dsl.base.errors import UserError
from fractal_dsl.graph.graph import Join, JoinGraph, Layer
from fractal_dsl.graph.lone_column import lone_column
from fractal_dsl.plans.plan import FULL, Plan
from fractal_dsl.plans.space import PlanSpace
from fractal_dsl.program.program import DropPath
from fractal_dsl.runtime.batchnorm import Routed
from fractal_dsl.runtime.bound import Bound, Kind, copied, kind_of, signature
from fractal_dsl.runtime.counted import Counted
from fractal_dsl.runtime.graph_to_fx import graph_to_fx, make_module, module_tree, routes_apart
from fractal_dsl.runtime.recording import recorder_of, warn_of_recording
from fractal_dsl.runtime.schedule import Scheduler, regions
from fractal_dsl.runtime.segments import Segments
from fractal_dsl.runtime.slim import own_hooks
from fractal_dsl.runtime.steps import Region, Step


class FractalModule(Counted):
    """A compiled net. In eval mode, and without drop-path, calling it runs the whole graph; in train mode
    each call draws a plan from ``(seed, step)``, counts ``step`` up, and computes what the plan leaves live.
    """

    join_graph: JoinGraph
    seed: int

    def __init__(self, graph: JoinGraph, modules: Mapping[str, nn.Module], seed: int = 0) -> None:
        super().__init__(nn.Module(), fx.Graph(), class_name=graph.net)
        for name, child in module_tree(modules).named_children():
            self.add_module(name, child)
        self.graph = graph_to_fx(graph, modules)
        self._as_built = signature(self.graph)
        self._take(graph, {name: kind_of(module) for name, module in modules.items()}, seed, 0)
        if not any(p.is_meta for p in self.parameters()):
            self.recompile()

    def _take(self, graph: JoinGraph, kinds: Mapping[str, Kind], seed: int, step: int) -> None:
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

    def modules_now(self) -> Bound:
        """The modules that the graph names, as they are now: the same object as long as no module is replaced.

        Raises UserError if one is missing, or the fx graph was edited: plans follow the graph of the spec.
        """
        if self._edited:
            raise UserError(
                f"the fx graph of net {self.join_graph.net} was edited: its plans and columns, and training with "
                "drop-path, follow the graph of the spec. Change the spec instead, or run the edited graph alone, "
                "with `dense`, or in eval mode"
            )
        found = self._bound
        if found is None or not found.holds(self):
            self._bound = found = Bound(self, self.join_graph, self._kinds, self._elsewhere)
            self._schedules = None
        return found

    @property
    def _scheduler(self) -> Scheduler:
        modules = self.modules_now().modules
        if self._schedules is None:
            self._schedules = Scheduler(self.join_graph, modules, self._level, self._segments)
        return self._schedules

    # --- generated code

    _generated: Callable[[FractalModule, Tensor], Tensor] | None = None

    def recompile(self) -> Any:
        """Have fx generate the code of the graph, which ``dense`` runs; calls of the module go by its mode."""
        if "join_graph" not in self.__dict__:  # it is being made; and on the meta device, code is rarely needed
            return None
        self._edited = signature(self.graph) != self._as_built
        code = super().recompile()
        cls = cast(Any, type(self))
        cls._generated, cls.forward = cls.forward, FractalModule._forward
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

    def dense(self, x: Tensor) -> Tensor:
        """The whole graph as generated code: [batch, …] to [batch, …]."""
        if self._generated is None:
            cast(Any, torch.compiler.disable)(self.recompile)()
        return cast(Any, self)._generated(x)

    def __deepcopy__(self, memo: dict[int, Any]) -> FractalModule:
        memo |= {id(fact): fact for fact in (self.join_graph, self._kinds, self._elsewhere)}
        memo |= {id(cache): None for cache in (self._schedules, self._bound, self._segments)}
        copied = cast(FractalModule, super().__deepcopy__(memo))
        copied._as_built = self._as_built
        copied._take(self.join_graph, self._kinds, self.seed, self.step)
        copied._elsewhere |= self._elsewhere
        copied._level, copied._regions = self._level, self._regions
        if self._segments is not None:
            copied._segments = Segments(self.join_graph, self._segments.compile)
        copied.recompile()
        return copied

    def __reduce__(self) -> Any:
        raise UserError("a FractalModule is not pickled: use save_artifact, or save its state_dict")

    def forward(self, x: Tensor, plan: Plan | None = None) -> Tensor:
        """The output for a mini-batch, [batch, …] to [batch, …]; with a plan, what ``run`` gives."""
        return self._forward(x, plan)

    def _forward(self, x: Tensor, plan: Plan | None = None) -> Tensor:
        if plan is not None:
            return self._run(x, plan)
        if self.training and self.drop_path:
            if recorder := recorder_of(x):
                warn_of_recording(recorder, self.join_graph.net)
            return self._drawn(x)
        as_written = self._segments is None and not (self.training and self._regions)
        return self.dense(x) if as_written else self._whole(x)

    @cast(Any, torch.compiler.disable)
    def _whole(self, x: Tensor) -> Tensor:
        return self._run(x, self.full_plan())

    @cast(Any, torch.compiler.disable)(reason="it draws a plan for each call: call `model.eval()` first")
    def _drawn(self, x: Tensor) -> Tensor:
        """Under the next plan. A ``torch.compile`` from outside stays out: each plan is another program.

        Without gradients and where batch norms average (``momentum=None``), somebody estimates their statistics, as
        ``torch.optim.swa_utils.update_bn`` does: every route sees the mini-batch, and no plan is drawn.
        """
        if not torch.is_grad_enabled() and any(isinstance(m, BatchNorm) and m.momentum is None for m in self.modules()):
            columns = range(1, self.n_columns + 1) if routes_apart(self.join_graph) else ()
            return self.run_together(x, [self.full_plan(), *map(self.column_plan, columns)])[0]
        self.step += 1
        return self._run(x, self.plan(self.seed, self.step - 1))

    @property
    def graph(self) -> fx.Graph:
        """The whole net as an fx graph."""
        if "_space" in self.__dict__ and torch.compiler.is_exporting() and self.training and self.drop_path:
            # it interprets the graph of a GraphModule, and does not call it
            warn_of_recording("torch.export", self.join_graph.net)
        return self._graph

    @graph.setter
    def graph(self, g: fx.Graph) -> None:
        cast(Any, fx.GraphModule.graph).fset(self, g)

    def _run(self, x: Tensor, plan: Plan) -> Tensor:
        values = {self.join_graph.input[0]: x}
        for step in self._schedule(plan):
            step.run(values)
        return values[self.join_graph.output[0]]

    def _schedule(self, plan: Plan) -> list[Step | Region]:
        if plan.route != FULL or self.training:
            self.modules_now().check_routes()
        return self._scheduler.schedule(plan)

    # --- facts

    @property
    def input(self) -> ops.Tensor:
        """The input's type and shape, without the batch."""
        return self.join_graph.input[1].out

    @property
    def output(self) -> ops.Tensor:
        """The output's type and shape, without the batch."""
        return self.join_graph.output[1].out

    @property
    def n_columns(self) -> int:
        """The number of columns, counted from 1, the shallowest."""
        return self.join_graph.n_columns

    @property
    def drop_path(self) -> DropPath | None:
        """The net's drop-path; None where there is none or no join to drop from."""
        return self._space.drop_path

    # --- plans

    def full_plan(self) -> Plan:
        """Everything is live."""
        return self._space.full()

    def column_plan(self, k: int) -> Plan:
        """Column k alone. Raises UserError if there is none."""
        return self._space.column(k)

    def plan(self, seed: int, step: int) -> Plan:
        """The plan of a training step, by the net's drop-path: a function of seed and step."""
        return self._space.drawn(seed, step)

    def run(self, x: Tensor, plan: Plan) -> Tensor:
        """The output under a plan: [batch, …] to [batch, …]. What is dropped is not computed.

        Joins work on their live operands only; a dropped operand of ``concat`` counts as zeros, and of ``gated`` its
        weight gets no share (a gradient of zero, where others are live). Batch norms read, and in train mode update,
        the running statistics of the plan's route. Raises UserError for the plan of another net.
        """
        return cast(Tensor, self(x, plan))

    def live(self, plan: Plan) -> set[nn.Module]:
        """The modules that run under a plan, and those inside them."""
        return self._scheduler.live(plan)

    def run_together(self, x: Tensor, plans: Sequence[Plan]) -> list[Tensor]:
        """The outputs under several plans on one mini-batch. What they share, before the first join, is computed once.

        The losses may be summed and sent back at once: the weights are tied (paper section 3.1, with memory to spare).
        Where parts are recomputed, or the net itself has hooks, plans run one after another.
        """
        if (self._regions and torch.is_grad_enabled()) or own_hooks(self):
            return [self.run(x, plan) for plan in plans]
        if self.training or any(plan.route != FULL for plan in plans):
            self.modules_now().check_routes()
        steps, begin, outputs = self._scheduler.together(plans)
        values = {begin: x}
        for step in steps:
            step.run(values)
        return [values[key] for key in outputs]

    # --- a part of it

    def keep_modules(self, nodes: frozenset[int]) -> None:
        """Give up the weights of all nodes but these: another process has them. ``run_part`` is what then runs."""
        kept = {node.module for i in nodes if isinstance(node := self.join_graph[i], Layer | Join)}
        for name, module in self.modules_now().modules.items():
            if name not in kept:
                self._elsewhere[name] = module.to("meta")
                self.delete_submodule(name)

    def run_part(self, x: Tensor, plan: Plan, nodes: frozenset[int], entry: int, exit: int) -> Tensor:
        """What ``run`` makes of the value of node ``entry`` up to node ``exit``, by these nodes alone."""
        values = {entry: x}
        for step in self._schedule(plan):
            if (step.results[0] if isinstance(step, Region) else step.result) in nodes:
                step.run(values)
        return values[exit]

    # --- how it runs

    def checkpoint(self, level: int | None) -> None:
        """Recompute sub-fractals up to a level in the backward pass: their activations are not kept, which takes
        time and saves memory. Parts marked ``@checkpoint`` are recomputed in any case; with None only they.
        Raises UserError for a level below 0.
        """
        if level is not None and level < 0:
            raise UserError(f"levels count from 0, found {level}")
        self._level, self._regions, self._schedules = level, regions(self.join_graph, level), None

    def compile(self, *args: Any, **kwargs: Any) -> None:
        """Compile what plans run, with the arguments of ``torch.compile``: the layers between two joins as one
        function, compiled once for each structure and shape, and so a column as one function.
        """
        self._segments = Segments(self.join_graph, cast(Any, partial(torch.compile, *args, **kwargs)))
        self._schedules = None

    # --- columns

    def column(self, k: int) -> fx.GraphModule:
        """Column k as a GraphModule that shares this net's present modules, and runs with the statistics of its
        route."""
        graph, modules = self._column(k)
        column = fx.GraphModule(module_tree(modules), graph_to_fx(graph, modules, route=k), class_name=graph.net)
        column.training = self.training  # its modules keep the modes that they have in the net
        return column

    def extract(self, k: int) -> FractalModule:
        """Column k as a plain network of its own: copies of its modules, ordinary batch norms."""
        graph, modules = self._column(k)
        modules = copied(modules)
        for module in modules.values():
            if isinstance(module, Routed):
                module.keep_route(k)
        extracted = FractalModule(graph, modules, self.seed)
        extracted.training = self.training
        return extracted

    def _column(self, k: int) -> tuple[JoinGraph, dict[str, nn.Module]]:
        """The graph of a column, and its modules: those of this net."""
        graph = lone_column(self.join_graph, k)
        bound = self.modules_now()
        bound.check_routes()
        modules: dict[str, nn.Module] = {}
        for number, node in graph.items():
            construction = None if isinstance(node, Layer) and node.idle else graph.construction(number)
            if construction is not None and isinstance(node, Layer | Join):
                modules[node.module] = bound.modules.get(node.module) or make_module(construction)
        return graph, modules
