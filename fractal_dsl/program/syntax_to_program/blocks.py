"""Blocks of values: columns, annotations, and messages for what is no block or no join."""

from __future__ import annotations

from collections.abc import Sequence

from fractal_dsl.base.errors import suggesting
from fractal_dsl.language import syntax as s
from fractal_dsl.language.source import Span
from fractal_dsl.ops import JOINS
from fractal_dsl.program import program as p
from fractal_dsl.program.syntax_to_program.context import Context
from fractal_dsl.program.syntax_to_program.types import Unknown
from fractal_dsl.program.syntax_to_program.values import EnclosingRule, RuleFn, Value, is_list, type_of


def bundle(context: Context, columns: tuple[p.Term, ...], rule: EnclosingRule | None, span: Span) -> Value:
    """``a | b``: columns side by side, in a rule that names a join."""
    if rule is None:
        help = "write a join on the spot, such as `mean(a, b)` or `concat(a, b)`, or use a rule"
        return context.error("E0401", span, "`|` stands only inside a rule", help=help)
    if rule.decl.join is None:
        name = rule.decl.name
        help = f"write `rule {name.id}(…) join mean {{ … }}`"
        message = f"rule `{name.id}` puts columns side by side, but names no join"
        context.error("E0402", name.span, message, help=help)
        return p.Hole(span)
    return p.Bundle(columns, span)


def annotated(context: Context, expr: s.Annotated, block: p.Term, values: Sequence[Value]) -> Value:
    """``block @tag("stem")``, ``block @checkpoint``"""
    match expr.name, values:
        case "tag", [str() as value]:
            return p.Tagged(block, "tag", value, expr.span)
        case "tag", [Unknown()]:
            return block
        case "tag", _:
            return context.error("E0301", expr.span, 'a tag is one text: `@tag("stem")`')
        case "checkpoint", []:
            return p.Tagged(block, "checkpoint", "", expr.span)
        case "checkpoint", _:
            return context.error("E0206", expr.span, "`@checkpoint` takes no arguments")
        case _:
            help = suggesting(expr.name, ("tag", "checkpoint"), 'there are `@tag("name")` and `@checkpoint`')
            return context.error("E0201", expr.span, f"unknown annotation `@{expr.name}`", help=help)


_NO_BLOCK = {
    "int": "a number is an argument, as in `linear(10)`; a level hides a layer of its name",
    "join": "a join takes its branches in parentheses: `sum(id, conv2d(64, 1))`",
    "str": "a layer or rule takes a block by a parameter of that type: `act: block = relu`",
    "tensor": "a net is a block, and its input flows in by itself: leave the name out",
}
"""Help with a value that is no block, by its type."""


def no_block(context: Context, value: Value, span: Span) -> p.Hole:
    """Report a value that is no block."""
    if isinstance(value, RuleFn):
        name = value.decl.name.id
        help = f"levels stand in brackets: `{name}[3]`"
        context.error("E0406", span, f"rule `{name}` needs a level here", help=help)
    elif is_list(value):
        context.error("E0301", span, "expected a block, found a list", help="compose its blocks with `seq(…)`")
    else:
        kind = type_of(value)
        context.error("E0301", span, f"expected a block, found {kind}", help=_NO_BLOCK.get(kind))
    return p.Hole(span)


def no_join(context: Context, value: Value, span: Span) -> None:
    """Report a value that is no join."""
    *others, last = JOINS
    help = f"a join begins with {', '.join(others)} or {last}: `concat >> conv2d(64, 1)`"
    context.error("E0301", span, f"expected a join, found {type_of(value)}", help=help)
