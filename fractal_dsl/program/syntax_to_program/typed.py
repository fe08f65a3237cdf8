"""Check values against declared types: numbers, strings, booleans, blocks, joins, and lists of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from fractal_dsl.base.errors import suggestion
from fractal_dsl.language import syntax as s
from fractal_dsl.language.source import Span
from fractal_dsl.program import program as p
from fractal_dsl.program.syntax_to_program.aliases import WHOLE
from fractal_dsl.program.syntax_to_program.context import Context
from fractal_dsl.program.syntax_to_program.fitting import fits
from fractal_dsl.program.syntax_to_program.types import ANY, NAMED_TYPES, Type, Unknown, innermost
from fractal_dsl.program.syntax_to_program.values import Prob, Value, is_list, show, type_of


def declared_type(context: Context, expr: s.TypeExpr, known: Sequence[str] = NAMED_TYPES) -> Type:
    """A declared type. Only nets have tensor types. The help for an unknown type suggests one of ``known``."""
    if expr.item is not None:
        return Type("list", declared_type(context, expr.item, known))
    if expr.name in NAMED_TYPES and expr.dims is None:
        return Type(expr.name)

    def help() -> str:
        if expr.name.lower() in ("list", "tuple"):
            item = context.written(expr.dims[0].span) if expr.dims else "int"
            return f"write `[{item if item in NAMED_TYPES else 'int'}]`"
        return suggestion(expr.name, known) or f"the types are {', '.join([*known, '[int]'])}"

    context.error("E0201", expr.span, f"unknown type `{expr.name}`", help=help)
    return ANY.type


def conforming(
    context: Context, value: Value, type: Type, span: Span, subject: str, expr: s.Expr | None = None
) -> Value | None:
    """Convert a value to its declared type; None after an error.

    The error is at the wrong element if ``expr``, the value as written, contains it. ``subject`` names the
    parameter."""
    if type.name == "any":
        return ANY
    held = fits(value, type)
    if held is None:
        wrong, wanted, span = _misfit(value, type, expr, span)
        reason = f"found {type_of(value)}" if wrong is value else f"but its element {show(wrong)} is {type_of(wrong)}"
        context.error("E0301", span, f"{subject} must be {type}, {reason}", help=type_help(wrong, wanted.name))
        return None
    for part, at in elements(held, expr, span) if innermost(type).name == "prob" else ():
        if not isinstance(part, Unknown) and not 0 <= part <= 1:
            not_a_probability(context, part, at)
            return None
    return held


def _misfit(value: Value, type: Type, expr: s.Expr | None, span: Span) -> tuple[Value, Type, Span]:
    """The part of a value with the wrong type, the type it should have, and its span."""
    if type.item is None or not is_list(value):
        return value, type, span
    i = next(i for i, v in enumerate(value) if fits(v, type.item) is None)
    inner = _item_at(expr, i, value)
    return _misfit(value[i], type.item, inner, inner.span if inner else span)


def elements(value: Value, expr: s.Expr | None, span: Span) -> Iterator[tuple[Value, Span]]:
    """The elements of a list, including nested lists, each with its span; else the value itself."""
    if not is_list(value):
        yield value, span
        return
    for i, part in enumerate(value):
        inner = _item_at(expr, i, value)
        yield from elements(part, inner, inner.span if inner else span)


def _item_at(expr: s.Expr | None, i: int, value: tuple[Value, ...]) -> s.Expr | None:
    return expr.items[i] if isinstance(expr, s.Items) and len(expr.items) == len(value) else None


def not_a_probability(context: Context, value: float, span: Span, otherwise: str | None = None) -> Unknown:
    """Report a number that is not a probability. ``otherwise`` suggests what else it may have been meant for."""
    help = "a probability is between 0 and 1, or 0% and 100%"
    if value in range(2, 101):
        help = f"{otherwise}; as a probability it is `{value:g}%`" if otherwise else f"did you mean `{value:g}%`?"
    return context.error("E0302", span, f"{float(value):g} is not a probability", help=help)


def type_help(value: Value, wanted: str) -> str | None:
    """Help for a value of the wrong type. ``wanted`` is the name of the right type."""
    if wanted == "int" and isinstance(value, float) and not isinstance(value, Prob):
        return f"write a whole number, such as {round(value)}; {WHOLE}"
    if wanted == "bool" and value in (0, 1):
        return "write `true` or `false`"
    if isinstance(value, p.ValueUse):
        return f"leave it out: what flows into a block stands before it, as in `{value.name} >> linear(8)`"
    return None
