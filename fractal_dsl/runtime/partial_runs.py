"""A part of a net: what one process of a pipeline holds and runs."""

from __future__ import annotations

from torch import Tensor, fx, nn

from fractal_dsl.graph.graph import Join, JoinGraph, Layer
from fractal_dsl.plans.plan import Plan
from fractal_dsl.runtime.bound import Bound, Links
from fractal_dsl.runtime.instructions import Schedule


class Partial(fx.GraphModule):
    """A net of which other processes hold some modules, ``_elsewhere``."""

    join_graph: JoinGraph
    _elsewhere: dict[str, nn.Module]

    def modules_now(self, links: Links | None = None) -> Bound:
        """The current modules of the graph."""
        raise NotImplementedError

    def _schedule(self, plan: Plan) -> Schedule:
        raise NotImplementedError

    def keep_modules(self, nodes: frozenset[int]) -> None:
        """Drop the weights of all nodes but these, which other processes hold. Afterwards use ``run_part``."""
        kept = {node.module for i in nodes if isinstance(node := self.join_graph[i], Layer | Join)}
        for name, module in self.modules_now().modules.items():
            if name not in kept:
                self._elsewhere[name] = module.to("meta")
                self.delete_submodule(name)

    def run_part(self, x: Tensor, plan: Plan, nodes: frozenset[int], entry: int, exit: int) -> Tensor:
        """Run some nodes only: from ``x``, the value of node ``entry``, to that of node ``exit``, both [batch, …]."""
        values = {entry: x}
        self._schedule(plan).run(values, nodes)
        return values[exit]
