"""Commands that show a net: render, plan."""

from __future__ import annotations

import enum
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from fractal_dsl import driver
from fractal_dsl.cli.options import AllowPython, MaxLayers, Net, Params, ParamsFile, Spec, parameters
from fractal_dsl.diagnostics import UserError
from fractal_dsl.driver import MAX_LAYERS
from fractal_dsl.plan import column_order, plan_of_text
from fractal_dsl.plan_on_graph import plan_of_spec

if TYPE_CHECKING:
    from fractal_dsl.driver import Compiled
    from fractal_dsl.fold_program import Measured
    from fractal_dsl.graph import Join, JoinGraph
    from fractal_dsl.graph_to_dot import Heat, Look
    from fractal_dsl.ops import Tensor
    from fractal_dsl.plan import Label, Plan
    from fractal_dsl.program import Program, Term

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


class View(enum.StrEnum):
    """What ``render`` draws of a net."""

    net = "net"
    block = "block"
    rule = "rule"
    figure = "figure"


class GraphStage(enum.StrEnum):
    """Which graph: as the recurrence reads, or with joins that span their columns."""

    raw = "raw"
    collapsed = "collapsed"


class BoxLabel(enum.StrEnum):
    """A second line in boxes."""

    none = "none"
    shape = "shape"
    params = "params"
    macs = "macs"


class HeatOf(enum.StrEnum):
    """What boxes are coloured by."""

    macs = "macs"
    params = "params"
    activation = "activation"
    gradient = "gradient"
    loss = "loss"


class ThemeName(enum.StrEnum):
    """Colours; ``auto`` follows the reader's, in an SVG."""

    light = "light"
    dark = "dark"
    auto = "auto"


