"""Commands that show a net: render, plan."""

from __future__ import annotations

import enum
import json
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from fractal_dsl.base.errors import UserError
from fractal_dsl.base.escaping import one_line
from fractal_dsl.cli.given import given_spec, place_beside
from fractal_dsl.cli.options import STDIN, AllowPython, MaxLayers, Net, Params, ParamsFile, Spec, parameters
from fractal_dsl.cli.say import say
from fractal_dsl.compiled import MAX_LAYERS
from fractal_dsl.picture.shown import BoxLabel, GraphStage, HeatOf, NotDrawn, Shown, View
from fractal_dsl.plans.plan import plan_of_text

if TYPE_CHECKING:
    from fractal_dsl.compiled import Compiled
    from fractal_dsl.graph.graph import Join, JoinGraph
    from fractal_dsl.picture.graph_to_dot import Look
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

    given = parameters(param, params)
    compiled, _ = given_spec("plan", spec, given, net, max_layers, allow_python, settings=False)
    chosen = plan_of_spec(plan, compiled.graph)
    facts = _plan_facts(compiled, chosen)
    say(json.dumps(facts, indent=2) if json_ else _plan_table(facts))


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
    spec: Spec,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            help="The picture: .svg, .png, .pdf, .dot or .html; - prints an SVG; if not given, NAME.svg beside "
            "NAME.frac, or beside the folder.",
        ),
    ] = None,
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
    """Draw a net in the style of the paper's figures, as an SVG beside its file if -o is not given."""
    from fractal_dsl.picture.graph_to_dot import DARK, LIGHT, Look, Opening
    from fractal_dsl.runs.measured import measured

    place = _picture_place(spec, output)
    given = parameters(param, params)
    compiled, stored = given_spec("render", spec, given, net, max_layers, allow_python, settings=False)
    run = stored.folder if stored and stored.kind == "training run" else None
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
    _write(shown, look, place, theme)
    if note := shown.note:
        say(note, error=place is None)


def _picture_place(spec: str, output: Path | None) -> Path | None:
    """The file to draw, None for standard output. Raises UserError if nothing can or should be written there."""
    from fractal_dsl.picture.dot_to_picture import FORMATS, is_picture_of_ours

    if output == Path(STDIN):
        return None
    place = output or place_beside(spec, ".svg", "the picture")
    if place.suffix.lower() not in (known := [f".{format}" for format in (*FORMATS, "html")]):
        raise UserError(f"cannot draw {place}: the name must end in {', '.join(known)}")
    if not place.parent.is_dir():
        raise UserError(f"cannot write {place}: there is no folder {place.parent}. Make it, or choose another with -o")
    if output is None and place.exists() and not is_picture_of_ours(place):
        raise UserError(
            f"{place} exists, and fractal-dsl has not drawn it: choose another name with -o, or give -o {place} to "
            "replace it"
        )
    return place


def _write(shown: Shown, look: Look, place: Path | None, theme: ThemeName) -> None:
    """Write the picture and say where, or print it."""
    from fractal_dsl.picture.dot_to_picture import draw, svg_text
    from fractal_dsl.picture.graph_to_dot import follow_reader

    style = follow_reader() if theme is ThemeName.auto else ""
    if place is None:
        sys.stdout.write(svg_text(shown.dot(look), Path("standard output"), style=style))
        return
    if place.suffix.lower() == ".html":
        from fractal_dsl.picture.dot_to_page import write_page

        write_page(*shown.page(look), shown.compiled.program.net, follow_reader(), place)
    else:
        draw(shown.dot(look), place, style=style)
    say(one_line(str(place)))
