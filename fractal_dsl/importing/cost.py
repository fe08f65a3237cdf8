"""How long a term is when written, in words."""

from __future__ import annotations

from fractal_dsl.importing.page import Page, default_of, required
from fractal_dsl.importing.terms import Arg, Arith, Bundle, Call, Chain, Level, Loop, Merge, Power, Term, Value, Where
from fractal_dsl.ops import JOINS, LAYERS


def cost(page: Page, term: Term) -> int:
    """The length of a term in words."""
    match term:
        case Call():
            return 1 + sum(_value(v) + keyword for v, keyword in _shown(page, term))
        case Chain():
            return max(1, sum(1 + cost(page, step) for step in term.steps) - 1)
        case Merge():
            given = [v for n, v in term.args if v != next(p.default for p in JOINS[term.join].params if p.name == n)]
            return 1 + sum(2 * _value(v) for v in given) + sum(cost(page, b) for b in term.branches)
        case Bundle():
            return sum(cost(page, c) for c in term.columns)
        case Power():
            return cost(page, term.base) + 1 + _value(term.times)
        case Loop():
            lists = sum(1 + sum(map(_value, values)) for values in term.lists)
            return 3 + cost(page, term.body) + lists + len(term.names)
        case Value():
            return 1
        case Where():
            return cost(page, term.body) + sum(2 + cost(page, value) for value in term.values)
        case Level():
            each = 1 + cost(page, term.each) if term.each.steps else 0
            return 2 + sum(_value(v) for _, v in term.args) + each


def _shown(page: Page, call: Call) -> list[tuple[Arg, int]]:
    """The values that are written, each with 1 if its name is written too."""
    params = page.params(call.name)
    if params is not None:
        defaults = {p.name: p.default for p in params}
        return [(v, int(defaults[n] is not None)) for n, v in call.args if v != defaults[n]]
    if call.name not in LAYERS:
        return []
    result: list[tuple[Arg, int]] = []
    for name, value in call.args:
        if required(call.name, name):
            result.append((value, 0))
        elif value != default_of(call.name, name, call):
            result.append((value, 1))
    return result


def _value(value: Arg) -> int:
    match value:
        case Arith():
            return _value(value.left) + 1 + _value(value.right)
        case tuple():
            return len(value)
        case _:
            return 1
