"""The network as users hold it: a GraphModule that also runs under plans and hands out its columns."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, fx, nn

from fractal_dsl import ops, plan
from fractal_dsl.diagnostics import UserError
from fractal_dsl.graph import Join, JoinGraph, Layer, Output
from fractal_dsl.passes.prune_dead import prune_dead
from fractal_dsl.passes.select_column import select_column
from fractal_dsl.plan import Plan
from fractal_dsl.program import DropPath
from fractal_dsl.runtime.batchnorm import Routed
from fractal_dsl.runtime.graph_to_fx import graph_to_fx, graph_to_modules, make_module, module_tree
from fractal_dsl.runtime.joins import REDUCTIONS, join_concat
from fractal_dsl.runtime.layers import Gated

if TYPE_CHECKING:
    from fractal_dsl.driver import Compiled


@dataclass(frozen=True, slots=True)
class _Step:
    """One call of a schedule: ``result = call(operands)``; then the values in ``free`` are not needed any more."""

    call: Callable[..., Tensor]
    operands: tuple[int, ...]
    result: int
    routed: bool
    free: tuple[int, ...]


class FractalModule(fx.GraphModule):
    """A compiled net. In eval mode, and without drop-path, calling it runs the whole graph; in train mode
    each call draws a plan from ``(seed, step)``, counts ``step`` up, and computes what the plan leaves live.
    """

    join_graph: JoinGraph
    seed: int
    step: int

    def __init__(self, graph: JoinGraph, modules: Mapping[str, nn.Module], seed: int = 0) -> None:
        super().__init__(module_tree(modules), graph_to_fx(graph, modules), class_name=graph.net)
        self._take(graph, seed, 0)

    def _take(self, graph: JoinGraph, seed: int, step: int) -> None:
        self.join_graph, self.seed, self.step = graph, seed, step
        self._joins = graph.joins()
        self._arities = [len(join.labels) for _, join in self._joins]
        self._choices = [join.choice for _, join in self._joins]
        self._schedules: dict[Plan, list[_Step]] = {}
        self._ours = dict(cast(Iterable[tuple[str, nn.Module]], self.named_modules()))

    def recompile(self) -> Any:
        """fx generates ``forward`` of the graph; it is kept as ``dense``, and calls go by the mode."""
        code = super().recompile()
        cls = cast(Any, type(self))
        cls.dense, cls.forward = cls.forward, FractalModule._forward
        return code

    def __deepcopy__(self, memo: dict[int, Any]) -> FractalModule:
        copied = cast(FractalModule, super().__deepcopy__(memo))
        copied._take(self.join_graph, self.seed, self.step)
        return copied

    def _forward(self, x: Tensor) -> Tensor:
        if not (self.training and self.drop_path):
            return cast(Any, self).dense(x)
        self.step += 1
        return self.run(x, self.plan(self.seed, self.step - 1))

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
        return max(1, len(self.join_graph.columns))

    @property
    def drop_path(self) -> DropPath | None:
        """The net's drop-path; None where there is none or no join to drop from."""
        return self.join_graph.drop_path if self._joins else None

    # --- plans

    def full_plan(self) -> Plan:
        """Everything is live."""
        return plan.full_plan(self._arities)

    def column_plan(self, k: int) -> Plan:
        """Column k alone. Raises UserError if there is none."""
        self._check_column(k)
        return plan.column_plan(self._choices, self._arities, k) if self._joins else self.full_plan()

    def plan(self, seed: int, step: int) -> Plan:
        """The plan of a training step, by the net's drop-path: a function of seed and step."""
        if self.drop_path is None:
            return self.full_plan()
        return plan.draw(self.drop_path, self._arities, self._choices, self.n_columns, seed, step)

    def run(self, x: Tensor, plan: Plan) -> Tensor:
        """The output under a plan: [batch, …] to [batch, …]. What is dropped is not computed.

        Joins work on their live operands only; a dropped operand of ``concat`` counts as zeros. Batch norms
        read, and in train mode update, the running statistics of the plan's route.
        """
        if plan.route == 0 and all(map(all, plan.live)):
            return cast(Any, self).dense(x)
        values = {self.join_graph.input[0]: x}
        for step in self._schedule(plan):
            operands = [values[o] for o in step.operands]
            values[step.result] = step.call(*operands, route=plan.route) if step.routed else step.call(*operands)
            for number in step.free:
                del values[number]
        return values[self.join_graph.output[0]]

    def _schedule(self, plan: Plan) -> list[_Step]:
        """The live part of the graph in order; those of columns are kept."""
        if plan in self._schedules:
            return self._schedules[plan]
        steps = _schedule(self.join_graph, self._ours, plan)
        if plan.route:
            self._schedules[plan] = steps
        return steps

    # --- columns

    def column(self, k: int) -> fx.GraphModule:
        """Column k as a GraphModule that shares this net's parameters and the buffers of its route."""
        self._check_column(k)
        graph = prune_dead(select_column(self.join_graph, k))
        modules = self._modules_of(graph)
        column = fx.GraphModule(module_tree(modules), graph_to_fx(graph, modules, route=k), class_name=graph.net)
        return column.train(self.training)

    def extract(self, k: int) -> FractalModule:
        """Column k as a plain network of its own: copies of its weights, ordinary batch norms."""
        self._check_column(k)
        graph = prune_dead(select_column(self.join_graph, k))
        graph.drop_path, graph.columns = None, ()
        modules = graph_to_modules(graph)
        for name, module in modules.items():
            state = {k: v.clone() for k, v in self._ours[name].state_dict().items()} if name in self._ours else {}
            for what in ("running_mean", "running_var"):
                if f"{what}_column{k}" in state:
                    state[what] = state[f"{what}_column{k}"]
            plain = {key: value for key, value in state.items() if "_column" not in key}
            module.load_state_dict(plain, assign=True)  # with the dtype and device of ours
        return FractalModule(graph, modules, self.seed).train(self.training)

    def _modules_of(self, graph: JoinGraph) -> dict[str, nn.Module]:
        modules: dict[str, nn.Module] = {}
        for number, node in graph.items():
            construction = graph.construction(number)
            if construction is not None and isinstance(node, Layer | Join):
                modules[node.module] = self._ours.get(node.module) or make_module(construction)
        return modules

    def _check_column(self, k: int) -> None:
        if not 1 <= k <= self.n_columns:
            raise UserError(f"there is no column {k}: net {self.join_graph.net} has columns 1 to {self.n_columns}")


