"""Calls of joins: with branches an inline join, without branches a join for a rule."""

from __future__ import annotations

from collections.abc import Sequence

from fractal_dsl.language.source import Span
from fractal_dsl.ops import foreign_join
from fractal_dsl.program import program as p
from fractal_dsl.program.syntax_to_program.arguments import Argument
from fractal_dsl.program.syntax_to_program.branches import split_branches, unclear
from fractal_dsl.program.syntax_to_program.core import Core
from fractal_dsl.program.syntax_to_program.dropped import merge_branches
from fractal_dsl.program.syntax_to_program.foreign import extern_args
from fractal_dsl.program.syntax_to_program.layers import body
from fractal_dsl.program.syntax_to_program.op_arguments import bind_op, joins_numbers
from fractal_dsl.program.syntax_to_program.types import ANY, Type, Unknown
from fractal_dsl.program.syntax_to_program.values import ExternFn, JoinFn, LayerFn, Value, type_of


def call_join(
    core: Core, func: JoinFn | LayerFn | ExternFn | p.JoinUse | Unknown, given: Sequence[Argument], span: Span
) -> Value:
    """A call of a join: a Merge of its branches, or a JoinUse without branches; a Hole or Unknown after an error."""
    match func:
        case JoinFn():
            return _built_in(core, func, given, span)
        case LayerFn() | ExternFn():
            return _declared(core, func, given, span)
        case p.JoinUse():
            branches, rest = split_branches(core.context, given)
            if rest:
                return core.context.error("E0206", rest[0].span, "this join already has its arguments")
            return _merge(core, func, branches, span)
        case Unknown():
            branches, _ = split_branches(core.context, given)
            return ANY if unclear(branches) else p.Hole(span) if branches else func


def _built_in(core: Core, func: JoinFn, given: Sequence[Argument], span: Span) -> Value:
    context, name, params = core.context, func.spec.name, func.spec.params
    branches, rest = split_branches(context, given)
    if joins := [a for a in rest if branches and a.name is None and type_of(a.value) == "join"]:
        at = joins[0].span
        help = f"give it its own branches: `{context.written(at)}(id, …)`"
        context.error("E0301", at, f"a branch must be a block, but `{context.written(at)}` is a join", help=help)
        return p.Hole(span)
    if not params and not branches and joins_numbers(context, name, rest, span):
        return ANY
    args = bind_op(context, name, params, rest, span)
    if args is None:
        return _failed(branches, span)
    return _merge(core, p.JoinUse(func.spec, args, None, span), branches, span)


def _declared(core: Core, func: LayerFn | ExternFn, given: Sequence[Argument], span: Span) -> Value:
    """A call of a user's join, or of a Python class declared as a join."""
    branches, rest = split_branches(core.context, given, func.decl.params)
    if unclear(branches):
        return ANY
    if isinstance(func, LayerFn):
        use = body(core, func, rest, span)
    else:
        args = extern_args(core, func, rest, span)
        name, target = f"extern {func.decl.name.id}", str(func.decl.target.value)
        use = None if args is None else p.JoinUse(foreign_join(name, target, args), args, None, span)
    return _failed(branches, span) if use is None else _merge(core, use, branches, span)


def _failed(branches: Sequence[Argument], span: Span) -> Value:
    """The placeholder for a call of a join after an error."""
    return p.Hole(span) if branches else Unknown(Type("join"))


def _merge(core: Core, use: p.JoinUse, branches: Sequence[Argument], span: Span) -> Value:
    """An inline join; without branches, the join itself."""
    if not branches:
        return use
    if unclear(branches):
        return ANY
    return merge_branches(core, use, branches, span)
