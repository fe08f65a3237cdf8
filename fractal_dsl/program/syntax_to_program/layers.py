"""The bodies of a user's layers and joins, evaluated once for each set of arguments."""

from __future__ import annotations

from collections.abc import Sequence

from fractal_dsl.language.source import Span
from fractal_dsl.program import program as p
from fractal_dsl.program.syntax_to_program.arguments import Argument
from fractal_dsl.program.syntax_to_program.binding import bind
from fractal_dsl.program.syntax_to_program.core import Core
from fractal_dsl.program.syntax_to_program.scope import Scope
from fractal_dsl.program.syntax_to_program.values import LayerFn, Value, identity

_CALL = 10  # steps for a layer with new arguments, in addition to its body


def layer(core: Core, func: LayerFn, given: Sequence[Argument], span: Span) -> p.Term:
    """A call of a user's layer."""
    block = body(core, func, given, span)
    return p.Hole(span) if block is None else p.NamedBlock(func.decl.name.id, block, span)


def body(core: Core, func: LayerFn, given: Sequence[Argument], span: Span) -> Value | None:
    """The body of a user's layer as a block, or of a user's join as a JoinUse; None after an error."""
    context, decl, module, name = core.context, func.decl, func.module, func.decl.name.id
    if any(d is decl for d, _ in context.active):
        path = " -> ".join([d.name.id for d, _ in context.active] + [name])
        help = "write recursion as a rule with levels"
        context.error("E0407", span, f"`{name}` needs itself: {path}", help=help)
        return None
    context.active.append((decl, None))  # a default must not need the layer either
    args = bind(core, module, name, decl.params, given, span)
    context.active.pop()
    if args is None:
        return None
    key = (id(decl), id(module), tuple([identity(v) for v in args.values()]))
    if key not in context.remembered:
        context.spend(_CALL, span)
        context.active.append((decl, None))
        with context.within(name):
            value, at = core.evaluate(decl.body, Scope(module, args)), decl.body.span
            made = core.join(value, at) if decl.is_join else core.block(value, at)
            context.remembered[key] = (made, args)  # keep args alive: the key contains their ids
        context.active.pop()
    return context.remembered[key][0]
