"""Nets: their tensors, their options, and their bodies."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fractal_dsl.base.errors import suggesting
from fractal_dsl.language import syntax as s
from fractal_dsl.ops import Tensor
from fractal_dsl.program import program as p
from fractal_dsl.program.syntax_to_program.context import Context
from fractal_dsl.program.syntax_to_program.core import Core
from fractal_dsl.program.syntax_to_program.fitting import fits
from fractal_dsl.program.syntax_to_program.options import name_of, options
from fractal_dsl.program.syntax_to_program.scope import Scope
from fractal_dsl.program.syntax_to_program.types import Type, Unknown
from fractal_dsl.program.syntax_to_program.values import Bound, Declarations, Value, type_of
from fractal_dsl.program.syntax_to_program.where import check_positions
from fractal_dsl.program.terms import walk_terms

_ELEMENTS = {
    **dict.fromkeys(("float", "float16", "float32", "float64", "f16", "f64", "double"), "f32"),
    **dict.fromkeys(("int", "int32", "int64", "i32", "long"), "i64"),
}
"""Element types of other libraries and their counterparts here."""


def net(
    core: Core, module: Declarations, decl: s.NetDecl, params: dict[str, Value], train: dict[str, Any]
) -> p.Program | None:
    """The program of a net; None if the type of an input or output is invalid.

    ``params`` are the values of the file's parameters, ``train`` the settings of its train block.
    """
    context = core.context
    with context.within(f"net {decl.name.id}"):
        tensors = [_tensor(core, module, one.type) for one in (*decl.inputs, *decl.outputs)]
        drop_path, init = options(core, module, decl)
        names, context.named_input = _inputs(context, decl), False
        ends = _outputs(context, decl)
        body = core.block(core.evaluate(decl.body, Scope(module, names)), decl.body.span)
        _check_ends(context, decl, names, body)
    known = [tensor for tensor in tensors if tensor is not None]
    if len(known) < len(tensors):
        return None
    into, out = known[: len(decl.inputs)], known[len(decl.inputs) :]
    return p.Program(
        context.report.sources,
        decl.name.id,
        tuple([p.NetInput(n, t, names[n].key, i.span) for n, t, i in zip(names, into, decl.inputs, strict=False)]),
        tuple([p.NetOutput(*one) for one in zip(ends, out, [one.span for one in decl.outputs], strict=True)]),
        body,
        decl.body.span,
        drop_path,
        next((option.span for option in decl.options if name_of(option) == "drop_path"), None),
        init,
        params,
        train,
    )


def _inputs(context: Context, decl: s.NetDecl) -> dict[str, Bound]:
    """The inputs of a net as the names that its body sees. Reports two of one name."""
    names: dict[str, Bound] = {}
    for one in decl.inputs:
        if one.name.id in names:
            context.error("E0202", one.name.span, f"there are two inputs `{one.name.id}`")
        context.bound += 1
        names.setdefault(one.name.id, Bound(context.bound, input=True))
    return names


def _outputs(context: Context, decl: s.NetDecl) -> list[str]:
    """The names of the outputs: ``output2`` for the second of several if it has none. Reports two ends of one name."""
    names = ["output"] if len(decl.outputs) == 1 else [f"output{i}" for i, _ in enumerate(decl.outputs, 1)]
    taken = {one.name.id: "an input" for one in decl.inputs}
    for i, one in enumerate(decl.outputs):
        if one.name is None:
            continue
        names[i] = one.name.id
        if one.name.id in taken:
            message = f"`{one.name.id}` is already the name of {taken[one.name.id]}"
            context.error("E0202", one.name.span, message, help="name the output differently")
        taken[one.name.id] = "an output"
    return names


def _check_ends(context: Context, decl: s.NetDecl, names: Mapping[str, Bound], body: p.Term) -> None:
    """Check that a body has the outputs of its net, and that it says which input it reads where there are several."""
    whole = body.body if isinstance(body, p.Where) else body
    count = len(whole.items) if isinstance(whole, p.Outputs) else 1
    if count != len(decl.outputs) and not isinstance(whole, p.Hole):
        declared = f"{len(decl.outputs)} output{'s' * (len(decl.outputs) > 1)}"
        help = "write the outputs in parentheses, as in `(a >> linear(8), linear(4))`"
        message = f"net `{decl.name.id}` declares {declared}, but its body has {count}"
        context.error("E0503", whole.span, message, help=help if count == 1 else None)
    if len(names) == 1 and not context.named_input:
        return
    mentions = context.mentioned.of(body)
    check_positions(context, {bound.key for bound in names.values()}, (body,), "an input")
    if len(names) == 1:
        return
    for reader in mentions.readers.values():
        first = next(iter(names))
        help = f"begin with one of them: `{first} >> {context.written(reader.span)}`"
        message = f"net `{decl.name.id}` has several inputs: which one flows in here?"
        context.error("E0412", reader.span, message, help=help)
    broken = mentions.readers or any(isinstance(term, p.Hole) for term in walk_terms(body))
    for one in decl.inputs:
        if names[one.name.id].key not in mentions.keys and not broken:
            message = f"the input `{one.name.id}` of net `{decl.name.id}` is never used"
            context.error("E0413", one.span, message, help="mention it in the body, or remove it")


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
