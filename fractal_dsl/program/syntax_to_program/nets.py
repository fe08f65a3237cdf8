"""Nets: their tensors, their options, and their bodies."""

from __future__ import annotations

from typing import Any

from fractal_dsl.base.errors import suggesting
from fractal_dsl.language import syntax as s
from fractal_dsl.ops import Tensor
from fractal_dsl.program import program as p
from fractal_dsl.program.syntax_to_program.core import Core
from fractal_dsl.program.syntax_to_program.fitting import fits
from fractal_dsl.program.syntax_to_program.options import name_of, options
from fractal_dsl.program.syntax_to_program.scope import Scope
from fractal_dsl.program.syntax_to_program.types import Type, Unknown
from fractal_dsl.program.syntax_to_program.values import Declarations, Value, type_of

_ELEMENTS = {
    **dict.fromkeys(("float", "float16", "float32", "float64", "f16", "f64", "double"), "f32"),
    **dict.fromkeys(("int", "int32", "int64", "i32", "long"), "i64"),
}
"""Element types of other libraries and their counterparts here."""


def net(
    core: Core, module: Declarations, decl: s.NetDecl, params: dict[str, Value], train: dict[str, Any]
) -> p.Program | None:
    """The program of a net; None if its input or output type is invalid.

    ``params`` are the values of the file's parameters, ``train`` the settings of its train block.
    """
    with core.context.within(f"net {decl.name.id}"):
        input, output = _tensor(core, module, decl.input_type), _tensor(core, module, decl.output_type)
        drop_path, init = options(core, module, decl)
        scope = Scope(module, {decl.input.id: Unknown(Type("tensor"))})
        body = core.block(core.evaluate(decl.body, scope), decl.body.span)
    if input is None or output is None:
        return None
    return p.Program(
        core.context.report.sources,
        decl.name.id,
        decl.input.id,
        input,
        output,
        body,
        decl.body.span,
        decl.output_type.span,
        drop_path,
        next((option.span for option in decl.options if name_of(option) == "drop_path"), None),
        init,
        params,
        train,
    )


def _tensor(core: Core, module: Declarations, expr: s.TypeExpr) -> Tensor | None:
    """A declared tensor; None after an error."""
    if expr.dims is None or expr.name not in ("f32", "i64"):
        otherwise = "write a tensor type, such as `f32[3, 32, 32]` or `i64[256]`"
        help = suggesting(expr.name, ("f32", "i64"), otherwise)
        if expr.name in _ELEMENTS:
            help = f"did you mean `{_ELEMENTS[expr.name]}`?"
        if expr.name in ("f32", "i64"):
            help = f"add its shape: `{expr.name}[8]`, `{expr.name}[3, 32, 32]`"
        core.context.error("E0301", expr.span, f"expected a tensor type, found `{expr.name}`", help=help)
        return None
    sizes: list[int] = []
    for dim in expr.dims:
        size = _size(core, dim, Scope(module))
        if size is None:
            return None
        sizes.append(size)
    return Tensor(expr.name, tuple(sizes))


def _size(core: Core, expr: s.Expr, scope: Scope) -> int | None:
    """One size of a tensor; None after an error."""
    value = core.evaluate(expr, scope)
    size = fits(value, Type("int"))
    if size is None:
        core.context.error("E0301", expr.span, f"a size must be a whole number, found {type_of(value)}")
    elif isinstance(size, Unknown):
        return None
    elif size < 1:
        core.context.error("E0302", expr.span, f"a size must be at least 1, found {size}")
        return None
    return size
