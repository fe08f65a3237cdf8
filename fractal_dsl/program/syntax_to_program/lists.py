"""Lists: their limits, their elements, and the values of loop names."""

from __future__ import annotations

from collections.abc import Sequence

from fractal_dsl.language import syntax as s
from fractal_dsl.language.source import Span
from fractal_dsl.program.syntax_to_program.context import Context
from fractal_dsl.program.syntax_to_program.fitting import item_type, odd_one
from fractal_dsl.program.syntax_to_program.limits import MAX_ELEMENTS, MAX_LIST, MAX_LIST_DEPTH
from fractal_dsl.program.syntax_to_program.types import ANY, Unknown, unknown
from fractal_dsl.program.syntax_to_program.values import (
    BLOCKS,
    EnclosingRule,
    ModuleValue,
    RuleAt,
    RuleFn,
    Value,
    is_list,
    type_of,
    with_article,
)


def sized(context: Context, value: tuple[Value, ...], span: Span, spans: Sequence[Span] = ()) -> Value:
    """Make a list, within its limits, of values of one type. ``spans`` are the spans of its elements."""
    context.spend(len(value), span)
    if len(value) > MAX_LIST:
        return too_long(context, len(value), span)
    weight, depth = context.weigh(value)
    if weight > MAX_ELEMENTS:
        return too_heavy(context, span)
    if depth > MAX_LIST_DEPTH:
        return context.error("E0602", span, f"lists are nested deeper than {MAX_LIST_DEPTH}")
    odd = odd_one(value)
    if odd is not None:
        first, other = type_of(value[0]), type_of(value[odd])
        message = f"the elements of a list must have one type: the first is {first}, this is {other}"
        return context.error("E0301", spans[odd] if spans else span, message)
    return value


def too_long(context: Context, length: int, span: Span) -> Unknown:
    """Report a list of more than MAX_LIST elements."""
    return context.error("E0602", span, f"the list would have {length:,} elements; the limit is {MAX_LIST:,}")


def too_heavy(context: Context, span: Span) -> Unknown:
    """Report a list with more than MAX_ELEMENTS elements, including nested lists."""
    return context.error(
        "E0602", span, f"the list would have more than {MAX_ELEMENTS:,} elements, including nested lists"
    )


def element(context: Context, expr: s.Index, base: Value, index: Value, rule: EnclosingRule | None) -> Value:
    """``base[index]``: an element of a list, or a rule at a level. ``rule`` is the enclosing rule."""
    if base is ANY or index is ANY:
        return ANY
    if type_of(index) != "int":
        subject = "a level" if isinstance(base, RuleFn) else "an index"
        help = "use an `int`, 0 or 1" if type_of(index) == "bool" else None
        return context.error(
            "E0301", expr.index.span, f"{subject} must be a whole number, found {type_of(index)}", help=help
        )
    if isinstance(base, RuleFn):
        return RuleAt(base.decl, base.module, index, expr.span, rule)
    if isinstance(base, Unknown) and base.type.name == "list":
        return unknown(base.type.item)
    if not is_list(base):
        help = (
            "write arguments in parentheses and the level of a rule in brackets" if isinstance(base, BLOCKS) else None
        )
        help = "write its names after a dot: `m.F[3]`" if isinstance(base, ModuleValue) else help
        return context.error("E0303", expr.span, f"{with_article(base)} has no elements", help=help)
    if isinstance(index, Unknown):
        context.spend(len(base) // 10, expr.span)
        return unknown(item_type(base))
    if not -len(base) <= index < len(base):
        message = f"index {index} is out of range: the list has {len(base)} elements, counted from 0"
        return context.error("E0304", expr.span, message)
    return base[index]


def unknown_element(context: Context, expr: s.Comprehension, iterable: Value) -> Unknown | None:
    """The values of loop names for an unknown list; None, after an error, if it is not a list."""
    if isinstance(iterable, Unknown) and iterable.type.name in ("any", "list"):
        return unknown(iterable.type.item) if len(expr.targets) == 1 else ANY
    help = "loop over a list: `range(n)` counts from 0"
    context.error("E0301", expr.iterable.span, f"expected a list, found {type_of(iterable)}", help=help)
    return None


def unpacked(context: Context, expr: s.Comprehension, value: Value) -> tuple[Value, ...] | None:
    """The values of loop names for one element of the list; None after an error."""
    count = len(expr.targets)
    if count == 1:
        return (value,)
    if value is ANY:
        return (ANY,) * count
    if is_list(value) and len(value) == count:
        return value
    message = f"there are {count} names for {len(value) if is_list(value) else 1} values"
    context.error("E0301", expr.iterable.span, message)
    return None
