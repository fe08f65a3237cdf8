"""Plans on the graph of a net: the plan that a short text describes, and the nodes that a plan needs.

    full                  everything
    column:K              column K alone, for the whole net
    local:SEED[:STEP]     each operand dropped with the net's local probability; at least one per join survives
    global:SEED[:STEP]    one column, drawn uniformly
    mixed:SEED[:STEP]     what training draws at that step: global with the net's probability, else local
    0:110.11*3.01         a plan as ``Plan.text`` writes it

``mixed`` picks ``local`` or ``global``, and then gives the same plan as that kind at the same seed and step. All three
draw branches with ``@drop``, too. ``full`` and ``column:K`` leave every branch in, as evaluation does.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from msgspec import Struct

from fractal_dsl.base.errors import UserError
from fractal_dsl.graph.graph import Join, JoinGraph, Layer
from fractal_dsl.plans.plan import FULL, Plan, plan_of_text
from fractal_dsl.plans.space import PlanSpace
from fractal_dsl.program.program import DropPath

PAPER = DropPath(local=0.15, global_=0.5)
"""The drop-path of pictures of a net that draws no plans: half local, half global (paper, section 3.1)."""

_MEANT = (
    "a plan is full, column:K, local:SEED, global:SEED, mixed:SEED (:STEP may follow SEED), or a text such as 0:110.01"
)


class Cost(Struct, frozen=True):
    """What some nodes of a graph cost: parameters, each shared block once, and multiply-accumulates per sample."""

    params: int
    macs: int


def plan_of_spec(text: str, graph: JoinGraph) -> Plan:
    """The plan that a text (see above) describes, for a labelled graph.

    Raises UserError for a malformed text, a column that the net does not have, or a plan of another net.
    """
    space = PlanSpace.of(graph)
    if re.match(r"\d", text):
        return space.check(plan_of_text(text))
    kind, numbers = _kind(text) or ("", [])
    if text == "full" or (kind and not space.arities and not space.drops):
        return space.full()
    if kind == "column" and len(numbers) == 1:
        return space.column(numbers[0])
    own = graph.drop_path or (DropPath() if space.drops else PAPER)
    drawn = {"local": DropPath(own.local, 0.0), "global": DropPath(own.local, 1.0, weights=own.weights), "mixed": own}
    if kind not in drawn:
        raise UserError(f"{text!r} is not a plan: {_MEANT}")
    seed, step = (*numbers, 0)[:2]
    return space.drawn(seed, step, drawn[kind])


def _kind(text: str) -> tuple[str, list[int]] | None:
    """``local:7:3`` as its word and numbers."""
    match = re.fullmatch(r"(column|local|global|mixed):(\d{1,18})(?::(\d{1,18}))?", text)
    return (match[1], [int(n) for n in match.groups()[1:] if n is not None]) if match else None


def live_operands(graph: JoinGraph, plan: Plan) -> dict[int, tuple[bool, ...]]:
    """Which operands are live under a plan, by the number of each join that the plan decides on."""
    live = {number: flags for (number, _), flags in zip(graph.joins(), plan.live, strict=True)}
    if plan.branches:
        live |= {number: flags for (number, _), flags in zip(graph.dropping(), plan.branches, strict=True)}
    return live


def live_reads(graph: JoinGraph, plan: Plan) -> dict[int, list[int]]:
    """The nodes that a join reads under a plan, by the number of each join that the plan decides on."""
    return {
        number: [o for o, on in zip(graph.operands(number), flags, strict=True) if on]
        for number, flags in live_operands(graph, plan).items()
    }


def needed(graph: JoinGraph, plan: Plan) -> set[int]:
    """The numbers of the nodes that the output needs under a plan. Joins read only their live operands."""
    return graph.needed(live_reads(graph, plan))


def node_cost(graph: JoinGraph, number: int) -> Cost:
    """The cost of one node: zero for the input and the output."""
    node = graph[number]
    match node:
        case Layer():
            return Cost(*node.spec.cost(node.into, node.out, node.args))
        case Join():
            operands = tuple(graph[o].out for o in graph.operands(number))
            return Cost(node.spec.cost(operands, node.args), node.spec.macs(operands, node.args))
        case _:
            return Cost(0, 0)


def cost(graph: JoinGraph, nodes: Iterable[int]) -> Cost:
    """The total cost of some nodes of a graph. The parameters of a shared block count once."""
    params: dict[str, int] = {}
    macs = 0
    for number in nodes:
        node, one = graph[number], node_cost(graph, number)
        params[node.module if isinstance(node, Layer | Join) and node.module else f"%{number}"] = one.params
        macs += one.macs
    return Cost(sum(params.values()), macs)


def route_text(plan: Plan) -> str:
    """The kind of a plan in words: ``full``, ``local`` or ``column K``."""
    if plan.route != FULL:
        return f"column {plan.route}"
    if plan.branches and not plan.live:
        return "drawn"
    return "full" if all(map(all, plan.live)) and not plan.branches else "local"
