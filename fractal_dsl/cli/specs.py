"""Commands that tell about a spec: check, info, explain."""

from __future__ import annotations

import enum
import json
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from fractal_dsl import pipeline
from fractal_dsl.base.errors import UserError
from fractal_dsl.base.escaping import one_line
from fractal_dsl.cli.given import given_folder
from fractal_dsl.cli.options import AllowPython, MaxLayers, Net, Params, ParamsFile, Spec, parameters, read_spec
from fractal_dsl.cli.say import counted, say, warn
from fractal_dsl.compiled import MAX_LAYERS
from fractal_dsl.language.diagnostics import Diagnostic, FracError
from fractal_dsl.language.source import Source, Span
from fractal_dsl.program.program_to_summary import Summary, approximate
from fractal_dsl.stored.kinds import kind_of
from fractal_dsl.stored.spec import Stored


class Format(enum.StrEnum):
    """How ``check`` prints."""

    text = "text"
    json = "json"


def check(
    specs: Annotated[list[str], typer.Argument(help="The .frac files; - for standard input.", show_default=False)],
    param: Params = None,
    params: ParamsFile = None,
    format: Annotated[Format, typer.Option(help="Text for people, JSON for tools.")] = Format.text,
    max_layers: MaxLayers = MAX_LAYERS,
    allow_python: AllowPython = False,
) -> None:
    """Check files: syntax, names, types, shapes, sizes. Torch is loaded only for `nn.` layers and `extern`."""
    found: dict[str, Diagnostic] = {}  # by text: what two files have in common is told once
    warned: dict[str, Diagnostic] = {}
    cut = 0
    with _errors_as_json(format is Format.json):
        given = parameters(param, params)
        for spec in dict.fromkeys(specs):
            try:
                names, warnings = _checked(spec, given, max_layers, allow_python)
                warned |= {d.text(): d for d in warnings}
            except FracError as error:
                found |= {d.text(): d for d in error.diagnostics}
                warned |= {d.text(): d for d in error.warnings}
                cut += error.cut
            else:
                if format is Format.text:
                    say(f"{one_line(spec)}: ok ({names})")
        if found:
            raise FracError(found.values(), cut, warned.values())
    if format is Format.json:
        say(json.dumps([d.json() for d in warned.values()], indent=2))
    elif warned:
        warn(warned.values())
        say(f"\n{counted(len(warned), 'warning')}", error=True)


def _checked(
    spec: str, given: dict[str, str], max_layers: int, allow_python: bool
) -> tuple[str, tuple[Diagnostic, ...]]:
    """The nets of a spec that is right, by name, and the warnings about it. Raises FracError for one that is not, a
    stored one too."""
    if not Path(spec).is_dir() or kind_of(Path(spec)) is None:
        found = pipeline.checked(read_spec(spec), given, max_layers, allow_python=allow_python)
        return ", ".join(net.program.net for net in found.nets) or "no net", found.warnings
    try:
        stored = given_folder(spec, given, None, max_layers, allow_python)
    except UserError as error:
        raise FracError([Diagnostic("E0001", str(error), Source(spec, ""), Span(0, 0))]) from None
    return f"{stored.kind}: {stored.describe()}", stored.compiled.warnings


@contextmanager
def _errors_as_json(wanted: bool) -> Generator[None]:
    """Print the errors of a spec as JSON, if that is wanted, and exit with 1."""
    try:
        yield
    except FracError as error:
        if not wanted:
            raise
        say(json.dumps([d.json() for d in (*error.diagnostics, *error.warnings)], indent=2))
        raise typer.Exit(1) from None


def info(
    spec: Spec,
    param: Params = None,
    params: ParamsFile = None,
    net: Net = None,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON, errors too; numbers are exact.")] = False,
    max_layers: MaxLayers = MAX_LAYERS,
    allow_python: AllowPython = False,
) -> None:
    """Print a net's figures: parameters, MACs, depth, joins, paths, and each column's share."""
    with _errors_as_json(json_):
        given = parameters(param, params)
        if Path(spec).is_dir():
            stored = given_folder(spec, given, net, max_layers, allow_python, settings=False)
            compiled = stored.compiled
        else:
            nets = pipeline.check(read_spec(spec), given, max_layers, allow_python=allow_python, settings=False)
            stored, compiled = None, pipeline.pick(nets, net)
    warn(compiled.warnings)
    summary = compiled.summary
    if stored and stored.column is not None:
        facts = _column_facts(stored, stored.column)
        say(json.dumps(facts, indent=2) if json_ else _column_table(facts))
    elif json_:
        sys.set_int_max_str_digits(0)  # the number of paths may have thousands of digits
        say(json.dumps(summary.json(), indent=2))
    else:
        say(_table(summary))


def _column_facts(stored: Stored, column: int) -> dict[str, Any]:
    """The figures of a column that was taken out, as plain data."""
    from fractal_dsl.graph.passes import run
    from fractal_dsl.graph.passes.fold_batchnorm import fold_batchnorm, foldable
    from fractal_dsl.plans.plan_on_graph import cost

    graph = stored.compiled.column(column)
    if stored.network.fused:
        graph = run(fold_batchnorm, graph, foldable(graph))
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
        ("input", facts["input_shape"]),
        ("output", facts["output_shape"]),
        ("parameters", f"{facts['params']:,}"),
        ("MACs a sample", f"{facts['macs']:,}"),
        ("depth", f"{facts['depth']:,} base layers"),
    ]
    folded = ", batch norms folded" * facts["fused"]
    return "\n".join(
        [f"column {facts['column']} of net {facts['net']}{folded}", *(f"  {name:<18}{value}" for name, value in rows)]
    )


def _table(s: Summary) -> str:
    joins = ", ".join(f"{count:,} of {arity}" for arity, count in sorted(s.joins.items())) or "none"
    rows = [
        ("input", list(s.input_shape)),
        ("output", list(s.output_shape)),
        ("parameters", f"{s.params:,}"),
        ("MACs a sample", f"{s.macs:,}"),
        ("base layers", f"{s.base_layers:,}"),
        ("depth", f"{s.depth:,} base layers"),
        ("weighted layers", f"{s.weighted_layers:,}"),
        ("weighted depth", f"{s.weighted_depth:,}"),
        ("joins as written", f"{s.joins_raw:,} of 2 inputs" if s.joins_raw else "none"),
        ("joins, collapsed", joins + (" inputs" if s.joins else "")),
        ("paths", approximate(s.paths)),
    ]
    lines = [f"net {s.net}", *(f"  {name:<18}{value}" for name, value in rows), ""]
    cells = [["column", "depth", "parameters", "MACs a sample"]]
    cells += [[str(k), f"{c.depth:,}", f"{c.params:,}", f"{c.macs:,}"] for k, c in enumerate(s.columns, 1)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join(
        [*lines, *("  " + "  ".join(c.rjust(w) for c, w in zip(row, widths, strict=True)) for row in cells)]
    )


def explain(
    code: Annotated[str, typer.Argument(help="A code of an error, such as E0501.", show_default=False)],
) -> None:
    """Say what an error means, with a wrong example and a right one."""
    from fractal_dsl.cli import explanations

    say(explanations.explain(code))
