"""Joins as values: with branches a join on the spot, without them a join for a rule."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from fractal_dsl.language import syntax as s
from fractal_dsl.language.source import Span
from fractal_dsl.ops import JOINS
from fractal_dsl.program import program as p
from fractal_dsl.program.syntax_to_program.binding import Given
from fractal_dsl.program.syntax_to_program.values import (
    ANY,
    ExternFn,
    JoinFn,
    LayerFn,
    Type,
    Unknown,
    Value,
    is_list,
    type_of,
)

if TYPE_CHECKING:
    from fractal_dsl.program.syntax_to_program.evaluate import Evaluator


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


def split(ev: Evaluator, given: Sequence[Given], params: Sequence[s.Parameter] = ()) -> tuple[list[Given], list[Given]]:
    """Branches (blocks by position, and those of lists) and the other arguments of a join.

    What is not known, and so may be either, stands among the branches as ``ANY``, as does a branch after the
    error that all lists of branches are empty.
    """
    blocks = {i for i, q in enumerate(params) if q.type.name == "block"}
    takes_lists = any(q.type.item is not None for q in params)
    branches: list[Given] = []
    rest: list[Given] = []
    empty: list[Given] = []
    for i, arg in enumerate(given):
        if arg.name is not None or i in blocks:
            rest.append(arg)
        elif arg.value == () and not takes_lists:
            empty.append(arg)
        elif (found := _branches(arg.value)) is not None:
            branches += [Given(None, value, arg.span) for value in found]
        else:
            rest.append(arg)
    if empty and not branches:
        help = "a block beside the list is there whatever the list has: `sum(id, […])`"
        ev.error("E0205", empty[0].span, "a join needs at least one branch, and this list has none", help=help)
        branches.append(Given(None, ANY, empty[0].span))
    return branches, rest


def _branches(value: Value) -> Sequence[Value] | None:
    """The branches that an argument stands for; None where it is none."""
    if is_list(value):
        return value if value and type_of(value[0]) in ("block", "any") else None
    if isinstance(value, Unknown) and value.type.item is not None:
        return {"block": [Unknown(Type("block"))], "any": [ANY]}.get(value.type.item.name)
    return [value] if type_of(value) in ("block", "any") else None


def merge(ev: Evaluator, use: p.JoinUse, branches: Sequence[Given], span: Span) -> Value:
    """A join on the spot; without branches, the join itself."""
    if not branches:
        return use
    if unclear(branches):
        return ANY
    return p.Merge(use, tuple([ev.block(b.value, b.span) for b in branches]), span)


def unclear(branches: Sequence[Given]) -> bool:
    """Whether it is not known if some of these are branches."""
    return any(b.value is ANY for b in branches)
