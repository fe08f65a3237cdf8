"""Nets: their tensors, their options, their bodies with the real arguments."""

from __future__ import annotations

from typing import Any

from fractal_dsl.base.errors import suggestion
from fractal_dsl.language import syntax as s
from fractal_dsl.language.source import Sources
from fractal_dsl.ops import Tensor
from fractal_dsl.program import program as p
from fractal_dsl.program.syntax_to_program.binding import checked
from fractal_dsl.program.syntax_to_program.evaluate import Evaluator
from fractal_dsl.program.syntax_to_program.scope import Home, Scope
from fractal_dsl.program.syntax_to_program.values import Type, Unknown, Value, fits, show, type_of

INITS = ("default", "xavier", "xavier_normal", "kaiming", "kaiming_normal", "orthogonal")
ELEMENTS = {
    **dict.fromkeys(("float", "float16", "float32", "float64", "f16", "f64", "double"), "f32"),
    **dict.fromkeys(("int", "int32", "int64", "i32", "long"), "i64"),
}
"""The element types of others, with ours."""


def net(
    ev: Evaluator, home: Home, decl: s.NetDecl, sources: Sources, params: dict[str, Value], train: dict[str, Any]
) -> p.Program | None:
    """The program of a net; None where its input or output is wrong, and with it every shape."""
    name = decl.name.id
    with ev.within(f"net {name}"):
        into, out = _tensor(ev, home, decl.input_type), _tensor(ev, home, decl.output_type)
        drop_path, init = _options(ev, home, decl)
        body = ev.block(ev.eval(decl.body, Scope(home, {decl.input.id: Unknown(Type("tensor"))})), decl.body.span)
    if into is None or out is None:
        return None
    return p.Program(
        sources,
        name,
        decl.input.id,
        into,
        out,
        body,
        decl.body.span,
        decl.output_type.span,
        drop_path,
        init,
        params,
        train,
    )


def _tensor(ev: Evaluator, home: Home, expr: s.TypeExpr) -> Tensor | None:
    if expr.dims is None or expr.name not in ("f32", "i64"):
        near = f"did you mean `{ELEMENTS[expr.name]}`?" if expr.name in ELEMENTS else None
        if expr.name in ("f32", "i64"):
            near = f"write its shape: `{expr.name}[8]`, `{expr.name}[3, 32, 32]`"
        help = near or suggestion(expr.name, ("f32", "i64"))
        help = help or "a net maps tensors, such as `f32[3, 32, 32]` or `i64[256]`"
        ev.error("E0301", expr.span, f"expected a tensor type, found `{expr.name}`", help=help)
        return None
    dims: list[int] = []
    for e in expr.dims:
        value = ev.eval(e, Scope(home))
        size = fits(value, Type("int"))
        if size is None:
            ev.error("E0301", e.span, f"a size is a whole number, found {type_of(value)}")
            return None
        if isinstance(size, Unknown):
            return None
        if size < 1:
            ev.error("E0302", e.span, f"a size is at least 1, found {size}")
            return None
        dims.append(size)
    return Tensor(expr.name, tuple(dims))


def _options(ev: Evaluator, home: Home, decl: s.NetDecl) -> tuple[p.DropPath | None, str]:
    drop_path, init, seen = None, "default", set[str]()
    for option in decl.options:
        assert isinstance(option.func, s.Name)
        name = option.func.id
        if name in seen:
            ev.error("E0204", option.span, f"option `{name}` is given twice")
        seen.add(name)
        match name:
            case "drop_path":
                drop_path = _drop_path(ev, home, option)
            case "init":
                init = _init(ev, home, option)
            case _:
                known = ("drop_path", "init")
                help = suggestion(name, known) or "the options are `drop_path(…)` and `init(…)`"
                ev.error("E0702", option.func.span, f"a net has no option `{name}`", help=help)
    return drop_path, init


def _drop_path(ev: Evaluator, home: Home, option: s.Call) -> p.DropPath | None:
    known = ("local", "global", "columns")
    values: dict[str, Any] = {}
    for i, arg in enumerate(option.args):
        name = arg.name or known[min(i, 2)]
        if name not in known:
            help = suggestion(name, known) or "it has local, global and columns"
            ev.error("E0203", arg.span, f"`drop_path` has no parameter `{name}`", help=help)
        elif name in values:
            ev.error("E0204", arg.span, f"`{name}` of `drop_path` is given twice")
        elif name == "columns":
            if not (isinstance(arg.value, s.Name) and arg.value.id == "all"):
                ev.error("E0702", arg.value.span, "the value of `columns` is `all`")
            values[name] = True
        else:
            value = ev.eval(arg.value, Scope(home))
            values[name] = checked(ev, value, Type("prob"), arg.span, f"`{name}` of `drop_path`")
    if values.get("columns") and values.get("global"):
        help = "`columns=all` trains every column on every mini-batch, which leaves nothing to draw"
        ev.error("E0702", option.span, "`drop_path` takes `global` or `columns=all`, not both", help=help)
    if any(isinstance(v, Unknown) for v in values.values()):
        return None
    return p.DropPath(float(values.get("local", 0.0)), float(values.get("global", 0.0)), values.get("columns", False))


def _init(ev: Evaluator, home: Home, option: s.Call) -> str:
    match option.args:
        case (s.Arg(value=s.Name(id=name)) as arg,) if name in INITS and name not in home.names():
            ev.error("E0201", arg.span, f"unknown name `{name}`", help=f'write `init("{name}")`')
            return "default"
        case _:
            values = [ev.eval(a.value, Scope(home)) for a in option.args]
    match values:
        case [str() as name] if name in INITS and option.args[0].name in (None, "name"):
            return name
        case [str() as name]:
            help = suggestion(name, INITS) or f"it is one of {', '.join(map(show, INITS))}"
            ev.error("E0702", option.args[0].span, f'there is no initialisation "{name}"', help=help)
        case [Unknown()]:
            pass
        case _:
            ev.error("E0702", option.span, '`init` takes one text: `init("xavier")`')
    return "default"
