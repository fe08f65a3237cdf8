"""Look up names: local values, declarations, built-ins, names of imported files and of torch.nn."""

from __future__ import annotations

from collections.abc import Iterable

from fractal_dsl.base.errors import suggestion
from fractal_dsl.language import syntax as s
from fractal_dsl.language.source import Span
from fractal_dsl.ops import JOINS, LAYERS
from fractal_dsl.program import program as p
from fractal_dsl.program.syntax_to_program.aliases import name_help
from fractal_dsl.program.syntax_to_program.context import Context
from fractal_dsl.program.syntax_to_program.scope import Scope
from fractal_dsl.program.syntax_to_program.values import (
    BUILTINS,
    Bound,
    Builtin,
    Declarations,
    JoinFn,
    ModuleValue,
    OpFn,
    TorchFn,
    TorchNn,
    Unbound,
    Value,
    type_of,
    with_article,
)


def lookup(context: Context, expr: s.Name, scope: Scope, wanted: Iterable[str] = (*LAYERS, *JOINS, *BUILTINS)) -> Value:
    """The value of a name: local, else declared in the file, else built in.

    An unknown name is reported, with a suggestion from the declared names and ``wanted``."""
    name = expr.id
    value = scope.find(name)
    if value is not None:
        return _local(context, expr, value, scope.module)
    value = scope.module.resolve(name, expr.span)
    if value is not None:
        return value
    if name in LAYERS:
        return OpFn(LAYERS[name])
    if name in JOINS:
        return JoinFn(JOINS[name])
    if name in BUILTINS:
        return Builtin(name)
    if name == "nn":
        return TorchNn()

    def help() -> str | None:
        imported = scope.module.qualified(name)
        if imported:
            return f"write `{imported}`"
        return name_help(name) or context.suggestion(name, [*scope.known(), *wanted])

    return context.error("E0201", expr.span, f"unknown name `{name}`", help=help)


def _local(context: Context, expr: s.Name, value: Value, module: Declarations) -> Value:
    """The value of a local name; of a value or an input, its mention. If an input has the name of a declaration, report
    that it hides it."""
    match value:
        case Bound() if value.input and expr.id in module.names():
            message = f"the input `{expr.id}` of the net hides the declared `{expr.id}`"
            return context.error("E0301", expr.span, message, help="rename the input")
        case Bound():
            context.named_input |= value.input
            return p.ValueUse(value.key, expr.id, expr.span)
        case Unbound():
            return _unbound(context, expr, value)
        case _:
            return value


def _unbound(context: Context, expr: s.Name, value: Unbound) -> Value:
    name = expr.id
    if value.path:
        message = f"the value `{name}` needs itself: {' -> '.join(value.path)}"
        return context.error("E0407", expr.span, message, help="write recursion as a rule with levels")
    message = f"the value `{name}` is mentioned before it is bound"
    return context.error("E0410", expr.span, message, help=f"move `{name} = …` before this value")


def attribute(context: Context, base: Value, name: str, span: Span) -> Value:
    """``m.name`` of an imported file or ``nn.Name`` of torch.nn; other values have no attributes."""
    match base:
        case ModuleValue():
            return _member(context, base.module, name, span)
        case TorchNn():
            return _torch_module(context, name, span)
        case _:
            help = "the only attribute of a block is `.each(block)`" if type_of(base) == "block" else None
            return context.error("E0201", span, f"{with_article(base)} has no `.{name}`", help=help)


def _member(context: Context, module: Declarations, name: str, span: Span) -> Value:
    value = module.resolve(name, span)
    if value is not None:
        return value

    def help() -> str:
        names = module.names()
        return context.suggestion(name, names) or f"it declares {', '.join(names) or 'nothing'}"

    return context.error("E0805", span, f"{module.title()} declares no `{name}`", help=help)


def _torch_module(context: Context, name: str, span: Span) -> Value:
    from fractal_dsl.ops.foreign_python import NOT_LAYERS, nn_names

    known = nn_names()
    if name in known:
        return TorchFn(name)

    def help() -> str | None:
        if name.lower() in ("rnn", "lstm", "gru"):
            return f"use the built-in layer `{name.lower()}`, which returns the outputs"
        near = suggestion(name, known)
        return near.replace("`", "`nn.", 1) if near else None

    if name in NOT_LAYERS:
        return context.error("E0201", span, f"`nn.{name}` does not map one tensor to one tensor", help=help)
    return context.error("E0201", span, f"torch.nn has no layer `{name}`", help=help)
