"""Calls of a user's layers and joins, and of Python classes. A body is evaluated once for each set of arguments."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from fractal_dsl.base.errors import suggestion
from fractal_dsl.language.source import Span
from fractal_dsl.ops import foreign_join, foreign_layer
from fractal_dsl.program import program as p
from fractal_dsl.program.syntax_to_program.binding import Given, bind
from fractal_dsl.program.syntax_to_program.joins import as_join, merge, split, unclear
from fractal_dsl.program.syntax_to_program.scope import Scope
from fractal_dsl.program.syntax_to_program.values import (
    ANY,
    ExternFn,
    LayerFn,
    TorchFn,
    Type,
    Unknown,
    Value,
    has_unknown,
    is_literal,
    key,
    literal,
    type_of,
)

if TYPE_CHECKING:
    from fractal_dsl.program.syntax_to_program.evaluate import Evaluator

_CALL = 10  # steps that a layer with other arguments costs beside its body


def layer(ev: Evaluator, func: LayerFn, given: Sequence[Given], span: Span) -> Value:
    """A call of a user's layer."""
    body = _body(ev, func, given, span)
    return p.Hole(span) if body is None else p.Group(func.decl.name.id, body, span)


def _body(ev: Evaluator, func: LayerFn, given: Sequence[Given], span: Span) -> Value | None:
    """The body of a user's layer as a block, or of a user's join as a JoinUse; None after an error."""
    decl, home, name = func.decl, func.home, func.decl.name.id
    if any(d is decl for d, _ in ev.active):
        path = " -> ".join([d.name.id for d, _ in ev.active] + [name])
        ev.error("E0407", span, f"`{name}` needs itself: {path}", help="recursion is written as a rule, with levels")
        return None
    ev.active.append((decl, None))  # a default may not need the layer either
    args = bind(ev, home, name, decl.params, given, span)
    ev.active.pop()
    if args is None:
        return None
    identity = (id(decl), id(home), tuple([key(v) for v in args.values()]))
    if identity not in ev.remembered:
        ev.spend(_CALL, span)
        ev.active.append((decl, None))
        with ev.within(name):
            value, at = ev.eval(decl.body, Scope(home, args)), decl.body.span
            body = as_join(ev, value, at) if decl.is_join else ev.block(value, at)
            ev.remembered[identity] = (body, args)  # args live on: keys hold their ids
        ev.active.pop()
    return ev.remembered[identity][0]


def user_join(ev: Evaluator, func: LayerFn, given: Sequence[Given], span: Span) -> Value:
    """A call of a user's join: with branches a join on the spot, without them a join for a rule."""
    branches, rest = split(ev, given, func.decl.params)
    if unclear(branches):
        return ANY
    use = _body(ev, func, rest, span)
    if use is None:
        return p.Hole(span) if branches else Unknown(Type("join"))
    return merge(ev, use, branches, span)


# --- Python classes


def torch_module(ev: Evaluator, name: str, span: Span) -> Value:
    """``nn.Name``"""
    from fractal_dsl.ops.foreign_python import NOT_LAYERS, nn_names

    names = nn_names()
    if name in names:
        return TorchFn(name)
    if name.lower() in ("rnn", "lstm", "gru"):
        help = f"there is the layer `{name.lower()}`, which hands on the outputs"
    else:
        near = suggestion(name, names)
        help = near.replace("`", "`nn.", 1) if near else None
    if name in NOT_LAYERS:
        return ev.error("E0201", span, f"`nn.{name}` does not map one tensor to one tensor", help=help)
    return ev.error("E0201", span, f"torch.nn has no layer `{name}`", help=help)


def torch_layer(ev: Evaluator, func: TorchFn, given: Sequence[Given], span: Span) -> Value:
    """``nn.Name(args)``: the arguments are torch's, in plain values."""
    name = f"nn.{func.name}"
    if not _plain(ev, name, [(a.value, a.span) for a in given]):
        return p.Hole(span)
    positional = [literal(a.value) for a in given if a.name is None]
    named = {a.name: literal(a.value) for a in given if a.name is not None}
    args = {str(i): value for i, value in enumerate(positional, 1)} | named
    return p.Op(foreign_layer(name, name, positional, named), args, span)


def extern_layer(ev: Evaluator, func: ExternFn, given: Sequence[Given], span: Span) -> Value:
    """A call of a Python class that is declared as a layer."""
    args = _extern_args(ev, func, given, span)
    if args is None:
        return p.Hole(span)
    return p.Op(foreign_layer(f"extern {func.decl.name.id}", str(func.decl.target.value), (), args), args, span)


def extern_join(ev: Evaluator, func: ExternFn, given: Sequence[Given], span: Span) -> Value:
    """A call of a Python class that is declared as a join."""
    branches, rest = split(ev, given, func.decl.params)
    if unclear(branches):
        return ANY
    args = _extern_args(ev, func, rest, span)
    if args is None:
        return p.Hole(span) if branches else Unknown(Type("join"))
    spec = foreign_join(f"extern {func.decl.name.id}", str(func.decl.target.value), args)
    return merge(ev, p.JoinUse(spec, args, None, span), branches, span)


def _extern_args(ev: Evaluator, func: ExternFn, given: Sequence[Given], span: Span) -> dict[str, Value] | None:
    name, params = func.decl.name.id, func.decl.params
    args = bind(ev, func.home, name, params, given, span)
    if args is None or not _plain(ev, name, [(v, span) for v in args.values()]):
        return None
    return {k: literal(v) for k, v in args.items()}


def _plain(ev: Evaluator, name: str, values: Sequence[tuple[Value, Span]]) -> bool:
    """Whether all arguments of a Python class are known and plain; reports those that cannot be."""
    sound = True
    for value, span in values:
        if has_unknown(value):
            sound = False
        elif not is_literal(value):
            ev.error("E0301", span, f"`{name}` takes numbers, texts, booleans and lists, found {type_of(value)}")
            sound = False
    return sound
