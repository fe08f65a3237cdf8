"""Calls: each kind of value that can be called goes its way from here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from fractal_dsl import program as p
from fractal_dsl import syntax as s
from fractal_dsl.source import Span
from fractal_dsl.syntax_to_program.binding import Given, bind_op
from fractal_dsl.syntax_to_program.functions import FUNCTIONS
from fractal_dsl.syntax_to_program.joins import merge, split
from fractal_dsl.syntax_to_program.layers import extern_join, extern_layer, layer, torch_layer, user_join
from fractal_dsl.syntax_to_program.rules import each, mention
from fractal_dsl.syntax_to_program.values import (
    ANY,
    Builtin,
    EachFn,
    ExternFn,
    JoinFn,
    LayerFn,
    OpFn,
    RuleAt,
    RuleFn,
    TorchFn,
    Type,
    Unknown,
    Value,
    type_of,
)

if TYPE_CHECKING:
    from fractal_dsl.syntax_to_program.evaluate import Evaluator
    from fractal_dsl.syntax_to_program.scope import Scope


def call(ev: Evaluator, expr: s.Call, scope: Scope) -> Value:
    """The value of a call."""
    func = ev.eval(expr.func, scope)
    given = [Given(a.name, ev.eval(a.value, scope), a.span) for a in expr.args]
    if func is ANY:
        return ANY
    return apply(ev, func, given, expr.span)


def apply(ev: Evaluator, func: Value, given: Sequence[Given], span: Span) -> Value:
    """Call a value with arguments."""
    match func:
        case OpFn():
            args = bind_op(ev, func.spec.name, func.spec.params, given, span)
            return p.Hole(span) if args is None else p.Op(func.spec, args, span)
        case TorchFn():
            return torch_layer(ev, func, given, span)
        case ExternFn() if func.decl.is_join:
            return extern_join(ev, func, given, span)
        case ExternFn():
            return extern_layer(ev, func, given, span)
        case LayerFn() if func.decl.is_join:
            return user_join(ev, func, given, span)
        case LayerFn():
            return layer(ev, func, given, span)
        case JoinFn():
            branches, rest = split(given)
            args = bind_op(ev, func.spec.name, func.spec.params, rest, span)
            if args is None:
                return p.Hole(span) if branches else Unknown(Type("join"))
            return merge(ev, p.JoinUse(func.spec, args, None, span), branches, span)
        case RuleAt():
            return mention(ev, func, given, span)
        case RuleFn():
            name = func.decl.name.id
            return ev.error("E0406", span, f"rule `{name}` needs a level", help=f"write `{name}[3](…)`")
        case Builtin():
            return FUNCTIONS[func.name](ev, given, span)
        case EachFn():
            return each(ev, func, given, span)
        case p.JoinUse():
            branches, rest = split(given)
            if rest:
                return ev.error("E0206", rest[0].span, "this join has its arguments already")
            return merge(ev, func, branches, span)
        case Unknown() if func.type.name in ("block", "join"):
            return p.Hole(span)
        case _:
            return ev.error("E0303", span, f"a {type_of(func)} cannot be called")
