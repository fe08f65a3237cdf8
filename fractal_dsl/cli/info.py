"""The command info."""

from __future__ import annotations

import json
import sys
from typing import Annotated, Any

import typer

from fractal_dsl.base.texts import aligned, percent
from fractal_dsl.cli.given import given_file, given_folder
from fractal_dsl.cli.grouped import SpecOptions, with_group
from fractal_dsl.cli.say import say, warn
from fractal_dsl.cli.specs import errors_as_json
from fractal_dsl.program.program_to_summary import Summary, approximate
from fractal_dsl.stored.spec import Stored


@with_group
def info(
    *,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON with exact numbers. Errors are JSON too.")] = False,
    options: SpecOptions,
) -> None:
    """Print the figures of a net and of its columns: parameters, MACs, depth, joins, paths."""
    with errors_as_json(json_):
        stored = given_folder(options, settings=False) if options.is_folder() else None
        compiled = stored.compiled if stored else given_file(options, settings=False)
    warn(compiled.warnings)
    summary = compiled.summary
    if stored and stored.column is not None:
        facts = _column_facts(stored, stored.column)
        say(json.dumps(facts, indent=2) if json_ else _column_table(facts))
    elif json_:
        sys.set_int_max_str_digits(0)  # the number of paths can have thousands of digits
        say(json.dumps(summary.json(), indent=2))
    else:
        say(_table(summary))


def _column_facts(stored: Stored, column: int) -> dict[str, Any]:
    """The figures of an extracted column, as plain data."""
    from fractal_dsl.graph.passes import run_pass
    from fractal_dsl.graph.passes.fold_batchnorm import fold_batchnorm, foldable
    from fractal_dsl.plans.plan_on_graph import cost

    graph = stored.compiled.column(column)
    if stored.network.fused:
        graph = run_pass(fold_batchnorm, graph, foldable(graph))
    whole = cost(graph, graph.g.nodes)
    return {
        "net": graph.net,
        "column": column,
        "fused": stored.network.fused,
        "input_shape": list(graph.input[1].out.shape),
        "output_shape": list(graph.output[1].out.shape),
        "params": whole.params,
        "macs": whole.macs,
        "depth": stored.compiled.summary.columns[column - 1].depth,
    }


def _column_table(facts: dict[str, Any]) -> str:
    rows = [
        ("input", str(facts["input_shape"])),
        ("output", str(facts["output_shape"])),
        ("parameters", f"{facts['params']:,}"),
        ("MACs per sample", f"{facts['macs']:,}"),
        ("depth", f"{facts['depth']:,} base layers"),
    ]
    folded = ", batch norms folded" * facts["fused"]
    return "\n  ".join([f"column {facts['column']} of net {facts['net']}{folded}", *aligned(rows, "<")])


def _table(s: Summary) -> str:
    joins = ", ".join(f"{count:,} of {arity}" for arity, count in sorted(s.joins.items())) or "none"
    rows = [
        ("input", str(list(s.input_shape))),
        ("output", str(list(s.output_shape))),
        ("parameters", f"{s.params:,}"),
        ("MACs per sample", f"{s.macs:,}"),
        ("base layers", f"{s.base_layers:,}"),
        ("depth", f"{s.depth:,} base layers"),
        ("weighted layers", f"{s.weighted_layers:,}"),
        ("weighted depth", f"{s.weighted_depth:,}"),
        ("joins as written", f"{s.joins_raw:,} of 2 inputs" if s.joins_raw else "none"),
        ("joins, collapsed", joins + (" inputs" if s.joins else "")),
        ("paths", approximate(s.paths)),
    ]
    if s.drops:
        drops = dict.fromkeys(map(percent, (s.drops.lowest, s.drops.highest)))
        share = percent(s.training_macs / s.macs) if s.macs else "100%"
        rows += [
            ("branches dropped", f"{s.drops.branches:,}, with {' to '.join(drops)} (@drop)"),
            ("MACs in training", f"{s.training_macs:,.0f} on average by @drop ({share})"),
        ]
    cells = [("column", "depth", "parameters", "MACs per sample")]
    cells += [(str(k), f"{c.depth:,}", f"{c.params:,}", f"{c.macs:,}") for k, c in enumerate(s.columns, 1)]
    return "\n".join(
        [f"net {s.net}", *(f"  {line}".rstrip() for line in [*aligned(rows, "<"), "", *aligned(cells, ">")])]
    )
