"""Bind the arguments of a user's layer, join or rule: check declared types, fill in defaults."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fractal_dsl.language import syntax as s
from fractal_dsl.language.source import Span
from fractal_dsl.program.syntax_to_program.arguments import Argument, Callee, match_arguments
from fractal_dsl.program.syntax_to_program.core import Core
from fractal_dsl.program.syntax_to_program.scope import Scope
from fractal_dsl.program.syntax_to_program.typed import conforming, declared_type
from fractal_dsl.program.syntax_to_program.types import ANY, Type
from fractal_dsl.program.syntax_to_program.values import Declarations, Value


def bind(
    core: Core,
    module: Declarations,
    name: str,
    params: Sequence[s.Parameter],
    given: Sequence[Argument],
    span: Span,
    inherited: Mapping[str, Value] | None = None,
) -> dict[str, Value] | None:
    """The arguments by parameter name; None after an error. Defaults can use earlier parameters.

    ``inherited`` are the arguments of the enclosing instance of the same rule; they replace missing arguments.
    """
    context, names = core.context, [q.name.id for q in params]
    chosen = match_arguments(context, Callee(name, names, names), given)
    if chosen is None:
        return None
    args: dict[str, Value] = {}
    for param in params:
        id, subject = param.name.id, f"`{param.name.id}` of `{name}`"
        if id in chosen:
            arg = chosen[id]
            args[id] = checked_value(core, arg.value, declared_type(context, param.type), arg.span, subject, arg.expr)
        elif inherited is not None:
            args[id] = inherited[id]
        elif param.default is not None:
            value, at = core.evaluate(param.default, Scope(module, dict(args))), param.default.span
            args[id] = checked_value(core, value, declared_type(context, param.type), at, subject, param.default)
        else:
            shape = ", ".join(f"{q.name.id}: {q.type}" for q in params)
            context.error("E0205", span, f"`{name}` needs `{id}`", help=f"the signature is `{name}({shape})`")
            return None
    context.spend(sum([context.weigh(v)[0] for v in args.values()]), span)
    return args


def checked_value(core: Core, value: Value, type: Type, span: Span, subject: str, expr: s.Expr | None = None) -> Value:
    """A value of the declared type, with a block as a term; ``ANY`` after an error. See ``typed.conforming``."""
    held = conforming(core.context, value, type, span, subject, expr)
    if held is None:
        return ANY
    return core.block(held, span) if type.name == "block" else held
