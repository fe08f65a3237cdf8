"""A plan of a graph as plain data, and as a table: what ``fractal-dsl plan`` prints."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

from fractal_dsl.base.texts import aligned, percent
from fractal_dsl.graph.graph import Join, JoinGraph
from fractal_dsl.plans.plan import Plan, plan_of_text
from fractal_dsl.plans.plan_on_graph import cost, live_operands, needed, route_text
from fractal_dsl.program.columns import Label

_SHOWN = 40
"""Joins in the table for people."""


def plan_facts(graph: JoinGraph, plan: Plan) -> dict[str, Any]:
    """A plan of a net as plain data: its text, its joins, and the part of the net that it needs."""
    used = needed(graph, plan)
    live = live_operands(graph, plan)
    joins: list[dict[str, Any]] = []
    for number, join in graph.joins():
        columns = [_column(graph, join, i) for i, _ in enumerate(join.labels)]
        alive = [column for column, on in zip(columns, live[number], strict=True) if on]
        joins.append({"name": join.name, "columns": columns, "live": alive, "needed": number in used})
    inline: list[dict[str, Any]] = []
    for number, join in graph.dropping():
        flags = live.get(number, (True,) * len(join.drops))
        alive = [i for i, on in enumerate(flags, 1) if on]
        inline.append({"name": join.name, "drops": list(join.drops), "live": alive, "needed": number in used})
    part, whole = cost(graph, used), cost(graph, graph.g.nodes)
    return {
        "net": graph.net,
        "plan": plan.text(),
        "kind": route_text(plan),
        "route": plan.route,
        "macs": part.macs,
        "macs_of_all": whole.macs,
        "macs_share": part.macs / whole.macs if whole.macs else 1.0,
        "params": part.params,
        "params_of_all": whole.params,
        "joins": joins,
        "inline_joins": inline,
    }


def _column(graph: JoinGraph, join: Join, operand: int) -> int | None:
    """The column of an operand: its own, or the first that uses it; None if none does."""
    if join.labels[operand] in graph.columns:
        return 1 + graph.columns.index(cast(Label, join.labels[operand]))
    return next((k for k, chosen in enumerate(join.choice, 1) if chosen == operand), None)


def plan_table(facts: Mapping[str, Any]) -> str:
    """The facts about a plan as a table for people."""
    text, joins, inline = facts["plan"], facts["joins"], facts["inline_joins"]
    norms = "of its own" if facts["route"] else "of the whole net"
    rows = [
        ("kind", facts["kind"]),
        ("route", f"{facts['route']} (batch norm {norms})"),
        ("MACs per sample", f"{facts['macs']:,} of {facts['macs_of_all']:,} ({facts['macs_share']:.1%})"),
        ("parameters", f"{facts['params']:,} of {facts['params_of_all']:,}"),
        ("plan", text if len(text) <= 500 else text[:500] + " … (--json prints all of it)"),
    ]
    lines = aligned(rows, "<")
    if joins:
        lines += ["", *_table(("join", "columns", "live"), [*_join_rows(text, joins[:_SHOWN])], len(joins))]
    if inline:
        title = ("inline join", "drops of its branches", "live")
        lines += ["", *_table(title, [*map(_inline_row, inline[:_SHOWN])], len(inline))]
    if not joins and not inline:
        lines += ["", "no joins for drop-path to act on"]
    return "\n".join([f"net {facts['net']}", *(f"  {line}".rstrip() for line in lines)])


def _table(title: tuple[str, str, str], rows: Sequence[tuple[str, str, str]], count: int) -> list[str]:
    more = [f"… {count - _SHOWN:,} more joins (--json prints all of them)"] if count > _SHOWN else []
    return [*aligned([title, *rows], "<"), *more]


def _join_rows(plan: str, joins: Sequence[dict[str, Any]]) -> Iterator[tuple[str, str, str]]:
    """Each join with the columns of its operands, and which of them are live."""
    for join, flags in zip(joins, plan_of_text(plan).live, strict=False):
        columns = [_named(column) for column in join["columns"]]
        alive = " ".join(column if on else "·" for column, on in zip(columns, flags, strict=True))
        yield join["name"], " ".join(columns), alive if join["needed"] else "not needed"


def _inline_row(join: dict[str, Any]) -> tuple[str, str, str]:
    """An inline join with the probabilities that its branches are left out, and the numbers of the live ones."""
    places = range(1, len(join["drops"]) + 1)
    alive = " ".join(str(i) if i in join["live"] else "·" for i in places)
    return join["name"], " ".join(map(percent, join["drops"])), alive if join["needed"] else "not needed"


def _named(column: int | None) -> str:
    return "–" if column is None else str(column)
