"""Separate the branches of a join from its other arguments."""

from __future__ import annotations

from collections.abc import Sequence

from fractal_dsl.language import syntax as s
from fractal_dsl.program.syntax_to_program.arguments import Argument
from fractal_dsl.program.syntax_to_program.context import Context
from fractal_dsl.program.syntax_to_program.types import ANY, Type, Unknown
from fractal_dsl.program.syntax_to_program.values import Value, is_list, type_of


def split_branches(
    context: Context, given: Sequence[Argument], params: Sequence[s.Parameter] = ()
) -> tuple[list[Argument], list[Argument]]:
    """The branches of a join (positional blocks, and blocks in lists) and its other arguments.

    An unknown value, which may be either, counts as the branch ``ANY``. So does the missing branch after the error that
    all lists of branches are empty.
    """
    blocks = {i for i, q in enumerate(params) if q.type.name == "block"}
    takes_lists = any(q.type.item is not None for q in params)
    branches: list[Argument] = []
    rest: list[Argument] = []
    empty: list[Argument] = []
    for i, arg in enumerate(given):
        if arg.name is not None or i in blocks:
            rest.append(arg)
        elif arg.value == () and not takes_lists:
            empty.append(arg)
        elif (values := _branches(arg.value)) is not None:
            branches += [Argument(None, value, arg.span) for value in values]
        else:
            rest.append(arg)
    if empty and not branches:
        help = "add a branch that does not depend on the list: `sum(id, […])`"
        context.error("E0205", empty[0].span, "a join needs at least one branch, but this list is empty", help=help)
        branches.append(Argument(None, ANY, empty[0].span))
    return branches, rest


def _branches(value: Value) -> Sequence[Value] | None:
    """The branches that an argument stands for; None if it is not a branch."""
    if is_list(value):
        return value if value and type_of(value[0]) in ("block", "any") else None
    if isinstance(value, Unknown) and value.type.item is not None:
        return {"block": [Unknown(Type("block"))], "any": [ANY]}.get(value.type.item.name)
    return [value] if type_of(value) in ("block", "any") else None


def unclear(branches: Sequence[Argument]) -> bool:
    """Whether some of these may or may not be branches."""
    return any(b.value is ANY for b in branches)
