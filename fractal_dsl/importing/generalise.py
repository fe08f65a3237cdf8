"""Anti-unification: several similar terms as one term with parameters, and the arguments of each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from fractal_dsl.importing.page import Page, kind_and_type
from fractal_dsl.importing.terms import (
    Arg,
    Arith,
    Bundle,
    Call,
    Chain,
    Level,
    Loop,
    Merge,
    Power,
    Term,
    Value,
    Var,
    Where,
)

TIMES = "times"


def key(term: Term) -> Any:
    """What terms have in common that differ only in numbers."""
    match term:
        case Call():
            return (term.name, *[(name, _form(value)) for name, value in term.args])
        case Chain():
            return ("chain", *map(key, term.steps))
        case Merge():
            return ("merge", term.join, tuple([(n, _form(v)) for n, v in term.args]), *map(key, term.branches))
        case Bundle():
            return ("bundle", *map(key, term.columns))
        case Power():
            return ("power", key(term.base))
        case Loop():
            return ("loop", term.names, term.lists, key(term.body))
        case Value():
            return ("value", term.name)
        case Where():
            return ("where", term.names, *map(key, (*term.values, term.body)))
        case Level():
            return ("level", term.rule, term.level, *[(n, _form(v)) for n, v in term.args], key(term.each))


def _form(value: Arg) -> Any:
    if isinstance(value, bool | str) or value is None:
        return value
    return ("list", len(value)) if isinstance(value, tuple) else "number"


Visit = Callable[[str, str, Arg, Call | Merge | Power | Level], Arg]


def visited(term: Any, visit: Visit, bound: frozenset[str] = frozenset()) -> Any:
    """The term with every number replaced by ``visit(owner, argument, value, term)``, in the order of the text.

    Variables of loops inside the term stay."""

    def args(owner: str, given: tuple[tuple[str, Arg], ...], at: Any) -> tuple[tuple[str, Arg], ...]:
        return tuple([(n, v if _fixed(v, bound) else visit(owner, n, v, at)) for n, v in given])

    match term:
        case Call():
            return replace(term, args=args(term.name, term.args, term))
        case Chain():
            return Chain(tuple([visited(step, visit, bound) for step in term.steps]))
        case Merge():
            given = args(term.join, term.args, term)
            return replace(term, args=given, branches=tuple([visited(b, visit, bound) for b in term.branches]))
        case Bundle():
            return Bundle(tuple([visited(c, visit, bound) for c in term.columns]))
        case Power():
            base = visited(term.base, visit, bound)
            return Power(base, term.times if _fixed(term.times, bound) else visit("", TIMES, term.times, term))
        case Loop():
            return replace(term, body=visited(term.body, visit, bound | {*term.names}))
        case Level():
            given = args(term.rule, term.args, term)
            return replace(term, args=given, each=visited(term.each, visit, bound))
        case Value():
            return term
        case Where():
            values = tuple([visited(value, visit, bound) for value in term.values])
            return Where(visited(term.body, visit, bound), term.names, values)
        case _:
            raise AssertionError(term)


def _fixed(value: Arg, bound: frozenset[str]) -> bool:
    """Whether a value is no number, or depends on the variable of a loop inside the term."""
    return isinstance(value, bool | str) or value is None or bool(variables(value) & bound)


def variables(value: Arg) -> set[str]:
    """The variables in a value."""
    match value:
        case Var():
            return {value.name}
        case Arith():
            return variables(value.left) | variables(value.right)
        case _:
            return set()


@dataclass(eq=False)
class _Hole:
    """A place in the general term: ``times`` its parameter, or the parameter ``// half``."""

    index: int
    times: int = 1
    half: int = 0


@dataclass
class Column:
    """A parameter to be: its value in each instance, what the values mean, and the places that take it."""

    values: list[Arg]
    kind: str
    type: str
    owner: str
    arg: str
    users: list[Call | Merge | Power | Level] = field(default_factory=list[Call | Merge | Power | Level])
    holes: list[_Hole] = field(default_factory=list[_Hole])


