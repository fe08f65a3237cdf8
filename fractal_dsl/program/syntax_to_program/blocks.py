"""Values to blocks: columns, annotations, and errors for values that are not blocks or joins."""

from __future__ import annotations

from collections.abc import Sequence

from fractal_dsl.base.errors import suggesting
from fractal_dsl.language import syntax as s
from fractal_dsl.language.source import Span
from fractal_dsl.ops import JOINS
from fractal_dsl.program import program as p
from fractal_dsl.program.syntax_to_program.arguments import Argument
from fractal_dsl.program.syntax_to_program.context import Context
from fractal_dsl.program.syntax_to_program.types import Unknown
from fractal_dsl.program.syntax_to_program.values import EnclosingRule, RuleFn, Value, is_list, type_of


def bundle(context: Context, columns: tuple[p.Term, ...], rule: EnclosingRule | None, span: Span) -> Value:
    """``a | b``: parallel columns, in a rule that names a join."""
    if rule is None:
        help = "write an inline join, such as `mean(a, b)` or `concat(a, b)`, or declare a rule"
        return context.error("E0401", span, "`|` is only allowed inside a rule", help=help)
    if rule.decl.join is None:
        name = rule.decl.name
        help = f"write `rule {name.id}(…) join mean {{ … }}`"
        message = f"rule `{name.id}` has columns, but no join"
        context.error("E0402", name.span, message, help=help)
        return p.Hole(span)
    return p.Bundle(columns, span)


def annotated(context: Context, expr: s.Annotated, block: p.Term, given: Sequence[Argument]) -> p.Term | Unknown:
    """``block @tag("stem")``, ``block @checkpoint``"""
    match expr.name, [arg.value for arg in given]:
        case "tag", [str() as value]:
            return p.Tagged(block, "tag", value, expr.span)
        case "tag", [Unknown()]:
            return block
        case "tag", _:
            return context.error("E0301", expr.span, 'give one string: `@tag("stem")`')
        case "checkpoint", []:
            return p.Tagged(block, "checkpoint", "", expr.span)
        case "checkpoint", _:
            return context.error("E0206", expr.span, "`@checkpoint` takes no arguments")
        case _:
            known = 'the annotations are `@tag("name")`, `@checkpoint` and `@drop(10%)`'
            help = suggesting(expr.name, ("tag", "checkpoint", "drop"), known)
            return context.error("E0201", expr.span, f"unknown annotation `@{expr.name}`", help=help)


_NO_BLOCK = {
    "int": "a number can only be an argument, as in `linear(10)`; a level variable hides a layer of the same name",
    "join": "give the join its branches in parentheses: `sum(id, conv2d(64, 1))`",
    "str": "to pass a block, declare the parameter as `block`: `act: block = relu`",
}
"""Help for a value that is not a block, by its type."""


def no_block(context: Context, value: Value, span: Span) -> p.Hole:
    """Report a value that is not a block."""
    if isinstance(value, RuleFn):
        name = value.decl.name.id
        help = f"write the level in brackets: `{name}[3]`"
        context.error("E0406", span, f"rule `{name}` needs a level here", help=help)
    elif is_list(value):
        context.error("E0301", span, "expected a block, found a list", help="compose its blocks with `seq(…)`")
    else:
        kind = type_of(value)
        context.error("E0301", span, f"expected a block, found {kind}", help=_NO_BLOCK.get(kind))
    return p.Hole(span)


def no_join(context: Context, value: Value, span: Span) -> None:
    """Report a value that is not a join."""
    *others, last = JOINS
    help = f"begin the join with {', '.join(others)} or {last}: `concat >> conv2d(64, 1)`"
    context.error("E0301", span, f"expected a join, found {type_of(value)}", help=help)
