"""The parameters of a file: defaults, and values from ``-p``."""

from __future__ import annotations

from collections.abc import Callable

from msgspec.structs import replace

from fractal_dsl.base.numbers import first_not_finite
from fractal_dsl.language import syntax as s
from fractal_dsl.language.diagnostics import Diagnostic, Report
from fractal_dsl.language.source import Located, Source, Span
from fractal_dsl.program.syntax_to_program.context import Context
from fractal_dsl.program.syntax_to_program.domains import Domain, domain_of, in_domain
from fractal_dsl.program.syntax_to_program.evaluate import Evaluator
from fractal_dsl.program.syntax_to_program.scope import Nowhere, Scope
from fractal_dsl.program.syntax_to_program.typed import conforming, declared_type
from fractal_dsl.program.syntax_to_program.types import ANY, SCALARS, Type, innermost
from fractal_dsl.program.syntax_to_program.values import Declarations, Value

ParseValue = Callable[[Source, Report], s.Expr]


def param(
    core: Evaluator,
    module: Declarations,
    decl: s.Param,
    prefix: str | None,
    override: str | None,
    parse_value: ParseValue,
) -> Value:
    """The value of a parameter: its default, or ``override``, the text of ``-p``, which ``parse_value`` parses.

    ``prefix`` is the prefix of the file's parameters in ``-p``; None if ``-p`` cannot set them. ``ANY`` after an error.
    """
    context, name, type = core.context, decl.name.id, declared_type(core.context, decl.type, SCALARS)
    item = innermost(type)
    if item.name in ("block", "join"):
        message = "a parameter of a file must be a number, string, boolean, or a list of these"
        return context.error("E0301", decl.type.span, message)
    domain = domain_of(core, module, decl, item)
    default = ANY if decl.default is None else _default(core, module, decl.default, type, domain, f"`{name}`")
    if item.name == "any":
        return ANY
    if override is not None:
        return _override(core, f"{prefix or ''}{name}", type, domain, override, parse_value)
    if decl.default is None:
        option = f"-p {prefix}{name}=…"
        if prefix is None:
            option = f"-p m.{name}=…` where the file is imported by `import … as m"
        help = f"set it with `{option}`, or add a default: `param {name}: {type} = …`"
        context.error("E0205", decl.name.span, f"parameter `{name}` has no value", help=help)
    return default


def _default(
    core: Evaluator, module: Declarations, expr: s.Expr, type: Type, domain: Domain | None, subject: str
) -> Value:
    value = conforming(core.context, core.evaluate(expr, Scope(module)), type, expr.span, subject, expr)
    if value is None:
        return ANY
    in_domain(core.context, domain, value, subject, expr)
    return value


def _override(
    core: Evaluator, name: str, type: Type, domain: Domain | None, text: str, parse_value: ParseValue
) -> Value:
    """The value of ``-p name=text``; ``ANY`` after an error, which goes to the report of the file."""
    report, subject = Report(Source(f"-p {name}", text)), f"`{name}`"
    apart = Evaluator(Context(report, core.context.max_repeat))
    expr: s.Expr = s.Literal(text, Span(0, len(text)))
    if innermost(type).name in ("int", "float", "prob") and (wrong := first_not_finite(text)):
        report.error("E0301", Span(0, len(text)), f"{subject} must be a finite number, found {wrong}")
        expr = s.Broken(expr.span)
    elif type.name != "str" or text.strip().startswith('"'):
        expr = _literal(parse_value(report.source, report), type)
    value: Value | None = None
    if isinstance(expr, s.Broken) and not report.errors:
        help = f"write a literal, such as `-p {name}={_example(type)}`"
        report.error("E0301", Span(0, len(text)), f"{subject} must be {type}, found `{text}`", help=help)
    else:
        value = conforming(apart.context, apart.evaluate(expr, Scope(Nowhere())), type, expr.span, subject, expr)
    sound = value is not None and in_domain(apart.context, domain, value, subject, expr)
    main = core.context.report
    for findings, here in ((main.errors, report.errors), (main.warned, report.warned)):
        for d in here:
            d = replace(d, trail=(f"the parameters of {main.source.name}",))
            findings.append(replace(d, **_place(text)) if isinstance(text, Located) else d)
    return value if sound else ANY


def unknown_parameter(name: str, text: str, help: str, main: Source) -> Diagnostic:
    """The error that there is no such parameter."""
    message, trail = f"there is no parameter `{name}`", (f"the parameters of {main.name}",)
    if isinstance(text, Located):
        return Diagnostic("E0203", message, text.source, text.name, help=help, trail=trail)
    return Diagnostic("E0203", message, Source("-p", f"{name}={text}"), Span(0, len(name)), help=help, trail=trail)


def _place(text: Located) -> dict[str, Source | Span]:
    return {"source": text.source, "span": text.span}


def _literal(expr: s.Expr, type: Type) -> s.Expr:
    """Read an expression as a literal of the type, with a bare name as a string; Broken if it is not a literal."""
    match expr:
        case s.Literal() | s.Unary(op="-", operand=s.Literal()):
            return expr
        case s.Name(id=text) if type.name == "str":
            return s.Literal(text, expr.span)
        case s.Items() if type.item:
            items = tuple([_literal(e, type.item) for e in expr.items])
            return next((e for e in items if isinstance(e, s.Broken)), s.Items(items, expr.span))
        case s.Items() if all(not isinstance(_literal(e, type), s.Broken) for e in expr.items):
            return expr
        case _:
            return s.Broken(expr.span)


def _example(type: Type) -> str:
    examples = {"int": "3", "float": "0.5", "prob": "15%", "bool": "true", "str": '"text"'}
    return f"[{_example(type.item)}]" if type.item else examples.get(type.name, "3")
