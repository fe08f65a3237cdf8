"""The command info."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fractal_dsl.base.texts import aligned
from fractal_dsl.cli.given import given_file, given_folder
from fractal_dsl.cli.grouped import SpecOptions, with_group
from fractal_dsl.cli.say import say, warn
from fractal_dsl.cli.specs import errors_as_json
from fractal_dsl.compiled import Compiled
from fractal_dsl.program.program_to_summary import Summary, column_rows, end_rows, figure_rows
from fractal_dsl.stored.spec import Stored

if TYPE_CHECKING:
    from fractal_dsl.graph.graph import JoinGraph


@with_group
def info(
    *,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON with exact numbers. Errors are JSON too.")] = False,
    layers: Annotated[
        bool, typer.Option("--layers", help="Also print each layer: its shape, parameters, MACs.")
    ] = False,
    options: SpecOptions,
) -> None:
    """Print the figures of a net and of its columns: parameters, MACs, depth, joins, paths."""
    with errors_as_json(json_):
        stored = given_folder(options, settings=False) if options.is_folder() else None
        compiled = stored.compiled if stored else given_file(options, settings=False)
    warn(compiled.warnings)
    if stored and (stored.fused or stored.column is not None):
        facts = _extracted_facts(stored)
        lines = [stored.describe(), *aligned(_extracted_rows(facts, stored.compiled.summary), "<")]
    else:
        facts = compiled.summary.json()
        lines = _table(compiled.summary)
    if layers:
        from fractal_dsl.cli.layers import layer_facts, layer_table

        facts["layers"] = layer_facts(_graph(stored, compiled))
        lines += ["", *layer_table(facts["layers"])]
    if json_:
        sys.set_int_max_str_digits(0)  # the number of paths can have thousands of digits
    say(json.dumps(facts, indent=2) if json_ else "\n".join([lines[0], *(f"  {line}".rstrip() for line in lines[1:])]))


def _graph(stored: Stored | None, compiled: Compiled) -> JoinGraph:
    """The graph of a net or an extracted column, as its folder holds it: with folded batch norms if it has any."""
    from fractal_dsl.graph.passes import run_pass
    from fractal_dsl.graph.passes.fold_batchnorm import fold_batchnorm, foldable

    graph = compiled.graph if stored is None or stored.column is None else compiled.column(stored.column)
    if stored and stored.fused:
        graph = run_pass(fold_batchnorm, graph, foldable(graph))
    return graph


def _extracted_facts(stored: Stored) -> dict[str, Any]:
    """The figures of an extracted column, or of a whole net whose batch norms are folded, as plain data."""
    from fractal_dsl.plans.plan_on_graph import cost

    graph, summary = _graph(stored, stored.compiled), stored.compiled.summary
    whole = cost(graph, graph.g.nodes)
    return {
        "net": graph.net,
        "column": stored.column,
        "fused": stored.fused,
        **summary.ends(),
        "params": whole.params,
        "macs": whole.macs,
        "depth": summary.depth if stored.column is None else summary.columns[stored.column - 1].depth,
    }


def _extracted_rows(facts: dict[str, Any], summary: Summary) -> list[tuple[str, str]]:
    depth = [("depth", f"{facts['depth']:,} base layers")] if facts["depth"] else []
    return [
        *end_rows(summary),
        ("parameters", f"{facts['params']:,}"),
        ("MACs per sample", f"{facts['macs']:,}"),
        *depth,
    ]


def _table(s: Summary) -> list[str]:
    lines = [f"net {s.net}", *aligned(figure_rows(s), "<")]
    if columns := column_rows(s):
        lines += ["", *aligned([("column", "depth", "parameters", "MACs per sample"), *columns], ">")]
    return lines
