"""The built-in functions on lists, zip, range, len, enumerate and reversed; and the items of seq."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from fractal_dsl.language.source import Span
from fractal_dsl.program.syntax_to_program.arguments import Argument
from fractal_dsl.program.syntax_to_program.context import Context
from fractal_dsl.program.syntax_to_program.fitting import fits
from fractal_dsl.program.syntax_to_program.limits import MAX_ELEMENTS, MAX_LIST
from fractal_dsl.program.syntax_to_program.lists import sized, too_heavy, too_long
from fractal_dsl.program.syntax_to_program.makers import split, unembed
from fractal_dsl.program.syntax_to_program.types import ANY, ANY_LIST, Type, Unknown
from fractal_dsl.program.syntax_to_program.values import Value, is_list, type_of

_Function = Callable[[Context, Sequence[Argument], Span], Value]


def unnamed(context: Context, name: str, given: Sequence[Argument], span: Span, counts: Sequence[int] = ()) -> bool:
    """Whether all arguments are positional and their number is one of ``counts``. Reports if not."""
    if any(a.name is not None for a in given) or (counts and len(given) not in counts):
        wanted = " or ".join(map(str, counts)) if counts else "only"
        context.error("E0206", span, f"`{name}` takes {wanted} unnamed argument{'' if counts == (1,) else 's'}")
        return False
    return True


def sequence_items(given: Sequence[Argument]) -> Iterator[tuple[Value, Span]]:
    """The items that ``seq`` composes, with lists flattened. An unknown list is one item, ``ANY``."""
    for arg in given:
        if is_list(arg.value):
            yield from ((value, arg.span) for value in arg.value)
        elif isinstance(arg.value, Unknown) and arg.value.type.name == "list":
            yield ANY, arg.span
        else:
            yield arg.value, arg.span


def _list(context: Context, arg: Argument) -> tuple[Value, ...] | Unknown:
    if is_list(arg.value):
        return arg.value
    if isinstance(arg.value, Unknown) and arg.value.type.name in ("any", "list"):
        return arg.value
    return context.error("E0301", arg.span, f"expected a list, found {type_of(arg.value)}")


def _zip(context: Context, given: Sequence[Argument], span: Span) -> Value:
    if not given or not unnamed(context, "zip", given, span):
        return ANY if given else ()
    lists = [_list(context, a) for a in given]
    known = [v for v in lists if isinstance(v, tuple)]
    if len({len(v) for v in known}) > 1:
        lengths = " and ".join(str(len(v)) for v in known)
        return context.error("E0306", span, f"`zip` needs lists of equal length, found {lengths}")
    if len(known) < len(lists):
        return ANY_LIST
    if len(known) * len(known[0]) > MAX_ELEMENTS:
        return too_heavy(context, span)
    return sized(context, tuple(zip(*known, strict=True)), span)


def _range(context: Context, given: Sequence[Argument], span: Span) -> Value:
    if not unnamed(context, "range", given, span, (1, 2, 3)):
        return ANY
    for arg in given:
        if fits(arg.value, Type("int")) is None:
            return context.error("E0301", arg.span, f"`range` takes whole numbers, found {type_of(arg.value)}")
    if any(isinstance(a.value, Unknown) for a in given):
        return Unknown(Type("list", Type("int")))
    if len(given) == 3 and given[2].value == 0:
        return context.error("E0305", given[2].span, "the step of `range` cannot be 0")
    numbers = range(*[a.value for a in given])
    if len(numbers) > MAX_LIST:
        return too_long(context, len(numbers), span)
    return sized(context, tuple(numbers), span)


def _of_a_list(name: str, result: Callable[[tuple[Value, ...]], Value], unknown: Unknown) -> _Function:
    """A function of one list. ``unknown`` is its value if the list is unknown."""

    def function(context: Context, given: Sequence[Argument], span: Span) -> Value:
        if not unnamed(context, name, given, span, (1,)):
            return ANY
        value = _list(context, given[0])
        if isinstance(value, Unknown):
            return unknown
        made = result(value)
        return sized(context, made, span) if is_list(made) else made

    return function


FUNCTIONS: dict[str, _Function] = {
    "zip": _zip,
    "range": _range,
    "len": _of_a_list("len", len, Unknown(Type("int"))),
    "enumerate": _of_a_list("enumerate", lambda v: tuple(enumerate(v)), ANY_LIST),
    "reversed": _of_a_list("reversed", lambda v: v[::-1], ANY_LIST),
    "split": split,
    "unembed": unembed,
}
