"""Commands on .frac files: check, info, compile, fmt, explain."""

from __future__ import annotations

import enum
import json
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from fractal_dsl import pipeline
from fractal_dsl.base.escaping import one_line
from fractal_dsl.cli.options import AllowPython, MaxLayers, Net, Params, ParamsFile, Spec, parameters, read_spec
from fractal_dsl.cli.say import say
from fractal_dsl.compiled import MAX_LAYERS, Compiled
from fractal_dsl.language.diagnostics import Diagnostic, FracError
from fractal_dsl.pipeline import Stage
from fractal_dsl.program.program_to_summary import Summary, approximate


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
    """Check files: syntax, names, types, shapes, sizes. Every error is shown, none of torch is loaded."""
    found: dict[str, Diagnostic] = {}  # by text: what two files have in common is told once
    cut = 0
    with _errors_as_json(format is Format.json):
        given = parameters(param, params)
        for spec in dict.fromkeys(specs):
            try:
                nets = pipeline.check(read_spec(spec), given, max_layers, allow_python=allow_python)
            except FracError as error:
                found |= {d.text(): d for d in error.diagnostics}
                cut += error.cut
            else:
                if format is Format.text:
                    names = ", ".join(net.program.net for net in nets) or "no net"
                    say(f"{one_line(spec)}: ok ({names})")
        if found:
            raise FracError(found.values(), cut)
    if format is Format.json:
        say("[]")


@contextmanager
def _errors_as_json(wanted: bool) -> Generator[None]:
    """Print the errors of a spec as JSON, if that is wanted, and exit with 1."""
    try:
        yield
    except FracError as error:
        if not wanted:
            raise
        say(json.dumps([d.json() for d in error.diagnostics], indent=2))
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
        source, given = read_spec(spec), parameters(param, params)
        nets = pipeline.check(source, given, max_layers, allow_python=allow_python, settings=False)
        summary = pipeline.pick(nets, net).summary
    if json_:
        sys.set_int_max_str_digits(0)  # the number of paths may have thousands of digits
        say(json.dumps(summary.json(), indent=2))
    else:
        say(_table(summary))


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


def compile(
    spec: Spec,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="The folder to write.")] = None,
    emit: Annotated[Stage | None, typer.Option(help="Print a stage of the pipeline instead.")] = None,
    param: Params = None,
    params: ParamsFile = None,
    net: Net = None,
    seed: Annotated[int, typer.Option(help="The seed of the initial weights.")] = 0,
    max_layers: MaxLayers = MAX_LAYERS,
    allow_python: AllowPython = False,
) -> None:
    """Compile to a folder: model.py (source that needs only torch), weights, spec and manifest."""
    if (output is None) == (emit is None):
        raise typer.BadParameter("give -o FOLDER to write the network, or --emit STAGE to print a stage")
    nets = pipeline.check(read_spec(spec), parameters(param, params), max_layers, allow_python=allow_python)
    compiled = pipeline.pick(nets, net)
    if emit is not None:
        say(_emitted(compiled, emit).removesuffix("\n"))
        return
    assert output is not None
    from fractal_dsl.runtime import build
    from fractal_dsl.runtime.artifact import save_artifact

    save_artifact(compiled, build(compiled, seed), output)
    s = compiled.summary
    folder, source = one_line(str(output)), one_line(str(output / "model.py"))
    say(f"{folder}: {s.net}, {s.base_layers:,} base layers, {s.params:,} parameters; see {source}")


def _emitted(compiled: Compiled, stage: Stage) -> str:
    match stage:
        case Stage.syntax:
            import pprint

            return pprint.pformat(pipeline.parse(compiled.program.source).decls, width=120) + "\n"
        case Stage.graph:
            return compiled.raw.dump()
        case Stage.collapsed:
            return compiled.collapsed.dump()
        case Stage.labelled:
            return compiled.graph.dump()
        case Stage.dot:
            from fractal_dsl.picture.graph_to_dot import graph_to_dot

            return graph_to_dot(compiled.graph)
        case Stage.source:
            from fractal_dsl.runtime.artifact import model_source

            return model_source(compiled, compiled.graph)
        case Stage.fx:
            from fractal_dsl.runtime import build

            return build(compiled, device="meta").print_readable(print_output=False) + "\n"


def explain(
    code: Annotated[str, typer.Argument(help="A code of an error, such as E0501.", show_default=False)],
) -> None:
    """Say what an error means, with a wrong example and a right one."""
    from fractal_dsl.cli import explanations

    say(explanations.explain(code))
