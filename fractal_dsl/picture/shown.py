"""A drawing of a net for ``render`` and ``play``: a view of it at a stage, under plans, with colours."""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from fractal_dsl.base.errors import UserError
from fractal_dsl.program.columns import column_order

if TYPE_CHECKING:
    from fractal_dsl.compiled import Compiled
    from fractal_dsl.graph.graph import JoinGraph
    from fractal_dsl.ops import Tensor
    from fractal_dsl.picture.graph_to_dot import Heat, Look
    from fractal_dsl.plans.plan import Plan
    from fractal_dsl.program.fold_program import MeasuredTerm
    from fractal_dsl.program.program import Program, Term

_READABLE = 100
"""The number of boxes that a large net is folded to."""
_LARGE = 150
"""A net with more boxes is folded unless the options need each box."""
_MOST = 10_000
"""The largest number of boxes after folding."""


class View(enum.StrEnum):
    """The parts of a net that a picture shows."""

    net = "net"
    block = "block"
    rule = "rule"
    figure = "figure"


class DrawnGraph(enum.StrEnum):
    """The graph to draw: as the recurrence reads, or with joins that span their columns."""

    raw = "raw"
    collapsed = "collapsed"


class BoxLabel(enum.StrEnum):
    """The second line in boxes."""

    none = "none"
    shape = "shape"
    params = "params"
    macs = "macs"


class HeatOf(enum.StrEnum):
    """The figure that colours boxes."""

    macs = "macs"
    params = "params"
    activation = "activation"
    gradient = "gradient"
    loss = "loss"


class NotDrawn(UserError):
    """Options that exclude each other. ``option`` is the one to leave out."""

    def __init__(self, message: str, option: str) -> None:
        super().__init__(message)
        self.option = option


class Shown:
    """A net, and the options of its picture. ``note`` says what was folded.

    ``measured`` maps the name of a measurement, such as ``gradient``, and a graph to the values of a training run, by
    node.

    Raises NotDrawn for options that exclude each other, and UserError for a net that is too large to draw.
    """

    def __init__(
        self,
        compiled: Compiled,
        *,
        measured: Callable[[str, JoinGraph], Mapping[int, float]] | None = None,
        view: View = View.net,
        block: int = 1,
        stage: DrawnGraph = DrawnGraph.collapsed,
        plan: str | None = None,
        heat: HeatOf | None = None,
    ) -> None:
        from fractal_dsl.picture.graph_to_dot import MAX_UNITS
        from fractal_dsl.program.fold_program import boxes

        if plan is not None and (view in (View.rule, View.figure) or stage is DrawnGraph.raw):
            raise NotDrawn("a plan needs the collapsed net or a block of it", "--plan")
        if heat is not None and view is View.rule:
            raise NotDrawn("a rule alone has no costs: draw the net or a block", "--heat")
        if heat in (HeatOf.gradient, HeatOf.loss) and measured is None:
            raise NotDrawn(f"{heat} is measured in training: pass the folder of a run", "--heat")
        self.measured, self.view, self.block, self.stage, self.plan, self.heat = (
            measured,
            view,
            block,
            stage,
            plan,
            heat,
        )
        self.note = ""
        self.compiled = compiled
        if view is not View.rule and (count := boxes(compiled.program)) > MAX_UNITS:
            self.compiled = self._folded(compiled, count)

    def dot(self, look: Look) -> str:
        """The picture as DOT text. Raises UserError for a block or a plan that the net does not have."""
        from fractal_dsl.picture.graph_to_dot import figure_to_dot, graph_to_dot, plans_to_dot, rule_to_dot
        from fractal_dsl.plans.plan_on_graph import plan_of_spec

        if self.view is View.rule:
            return rule_to_dot(self.compiled.program, look)
        compiled = self._readable(look)
        graph = compiled.raw if self.stage is DrawnGraph.raw else compiled.graph
        look = replace(look, heat=self._heat(graph))
        block = self.block if self.view is View.block else 0
        if self.view is View.figure:
            return figure_to_dot(self.compiled.program, graph, look, block=self.block)
        if self.plan == "all":
            if not graph.joins():
                raise UserError(f"net {graph.net} has no join of a rule, so drop-path has nothing to drop")
            return plans_to_dot(graph, _sample(graph), look, block=block)
        if self.plan is not None:
            return graph_to_dot(graph, look, plan=plan_of_spec(self.plan, graph), block=block)
        return graph_to_dot(graph, self._fitted(graph, look, block), block=block)

    def _fitted(self, graph: JoinGraph, look: Look, block: int, unfold: str = "--depth 9") -> Look:
        """The look with frames closed until the picture fits a page, unless the options say what to open.

        ``unfold`` is the option that opens them.
        """
        from fractal_dsl.picture.graph_to_dot import Opening, fitted

        if look.opening != Opening() or look.strips is not None:
            return look
        closer = fitted(graph, look, block=block)
        if closer != look and not self.note:
            self.note = f"layers are closed so that the picture fits a page; {unfold} draws all of them open"
        return closer

    def page(self, look: Look, *, unfold: str | None = None) -> tuple[str, dict[str, Any] | None]:
        """The picture as DOT text, and the data with which a page folds it and shows plans; None for several panels.

        ``unfold`` names the option of the page that draws each box. With it, a large net is folded and closed as in
        ``dot``.
        """
        from fractal_dsl.picture.graph_to_dot import graph_to_page

        if self.view in (View.rule, View.figure) or self.plan == "all":
            return self.dot(look), None
        compiled = self._readable(look, unfold) if unfold else self.compiled
        graph = compiled.raw if self.stage is DrawnGraph.raw else compiled.graph
        look = replace(look, heat=self._heat(graph))
        plans = [] if self.stage is DrawnGraph.raw or self.note else _choices(graph, self.plan)
        block = self.block if self.view is View.block else 0
        if unfold and self.plan is None:
            look = self._fitted(graph, look, block, unfold)
        return graph_to_page(graph, look, plans, block=block)

    def _heat(self, graph: JoinGraph) -> Heat | None:
        from fractal_dsl.picture.graph_to_dot import Heat, cost_heat

        if self.heat is None:
            return None
        if self.heat in (HeatOf.macs, HeatOf.params, HeatOf.activation):
            return cost_heat(graph, self.heat.value)
        assert self.measured is not None
        values = self.measured(self.heat.value, graph)
        if self.heat is HeatOf.gradient:
            return Heat("gradient norm", values, total="norm", log=True)
        return Heat("test loss of the column", values, total="largest", log=True)

    def _readable(self, look: Look, unfold: str = "--depth 1") -> Compiled:
        """The net, with its sub-fractals folded if it is large and the options do not need each box.

        ``unfold`` is the option that draws each box.
        """
        from fractal_dsl.picture.graph_to_dot import Opening
        from fractal_dsl.program.fold_program import boxes, fold_program

        program = self.compiled.program
        each = self.plan is not None or self.heat in (HeatOf.gradient, HeatOf.loss) or look.opening != Opening()
        if self.note or each or (count := boxes(program)) <= _LARGE:
            return self.compiled
        folded = fold_program(program, _READABLE, _measured(program))
        if not folded.level or boxes(folded.program) > _MOST:
            return self.compiled
        self.note = f"sub-fractals up to level {folded.level} are folded; {unfold} draws all {count:,} boxes"
        return _with_program(self.compiled, folded.program)

    def _folded(self, compiled: Compiled, count: int) -> Compiled:
        """Fold repeated sub-fractals into boxes, without expanding a net that is over the limit."""
        from fractal_dsl.picture.graph_to_dot import MAX_UNITS
        from fractal_dsl.program.fold_program import boxes, fold_program

        if self.plan is not None or self.heat in (HeatOf.gradient, HeatOf.loss):
            raise UserError(
                f"a picture of {compiled.program.net} would have {count:,} boxes; one of more than {MAX_UNITS:,} is "
                "folded, but plans and measurements need each box: draw a smaller net, for example with `-p columns=4`"
            )
        folded = fold_program(compiled.program, _READABLE, _measured(compiled.program))
        if (left := boxes(folded.program)) > _MOST:
            net = compiled.program.net
            raise UserError(
                f"a picture of {net} would have {left:,} boxes after folding equal parts; "
                f"the limit is {_MOST:,}: draw a smaller net of the same shape, or its rule with `--view rule`"
            )
        rules = f"sub-fractals up to level {folded.level} and " if folded.level else ""
        self.note = f"{count:,} boxes are over the limit of {MAX_UNITS:,}: {rules}equal parts in a row are folded"
        return _with_program(compiled, folded.program)


