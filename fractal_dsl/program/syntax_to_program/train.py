"""The train block as plain data."""

from __future__ import annotations

from typing import Any

from fractal_dsl.language import syntax as s
from fractal_dsl.program.syntax_to_program.evaluate import Evaluator
from fractal_dsl.program.syntax_to_program.scope import Home, Scope
from fractal_dsl.program.syntax_to_program.values import Unknown, Value, is_list, type_of


def settings(ev: Evaluator, home: Home, decl: s.TrainDecl) -> dict[str, Any]:
    """The settings of a train block; names that the file declares stand for their values."""
    result: dict[str, Any] = {}
    for setting in decl.settings:
        if setting.key.id in result:
            ev.error("E0204", setting.key.span, f"`{setting.key.id}` is set twice")
        result[setting.key.id] = data(ev, home, setting.value)
    return result


def data(ev: Evaluator, home: Home, expr: s.Expr) -> Any:
    """``sgd(lr=0.1)`` becomes ``{"name": "sgd", "lr": 0.1}``; everything else is a plain value."""
    declared = home.names()
    match expr:
        case s.Call(func=s.Name(id=name)) if name not in declared and name not in ("len", "range"):
            result: dict[str, Any] = {"name": name}
            for arg in expr.args:
                if arg.name is None or arg.name == "name":
                    ev.error("E0701", arg.span, f"settings of `{name}` are named: `{name}(lr=0.1)`")
                else:
                    result[arg.name] = data(ev, home, arg.value)
            return result
        case s.Items():
            return [data(ev, home, e) for e in expr.items]
        case s.Name() if expr.id not in declared:
            help = f'a text stands in quotes: "{expr.id}"'
            ev.error("E0201", expr.span, f"unknown name `{expr.id}`", help=help)
            return None
        case _:
            value = ev.eval(expr, Scope(home))
            if is_plain(value):
                return plain(value)
            if not isinstance(value, Unknown):
                ev.error("E0701", expr.span, f"a setting is plain data, found a {type_of(value)}")
            return None


def is_plain(value: Value) -> bool:
    """Whether a value is a number, text, boolean, or a list of such."""
    if is_list(value):
        return all(isinstance(v, Unknown) or is_plain(v) for v in value)
    return type_of(value) in ("int", "float", "prob", "bool", "str")


def plain(value: Value) -> Any:
    """A value as Python data; None where it is unknown."""
    if isinstance(value, Unknown):
        return None
    if is_list(value):
        return [plain(v) for v in value]
    return float(value) if isinstance(value, float) else value
