"""The pipeline on one screen: text, syntax, programs, summaries, graphs, each stage by its name."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from fractal_dsl.base.deep import deep
from fractal_dsl.base.errors import UserError, suggestion
from fractal_dsl.compiled import MAX_LAYERS, Compiled
from fractal_dsl.language.diagnostics import Diagnostic, FracError, Report
from fractal_dsl.language.imports import load, near_file
from fractal_dsl.language.source import Source, Span
from fractal_dsl.language.syntax import Call, File, TrainDecl
from fractal_dsl.language.text_to_syntax import parse_expression, text_to_syntax
from fractal_dsl.program.program_to_summary import program_to_summary
from fractal_dsl.program.syntax_to_program import literal_value, syntax_to_programs


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


def read(path: str | Path) -> Source:
    """Read a file. Raises FracError if there is none, or it is no text."""
    try:
        return Source.read(path)
    except UnicodeDecodeError as error:
        message, code, help = f"this is not a text in UTF-8: byte {error.start} fits no character", "E0002", None
    except ValueError as error:
        message, code, help = str(error), "E0002", None
    except FileNotFoundError:
        message, code = "there is no such file", "E0001"
        help = near_file(Path(path))
    except OSError as error:
        message, code, help = f"the file cannot be read: {error.strerror}", "E0001", None
        if Path(path).is_dir():
            help = f"give its files by name: {Path(path) / '*.frac'}"
    raise FracError([Diagnostic(code, message, Source(str(path), ""), Span(0, 0), help=help)])


def parse(source: Source) -> File:
    """The syntax tree of a source. Raises FracError with every syntax error."""
    report = Report(source)
    with deep():
        file = text_to_syntax(source, report)
    report.raise_if_any()
    return file


def param_text(value: object) -> str:
    """A plain value in the language's literals. Raises ValueError for one that the language does not have."""
    match value:
        case bool():
            return str(value).lower()
        case int():
            return str(value)
        case float() if math.isfinite(value):
            return repr(value)
        case str() if '"' not in value and "\n" not in value:
            return f'"{value}"'
        case str():
            raise ValueError("is a text with a quotation mark or a line break, which texts of the language do not have")
        case list() | tuple():
            return f"[{', '.join(map(param_text, cast(Sequence[object], value)))}]"
        case _:
            raise ValueError(f"is no number, text, boolean or list of these: {value}")


def _param_text(name: str, value: object) -> str:
    try:
        return value if isinstance(value, str) else param_text(value)
    except ValueError as error:
        raise UserError(f"the value of parameter `{name}` {error}") from None


def literal(text: str, name: str) -> Any:
    """A setting from the command line: a number, percentage, text, boolean, list, or a name with settings, as in the
    train block; ``none`` is None; anything else is a text."""
    if text.strip() == "none":
        return None
    report = Report(Source(name, text))
    with deep():
        value = literal_value(parse_expression(report.source, report), report)
    return text if report.found else value


def check(
    source: Source,
    params: Mapping[str, object] | None = None,
    max_layers: int = MAX_LAYERS,
    *,
    allow_python: bool = False,
    settings: bool = True,
) -> list[Compiled]:
    """All nets of a source, checked and measured. Raises FracError with every error.

    ``settings`` is false where the train block does not matter: its schema takes a while to load.
    """
    overrides = {name: _param_text(name, value) for name, value in (params or {}).items()}
    report = Report(source)
    with deep():
        files = load(source, report)
        programs, train = syntax_to_programs(
            files.main, files.targets.get, report, overrides, parse_expression, max_layers, allow_python
        )
        summaries = [program_to_summary(program, report, max_layers) for program in programs]
    if settings:
        _check_train(files.main, train, report)
    report.raise_if_any()
    return [
        Compiled(program, summary, {k: str(v) for k, v in overrides.items()}, max_layers, files.paths)
        for program, summary in zip(programs, summaries, strict=True)
        if summary is not None
    ]


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


def _check_train(file: File, settings: Mapping[str, Any], report: Report) -> None:
    """The settings of the train block, against the schema that the command line uses."""
    block = next((d for d in file.decls if isinstance(d, TrainDecl)), None)
    if block is None:
        return
    from fractal_dsl.config import ConfigError, TrainConfig, parse_config

    told = [d.span for d in report.found if block.span.start <= d.span.start < block.span.end]
    try:
        parse_config(settings)
    except ConfigError as error:
        spans = {s.key.id: s for s in block.settings}
        for path, message, help in error.findings:
            setting = spans.get(str(path[0])) if path else None
            known = bool(path) and path[0] in TrainConfig.model_fields
            span = block.span if setting is None else setting.value.span if known else setting.key.span
            span = _inner(block, path) or span
            if not any(span.start <= at.start < span.end or at.start <= span.start < at.end for at in told):
                report.error("E0701", span, message, help=help)


def _inner(block: TrainDecl, path: tuple[str | int, ...]) -> Span | None:
    """The span of a nested setting: ``lr`` in ``optimizer = sgd(lr=0.1)``."""
    for setting in block.settings:
        if len(path) > 1 and setting.key.id == path[0] and isinstance(setting.value, Call):
            return next((a.span for a in setting.value.args if a.name == path[-1]), setting.value.span)
    return None
