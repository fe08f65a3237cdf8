"""Parameters of a file: their defaults, the values that are given for them, and their domains."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from msgspec.structs import replace

from fractal_dsl.language import syntax as s
from fractal_dsl.language.diagnostics import Diagnostic, Report
from fractal_dsl.language.source import Located, Source, Span
from fractal_dsl.program.syntax_to_program.binding import checked, elements, innermost, type_from
from fractal_dsl.program.syntax_to_program.scope import Nowhere, Scope
from fractal_dsl.program.syntax_to_program.values import ANY, Type, Unknown, Value, show

if TYPE_CHECKING:
    from fractal_dsl.program.syntax_to_program.evaluate import Evaluator
    from fractal_dsl.program.syntax_to_program.modules import Module

ParseValue = Callable[[Source, Report], s.Expr]
PLAIN = ("int", "float", "prob", "bool", "str")
"""The types of a file's parameters, besides lists of them."""


def param(module: Module, decl: s.Param, override: str | None, parse_value: ParseValue) -> Value:
    """The value of a parameter: its default, or ``override``, the text of ``-p``, which ``parse_value`` reads."""
    ev, name, type = module.ev, decl.name.id, type_from(module.ev, decl.type, PLAIN)
    item = innermost(type)
    if item.name in ("block", "join"):
        ev.error("E0301", decl.type.span, "a parameter of a file is a number, text, boolean, or a list of these")
        return ANY
    domain = _domain(module, decl, item)
    default: Value = ANY
    if decl.default is not None:
        value = ev.eval(decl.default, Scope(module))
        default = checked(ev, value, type, decl.default.span, f"`{name}`", decl.default)
        _in_domain(ev, domain, default, f"`{name}`", decl.default)
    if item.name == "any":
        return ANY
    if override is not None:
        return _override(module, decl, type, domain, override, parse_value)
    if decl.default is None:
        way = f"-p {module.prefix}{name}=…"
        if module.prefix is None:
            way = f"-p m.{name}=…` where the file is imported by `import … as m"
        help = f"give it with `{way}`, or a default: `param {name}: {type} = …`"
        ev.error("E0205", decl.name.span, f"parameter `{name}` has no value", help=help)
    return default


def _override(
    module: Module, decl: s.Param, type: Type, domain: _Domain | None, text: str, parse_value: ParseValue
) -> Value:
    name = f"{module.prefix or ''}{decl.name.id}"
    report = Report(Source(f"-p {name}", text))
    alone = module.ev.alone(report)
    expr: s.Expr = s.Literal(text, Span(0, len(text)))
    if type.name != "str" or text.strip().startswith('"'):
        expr = _literal(parse_value(report.source, report), type)
    value: Value = ANY
    if isinstance(expr, s.Broken) and not report.found:
        help = f"write a literal, such as `-p {name}={_example(type)}`"
        report.error("E0301", Span(0, len(text)), f"`{name}` is {type}, found `{text}`", help=help)
    else:
        value = checked(alone, alone.eval(expr, Scope(Nowhere())), type, expr.span, f"`{name}`", expr)
    inside = _in_domain(alone, domain, value, f"`{name}`", expr)
    trail = (f"the parameters of {module.library.modules[0].file.source.name}",)
    for found in report.found:
        found = replace(found, trail=trail)
        module.ev.report.found.append(replace(found, **_place(text)) if isinstance(text, Located) else found)
    return value if inside else ANY


def unknown_parameter(name: str, text: str, help: str, main: Source) -> Diagnostic:
    """The finding that a value is given for a parameter that there is not."""
    message, trail = f"there is no parameter `{name}`", (f"the parameters of {main.name}",)
    if isinstance(text, Located):
        return Diagnostic("E0203", message, text.source, text.name, help=help, trail=trail)
    return Diagnostic("E0203", message, Source("-p", f"{name}={text}"), Span(0, len(name)), help=help, trail=trail)


def _place(text: Located) -> dict[str, Source | Span]:
    return {"source": text.source, "span": text.span}


def _literal(expr: s.Expr, type: Type) -> s.Expr:
    """An expression as a literal of the type: a name stands for a text there. What is no literal is Broken."""
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


# --- domains

_Domain = tuple[str, Callable[[Value], bool]]
"""A domain as it is shown, and whether a number, text or boolean lies in it."""


def _domain(module: Module, decl: s.Param, item: Type) -> _Domain | None:
    """The domain of a parameter whose elements are of type ``item``; None without one, and after an error."""
    ev, domain, what = module.ev, decl.domain, f"the domain of `{decl.name.id}`"
    if domain is None or item.name == "any":
        return None
    ends = (domain.low, domain.high) if isinstance(domain, s.RangeDomain) else domain.values
    if isinstance(domain, s.RangeDomain) and item.name not in ("int", "float", "prob"):
        values = '"a", "b"' if item.name == "str" else "true, false"
        ev.error("E0301", domain.span, f"a range holds numbers, and this is {item}", help=f"write a set: {{{values}}}")
        return None
    values = [checked(ev, ev.eval(e, Scope(module)), item, e.span, what) for e in ends]
    if any(isinstance(v, Unknown) for v in values):
        return None
    if isinstance(domain, s.RangeDomain):
        low, high = values
        shown = f"{show(low)}..{show(high)}"
        if low > high:
            help = f"write the lower end first: `{show(high)}..{show(low)}`"
            ev.error("E0302", domain.span, f"no value lies in {shown}", help=help)
            return None
        return shown, lambda v: low <= v <= high
    for i, value in enumerate(values):
        if value in values[:i]:
            ev.error("E0302", ends[i].span, f"{show(value)} stands in {what} twice")
    allowed = frozenset(values)
    return "{" + ", ".join(map(show, values)) + "}", lambda v: v in allowed


def _in_domain(ev: Evaluator, domain: _Domain | None, value: Value, what: str, expr: s.Expr) -> bool:
    """Whether a value, or each element of a list, lies in the domain; if not, that is reported."""
    for element, span in elements(value, expr, expr.span):
        if domain is not None and not isinstance(element, Unknown) and not domain[1](element):
            ev.error("E0302", span, f"{what} is in {domain[0]}, found {show(element)}")
            return False
    return True


def _example(type: Type) -> str:
    examples = {"int": "3", "float": "0.5", "prob": "15%", "bool": "true", "str": '"text"'}
    return f"[{_example(type.item)}]" if type.item else examples.get(type.name, "3")
