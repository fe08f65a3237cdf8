"""Bind the arguments of built-in layers and joins, in the order of their parameters."""

from __future__ import annotations

from collections.abc import Sequence

from fractal_dsl.language.source import Span
from fractal_dsl.ops import REQUIRED, OpParam, OpValue
from fractal_dsl.program.syntax_to_program.aliases import NO_FUNCTIONS
from fractal_dsl.program.syntax_to_program.arguments import Argument, Callee, match_arguments
from fractal_dsl.program.syntax_to_program.context import Context
from fractal_dsl.program.syntax_to_program.op_values import op_value
from fractal_dsl.program.syntax_to_program.types import NUMBERS, Unknown, innermost
from fractal_dsl.program.syntax_to_program.values import Value, is_list, show, type_of


def bind_op(
    context: Context, name: str, params: Sequence[OpParam], given: Sequence[Argument], span: Span
) -> dict[str, OpValue] | None:
    """The arguments of a built-in, with defaults filled in; None after an error, or if one is unknown."""
    callee = Callee(name, [q.name for q in params], [q.name for q in params if not q.keyword])
    chosen = match_arguments(context, callee, given)
    if chosen is None:
        return None
    args: dict[str, OpValue] = {}
    for param in params:
        if param.name in chosen:
            args[param.name] = op_value(context, name, param, chosen[param.name])
        elif param.default is REQUIRED:
            help = f"the signature is `{name}({signature(params)})`"
            context.error("E0205", span, f"`{name}` needs `{param.name}`", help=help)
            return None
        else:
            args[param.name] = param.default
    return None if any(isinstance(v, Unknown) for v in args.values()) else args


def signature(params: Sequence[OpParam]) -> str:
    """The parameters of a built-in in Python's notation: those after ``*`` are passed by name. ``…`` is a default that
    depends on other arguments."""
    parts: list[str] = []
    for q in params:
        if q.keyword and "*" not in parts:
            parts.append("*")
        parts.append(q.name if q.default is REQUIRED else f"{q.name}={'…' if q.default is None else show(q.default)}")
    return ", ".join(parts)


def joins_numbers(context: Context, name: str, given: Sequence[Argument], span: Span) -> bool:
    """Whether a join is called as a function of numbers. Reports if so."""
    if not any(arg.name is None and _numeric(arg.value) for arg in given):
        return False
    context.error("E0301", span, f"`{name}` joins the outputs of blocks, not numbers", help=NO_FUNCTIONS)
    return True


def _numeric(value: Value) -> bool:
    if is_list(value):
        return bool(value) and _numeric(value[0])
    return (innermost(value.type).name if isinstance(value, Unknown) else type_of(value)) in NUMBERS
