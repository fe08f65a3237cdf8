"""Syntax trees to programs: names, kinds, parameters, types. Collects every independent error.

Each declaration is evaluated by itself with unknown parameters, which finds what is wrong whatever the
arguments; then each net is evaluated with the real ones.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from fractal_dsl import program as p
from fractal_dsl import syntax as s
from fractal_dsl.diagnostics import Diagnostic, Report, nearest
from fractal_dsl.source import Source, Span
from fractal_dsl.syntax_to_program import nets, termination, train
from fractal_dsl.syntax_to_program.checks import check_layer, check_params, check_rule
from fractal_dsl.syntax_to_program.evaluate import Evaluator
from fractal_dsl.syntax_to_program.modules import Library, Module
from fractal_dsl.syntax_to_program.nets import INITS
from fractal_dsl.syntax_to_program.params import ParseValue
from fractal_dsl.syntax_to_program.scope import Nowhere, Scope
from fractal_dsl.syntax_to_program.values import OutOfSteps, type_of

__all__ = ["INITS", "ParseValue", "literal_value", "syntax_to_programs"]


def syntax_to_programs(
    file: s.File,
    find: Callable[[Span], s.File | None],
    report: Report,
    overrides: Mapping[str, str],
    parse_value: ParseValue,
    max_layers: int,
    allow_python: bool = False,
) -> list[p.Program]:
    """The programs of all nets of a file, in its order. Errors go to ``report``.

    ``find`` gives an imported file by the span of its path. ``overrides`` are the values of ``-p name=value``,
    texts that ``parse_value`` reads as expressions. ``allow_python`` lets ``extern`` load Python code.
    """
    library = Library(Evaluator(report, max_layers), find, parse_value, allow_python)
    try:
        return _programs(library, file, overrides)
    except OutOfSteps:
        return []


def _programs(library: Library, file: s.File, overrides: Mapping[str, str]) -> list[p.Program]:
    main = library.module(file, overrides, "")
    checked: set[int] = set()
    for module in library.modules:  # grows while imports are resolved
        for name, decl in module.decls.items():
            if isinstance(decl, s.Param | s.Let | s.Import | s.FromImport):
                module.resolve(name, decl.span)
        if id(module.file) not in checked:
            checked.add(id(module.file))
            _check(module)
    _check_overrides(library, overrides)
    settings: dict[str, Any] = {}
    for decl in file.decls:
        if isinstance(decl, s.TrainDecl):
            settings = train.settings(library.ev, main, decl)
    given = {d.name.id: main.values[d.name.id] for d in main.params()}
    wanted = [d for d in file.decls if isinstance(d, s.NetDecl)]
    made = [nets.net(library.ev, main, decl, library.ev.report.sources, given, settings) for decl in wanted]
    return [program for program in made if program is not None]


def literal_value(expr: s.Expr, report: Report) -> Any:
    """The plain value of an expression without names, as Python data. Errors go to ``report``."""
    try:
        value = Evaluator(report, 0).eval(expr, Scope(Nowhere()))
    except OutOfSteps:
        return None
    if not train.is_plain(value):
        report.error("E0301", expr.span, f"expected a plain value, found {type_of(value)}")
    return train.plain(value)


def _check(module: Module) -> None:
    """A file's layers, joins and rules, each by itself, and the parameters of Python's."""
    termination.check(module)
    for decl in module.file.decls:
        match decl:
            case s.LayerDecl():
                check_layer(module.ev, module, decl)
            case s.RuleDecl():
                check_rule(module.ev, module, decl)
            case s.Extern():
                check_params(module.ev, module, decl.params)
            case _:
                pass


def _check_overrides(library: Library, overrides: Mapping[str, str]) -> None:
    known = [f"{prefix}{d.name.id}" for prefix, module in library.reached.items() for d in module.params()]
    for name, text in overrides.items():
        if name not in known:
            near = nearest(name, known)
            help = f"did you mean `{near}`?" if near else f"the parameters are {', '.join(known) or '(none)'}"
            source = Source("-p", f"{name}={text}")
            message = f"there is no parameter `{name}`"
            found = Diagnostic("E0203", message, source, Span(0, len(name)), help=help)
            library.ev.report.found.append(found)
