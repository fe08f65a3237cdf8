"""Calls: each kind of value that can be called goes its way from here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from fractal_dsl.language import syntax as s
from fractal_dsl.language.source import Span
from fractal_dsl.program import program as p
from fractal_dsl.program.syntax_to_program.binding import Given, bind_op, joins_numbers, kind_of, written
from fractal_dsl.program.syntax_to_program.functions import FUNCTIONS
from fractal_dsl.program.syntax_to_program.joins import merge, split, unclear
from fractal_dsl.program.syntax_to_program.layers import extern_join, extern_layer, layer, torch_layer, user_join
from fractal_dsl.program.syntax_to_program.rules import each, mention
from fractal_dsl.program.syntax_to_program.values import (
    ANY,
    TERMS,
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
    from fractal_dsl.program.syntax_to_program.evaluate import Evaluator
    from fractal_dsl.program.syntax_to_program.scope import Scope


def call(ev: Evaluator, expr: s.Call, scope: Scope) -> Value:
    """The value of a call."""
    match expr.func:
        case s.Call(func=s.Name() as name, args=(level,)) if isinstance(ev.eval(name, scope), RuleFn):
            help = f"write `{name.id}[{written(ev, level.span)}]({_texts(ev, expr.args)})`"
            return ev.error("E0406", expr.func.span, f"rule `{name.id}` needs a level", help=help)
        case _:
            func = ev.eval(expr.func, scope)
    given = [Given(a.name, ev.eval(a.value, scope), a.span, a.value) for a in expr.args]
    ev.spend(sum([ev.weight(a.value) for a in given]), expr.span)
    if func is ANY:
        return ANY
    if isinstance(func, TERMS):  # `let a = relu` and then `a()`: as `relu()` is `relu`
        return func if isinstance(func, p.Hole) or not given else _block_called(ev, expr, given)
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
            branches, rest = split(ev, given)
            if joins := [a for a in rest if branches and a.name is None and type_of(a.value) == "join"]:
                at = joins[0].span
                help = f"give it branches of its own: `{written(ev, at)}(id, …)`"
                ev.error("E0301", at, f"a branch is a block, and `{written(ev, at)}` is a join", help=help)
                return p.Hole(span)
            if not func.spec.params and not branches and joins_numbers(ev, func.spec.name, rest, span):
                return ANY
            args = bind_op(ev, func.spec.name, func.spec.params, rest, span)
            if args is None:
                return p.Hole(span) if branches else Unknown(Type("join"))
            return merge(ev, p.JoinUse(func.spec, args, None, span), branches, span)
        case RuleAt():
            return mention(ev, func, given, span)
        case RuleFn():
            name = func.decl.name.id
            return ev.error("E0406", span, f"rule `{name}` needs a level", help=_level_help(ev, func, given))
        case Builtin():
            return FUNCTIONS[func.name](ev, given, span)
        case EachFn():
            return each(ev, func, given, span)
        case p.JoinUse():
            branches, rest = split(ev, given)
            if rest:
                return ev.error("E0206", rest[0].span, "this join has its arguments already")
            return merge(ev, func, branches, span)
        case Unknown() if func.type.name == "join":
            branches, _ = split(ev, given)
            return ANY if unclear(branches) else p.Hole(span) if branches else func
        case Unknown() if func.type.name == "block":
            return p.Hole(span)
        case _:
            return ev.error("E0303", span, f"{kind_of(func)} cannot be called")


def _block_called(ev: Evaluator, expr: s.Call, given: Sequence[Given]) -> Value:
    """``linear(4)(x)``: a block takes no arguments, its input flows in."""
    kinds = [type_of(arg.value) for arg in given]
    why = "the input flows in by itself" if "tensor" in kinds else "the block has its arguments already"
    help = f"{why}: leave `({_texts(ev, expr.args)})` out"
    if kinds == ["block"]:
        help = f"compose with `>>`: `{_texts(ev, expr.args)} >> {written(ev, expr.func.span)}`"
    return ev.error("E0303", expr.span, "a block cannot be called", help=help)


def _level_help(ev: Evaluator, rule: RuleFn, given: Sequence[Given]) -> str:
    """Help where a rule's arguments stand without its level, or with the level among them."""
    level, args = "3", _texts(ev, given) or ("…" if rule.decl.params else "")
    if len(given) > len(rule.decl.params):
        level, args = _texts(ev, given[:1]), _texts(ev, given[1:])
    if any(a.name is not None and a.name not in [q.name.id for q in rule.decl.params] for a in given):
        level, args = "3", "…"
    return f"write `{rule.decl.name.id}[{level}]" + (f"({args})`" if args else "`")


def _texts(ev: Evaluator, args: Sequence[Given | s.Arg]) -> str:
    return ", ".join([written(ev, a.span) for a in args])
