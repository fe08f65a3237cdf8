"""Commands that show a net: render, plan."""

from __future__ import annotations

import enum
import json
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from fractal_dsl import pipeline
from fractal_dsl.base.errors import UserError
from fractal_dsl.base.escaping import one_line
from fractal_dsl.cli.options import AllowPython, MaxLayers, Net, Params, ParamsFile, Spec, parameters, read_spec
from fractal_dsl.cli.say import say
from fractal_dsl.compiled import MAX_LAYERS
from fractal_dsl.picture.shown import BoxLabel, GraphStage, HeatOf, NotDrawn, Shown, View
from fractal_dsl.plans.plan import plan_of_text

if TYPE_CHECKING:
    from fractal_dsl.compiled import Compiled
    from fractal_dsl.graph.graph import Join, JoinGraph
    from fractal_dsl.plans.plan import Plan
    from fractal_dsl.program.columns import Label

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
    from fractal_dsl.plans.plan_on_graph import plan_of_spec

    compiled = _compiled(spec, parameters(param, params), net, max_layers, allow_python)
    chosen = plan_of_spec(plan, compiled.graph)
    facts = _plan_facts(compiled, chosen)
    say(json.dumps(facts, indent=2) if json_ else _plan_table(facts))


def _compiled(spec: str, given: dict[str, str], net: str | None, max_layers: int, allow_python: bool) -> Compiled:
    """A file's net; its training settings do not matter here."""
    nets = pipeline.check(read_spec(spec), given, max_layers, allow_python=allow_python, settings=False)
    return pipeline.pick(nets, net)


def _plan_facts(compiled: Compiled, plan: Plan) -> dict[str, Any]:
    """A plan of a net as plain data: its text, its joins by name and column, and what it needs."""
    from fractal_dsl.plans.plan_on_graph import cost, live_operands, needed, route_text

    graph = compiled.graph
    used = needed(graph, plan)
    live = live_operands(graph, plan)
    joins: list[dict[str, Any]] = []
    for number, join in graph.joins():
        columns = [_column(graph, join, i) for i, _ in enumerate(join.labels)]
        alive = [column for column, on in zip(columns, live[number], strict=True) if on]
        joins.append({"name": join.name, "columns": columns, "live": alive, "needed": number in used})
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


def _column(graph: JoinGraph, join: Join, operand: int) -> int | None:
    """The number of the column that an operand is of: its own, else the first that takes it, None if none does."""
    if join.labels[operand] in graph.columns:
        return 1 + graph.columns.index(cast("Label", join.labels[operand]))
    return next((k for k, chosen in enumerate(join.choice, 1) if chosen == operand), None)


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
    groups = plan_of_text(facts["plan"]).live
    for join, flags in zip(joins[:_SHOWN], groups, strict=False):
        alive = " ".join(_named(k) if on else "·" for k, on in zip(join["columns"], flags, strict=True))
        cells.append([join["name"], " ".join(map(_named, join["columns"])), alive if join["needed"] else "not needed"])
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines += ["  " + "  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in cells]
    if len(joins) > _SHOWN:
        lines.append(f"  … {len(joins) - _SHOWN:,} joins more (all of them: --json)")
    return "\n".join(lines)


def _named(column: int | None) -> str:
    return "–" if column is None else str(column)


class ThemeName(enum.StrEnum):
    """Colours; ``auto`` follows the reader's, in an SVG."""

    light = "light"
    dark = "dark"
    auto = "auto"


def render(
    spec: Annotated[
        str, typer.Argument(help="The .frac file, - for standard input, or a run's folder.", show_default=False)
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="The picture: .svg, .png, .pdf, .dot or .html.")],
    view: Annotated[
        View, typer.Option(help="The net, a block, the rule, or all three: the paper's figure.")
    ] = View.net,
    block: Annotated[int, typer.Option(min=1, help="Which block, of `--view block` and `figure`.")] = 1,
    stage: Annotated[GraphStage, typer.Option(help="raw: two-input joins, before collapse.")] = GraphStage.collapsed,
    plan: Annotated[str | None, typer.Option(help=f"Grey what a plan drops: {_PLANS}; all: several in a row.")] = None,
    label: Annotated[BoxLabel, typer.Option(help="A second line in each box.")] = BoxLabel.none,
    heat: Annotated[HeatOf | None, typer.Option(help="Colour boxes by cost, or by what a run measured.")] = None,
    depth: Annotated[
        int | None, typer.Option(min=0, help="Open nested parts to this depth; all, if not given.")
    ] = None,
    expand: Annotated[list[str] | None, typer.Option(metavar="NAME", help="Open this part; may be repeated.")] = None,
    wrap: Annotated[
        int | None, typer.Option(min=1, help="Stretches side by side; as fits a page, if not given.")
    ] = None,
    theme: Annotated[ThemeName, typer.Option(help="Colours.")] = ThemeName.light,
    legend: Annotated[bool, typer.Option(help="Say what the colours mean.")] = True,
    param: Params = None,
    params: ParamsFile = None,
    net: Net = None,
    max_layers: MaxLayers = MAX_LAYERS,
    allow_python: AllowPython = False,
) -> None:
    """Draw a net in the style of the paper's figures."""
    from fractal_dsl.picture.dot_to_picture import FORMATS, draw
    from fractal_dsl.picture.graph_to_dot import DARK, LIGHT, Look, Opening, follow_reader
    from fractal_dsl.runs.measured import measured

    if output.suffix.lower() not in (known := [f".{format}" for format in (*FORMATS, "html")]):
        raise UserError(f"cannot draw {output}: the name must end in {', '.join(known)}")
    run = Path(spec) if Path(spec).is_dir() else None
    given = parameters(param, params)
    if run is not None and (given or net):
        raise typer.BadParameter("a run has its own parameters and net", param_hint="-p, --net")
    compiled = _run_spec(run, allow_python) if run else _compiled(spec, given, net, max_layers, allow_python)
    look = Look(
        label.value,
        None,
        DARK if theme is ThemeName.dark else LIGHT,
        legend,
        wrap,
        Opening(depth, frozenset(expand or ())),
    )
    try:
        shown = Shown(
            compiled,
            measured=partial(measured, run) if run else None,
            view=view,
            block=block,
            stage=stage,
            plan=plan,
            heat=heat,
        )
    except NotDrawn as error:
        raise typer.BadParameter(str(error), param_hint=error.option) from None
    if output.suffix.lower() == ".html":
        from fractal_dsl.picture.dot_to_page import write_page

        write_page(*shown.page(look), compiled.program.net, follow_reader(), output)
    else:
        draw(shown.dot(look), output, style=follow_reader() if theme is ThemeName.auto else "")
    say(one_line(str(output)))
    if note := shown.note:
        say(note)


def _run_spec(run: Path, allow_python: bool) -> Compiled:
    from fractal_dsl.runs.measured import run_spec

    return run_spec(run, allow_python=allow_python)
