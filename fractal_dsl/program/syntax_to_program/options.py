"""Options of a net: ``drop_path(…)`` and ``init(…)``."""

from __future__ import annotations

from typing import Any, cast

from fractal_dsl.base.errors import suggesting
from fractal_dsl.language import syntax as s
from fractal_dsl.program import program as p
from fractal_dsl.program.syntax_to_program.core import Core
from fractal_dsl.program.syntax_to_program.fitting import fits
from fractal_dsl.program.syntax_to_program.scope import Scope
from fractal_dsl.program.syntax_to_program.typed import conforming
from fractal_dsl.program.syntax_to_program.types import ANY, Type, Unknown
from fractal_dsl.program.syntax_to_program.values import Declarations, Value, is_list, show

INITS = ("default", "xavier", "xavier_normal", "kaiming", "kaiming_normal", "orthogonal")
_FANS = ("in", "out", "average")


def options(core: Core, module: Declarations, decl: s.NetDecl) -> tuple[p.DropPath | None, p.Init]:
    """The drop-path of a net (None if unknown or not given) and its initialisation."""
    context, drop_path, init, seen = core.context, None, p.Init(), set[str]()
    for option in decl.options:
        name = name_of(option)
        if name in seen:
            context.error("E0204", option.span, f"option `{name}` is given twice")
        seen.add(name)
        match name:
            case "drop_path":
                drop_path = _drop_path(core, module, option)
            case "init":
                init = _init(core, module, option)
            case _:
                help = suggesting(name, ("drop_path", "init"), "the options are `drop_path(…)` and `init(…)`")
                context.error("E0702", option.func.span, f"a net has no option `{name}`", help=help)
    return drop_path, init


def name_of(option: s.Call) -> str:
    """The name of an option."""
    assert isinstance(option.func, s.Name)
    return option.func.id


def _drop_path(core: Core, module: Declarations, option: s.Call) -> p.DropPath | None:
    context, known = core.context, ("local", "global", "columns")
    values: dict[str, Any] = {}
    for i, arg in enumerate(option.args):
        name = arg.name or known[min(i, 2)]
        if name not in known:
            help = suggesting(name, known, "its parameters are `local`, `global` and `columns`")
            context.error("E0203", arg.span, f"`drop_path` has no parameter `{name}`", help=help)
        elif name in values:
            context.error("E0204", arg.span, f"`{name}` of `drop_path` is given twice")
        elif name == "columns":
            values[name] = _columns(core, module, arg)
        else:
            values[name] = _probability(core, module, arg, f"`{name}` of `drop_path`")
    if values.get("columns") is True and values.get("global"):
        help = "`columns=all` already trains every column on each mini-batch"
        context.error("E0702", option.span, "`drop_path` takes either `global` or `columns=all`, not both", help=help)
    if isinstance(values.get("columns"), tuple) and not values.get("global", 0.0):
        help = "add `global=50%`, or write `columns=all`"
        context.error("E0702", option.span, "weights of columns need global steps to share", help=help)
    if any(isinstance(v, Unknown) for v in values.values()):
        return None
    columns: bool | tuple[float, ...] = values.get("columns", False)
    weights = () if isinstance(columns, bool) else columns
    return p.DropPath(float(values.get("local", 0.0)), float(values.get("global", 0.0)), columns is True, weights)


def _columns(core: Core, module: Declarations, arg: s.Arg) -> bool | tuple[float, ...] | Unknown:
    """True for `columns=all`, else the weights of the columns in global steps."""
    if isinstance(arg.value, s.Name) and arg.value.id == "all" and "all" not in module.names():
        return True
    context, value = core.context, core.evaluate(arg.value, Scope(module))
    if isinstance(value, Unknown):
        return value
    numbers = fits(value, Type("list", Type("float")))
    if not is_list(numbers):
        help = "write `columns=all`, or a weight for each column: `columns=[1, 1, 2]`"
        return context.error("E0702", arg.value.span, "`columns` must be `all` or a list of weights", help=help)
    if any(isinstance(n, Unknown) for n in numbers):
        return ANY
    weights = tuple([float(cast(float, n)) for n in numbers])
    if any(w < 0 for w in weights) or not sum(weights) > 0:
        message = "weights of columns must be 0 or more, and not all 0"
        return context.error("E0702", arg.value.span, message)
    return weights


def _probability(core: Core, module: Declarations, arg: s.Arg, subject: str) -> Value:
    value = conforming(core.context, core.evaluate(arg.value, Scope(module)), Type("prob"), arg.span, subject)
    return ANY if value is None else value


def _init(core: Core, module: Declarations, option: s.Call) -> p.Init:
    context = core.context
    for arg in option.args[:1]:
        if isinstance(arg.value, s.Name) and (name := arg.value.id) in INITS and name not in module.names():
            context.error("E0201", arg.span, f"unknown name `{name}`", help=f'write `init("{name}")`')
            return p.Init()
    given = {arg.name or known: arg for arg, known in zip(option.args, ("name", "fan"), strict=False)}
    if len(given) < len(option.args) or not {"name"} <= given.keys() <= {"name", "fan"}:
        context.error("E0702", option.span, '`init` takes the name of a scheme, and perhaps `fan`: `init("xavier")`')
        return p.Init()
    values = {key: core.evaluate(arg.value, Scope(module)) for key, arg in given.items()}
    if any(isinstance(value, Unknown) for value in values.values()):
        return p.Init()
    scheme, fan = values["name"], values.get("fan")
    if scheme not in INITS:
        help = suggesting(str(scheme), INITS, f"choose one of {', '.join(map(show, INITS))}")
        context.error("E0702", given["name"].span, f"there is no initialisation {show(scheme)}", help=help)
        return p.Init()
    usual = p.FANS.get(str(scheme), "")
    if fan is None:
        return p.Init(str(scheme), usual)
    if not usual:
        schemes = " and ".join(f'"{name}"' for name in ("xavier", "kaiming"))
        context.error("E0702", given["fan"].span, f"{show(scheme)} has no `fan`", help=f"{schemes} have one")
    elif fan not in _FANS:
        help = suggesting(str(fan), _FANS, f"choose one of {', '.join(map(show, _FANS))}")
        context.error("E0702", given["fan"].span, f"there is no fan {show(fan)}", help=help)
    else:
        return p.Init(str(scheme), str(fan))
    return p.Init()
