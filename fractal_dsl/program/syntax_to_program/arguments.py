"""Match arguments to parameters, by position and by name."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from fractal_dsl.base.errors import suggestion
from fractal_dsl.language import syntax as s
from fractal_dsl.language.source import Span
from fractal_dsl.ops import LAYERS
from fractal_dsl.program.syntax_to_program.aliases import ALIASES, NEEDLESS, OMITTED
from fractal_dsl.program.syntax_to_program.context import Context
from fractal_dsl.program.syntax_to_program.typed import type_help
from fractal_dsl.program.syntax_to_program.types import ANY
from fractal_dsl.program.syntax_to_program.values import Value, type_of


class Argument(Struct, frozen=True):
    """An argument of a call with its value; ``expr`` is its syntax."""

    name: str | None
    value: Value
    span: Span
    expr: s.Expr | None = None


class Callee(Struct, frozen=True):
    """The callee: its name and its parameters. ``by_place`` are those that accept a positional argument."""

    name: str
    names: Sequence[str]
    by_place: Sequence[str]


def match_arguments(context: Context, callee: Callee, given: Sequence[Argument]) -> dict[str, Argument] | None:
    """The arguments by parameter name; None after an error."""
    chosen: dict[str, Argument] = {}
    free = iter(callee.by_place)
    sound = True
    for arg in given:
        target = arg.name if arg.name is not None else next(free, None)
        if target is None:
            _report_surplus(context, callee, chosen, arg)
        elif target not in callee.names:
            _report_unknown(context, callee, target, arg)
        elif target in chosen:
            _report_twice(context, callee, target, chosen[target], arg)
        else:
            chosen[target] = arg
            continue
        sound = False
    return chosen if sound else None


def texts(context: Context, args: Sequence[Argument | s.Arg]) -> str:
    """The arguments as written in the file."""
    return ", ".join([context.written(a.span) for a in args])


def flow_help(context: Context, callee: str, takes_any: bool, arg: Argument) -> str | None:
    """Help for a layer that is called on a block, as if it were a function of its input."""
    if type_of(arg.value) == "block":
        return f"compose with `>>`: `{context.written(arg.span)} >> {callee}{'(…)' if takes_any else ''}`"
    return None


_LISTED = ("permute", "reshape")
"""Layers that take one list of numbers."""


def _report_surplus(context: Context, callee: Callee, chosen: dict[str, Argument], arg: Argument) -> None:
    """Report a positional argument without a parameter."""
    if arg.value is ANY:  # it may be a branch of a join with a reported error
        return
    name, names, count = callee.name, callee.names, len(callee.by_place)
    unplaced = [n for n in names if n not in callee.by_place and n not in chosen]
    takes = f"`{name}` takes {count} argument{'s' * (count != 1)}" if names else f"`{name}` takes no arguments"
    takes += " by position" if unplaced else ""
    help = flow_help(context, name, bool(names), arg) or type_help(arg.value, "")
    if name in _LISTED:
        help = help or f"write the numbers as a list: `{name}([…])`"
    if unplaced:
        help = help or f"name it: `{unplaced[0]}={context.written(arg.span)}`"
    help = help or (f"they are {', '.join(names)}" if names else None)
    context.error("E0206", arg.span, f"{takes}: this is one too many", help=help)


def _report_unknown(context: Context, callee: Callee, target: str, arg: Argument) -> None:
    """Report a named argument without a parameter."""
    name, names = callee.name, callee.names

    def help() -> str:
        there_are = f"it has {', '.join(names)}" if names else "it takes no arguments"
        return _elsewhere(callee, target, arg) or suggestion(target, names) or there_are

    context.error("E0203", arg.span, f"`{name}` has no parameter `{target}`", help=help)


def _elsewhere(callee: Callee, target: str, arg: Argument) -> str | None:
    """Help for a parameter name from another library."""
    name = callee.name
    if ALIASES.get(target) in callee.names:
        return f"it is called `{ALIASES[target]}`"
    if name not in LAYERS:
        return None
    if target == "activation":
        block = arg.value if isinstance(arg.value, str) and arg.value in LAYERS else "relu"
        return f"write the activation as a block: `{name}(…) >> {block}`"
    return f"leave it out: {NEEDLESS[target]}" if target in NEEDLESS else OMITTED.get(name, {}).get(target)


def _report_twice(context: Context, callee: Callee, target: str, first: Argument, arg: Argument) -> None:
    """Report a second argument for one parameter."""
    help = None
    if callee.name in LAYERS and first.name is None:
        place = callee.names.index(target) + 1
        help = f"argument {place} is already `{target}`: leave input channels and features out"
    context.error("E0204", arg.span, f"`{target}` of `{callee.name}` is given twice", help=help)