def _with_program(compiled: Compiled, folded: Program) -> Compiled:
    """A net with a folded program in place of its own. It has the columns that folding left."""
    drawn = replace(compiled, program=folded)
    labels = (label for _, join in drawn.collapsed.joins() for label in join.labels if label is not None)
    return replace(drawn, summary=replace(compiled.summary, labels=column_order(labels)))


def _measured(program: Program) -> Callable[[Term, Tensor], MeasuredTerm]:
    """Shapes and costs of the program's terms, counted from the recurrence."""
    from fractal_dsl.language.diagnostics import Report
    from fractal_dsl.program.program_to_summary.measure import Measure

    measure = Measure(program, Report(program.source), ())

    def measured(term: Term, x: Tensor) -> MeasuredTerm:
        signal, totals = measure.closed(term, x, True)
        assert signal.out is not None
        return signal.out, totals.params, totals.macs

    return measured


_SAMPLES = 8


def _choices(graph: JoinGraph, first: str | None) -> list[tuple[str, Plan]]:
    """The plans that a page offers: the requested one, the full plan, each column, samples of local drop-path."""
    from fractal_dsl.plans.plan_on_graph import plan_of_spec

    if not graph.joins():
        return []
    columns = [f"column:{k}" for k in range(1, 1 + graph.n_columns)]
    specs = [*filter(None, [first]), "full", *columns, *(f"local:{seed}" for seed in range(_SAMPLES))]
    return [(spec, plan_of_spec(spec, graph)) for spec in dict.fromkeys(specs)]


def _sample(graph: JoinGraph) -> list[tuple[str, Plan]]:
    """Subnetworks as training draws them, alternating local and global, as in the paper's figure 2."""
    from fractal_dsl.plans.plan_on_graph import cost, needed, plan_of_spec

    columns = graph.n_columns
    chosen = dict.fromkeys((1, (columns + 1) // 2, columns))
    specs = [spec for i, column in enumerate(chosen) for spec in (f"local:{i}", f"column:{column}")]
    whole = cost(graph, graph.g.nodes).macs
    plans = [(spec, plan_of_spec(spec, graph)) for spec in specs]
    shares = [cost(graph, needed(graph, plan)).macs / whole if whole else 1.0 for _, plan in plans]
    return [(f"{spec}\n{share:.0%} of MACs", plan) for (spec, plan), share in zip(plans, shares, strict=True)]