def _schedule(graph: JoinGraph, modules: Mapping[str, nn.Module], plan: Plan) -> list[_Step]:
    """The calls that a plan needs, in order: a walk back from the output marks them, through live operands only."""
    numbers = list(graph.g.nodes)
    operands = {number: graph.operands(number) for number in numbers}
    live = {number: flags for (number, _), flags in zip(graph.joins(), plan.live, strict=True)}
    reads = {n: [o for o, on in zip(operands[n], flags, strict=True) if on] for n, flags in live.items()}
    needed = {graph.output[0]}
    last_reader: dict[int, int] = {}
    for number in reversed(numbers):
        if number in needed:
            for operand in reads.get(number, operands[number]):
                needed.add(operand)
                last_reader.setdefault(operand, number)
    frees: dict[int, list[int]] = {}
    for operand, reader in last_reader.items():
        frees.setdefault(reader, []).append(operand)

    steps: list[_Step] = []
    for number in numbers:
        node = graph[number]
        if number not in needed or not isinstance(node, Layer | Join):
            if isinstance(node, Output):
                steps.append(_Step(_same, tuple(operands[number]), number, False, ()))
            continue
        read = tuple(reads.get(number, operands[number]))
        routed = False
        if isinstance(node, Layer):
            call = _same if node.spec.name == "id" else modules[node.module]
            routed = isinstance(call, Routed)
        elif node.spec.name == "concat":
            tensors = [graph[o].out for o in operands[number]]
            call = _Concat(node, live.get(number, (True,) * len(tensors)), tensors)
        elif node.spec.torch is not None:
            call = _live_part(modules[node.module], live.get(number))
        else:
            call = REDUCTIONS[node.spec.name]
        steps.append(_Step(call, read, number, routed, tuple(frees.get(number, ()))))
    return steps


def _same(x: Tensor) -> Tensor:
    return x


def _live_part(join: nn.Module, live: tuple[bool, ...] | None) -> Callable[..., Tensor]:
    """A join with weights, over what is live; one operand alone is handed on as it is."""
    if live is None or all(live):
        return join
    if sum(live) == 1:
        return _same
    return partial(join, live=[i for i, on in enumerate(live) if on]) if isinstance(join, Gated) else join


class _Concat:
    """A concatenation in which dropped operands are zeros."""

    def __init__(self, node: Join, live: tuple[bool, ...], operands: list[ops.Tensor]) -> None:
        dim = node.args["dim"]
        assert isinstance(dim, int)
        self.dim = dim if dim > 0 else dim + len(node.out.shape) + 1
        self.live, self.sizes = live, [t.shape[self.dim - 1] for t in operands]

    def __call__(self, *operands: Tensor) -> Tensor:
        given = iter(operands)
        like = operands[0]
        parts = [
            next(given) if on else like.new_zeros([*like.shape[: self.dim], size, *like.shape[self.dim + 1 :]])
            for on, size in zip(self.live, self.sizes, strict=True)
        ]
        return join_concat(parts, self.dim)


# --- making one


def build(compiled: Compiled, seed: int = 0, device: str | torch.device = "cpu") -> FractalModule:
    """The network of a compiled spec, its weights drawn from ``seed`` by the net's ``init`` option.

    Drop-path draws from the same seed. On the device ``meta`` nothing is allocated or initialised.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        modules = graph_to_modules(compiled.graph, device)
        model = FractalModule(compiled.graph, modules, seed)
        if torch.device(device).type != "meta":
            _initialise(model, compiled.program.init)
    return model


_INITS: dict[str, Callable[[Tensor], Any]] = {
    "xavier": nn.init.xavier_uniform_,
    "xavier_normal": nn.init.xavier_normal_,
    "kaiming": lambda w: nn.init.kaiming_uniform_(w, nonlinearity="relu"),
    "kaiming_normal": lambda w: nn.init.kaiming_normal_(w, nonlinearity="relu"),
    "orthogonal": nn.init.orthogonal_,
}

_WEIGHTED = (
    nn.Linear,
    *(nn.Conv1d, nn.Conv2d, nn.Conv3d),
    *(nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d),
)


def _initialise(model: nn.Module, init: str) -> None:
    """Weights of convolutions and linear layers by the scheme, their biases zero; ``default`` is torch's own."""
    if init == "default":
        return
    for module in model.modules():
        if isinstance(module, _WEIGHTED):
            _INITS[init](module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
