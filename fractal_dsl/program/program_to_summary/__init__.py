"""Program to figures: check shapes and count sizes from the recurrence, never on the expanded net.

In: a ``Program``. Out: a ``Summary``; errors go to a ``Report``.
Not imported here: torch, ``graph`` and above.

A term is measured once for each input shape, so a net of level C costs O(C) here, however many layers it expands to.
Numbers are Python integers, so they are exact.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from fractal_dsl.language.diagnostics import Report
from fractal_dsl.language.source import Span
from fractal_dsl.program import program as p
from fractal_dsl.program.columns import Label, column_order
from fractal_dsl.program.program_to_summary.checks import MAX_NUMBERS
from fractal_dsl.program.program_to_summary.count import LayerCount
from fractal_dsl.program.program_to_summary.measure import Measure
from fractal_dsl.program.program_to_summary.measurements import Measurement, measurements
from fractal_dsl.program.program_to_summary.rows import column_rows, depth_text, end_rows, figure_rows
from fractal_dsl.program.program_to_summary.summary import ColumnCost, Summary, approximate

__all__ = [
    "MAX_COLUMNS",
    "MAX_NUMBERS",
    "MAX_OPS_PER_LAYER",
    "ColumnCost",
    "Measurement",
    "Summary",
    "approximate",
    "column_rows",
    "depth_text",
    "end_rows",
    "figure_rows",
    "program_to_measurements",
    "program_to_summary",
]

MAX_OPS_PER_LAYER = 16
MAX_COLUMNS = 1_000


def program_to_summary(program: p.Program, report: Report, max_layers: int) -> Summary | None:
    """Check the shapes of a net and count its sizes. Errors go to ``report``; the result is None after an error.

    A net with more than ``max_layers`` base layers is refused before any shape is computed.
    """
    if not _fits(program, report, max_layers):
        return None
    errors = len(report.errors)
    first = Measure(program, report, ())
    signal, totals = first.net()
    if len(report.errors) > errors or signal.out is None:
        return None
    if program.drop_path_span and not first.closes:
        message = f"the drop-path of net `{program.net}` has no effect: the net has no rule with a join"
        help = (
            "`drop_path` drops operands of the joins of rules. To drop a branch of an inline join, write `@drop` after "
            "it: `sum(id, conv2d(64, 3) @drop(10%))`"
        )
        report.warning("W0701", program.drop_path_span, message, help=help)
    order = column_order(first.labels)
    if order:
        signal, totals = Measure(program, report, order).net()
    assert signal.out is not None
    columns = distinct_columns(order, signal.columns) if order else {}
    if program.drop_path and (weights := program.drop_path.weights) and len(weights) != len(columns):
        assert program.drop_path_span is not None
        message = (
            f"`drop_path` has {len(weights)} weights of columns, but net `{program.net}` has {len(columns)} columns"
        )
        report.error("E0702", program.drop_path_span, message, help="give one weight for each column, shallow to deep")
        return None
    whole = ColumnCost(signal.depth, totals.params, totals.macs)
    return Summary(
        program.net,
        {one.name: one.tensor.shape for one in program.inputs},
        {one.name: out.shape for one, out in zip(program.outputs, signal.outs, strict=False) if out is not None},
        totals.params,
        totals.macs,
        totals.base,
        signal.depth,
        totals.weighted,
        signal.weighted,
        totals.raw,
        dict(totals.joins),
        signal.paths,
        tuple(columns.values()) if order else (whole,),
        tuple(columns),
        totals.drops,
        totals.training_macs,
    )


def program_to_measurements(program: p.Program, max_layers: int) -> dict[Span, list[Measurement]]:
    """The measurements of each part of a net, by its place in the text. They end at an error; a net that is too large
    has none."""
    report = Report(program.source)
    if not _fits(program, report, max_layers):
        return {}
    measure = Measure(program, report, ())
    measure.net()
    return measurements(program.body, measure)


def _fits(program: p.Program, report: Report, max_layers: int) -> bool:
    """Whether a net has at most ``max_layers`` base layers, and joins of few enough columns. Reports if not."""
    count = LayerCount()
    base, ops = count.term(program.body, False)
    if base > max_layers or ops > max_layers * MAX_OPS_PER_LAYER:
        counted = f"{approximate(base)} base layers" if base > max_layers else f"{approximate(ops)} layers"
        limit = max_layers if base > max_layers else max_layers * MAX_OPS_PER_LAYER
        message = f"net `{program.net}` would have {counted}; the limit is {limit:,}"
        help = "lower the levels or parameters, or raise the limit with `--max-layers`"
        report.error("E0601", program.span, message, help=help)
        return False
    if count.widest > MAX_COLUMNS:
        message = f"a join of net `{program.net}` has {approximate(count.widest)} columns; the limit is {MAX_COLUMNS:,}"
        help = "lower the levels: columns multiply if a case uses its rule in several of them"
        report.error("E0601", program.span, message, help=help)
        return False
    return True


def distinct_columns(order: Sequence[Label], costs: Sequence[ColumnCost]) -> dict[Label, ColumnCost]:
    """The distinct columns by label, from shallow to deep. Columns of equal depth keep their order."""
    first: dict[int, Label] = {}
    for label, cost in zip(order, costs, strict=True):
        first.setdefault(cost.route, label)
    by_label = dict(zip(order, costs, strict=True))
    distinct = sorted(first.values(), key=lambda label: by_label[label].depth)
    return {label: replace(by_label[label], route=0) for label in distinct}
