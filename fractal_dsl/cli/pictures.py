"""Commands that show a net: render, plan."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fractal_dsl import driver
from fractal_dsl.cli.options import AllowPython, MaxLayers, Net, Params, ParamsFile, Spec, parameters
from fractal_dsl.driver import MAX_LAYERS

if TYPE_CHECKING:
    from fractal_dsl.driver import Compiled
    from fractal_dsl.plan import Plan

_PLANS = "full, column:K, local:SEED, global:SEED or mixed:SEED (each with :STEP behind), or a plan's text"


def plan(
    spec: Spec,
    plan: Annotated[str, typer.Option(help=f"Which plan: {_PLANS}.")] = "mixed:0",
    param: Params = None,
    params: ParamsFile = None,
    net: Net = None,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    max_layers: MaxLayers = MAX_LAYERS,
    allow_python: AllowPython = False,
) -> None:
    """Print a drop-path plan: what of each join is live, and the share of the net that it needs."""
    from fractal_dsl.plan_on_graph import plan_of_spec

    compiled = _compiled(spec, parameters(param, params), net, max_layers, allow_python)
    chosen = plan_of_spec(plan, compiled.graph)
    facts = _plan_facts(compiled, chosen)
    print(json.dumps(facts, indent=2) if json_ else _plan_table(facts))


def _compiled(spec: str, given: dict[str, str], net: str | None, max_layers: int, allow_python: bool) -> Compiled:
    """A file's net; its training settings do not matter here."""
    nets = driver.check(driver.read(spec), given, max_layers, allow_python=allow_python, settings=False)
    return driver.pick(nets, net)


def _plan_facts(compiled: Compiled, plan: Plan) -> dict[str, Any]:
    """A plan of a net as plain data: its text, its joins by name and column, and what it needs."""
    from fractal_dsl.plan_on_graph import cost, live_operands, needed, route_text

    graph = compiled.graph
    used = needed(graph, plan)
    column = {label: k for k, label in enumerate(graph.columns, 1)}
    live = live_operands(graph, plan)
    joins = [
        {
            "name": join.name,
            "columns": [column[label] for label in join.labels if label is not None],
            "live": [column[x] for x, on in zip(join.labels, live[number], strict=True) if on and x is not None],
            "needed": number in used,
        }
        for number, join in graph.joins()
    ]
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
    }


_SHOWN = 40


def _plan_table(facts: dict[str, Any]) -> str:
    joins = facts["joins"]
    rows = [
        ("kind", facts["kind"]),
        (
            "route",
            f"{facts['route']} ({'batch norm of the whole net' if not facts['route'] else 'batch norm of its own'})",
        ),
        ("MACs a sample", f"{facts['macs']:,} of {facts['macs_of_all']:,} ({facts['macs_share']:.1%})"),
        ("parameters", f"{facts['params']:,} of {facts['params_of_all']:,}"),
    ]
    text = facts["plan"] if len(facts["plan"]) <= 500 else facts["plan"][:500] + " … (all of it: --json)"
    lines = [f"net {facts['net']}", *(f"  {name:<15}{value}" for name, value in rows), f"  {'plan':<15}{text}", ""]
    if not joins:
        return "\n".join([*lines, "  no join that drop-path works on"])
    cells = [["join", "columns", "live"]]
    for join in joins[:_SHOWN]:
        alive = " ".join(str(k) if k in join["live"] else "·" for k in join["columns"])
        cells.append([join["name"], " ".join(map(str, join["columns"])), alive if join["needed"] else "not needed"])
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines += ["  " + "  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in cells]
    if len(joins) > _SHOWN:
        lines.append(f"  … {len(joins) - _SHOWN:,} joins more (all of them: --json)")
    return "\n".join(lines)


def render(
    spec: Spec,
    output: Annotated[Path, typer.Option("-o", "--output", help="The picture: .svg, .png, .pdf or .dot.")],
    param: Params = None,
    params: ParamsFile = None,
    net: Net = None,
    max_layers: MaxLayers = MAX_LAYERS,
    allow_python: AllowPython = False,
) -> None:
    """Draw a net in the style of the paper's figure 1."""
    from fractal_dsl.dot_to_picture import draw
    from fractal_dsl.graph_to_dot import check_size, graph_to_dot

    compiled = _compiled(spec, parameters(param, params), net, max_layers, allow_python)
    check_size(compiled.program.net, compiled.summary.base_layers)
    draw(graph_to_dot(compiled.graph), output)
    print(output)
