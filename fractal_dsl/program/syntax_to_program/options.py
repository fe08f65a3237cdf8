"""Options of a net: ``drop_path(…)`` and ``init(…)``."""

from __future__ import annotations

from typing import Any

from fractal_dsl.base.errors import suggesting
from fractal_dsl.language import syntax as s
from fractal_dsl.program import program as p
from fractal_dsl.program.syntax_to_program.core import Core
from fractal_dsl.program.syntax_to_program.scope import Scope
from fractal_dsl.program.syntax_to_program.typed import conforming
from fractal_dsl.program.syntax_to_program.types import ANY, Type, Unknown
from fractal_dsl.program.syntax_to_program.values import Declarations, Value, show

INITS = ("default", "xavier", "xavier_normal", "kaiming", "kaiming_normal", "orthogonal")


def options(core: Core, module: Declarations, decl: s.NetDecl) -> tuple[p.DropPath | None, str]:
    """The drop-path of a net (None if unknown or not given) and the name of its initialisation."""
    context, drop_path, init, seen = core.context, None, "default", set[str]()
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
            if not (isinstance(arg.value, s.Name) and arg.value.id == "all"):
                context.error("E0702", arg.value.span, "`columns` must be `all`")
            values[name] = True
        else:
            values[name] = _probability(core, module, arg, f"`{name}` of `drop_path`")
    if values.get("columns") and values.get("global"):
        help = "`columns=all` already trains every column on each mini-batch"
        context.error("E0702", option.span, "`drop_path` takes either `global` or `columns=all`, not both", help=help)
    if any(isinstance(v, Unknown) for v in values.values()):
        return None
    return p.DropPath(float(values.get("local", 0.0)), float(values.get("global", 0.0)), values.get("columns", False))


def _probability(core: Core, module: Declarations, arg: s.Arg, subject: str) -> Value:
    value = conforming(core.context, core.evaluate(arg.value, Scope(module)), Type("prob"), arg.span, subject)
    return ANY if value is None else value


def _init(core: Core, module: Declarations, option: s.Call) -> str:
    context = core.context
    match option.args:
        case (s.Arg(value=s.Name(id=name)) as arg,) if name in INITS and name not in module.names():
            context.error("E0201", arg.span, f"unknown name `{name}`", help=f'write `init("{name}")`')
            return "default"
        case _:
            values = [core.evaluate(a.value, Scope(module)) for a in option.args]
    match values:
        case [str() as name] if name in INITS and option.args[0].name in (None, "name"):
            return name
        case [str() as name]:
            help = suggesting(name, INITS, f"choose one of {', '.join(map(show, INITS))}")
            context.error("E0702", option.args[0].span, f'there is no initialisation "{name}"', help=help)
        case [Unknown()]:
            pass
        case _:
            context.error("E0702", option.span, '`init` takes one string: `init("xavier")`')
    return "default"
