"""The plans of one net: draws and checks them without its graph."""

from __future__ import annotations

from msgspec import Struct
from msgspec.structs import replace

from fractal_dsl.base.errors import UserError
from fractal_dsl.graph.graph import JoinGraph, no_column
from fractal_dsl.plans.plan import Plan, column_plan, draw_branches, draw_plan, full_plan
from fractal_dsl.program.program import DropPath


class PlanSpace(Struct, frozen=True):
    """The joins of a net that plans decide on, in topological order.

    ``arities[j]`` is the number of operands of the j-th join of a rule, and ``choices[j][k-1]`` the operand that column
    k takes there. ``drop_path`` is None for a net that draws none of them. ``drops[j]`` are the probabilities that
    training leaves out the branches of the j-th inline join that has a ``@drop``.
    """

    net: str
    columns: int
    arities: tuple[int, ...]
    choices: tuple[tuple[int, ...], ...]
    drop_path: DropPath | None = None
    drops: tuple[tuple[float, ...], ...] = ()

    @classmethod
    def of(cls, graph: JoinGraph) -> PlanSpace:
        """The plans of a labelled graph, or of a column by itself."""
        joins = [join for _, join in graph.joins()]
        drop_path = graph.drop_path if joins else None
        arities, choices = tuple([len(join.labels) for join in joins]), tuple([join.choice for join in joins])
        drops = tuple([join.drops for _, join in graph.dropping()])
        return cls(graph.net, graph.n_columns, arities, choices, drop_path, drops)

    @property
    def draws(self) -> bool:
        """Whether training draws a plan for each step."""
        return self.drop_path is not None or bool(self.drops)

    def full(self) -> Plan:
        """The plan with every operand live."""
        return full_plan(self.arities)

    def column(self, k: int) -> Plan:
        """Column k, from 1, in the whole net. Raises UserError if there is none."""
        if not 1 <= k <= self.columns:
            raise no_column(self.net, k, self.columns)
        return column_plan(self.choices, self.arities, k) if self.arities else self.full()

    def drawn(self, seed: int, step: int, drop_path: DropPath | None = None) -> Plan:
        """The plan of a training step, by the net's own drop-path or another one. Without drop-path only branches with
        ``@drop`` are left out."""
        drop_path = drop_path or self.drop_path
        branches = draw_branches(self.drops, seed, step) if self.drops else ()
        if drop_path is None or not self.arities:
            return replace(self.full(), branches=branches)
        return replace(draw_plan(drop_path, self.arities, self.choices, self.columns, seed, step), branches=branches)

    def step(self, seed: int, step: int) -> list[Plan]:
        """The plans that a training step runs: the drawn one and, with ``columns=all``, each column. All of them leave
        out the same branches with ``@drop``."""
        every = self.drop_path is not None and self.drop_path.all_columns
        columns = range(1, self.columns + 1) if every else ()
        drawn = self.drawn(seed, step)
        return [drawn, *(replace(self.column(k), branches=drawn.branches) for k in columns)]

    def check(self, plan: Plan) -> Plan:
        """Return a plan that belongs to the net. Raises UserError for another net's plan, and for what is no plan."""
        as_plan(plan)
        if tuple(map(len, plan.live)) != self.arities:
            raise UserError(
                f"the plan is of another net: it has {len(plan.live)} joins of {sum(map(len, plan.live))} operands, "
                f"net {self.net} has {len(self.arities)} of {sum(self.arities)}"
            )
        if plan.branches and [*map(len, plan.branches)] != [*map(len, self.drops)]:
            raise UserError(
                f"the plan is of another net: it has {len(plan.branches)} inline joins of "
                f"{sum(map(len, plan.branches))} branches, net {self.net} has {len(self.drops)} with `@drop`, of "
                f"{sum(map(len, self.drops))}"
            )
        if not 0 <= plan.route <= self.columns:
            raise UserError(
                f"the plan is of another net: it has route {plan.route}, net {self.net} has columns 1 to {self.columns}"
            )
        if not all(map(any, (*plan.live, *plan.branches))):
            raise UserError(f"the plan {plan.text()} drops all operands of a join: each join needs a live one")
        return plan


def as_plan(value: object) -> Plan:
    """A value that a caller gave as a plan. Raises UserError for anything else, such as the number of a column."""
    if isinstance(value, Plan):
        return value
    raise UserError(
        f"expected a plan, but this is {value!r}: `model.column_plan(k)` is the plan of column k, `model.full_plan()` "
        "that of the whole net, and `model.plan(seed, step)` that of a training step"
    )
