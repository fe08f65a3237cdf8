"""Joins as values: with branches a join on the spot, without them a join for a rule."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from fractal_dsl import program as p
from fractal_dsl import syntax as s
from fractal_dsl.ops import JOINS
from fractal_dsl.source import Span
from fractal_dsl.syntax_to_program.binding import Given
from fractal_dsl.syntax_to_program.values import ExternFn, JoinFn, LayerFn, Type, Unknown, Value, is_list, type_of

if TYPE_CHECKING:
    from fractal_dsl.syntax_to_program.evaluate import Evaluator


def as_join(ev: Evaluator, value: Value, span: Span) -> p.JoinUse | None:
    """A value as a join: a built-in one, a user's, or the value of a user's join body; None after an error."""
    match value:
        case Unknown() if value.type.name in ("any", "join"):
            return None
        case p.Hole() | p.Seq(items=(p.Hole(), *_)):  # begins with what is reported already
            return None
        case p.JoinUse():
            return value
        case JoinFn() | LayerFn() | ExternFn() if type_of(value) == "join":
            use = ev.apply(value, (), span)
            return use if isinstance(use, p.JoinUse) else None
        case _:
            *others, last = JOINS
            help = f"a join begins with {', '.join(others)} or {last}: `concat >> conv2d(64, 1)`"
            ev.error("E0301", span, f"expected a join, found {type_of(value)}", help=help)
            return None


_BLOCKS = Type("list", Type("block"))


def split(given: Sequence[Given], params: Sequence[s.Parameter] = ()) -> tuple[list[Given], list[Given]]:
    """Branches (blocks by position) and the other arguments of a join."""
    blocks = {i for i, q in enumerate(params) if q.type.name == "block"}
    branches: list[Given] = []
    rest: list[Given] = []
    for i, arg in enumerate(given):
        value = arg.value
        if arg.name is None and i not in blocks and is_list(value) and value and type_of(value[0]) == "block":
            branches += [Given(None, v, arg.span) for v in value]
        elif arg.name is None and i not in blocks and isinstance(value, Unknown) and value.type == _BLOCKS:
            branches.append(Given(None, Unknown(Type("block")), arg.span))
        elif arg.name is None and i not in blocks and type_of(value) == "block":
            branches.append(arg)
        else:
            rest.append(arg)
    return branches, rest


def merge(ev: Evaluator, use: p.JoinUse, branches: Sequence[Given], span: Span) -> Value:
    """A join on the spot; without branches, the join itself."""
    if not branches:
        return use
    return p.Merge(use, tuple([ev.block(b.value, b.span) for b in branches]), span)
