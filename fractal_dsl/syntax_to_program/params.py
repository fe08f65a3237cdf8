"""Parameters of a file: their defaults, the values of ``-p``, and their domains."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from fractal_dsl import syntax as s
from fractal_dsl.diagnostics import Diagnostic, Report
from fractal_dsl.source import Source, Span
from fractal_dsl.syntax_to_program.binding import checked, type_from
from fractal_dsl.syntax_to_program.scope import Nowhere, Scope
from fractal_dsl.syntax_to_program.values import ANY, OutOfSteps, Type, Unknown, Value, is_list, show, type_of

if TYPE_CHECKING:
    from fractal_dsl.syntax_to_program.modules import Module

ParseValue = Callable[[Source, Report], s.Expr]


def param(module: Module, decl: s.Param, override: str | None, parse_value: ParseValue) -> Value:
    """The value of a parameter: its default, or ``override``, the text of ``-p``, which ``parse_value`` reads."""
    ev, source, name, type = module.ev, module.file.source, decl.name.id, type_from(module.ev, decl.type)
    if type.name in ("block", "join"):
        ev.error("E0301", decl.type.span, "a parameter of a file is a number, text, or list")
        return ANY
    default: Value = ANY
    if decl.default is not None:
        default = checked(ev, ev.eval(decl.default, Scope(module)), type, decl.default.span, f"`{name}`")
        _in_domain(module, decl, default, source, decl.default.span)
    if override is not None:
        return _override(module, decl, type, override, parse_value)
    if decl.default is None:
        help = f"give it a default: `param {name}: {type} = …`"
        if module.prefix is not None:
            help = f"give it with `-p {module.prefix}{name}=…`, or a default: `param {name}: {type} = …`"
        ev.error("E0205", decl.name.span, f"parameter `{name}` has no value", help=help)
    return default


def _override(module: Module, decl: s.Param, type: Type, text: str, parse_value: ParseValue) -> Value:
    ev, name = module.ev, f"{module.prefix or ''}{decl.name.id}"
    source = Source(f"-p {name}", text)
    report = Report(source)
    alone = ev.alone(report)
    is_text = type.name == "str" and not text.strip().startswith('"')
    span = Span(0, len(text))
    value: Value = text if is_text else ANY
    if not is_text:
        with suppress(OutOfSteps):
            value = alone.eval(parse_value(source, report), Scope(Nowhere()))
    if report.found and report.found[0].code == "E0201":
        report.found.clear()
        message = f"`{name}` is {type}, found `{text}`"
        report.error("E0301", span, message, help=f"write a literal, such as `-p {name}={_example(type)}`")
        value = ANY
    value = checked(alone, value, type, span, f"`{name}`")
    ev.report.found += report.found
    return value if _in_domain(module, decl, value, source, span) else ANY


def _in_domain(module: Module, decl: s.Param, value: Value, source: Source, span: Span) -> bool:
    """Whether a value lies in its parameter's domain; if not, that is reported."""
    ev = module.ev
    if decl.domain is None or isinstance(value, Unknown):
        return True
    values = value if is_list(value) else (value,)
    if isinstance(decl.domain, s.RangeDomain):
        low, high = (ev.eval(e, Scope(module)) for e in (decl.domain.low, decl.domain.high))
        if any(type_of(v) not in ("int", "float", "prob") for v in (low, high)):
            ev.error("E0301", decl.domain.span, "a range has two numbers, such as `1..8`")
            return True
        if isinstance(low, Unknown) or isinstance(high, Unknown):
            return True
        inside = all(isinstance(v, int | float) and low <= v <= high for v in values)
        domain = f"{show(low)}..{show(high)}"
    else:
        allowed = [ev.eval(e, Scope(module)) for e in decl.domain.values]
        if any(isinstance(v, Unknown) for v in allowed):
            return True
        ev.spend(len(values) * len(allowed), span)
        inside = all(v in allowed for v in values)
        domain = "{" + ", ".join(map(show, allowed)) + "}"
    if not inside:
        message = f"`{decl.name.id}` is in {domain}, found {show(value)}"
        ev.report.found.append(Diagnostic("E0302", message, source, span))
    return inside


def _example(type: Type) -> str:
    examples = {"int": "3", "float": "0.5", "prob": "15%", "bool": "true", "str": '"text"'}
    return f"[{_example(type.item)}]" if type.item else examples.get(type.name, "3")
