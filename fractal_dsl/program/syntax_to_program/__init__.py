"""Syntax trees to programs: names, kinds, parameters, types. Collects every independent error.

In: a ``File`` and the values of parameters. Out: a ``Program`` for each net.
Not imported here: torch, ``graph`` and above.

First each declaration is evaluated alone with unknown parameters, which finds the errors that do not depend on
arguments (``declarations``, ``termination``). Then each net is evaluated with the real parameters (``nets``).

A module imports only modules below it in this list. To follow ``F[n] >> conv(8)``, read

    evaluate        the forms of expressions: each evaluates its parts, then calls a function below. ``>>`` makes a Seq
    where           ``body where a = …``: values, which are computed once
    lists           ``F[n]``: the rule at a level
    calls           calls by kind of callee; ``F[n]`` is called without arguments where a block is expected
    rules, cases    a rule at a level: its arguments, the case that matches the level, its body
    joins           joins, which separate branches from arguments (``branches``)
    dropped         ``block @drop(10%)``: a branch that a join may leave out
    layers          a user's layer: its arguments, its body
    names           what ``F``, ``n`` and ``conv`` refer to: a rule, a number, a user's layer
    op_arguments    arguments of built-in layers to their parameters; ``op_values`` checks a single argument
    binding         the same for the user's own: match (``arguments``), check (``typed``), fill in defaults
    core            the interface by which bodies and defaults are evaluated
    context, scope  the report, the trail, the budget, the memo; local names
    values, types   what expressions evaluate to

``operators``, ``functions`` (with ``makers``), ``blocks`` and ``foreign`` handle other forms in the same way.
``modules`` and ``params`` use the evaluator: they evaluate a file's names and parameters on first use.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from fractal_dsl.base.errors import nearest
from fractal_dsl.language import syntax as s
from fractal_dsl.language.diagnostics import Report
from fractal_dsl.language.source import Span
from fractal_dsl.program import program as p
from fractal_dsl.program.syntax_to_program import nets, train
from fractal_dsl.program.syntax_to_program.context import Context
from fractal_dsl.program.syntax_to_program.declarations import check_declarations
from fractal_dsl.program.syntax_to_program.evaluate import Evaluator
from fractal_dsl.program.syntax_to_program.limits import OutOfSteps
from fractal_dsl.program.syntax_to_program.modules import Library, Module
from fractal_dsl.program.syntax_to_program.options import INITS
from fractal_dsl.program.syntax_to_program.params import ParseValue, unknown_parameter
from fractal_dsl.program.syntax_to_program.scope import Nowhere

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
    """The programs of all nets of a file, in file order, and the settings of its train block. Errors go to ``report``.

    ``find`` maps the span of an import's path to the imported file. ``overrides`` are the values of ``-p name=value``,
    which ``parse_value`` parses as expressions. ``allow_python`` lets ``extern`` load Python code.
    """
    library = Library(Evaluator(Context(report, max_layers)), find, parse_value, allow_python)
    try:
        main = library.module(file, overrides, "")
        _check(library)
        _check_overrides(library, overrides)
        return _programs(main)
    except OutOfSteps:
        return [], {}


def literal_value(expr: s.Expr, report: Report) -> Any:
    """The value of a single setting, as Python data. Errors go to ``report``."""
    try:
        return train.data(Evaluator(Context(report, 0)), Nowhere(), expr, "the value")
    except OutOfSteps:
        return None


def _programs(main: Module) -> tuple[list[p.Program], dict[str, Any]]:
    settings: dict[str, Any] = {}
    for decl in main.file.decls:
        if isinstance(decl, s.TrainDecl):
            settings = train.settings(main.core, main, decl)
    given = {d.name.id: main.values[d.name.id] for d in main.params()}
    wanted = [d for d in main.file.decls if isinstance(d, s.NetDecl)]
    made = [nets.net(main.core, main, decl, given, settings) for decl in wanted]
    return [program for program in made if program is not None], settings


def _check(library: Library) -> None:
    """Evaluate each file, and check its declarations alone."""
    checked: set[int] = set()
    for module in library.modules:  # grows while imports are resolved
        out_of_reach = module not in library.reached.values()
        if out_of_reach and any(d.default is None for d in module.params()):
            _check_apart(library, module.file)
            continue
        _resolve(module)
        if id(module.file) not in checked:
            checked.add(id(module.file))
            check_declarations(module)


def _check_apart(library: Library, file: s.File) -> None:
    """Check a file imported by name whose parameters have no values: they need one only where they are used."""
    context = library.core.context
    report = Report(context.report.source, context.report.imported)
    core = Evaluator(Context(report, context.max_repeat))
    apart = Library(core, library.find, library.parse_value, library.allow_python)
    module = apart.module(file, {}, None)
    _resolve(module)
    check_declarations(module)
    required = {d.name.span for m in apart.modules for d in m.params() if d.default is None}
    context.report.take([d for d in (*report.errors, *report.warned) if d.span not in required])


def _resolve(module: Module) -> None:
    """Find the values of a file."""
    for name, decl in module.decls.items():
        if isinstance(decl, s.Param | s.Let | s.Import | s.FromImport):
            module.resolve(name, decl.span)


def _check_overrides(library: Library, overrides: Mapping[str, str]) -> None:
    """Report values for parameters that do not exist."""
    known = [f"{prefix}{d.name.id}" for prefix, module in library.reached.items() for d in module.params()]
    hidden = {d.name.id: m.title() for m in library.modules for d in m.params()}
    for name, text in overrides.items():
        if name in known:
            continue
        near = nearest(name, known)
        listed = f"the parameters are {', '.join(known)}" if known else "the file declares no parameters"
        help = f"did you mean `{near}`?" if near else listed
        if name in hidden:
            help = f"{hidden[name]} declares it: `import` it `as m`, use its names as `m.…`, and pass `-p m.{name}=…`"
        report = library.core.context.report
        report.errors.append(unknown_parameter(name, text, help, library.modules[0].file.source))
