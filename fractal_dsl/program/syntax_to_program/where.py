"""``body where a = …, b = …``: values, which are computed once on the input of the body."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set

from fractal_dsl.language import syntax as s
from fractal_dsl.language.walk import names_in
from fractal_dsl.program import program as p
from fractal_dsl.program.syntax_to_program.context import Context
from fractal_dsl.program.syntax_to_program.core import Core
from fractal_dsl.program.syntax_to_program.scope import Scope
from fractal_dsl.program.syntax_to_program.values import Bound, Unbound, Value


def where(core: Core, expr: s.Where, scope: Scope) -> p.Term:
    """A body with its values. Values that it does not need are left out."""
    context = core.context
    fresh, local = _fresh(context, expr.values, scope)
    needs = {v.name.id: names_in(v.value) for v in fresh}
    values: list[p.Value] = []
    for i, binding in enumerate(fresh):
        name = binding.name.id
        later = {v.name.id: Unbound(_path(name, v.name.id, needs)) for v in fresh[i:]}
        block = core.block(core.evaluate(binding.value, scope.inner(local | later)), binding.value.span)
        context.bound += 1
        local[name] = Bound(context.bound)
        values.append(p.Value(context.bound, name, block, binding.name.span))
    body = core.block(core.evaluate(expr.body, scope.inner(local)), expr.body.span)
    if len(fresh) == len(expr.values):
        _warn_of_unused(context, expr.body, fresh, needs)
    check_positions(context, {value.key for value in values}, (*[value.block for value in values], body))
    needed = _needed(context, values, body)
    return p.Where(needed, body, expr.span) if needed else body


def _fresh(context: Context, bindings: Sequence[s.Binding], scope: Scope) -> tuple[list[s.Binding], dict[str, Value]]:
    """The bindings whose names are new, and the names of the others, unknown from here on. These are reported."""
    first: dict[str, s.Binding] = {}
    reported: dict[str, Value] = {}
    for binding in bindings:
        name, span = binding.name.id, binding.name.span
        if name in first:
            context.error(
                "E0202", span, f"the value `{name}` is bound twice", help="choose another name for one of them"
            )
        elif scope.find(name) is not None or name in scope.module.names():
            message = f"`{name}` is already {_meaning(scope, name)}"
            reported[name] = context.error("E0202", span, message, help="choose another name for the value")
        else:
            first[name] = binding
    return [*first.values()], reported


def _meaning(scope: Scope, name: str) -> str:
    """What a name means in the declaration around a body, or in its file."""
    value = scope.find(name)
    if value is None:
        return "declared in the file"
    return "an input of the net" if isinstance(value, Bound) else "a parameter or the level"


def _path(start: str, end: str, needs: Mapping[str, set[str]]) -> tuple[str, ...]:
    """The names from ``end`` over ``start`` back to ``end``, if the value ``end`` needs ``start``; else empty."""
    if start == end:
        return (end, end)
    before: dict[str, str] = {}
    waiting = [end]
    while waiting:
        at = waiting.pop()
        for name in sorted(needs[at] & needs.keys() - before.keys()):
            before[name] = at
            waiting.append(name)
    if start not in before:
        return ()
    way = [start]
    while way[-1] != end:
        way.append(before[way[-1]])
    return (*reversed(way), end)


def _warn_of_unused(
    context: Context, body: s.Expr, bindings: Sequence[s.Binding], needs: Mapping[str, set[str]]
) -> None:
    used = names_in(body)
    for binding in reversed(bindings):
        name = binding.name.id
        if name in used:
            used |= needs[name]
            continue
        message = f"the value `{name}` is never used"
        help = "remove it, or mention it in the body"
        context.report.warning("W0401", binding.span, message, help=help, trail=reversed(context.trail))


def check_positions(context: Context, keys: Set[int], terms: Sequence[p.Term], kind: str = "a value") -> None:
    """Report mentions of values, by their keys, where another tensor than the input of the body flows in."""
    for term in terms:
        for use in context.mentioned.of(term).behind.values():
            if use.key in keys:
                _misplaced(context, use, kind)


def _misplaced(context: Context, use: p.ValueUse, kind: str) -> None:
    message = f"`{use.name}` is {kind}: nothing can flow into it, but here the output of another block does"
    help = f"begin a branch with it: `sum({use.name}, …)`. To join it with a block's output, bind that as a value, too"
    context.error("E0411", use.span, message, help=help)


def _needed(context: Context, values: Sequence[p.Value], body: p.Term) -> tuple[p.Value, ...]:
    """The values that the body mentions, and those that these mention."""
    keys = set(context.mentioned.of(body).keys)
    for value in reversed(values):
        if value.key in keys:
            keys |= context.mentioned.of(value.block).keys
    return tuple([value for value in values if value.key in keys])
