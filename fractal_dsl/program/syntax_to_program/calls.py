"""Calls: dispatch on the kind of the callee."""

from __future__ import annotations

from collections.abc import Sequence

from fractal_dsl.language import syntax as s
from fractal_dsl.language.source import Span
from fractal_dsl.program import program as p
from fractal_dsl.program.syntax_to_program.arguments import Argument, texts
from fractal_dsl.program.syntax_to_program.context import Context
from fractal_dsl.program.syntax_to_program.core import Core
from fractal_dsl.program.syntax_to_program.foreign import extern_layer, torch_layer
from fractal_dsl.program.syntax_to_program.functions import FUNCTIONS, sequence_items, unnamed
from fractal_dsl.program.syntax_to_program.joins import call_join
from fractal_dsl.program.syntax_to_program.layers import layer
from fractal_dsl.program.syntax_to_program.op_arguments import bind_op
from fractal_dsl.program.syntax_to_program.rules import each, mention, without_level
from fractal_dsl.program.syntax_to_program.types import ANY, Unknown
from fractal_dsl.program.syntax_to_program.values import (
    Builtin,
    EachFn,
    ExternFn,
    JoinFn,
    LayerFn,
    OpFn,
    RuleAt,
    RuleFn,
    TorchFn,
    Value,
    type_of,
    with_article,
)


def apply(core: Core, func: Value, given: Sequence[Argument], span: Span) -> Value:
    """Call a value. The result is a block, a join or a plain value; Unknown or a Hole after an error."""
    match func:
        case LayerFn() | ExternFn() | JoinFn() | p.JoinUse() | Unknown() if type_of(func) == "join":
            return call_join(core, func, given, span)
        case OpFn():
            args = bind_op(core.context, func.spec.name, func.spec.params, given, span)
            return p.Hole(span) if args is None else p.Op(func.spec, args, span)
        case LayerFn():
            return layer(core, func, given, span)
        case RuleAt():
            return mention(core, func, given, span)
        case TorchFn():
            return torch_layer(core.context, func, given, span)
        case ExternFn():
            return extern_layer(core, func, given, span)
        case EachFn():
            return each(core, func, given, span)
        case Builtin(name="seq"):
            return _sequence(core, given, span)
        case Builtin():
            return FUNCTIONS[func.name](core.context, given, span)
        case RuleFn():
            return without_level(core.context, func, given, span)
        case Unknown() if func.type.name == "block":
            return p.Hole(span)
        case _:
            return core.context.error("E0303", span, f"{with_article(func)} cannot be called")


def _sequence(core: Core, given: Sequence[Argument], span: Span) -> Value:
    """``seq(a, b)``"""
    if not unnamed(core.context, "seq", given, span):
        return ANY
    return p.Seq(tuple([core.block(value, at) for value, at in sequence_items(given)]), span)


def call_block(context: Context, expr: s.Call, block: p.Term, given: Sequence[Argument]) -> Value:
    """``a()`` for ``let a = relu``, which equals ``relu()``. Arguments, as in ``linear(4)(x)``, are an error."""
    if isinstance(block, p.Hole) or not given:
        return block
    kinds = [type_of(arg.value) for arg in given]
    help = f"leave `({texts(context, expr.args)})` out: the block already has its arguments"
    if kinds == ["block"]:
        help = f"compose with `>>`: `{texts(context, expr.args)} >> {context.written(expr.func.span)}`"
    return context.error("E0303", expr.span, "a block cannot be called", help=help)
