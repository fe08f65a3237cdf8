"""Syntax trees to programs: names, kinds, parameters, types. Collects every independent error.

Each declaration is evaluated by itself with unknown parameters, which finds what is wrong whatever the
arguments; then each net is evaluated with the real ones.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from fractal_dsl.base.errors import nearest
from fractal_dsl.language import syntax as s
from fractal_dsl.language.diagnostics import Report
from fractal_dsl.language.source import Span
from fractal_dsl.program import program as p
from fractal_dsl.program.syntax_to_program import nets, termination, train
from fractal_dsl.program.syntax_to_program.checks import check_layer, check_params, check_rule
from fractal_dsl.program.syntax_to_program.evaluate import Evaluator
from fractal_dsl.program.syntax_to_program.modules import Library, Module
from fractal_dsl.program.syntax_to_program.nets import INITS
from fractal_dsl.program.syntax_to_program.params import ParseValue, unknown_parameter
from fractal_dsl.program.syntax_to_program.scope import Nowhere
from fractal_dsl.program.syntax_to_program.values import OutOfSteps

__all__ = ["INITS", "ParseValue", "literal_value", "syntax_to_programs"]


def syntax_to_programs(
    file: s.File,
    find: Callable[[Span], s.File | None],
    report: Report,
    overrides: Mapping[str, str],
    parse_value: ParseValue,
    max_layers: int,
    allow_python: bool = False,
) -> tuple[list[p.Program], dict[str, Any]]:
    """The programs of all nets of a file, in its order, and the settings of its train block. Errors go to ``report``.

    ``find`` gives an imported file by the span of its path. ``overrides`` are the values of ``-p name=value``,
    texts that ``parse_value`` reads as expressions. ``allow_python`` lets ``extern`` load Python code.
    """
    library = Library(Evaluator(report, max_layers), find, parse_value, allow_python)
    try:
        return _programs(library, file, overrides)
    except OutOfSteps:
        return [], {}


def _programs(library: Library, file: s.File, overrides: Mapping[str, str]) -> tuple[list[p.Program], dict[str, Any]]:
    main = library.module(file, overrides, "")
    checked: set[int] = set()
    for module in library.modules:  # grows while imports are resolved
        out_of_reach = module not in library.reached.values()
        if out_of_reach and any(d.default is None for d in module.params()):
            _check_apart(library, module.file)
            continue
        _resolve(module)
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
    return [program for program in made if program is not None], settings


def literal_value(expr: s.Expr, report: Report) -> Any:
    """The value of a setting that stands by itself, as Python data. Errors go to ``report``."""
    try:
        return train.data(Evaluator(report, 0), Nowhere(), expr)
    except OutOfSteps:
        return None


def _resolve(module: Module) -> None:
    """Find the values of a file."""
    for name, decl in module.decls.items():
        if isinstance(decl, s.Param | s.Let | s.Import | s.FromImport):
            module.resolve(name, decl.span)


def _check_apart(library: Library, file: s.File) -> None:
    """A file of which names are imported, with parameters that have no values: these need one where they are used."""
    report = Report(library.ev.report.source, library.ev.report.imported)
    apart = Library(library.ev.alone(report), library.find, library.parse_value, library.allow_python)
    module = apart.module(file, {}, None)
    _resolve(module)
    _check(module)
    required = {d.name.span for m in apart.modules for d in m.params() if d.default is None}
    library.ev.report.take([d for d in report.found if d.span not in required])


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
    hidden = {d.name.id: m.file.source.name for m in library.modules for d in m.params()}
    for name, text in overrides.items():
        if name not in known:
            near = nearest(name, known)
            help = f"did you mean `{near}`?" if near else f"the parameters are {', '.join(known) or '(none)'}"
            if name in hidden:
                help = (
                    f"{hidden[name]} has it: `import` that file `as m`, use its names as `m.…`, and say `-p m.{name}=…`"
                )
            library.ev.report.found.append(unknown_parameter(name, text, help, library.modules[0].file.source))
