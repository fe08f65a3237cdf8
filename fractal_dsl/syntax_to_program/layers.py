"""Calls of a user's layers and joins. A body is evaluated once for each set of arguments."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from fractal_dsl import program as p
from fractal_dsl.source import Span
from fractal_dsl.syntax_to_program.binding import Given, bind
from fractal_dsl.syntax_to_program.joins import as_join, merge, split
from fractal_dsl.syntax_to_program.scope import Scope
from fractal_dsl.syntax_to_program.values import ANY, LayerFn, Value, key

if TYPE_CHECKING:
    from fractal_dsl.syntax_to_program.evaluate import Evaluator


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
    args = bind(ev, home, name, decl.params, given, span)
    if args is None:
        return None
    identity = (id(decl), id(home), tuple([key(v) for v in args.values()]))
    if identity not in ev.remembered:
        ev.active.append((decl, None))
        with ev.within(name):
            value, at = ev.eval(decl.body, Scope(home, args)), decl.body.span
            body = as_join(ev, value, at) if decl.is_join else ev.block(value, at)
            ev.remembered[identity] = (body, args)  # args live on: keys hold their ids
        ev.active.pop()
    return ev.remembered[identity][0]


def user_join(ev: Evaluator, func: LayerFn, given: Sequence[Given], span: Span) -> Value:
    """A call of a user's join: with branches a join on the spot, without them a join for a rule."""
    branches, rest = split(given, func.decl.params)
    use = _body(ev, func, rest, span)
    if use is None:
        return p.Hole(span) if branches else ANY
    return merge(ev, use, branches, span)
