"""Calls of Python classes: modules of torch.nn, and layers and joins declared by ``extern``."""

from __future__ import annotations

from collections.abc import Sequence

from fractal_dsl.language.source import Span
from fractal_dsl.ops import foreign_layer
from fractal_dsl.program import program as p
from fractal_dsl.program.syntax_to_program.arguments import Argument
from fractal_dsl.program.syntax_to_program.binding import bind
from fractal_dsl.program.syntax_to_program.context import Context
from fractal_dsl.program.syntax_to_program.core import Core
from fractal_dsl.program.syntax_to_program.values import (
    ExternFn,
    TorchFn,
    Value,
    has_unknown,
    is_literal,
    to_python,
    type_of,
)


def torch_layer(context: Context, func: TorchFn, given: Sequence[Argument], span: Span) -> p.Term:
    """``nn.Name(args)``, with torch's arguments as plain values."""
    name = f"nn.{func.name}"
    if not _plain(context, name, [(a.value, a.span) for a in given]):
        return p.Hole(span)
    positional = [to_python(a.value) for a in given if a.name is None]
    named = {a.name: to_python(a.value) for a in given if a.name is not None}
    args = {str(i): value for i, value in enumerate(positional, 1)} | named
    return p.Op(foreign_layer(name, name, positional, named), args, span)


def extern_layer(core: Core, func: ExternFn, given: Sequence[Argument], span: Span) -> p.Term:
    """A call of a Python class declared as a layer."""
    args = extern_args(core, func, given, span)
    if args is None:
        return p.Hole(span)
    return p.Op(foreign_layer(f"extern {func.decl.name.id}", str(func.decl.target.value), (), args), args, span)


def extern_args(core: Core, func: ExternFn, given: Sequence[Argument], span: Span) -> dict[str, Value] | None:
    """The arguments of a declared Python class; None after an error, or if one is unknown."""
    name, params = func.decl.name.id, func.decl.params
    args = bind(core, func.module, name, params, given, span)
    if args is None or not _plain(core.context, name, [(v, span) for v in args.values()]):
        return None
    return {k: to_python(v) for k, v in args.items()}


def _plain(context: Context, name: str, values: Sequence[tuple[Value, Span]]) -> bool:
    """Whether all arguments of a Python class are known plain values. Reports others."""
    sound = True
    for value, span in values:
        if has_unknown(value):
            sound = False
        elif not is_literal(value):
            message = f"`{name}` takes numbers, strings, booleans and lists, found {type_of(value)}"
            context.error("E0301", span, message)
            sound = False
    return sound