@dataclass
class General:
    """Similar terms as one. ``body`` has ``Var("#i")`` for parameter i, whose values are ``columns[i].values``."""

    body: Chain
    columns: list[Column]


def generalise(page: Page, instances: Sequence[Chain]) -> General:
    """The general term of instances with one ``key``. Related numbers share a parameter: equal ones, multiples of
    channels, and a padding that is half its kernel."""
    rows: list[list[Arg]] = [_numbers(instance) for instance in instances]
    columns: list[Column] = []
    position = iter(range(len(rows[0])))

    def collect(owner: str, arg: str, value: Arg, at: Any) -> Any:
        index = next(position)
        values = [row[index] for row in rows]
        if all(v == values[0] for v in values) and not variables(values[0]):
            return value
        kind, type_ = kind_and_type(page, owner, arg) if arg != TIMES else (TIMES, "int")
        hole = _related(columns, values, kind)
        if hole is None:
            columns.append(Column(values, kind, _type(values) or type_, owner, arg))
            hole = _Hole(len(columns) - 1)
        columns[hole.index].users.append(at)
        columns[hole.index].arg = _named(columns[hole.index].arg, arg)
        columns[hole.index].holes.append(hole)
        return hole

    body = visited(instances[0], collect)
    return General(visited(body, lambda owner, arg, value, at: _filled(value)), columns)


def _type(values: Sequence[Arg]) -> str:
    """The type of values that are lists, or parameters of the layer around them; empty for plain numbers."""
    known = [v.type if isinstance(v, Var) else "[int]" if isinstance(v, tuple) else "" for v in values]
    return next((type_ for type_ in known if type_), "")


def _named(first: str, other: str) -> str:
    """The name for a parameter that two arguments take: a padding that is equal to the dilation follows from it."""
    return other if (first, other) == ("padding", "dilation") else first


def _numbers(instance: Chain) -> list[Arg]:
    result: list[Arg] = []

    def collect(owner: str, arg: str, value: Arg, at: Any) -> Arg:
        result.append(value)
        return value

    visited(instance, collect)
    return result


def _related(columns: list[Column], values: list[Arg], kind: str) -> _Hole | None:
    """A hole that an earlier parameter fills, whose values may be divided for that."""
    for index, column in enumerate(columns):
        if column.kind == kind and column.values == values:
            return _Hole(index)
        if (column.kind, kind) == ("kernel", "padding") and values == [_halved(v) for v in column.values]:
            return _Hole(index, half=2)
    for index, column in enumerate(columns):
        if column.kind == kind == "channels":
            if (times := _ratio(values, column.values)) is not None:
                return _Hole(index, times)
            if (times := _ratio(column.values, values)) is not None:
                column.values = values
                for hole in column.holes:
                    hole.times *= times
                return _Hole(index)
    return None


def _halved(value: Arg) -> Arg:
    return value // 2 if isinstance(value, int) else Arith("//", value, 2)


_FACTORS = (2, 3, 4, 6, 8)


def _ratio(large: list[Arg], small: list[Arg]) -> int | None:
    """The factor between two lists of whole numbers, if there is one that a person would write."""
    for times in _FACTORS:
        if all(isinstance(a, int) and isinstance(b, int) and a == times * b for a, b in zip(large, small, strict=True)):
            return times
    return None


def _filled(value: Any) -> Arg:
    if not isinstance(value, _Hole):
        return value
    var = Var(f"#{value.index}")
    if value.half:
        return Arith("//", var, value.half)
    return var if value.times == 1 else Arith("*", value.times, var)


def renamed(term: Chain, names: dict[str, Arg]) -> Chain:
    """The term with variables replaced."""
    return visited(term, lambda owner, arg, value, at: substituted(value, names))


def substituted(value: Arg, names: dict[str, Arg]) -> Arg:
    """A value with variables replaced, and numbers multiplied out."""
    match value:
        case Var():
            return names.get(value.name, value)
        case Arith():
            left, right = substituted(value.left, names), substituted(value.right, names)
            if isinstance(left, int) and isinstance(right, int):
                return left * right if value.op == "*" else left // right
            return Arith(value.op, left, right)
        case _:
            return value
