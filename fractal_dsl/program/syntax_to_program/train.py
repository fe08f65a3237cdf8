"""The train block as plain data."""

from __future__ import annotations

from typing import Any

from fractal_dsl.base.numbers import not_finite
from fractal_dsl.language import syntax as s
from fractal_dsl.program.syntax_to_program.aliases import FIRST_SETTINGS
from fractal_dsl.program.syntax_to_program.core import Core
from fractal_dsl.program.syntax_to_program.scope import Scope
from fractal_dsl.program.syntax_to_program.types import SCALARS, Unknown
from fractal_dsl.program.syntax_to_program.values import Declarations, Value, is_list, type_of

_NOT_TEXTS = {"True": "write `true`", "False": "write `false`", "None": "leave the setting out: its default applies"}


def settings(core: Core, module: Declarations, decl: s.TrainDecl) -> dict[str, Any]:
    """The settings of a train block. Names declared in the file are replaced by their values."""
    result: dict[str, Any] = {}
    for setting in decl.settings:
        if setting.key.id in result:
            core.context.error("E0204", setting.key.span, f"`{setting.key.id}` is set twice")
        result[setting.key.id] = data(core, module, setting.value, setting.key.id)
    return result


def data(core: Core, module: Declarations, expr: s.Expr, where: str) -> Any:
    """``sgd(lr=0.1)`` becomes ``{"name": "sgd", "lr": 0.1}``. Everything else is a plain value; None after an error.

    ``where`` is the setting: ``optimizer``, ``optimizer.lr``.
    """
    context, declared = core.context, module.names()
    match expr:
        case s.Name() | s.Unary() | s.Literal() if not_finite(text := context.written(expr.span)) and (
            text.lstrip("+- ") not in declared
        ):
            context.error("E0701", expr.span, f"`{where}` must be a finite number, found {text}")
            return None
        case s.Call(func=s.Name(id=name)) if name not in declared and name not in ("len", "range"):
            result: dict[str, Any] = {"name": name}
            for arg in expr.args:
                if arg.name is None or arg.name == "name":
                    value = context.written(arg.value.span)
                    first = FIRST_SETTINGS.get(name)
                    help = f"write `{name}({first}={value})`" if first else f"write `{name}(SETTING={value})`"
                    context.error("E0701", arg.span, f"pass settings of `{name}` by name", help=help)
                else:
                    result[arg.name] = data(core, module, arg.value, f"{where}.{arg.name}")
            return result
        case s.Items():
            return [data(core, module, e, where) for e in expr.items]
        case s.Name() if expr.id not in declared:
            help = _NOT_TEXTS.get(expr.id) or f'quote the string: "{expr.id}"'
            context.error("E0201", expr.span, f"unknown name `{expr.id}`", help=help)
            return None
        case _:
            value = core.evaluate(expr, Scope(module))
            if _is_plain(value):
                return _plain(value)
            if not isinstance(value, Unknown):
                context.error("E0701", expr.span, f"a setting must be plain data, found a {type_of(value)}")
            return None


def _is_plain(value: Value) -> bool:
    """Whether a value is a number, string, boolean, or a list of these."""
    if is_list(value):
        return all(isinstance(v, Unknown) or _is_plain(v) for v in value)
    return type_of(value) in SCALARS


def _plain(value: Value) -> Any:
    """A value as Python data; None if it is unknown."""
    if isinstance(value, Unknown):
        return None
    if is_list(value):
        return [_plain(v) for v in value]
    return float(value) if isinstance(value, float) else value
