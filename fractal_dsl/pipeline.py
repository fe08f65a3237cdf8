"""The pipeline on one screen: how the text of a .frac file becomes a network, stage by stage.

    stage       made by                                       what it is
    syntax      language/text_to_syntax, language/imports     the syntax tree, and those of the imported files
    program     program/syntax_to_program                     each net as a term: names, types and arguments resolved
    summary     program/program_to_summary                    shapes and figures, counted from the recurrence
    raw         graph/program_to_graph                        the net expanded, with joins of two inputs
    collapsed   graph/passes/collapse_joins                   the graph with joins that span their columns
    labelled    graph/passes/assign_columns                   the collapsed graph with columns and names
    dot         picture/graph_to_dot                          a picture, for Graphviz
    source      codegen/graph_to_source                       a Python module that needs only torch
    fx          runtime/graph_to_fx                           a torch.fx module, to train and to run

``check`` goes as far as the summary, where every error of a file is known. ``Compiled`` makes the graphs when they are
asked for; picture, source and module are made from its labelled graph. ``compile --emit`` prints a stage.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from msgspec.structs import replace

from fractal_dsl.base.deep import deep
from fractal_dsl.base.errors import UserError, suggestion
from fractal_dsl.compiled import MAX_LAYERS, Compiled
from fractal_dsl.language.diagnostics import Diagnostic, FracError, Report
from fractal_dsl.language.imports import Files, load
from fractal_dsl.language.read import read
from fractal_dsl.language.source import Source, Span
from fractal_dsl.language.syntax import File, TrainDecl
from fractal_dsl.language.text_to_syntax import parse_expression, text_to_syntax
from fractal_dsl.program.literals import param_text
from fractal_dsl.program.program import Program
from fractal_dsl.program.program_to_summary import Summary, program_to_summary
from fractal_dsl.program.syntax_to_program import syntax_to_programs


class Stage(enum.StrEnum):
    """The stages of the pipeline that ``compile --emit`` prints, in order."""

    syntax = "syntax"
    program = "program"
    summary = "summary"
    raw = "raw"
    collapsed = "collapsed"
    labelled = "labelled"
    dot = "dot"
    source = "source"
    fx = "fx"


def compile_file(
    path: str | Path,
    params: Mapping[str, object] | None = None,
    net: str | None = None,
    max_layers: int = MAX_LAYERS,
    *,
    allow_python: bool = False,
) -> Compiled:
    """Check and measure a file's net (the last, unless ``net`` names one).

    ``params`` are plain values, or texts in the language's literals: ``{"columns": 4}`` or ``{"columns": "4"}``.
    ``allow_python`` lets ``extern`` load Python code. Raises FracError with every error of the file, and UserError
    for a value that no parameter can have.
    """
    return pick(check(read(path), params, max_layers, allow_python=allow_python), net)


def compile_text(
    text: str,
    params: Mapping[str, object] | None = None,
    net: str | None = None,
    max_layers: int = MAX_LAYERS,
    *,
    allow_python: bool = False,
) -> Compiled:
    """``compile_file`` for a text."""
    return pick(check(Source("<text>", text), params, max_layers, allow_python=allow_python), net)


def parse(source: Source) -> File:
    """The syntax tree of a source. Raises FracError with every syntax error."""
    report = Report(source)
    with deep():
        syntax = text_to_syntax(source, report)
    report.raise_if_any()
    return syntax


class Checked(NamedTuple):
    """The nets of a source that has no errors, and the warnings about it."""

    nets: list[Compiled]
    warnings: tuple[Diagnostic, ...]


def check(
    source: Source,
    params: Mapping[str, object] | None = None,
    max_layers: int = MAX_LAYERS,
    *,
    allow_python: bool = False,
    settings: bool = True,
) -> list[Compiled]:
    """The nets of ``checked``, each of which has the warnings, too."""
    return checked(source, params, max_layers, allow_python=allow_python, settings=settings).nets


def checked(
    source: Source,
    params: Mapping[str, object] | None = None,
    max_layers: int = MAX_LAYERS,
    *,
    allow_python: bool = False,
    settings: bool = True,
) -> Checked:
    """All nets of a source, checked and measured. Raises FracError with every error.

    ``settings`` is false where the train block does not matter: its schema takes a while to load.
    """
    overrides = {name: _param_text(name, value) for name, value in (params or {}).items()}
    examined = examine(source, overrides, max_layers, allow_python=allow_python, settings=settings)
    examined.report.raise_if_any()
    given, warnings = {k: str(v) for k, v in overrides.items()}, examined.report.warnings
    nets = [
        Compiled(program, summary, given, max_layers, examined.files.texts(), warnings)
        for program, summary in zip(examined.programs, examined.summaries, strict=True)
        if summary is not None
    ]
    return Checked(nets, warnings)


class Examined(NamedTuple):
    """All that is known of a source, whether or not it has errors: its trees, its nets, what was reported.

    A net whose shapes or sizes are wrong has no summary."""

    files: Files
    report: Report
    programs: list[Program]
    summaries: list[Summary | None]


def examine(
    source: Source,
    overrides: Mapping[str, str],
    max_layers: int = MAX_LAYERS,
    *,
    allow_python: bool = False,
    settings: bool = True,
    opened: Mapping[Path, str] = MappingProxyType({}),
) -> Examined:
    """Parse, evaluate and measure a source. ``opened`` holds texts that replace files on disk, by resolved path."""
    report = Report(source)
    with deep():
        files = load(source, report, opened)
        programs, train = syntax_to_programs(
            files.main, files.targets.get, report, overrides, parse_expression, max_layers, allow_python
        )
        summaries = [program_to_summary(program, report, max_layers) for program in programs]
    block = next((d for d in files.main.decls if isinstance(d, TrainDecl)), None)
    if settings and block is not None:
        from fractal_dsl.config.accepted import accepted, note_accepted
        from fractal_dsl.config.paths import located

        if not accepted(train):
            from fractal_dsl.config.train_block import check_train

            if check_train(block, train, report):
                note_accepted(train)
        programs = [replace(program, train=located(train, Path(source.name).parent)) for program in programs]
    return Examined(files, report, programs, summaries)


def _param_text(name: str, value: object) -> str:
    try:
        return value if isinstance(value, str) else param_text(value)
    except ValueError as error:
        raise UserError(f"the value of parameter `{name}` {error}") from None


def pick(nets: list[Compiled], name: str | None) -> Compiled:
    """The net of that name, or the last. Raises FracError if there is none of that name."""
    if not nets:
        raise UserError("the file declares no net")
    if name is None:
        return nets[-1]
    for net in nets:
        if net.program.net == name:
            return net
    names = [net.program.net for net in nets]
    help = suggestion(name, names) or f"the nets are {', '.join(names)}"
    source = Source(nets[-1].program.source.name, "")
    raise FracError([Diagnostic("E0207", f"the file has no net `{name}`", source, Span(0, 0), help=help)])