def render(
    spec: Annotated[str, typer.Argument(help="The .frac file, or the folder of a training run.", show_default=False)],
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
    from fractal_dsl.dot_to_picture import FORMATS, draw
    from fractal_dsl.graph_to_dot import DARK, LIGHT, Look, Opening, follow_reader

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
    shown = Shown(compiled, run, view, block, stage, plan, heat)
    if output.suffix.lower() == ".html":
        from fractal_dsl.dot_to_page import write_page

        write_page(*shown.page(look), compiled.program.net, follow_reader(), output)
    else:
        draw(shown.dot(look), output, style=follow_reader() if theme is ThemeName.auto else "")
    print(output)
    if note := shown.note:
        print(note)


def _run_spec(run: Path, allow_python: bool) -> Compiled:
    from fractal_dsl.run_figures import run_spec

    return run_spec(run, allow_python=allow_python)


_READABLE = 200
"""Boxes that a net of over 2,000 is folded to."""


class Shown:
    """What is drawn of a net: a view of it at a stage, under plans, coloured by something."""

    def __init__(
        self,
        compiled: Compiled,
        run: Path | None,
        view: View,
        block: int,
        stage: GraphStage,
        plan: str | None,
        heat: HeatOf | None,
    ) -> None:
        from fractal_dsl.fold_program import boxes
        from fractal_dsl.graph_to_dot import MAX_UNITS

        if plan is not None and (view in (View.rule, View.figure) or stage is GraphStage.raw):
            raise typer.BadParameter("a plan is drawn on the net or a block after collapse", param_hint="--plan")
        if heat is not None and view is View.rule:
            raise typer.BadParameter("a rule alone costs nothing: draw the net or a block", param_hint="--heat")
        self.run, self.view, self.block, self.stage, self.plan, self.heat = run, view, block, stage, plan, heat
        self.note = ""
        self.compiled = compiled
        if view is not View.rule and (count := boxes(compiled.program)) > MAX_UNITS:
            self.compiled = self._folded(compiled, count)

    def dot(self, look: Look) -> str:
        """The picture as DOT text."""
        from fractal_dsl.graph_to_dot import figure_to_dot, graph_to_dot, plans_to_dot, rule_to_dot

        if self.view is View.rule:
            return rule_to_dot(self.compiled.program, look)
        graph = self.compiled.raw if self.stage is GraphStage.raw else self.compiled.graph
        look = replace(look, heat=self._heat(graph))
        block = self.block if self.view is View.block else 0
        if self.view is View.figure:
            return figure_to_dot(self.compiled.program, graph, look, block=self.block)
        if self.plan == "all":
            if not graph.joins():
                raise UserError(f"net {graph.net} has no join of a rule: there is nothing that drop-path may drop")
            return plans_to_dot(graph, _sample(graph), look, block=block)
        chosen = None if self.plan is None else plan_of_spec(self.plan, graph)
        return graph_to_dot(graph, look, plan=chosen, block=block)

    def page(self, look: Look) -> tuple[str, dict[str, Any] | None]:
        """The picture as DOT text, and what a page needs to fold it and to show plans; None for several panels."""
        from fractal_dsl.graph_to_dot import graph_to_page

        if self.view in (View.rule, View.figure) or self.plan == "all":
            return self.dot(look), None
        graph = self.compiled.raw if self.stage is GraphStage.raw else self.compiled.graph
        look = replace(look, heat=self._heat(graph))
        plans = [] if self.stage is GraphStage.raw or self.note else _choices(graph, self.plan)
        return graph_to_page(graph, look, plans, block=self.block if self.view is View.block else 0)

    def _heat(self, graph: JoinGraph) -> Heat | None:
        from fractal_dsl.graph_to_dot import Heat, cost_heat

        if self.heat is None:
            return None
        if self.heat in (HeatOf.macs, HeatOf.params, HeatOf.activation):
            return cost_heat(graph, self.heat.value)
        from fractal_dsl.run_figures import column_losses, gradient_norms

        if self.run is None:
            raise typer.BadParameter(
                f"{self.heat.value} is measured in training: give a run's folder", param_hint="--heat"
            )
        if self.heat is HeatOf.gradient:
            return Heat("gradient norm", gradient_norms(self.run, graph), total="norm", log=True)
        return Heat("test loss of the column", column_losses(self.run, graph), total="largest", log=True)

    def _folded(self, compiled: Compiled, count: int) -> Compiled:
        """The net with its repeated sub-fractals as boxes: what is over the limit is not even expanded."""
        from fractal_dsl.fold_program import fold_program
        from fractal_dsl.graph_to_dot import MAX_UNITS

        if self.plan is not None or self.heat in (HeatOf.gradient, HeatOf.loss):
            raise UserError(
                f"a picture of {compiled.program.net} would have {count:,} boxes, and one of over {MAX_UNITS:,} is "
                "folded; plans and measurements need each box: draw a smaller net, for example with `-p columns=4`"
            )
        folded = fold_program(compiled.program, _READABLE, _measured(compiled.program))
        rules = f"sub-fractals up to level {folded.level} and " if folded.level else ""
        self.note = f"{count:,} boxes are over the limit of {MAX_UNITS:,}: {rules}what is alike in a row is folded"
        drawn = replace(compiled, program=folded.program)
        labels = (label for _, join in drawn.collapsed.joins() for label in join.labels if label is not None)
        return replace(drawn, summary=replace(compiled.summary, labels=column_order(labels)))


def _measured(program: Program) -> Callable[[Term, Tensor], Measured]:
    """Shapes and costs of the program's terms, counted from the recurrence."""
    from fractal_dsl.diagnostics import Report
    from fractal_dsl.program_to_summary.measure import Measure

    measure = Measure(program, Report(program.source), ())

    def measured(term: Term, x: Tensor) -> Measured:
        signal, totals = measure.closed(term, x, True)
        assert signal.out is not None
        return signal.out, totals.params, totals.macs

    return measured


_SAMPLES = 8


def _choices(graph: JoinGraph, first: str | None) -> list[tuple[str, Plan]]:
    """The plans that a page offers: the one asked for, everything, each column, samples of local drop-path."""
    if not graph.joins():
        return []
    columns = [f"column:{k}" for k in range(1, 1 + max(1, len(graph.columns)))]
    specs = [*filter(None, [first]), "full", *columns, *(f"local:{seed}" for seed in range(_SAMPLES))]
    return [(spec, plan_of_spec(spec, graph)) for spec in dict.fromkeys(specs)]


def _sample(graph: JoinGraph) -> list[tuple[str, Plan]]:
    """Subnetworks as training draws them, local and global in turn, as in the paper's figure 2."""
    from fractal_dsl.plan_on_graph import cost, needed

    columns = max(1, len(graph.columns))
    chosen = dict.fromkeys((1, (columns + 1) // 2, columns))
    specs = ["full"]
    for i, column in enumerate(chosen):
        specs += [f"local:{i}", f"column:{column}"]
    whole = cost(graph, graph.g.nodes).macs
    plans = [(spec, plan_of_spec(spec, graph)) for spec in specs]
    shares = [cost(graph, needed(graph, plan)).macs / whole if whole else 1.0 for _, plan in plans]
    return [(f"{spec} · {share:.0%} of MACs", plan) for (spec, plan), share in zip(plans, shares, strict=True)]
