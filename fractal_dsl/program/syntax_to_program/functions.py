"""The built-in functions: seq, zip, range, len, enumerate, reversed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from fractal_dsl.language.source import Span
from fractal_dsl.program import program as p
from fractal_dsl.program.syntax_to_program.binding import Given
from fractal_dsl.program.syntax_to_program.values import (
    ANY,
    MAX_ELEMENTS,
    MAX_LIST,
    Type,
    Unknown,
    Value,
    fits,
    is_list,
    type_of,
)

if TYPE_CHECKING:
    from fractal_dsl.program.syntax_to_program.evaluate import Evaluator

_Function = Callable[["Evaluator", Sequence[Given], Span], Value]


def _list(ev: Evaluator, arg: Given) -> tuple[Value, ...] | Unknown:
    if is_list(arg.value):
        return arg.value
    if isinstance(arg.value, Unknown) and arg.value.type.name in ("any", "list"):
        return arg.value
    return ev.error("E0301", arg.span, f"expected a list, found {type_of(arg.value)}")


def _positional(ev: Evaluator, name: str, given: Sequence[Given], span: Span, counts: Sequence[int]) -> bool:
    if any(a.name is not None for a in given) or (counts and len(given) not in counts):
        wanted = " or ".join(map(str, counts)) if counts else "only"
        ev.error("E0206", span, f"`{name}` takes {wanted} unnamed argument{'' if counts == (1,) else 's'}")
        return False
    return True


def _zip(ev: Evaluator, given: Sequence[Given], span: Span) -> Value:
    if not given or not _positional(ev, "zip", given, span, ()):
        return ANY if given else ()
    lists = [_list(ev, a) for a in given]
    known = [v for v in lists if isinstance(v, tuple)]
    if len({len(v) for v in known}) > 1:
        lengths = " and ".join(str(len(v)) for v in known)
        return ev.error("E0306", span, f"`zip` needs lists of one length, found {lengths}")
    if len(known) < len(lists):
        return Unknown(Type("list", Type("any")))
    if len(known) * len(known[0]) > MAX_ELEMENTS:
        return ev.error("E0602", span, f"a list of lists that have over {MAX_ELEMENTS:,} elements in all")
    return ev.sized(tuple(zip(*known, strict=True)), span)


def _range(ev: Evaluator, given: Sequence[Given], span: Span) -> Value:
    if not _positional(ev, "range", given, span, (1, 2, 3)):
        return ANY
    for arg in given:
        if fits(arg.value, Type("int")) is None:
            return ev.error("E0301", arg.span, f"`range` counts whole numbers, found {type_of(arg.value)}")
    if any(isinstance(a.value, Unknown) for a in given):
        return Unknown(Type("list", Type("int")))
    if len(given) == 3 and given[2].value == 0:
        return ev.error("E0305", given[2].span, "the step of `range` is not 0")
    numbers = range(*[a.value for a in given])
    if len(numbers) > MAX_LIST:
        return ev.error("E0602", span, f"a list of {len(numbers):,}; the limit is {MAX_LIST:,}")
    return ev.sized(tuple(numbers), span)


def _one_list(name: str, result: Callable[[tuple[Value, ...]], Value], unknown: Type) -> _Function:
    def function(ev: Evaluator, given: Sequence[Given], span: Span) -> Value:
        if not _positional(ev, name, given, span, (1,)):
            return ANY
        value = _list(ev, given[0])
        if isinstance(value, Unknown):
            return Unknown(unknown)
        made = result(value)
        return ev.sized(made, span) if is_list(made) else made

    return function


def _seq(ev: Evaluator, given: Sequence[Given], span: Span) -> Value:
    if not _positional(ev, "seq", given, span, ()):
        return ANY
    items: list[p.Term] = []
    for arg in given:
        if is_list(arg.value):
            items += [ev.block(v, arg.span) for v in arg.value]
        elif isinstance(arg.value, Unknown) and arg.value.type.name == "list":
            items.append(p.Hole(arg.span))
        else:
            items.append(ev.block(arg.value, arg.span))
    return p.Seq(tuple(items), span)


_ANY_LIST = Type("list", Type("any"))
FUNCTIONS: dict[str, _Function] = {
    "seq": _seq,
    "zip": _zip,
    "range": _range,
    "len": _one_list("len", len, Type("int")),
    "enumerate": _one_list("enumerate", lambda v: tuple(enumerate(v)), _ANY_LIST),
    "reversed": _one_list("reversed", lambda v: v[::-1], _ANY_LIST),
}
