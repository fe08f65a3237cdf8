"""Loops over lists whose elements are known only when a net is compiled.

Python runs the body of ``[conv(w) for w in widths]`` twice, with two symbols for ``w``. The two results are one body
of a comprehension if they differ in the symbols alone.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

from msgspec import Struct

from fractal_dsl.builder.bytecode import begins_loop, collects, ignores, targets
from fractal_dsl.builder.errors import BuilderError
from fractal_dsl.builder.nodes import LOCAL, Ref, mapped, refs
from fractal_dsl.builder.places import caller, place, span_of
from fractal_dsl.language import syntax as s
from fractal_dsl.language.source import Span
from fractal_dsl.language.text_to_syntax import KEYWORDS

_COMPREHENSION = "write a comprehension, such as `seq(conv(w) for w in widths)`"
_UNUSED = "the variable of this loop does not occur in its list: write `literal(… for … in …)` without brackets"
_FUNCTIONS = "use `zip`, `enumerate`, `reversed` and `len` of fractal_dsl.builder"


@dataclass(eq=False)
class Loop:
    """One pass of Python over a list that is an expression."""

    iterable: s.Expr
    span: Span
    names: list[str]
    bound: bool = False


@dataclass(frozen=True, eq=False)
class Variable:
    """The ``number``-th variable of a loop in one of its two rounds."""

    loop: Loop
    round: int
    number: int


class _Finished(threading.local):
    """The loops of a thread that ended, and are not yet part of a comprehension."""

    def __init__(self) -> None:
        self.loops: list[Loop] = []


_finished = _Finished()


def iterate(iterable: s.Expr, wrap: Callable[[s.Expr], Any]) -> Iterator[Any]:
    """An iterator that gives Python two rounds of symbols.

    Raises BuilderError where Python asks for the elements themselves.
    """
    frame = caller()
    if not begins_loop(frame):
        raise BuilderError(f"the elements of a symbolic list are not known here: {_COMPREHENSION}, and {_FUNCTIONS}")
    return _rounds(iterable, wrap)


def _rounds(iterable: s.Expr, wrap: Callable[[s.Expr], Any]) -> Iterator[Any]:
    frame = caller()
    span = span_of(frame)
    if not collects(frame):
        raise BuilderError(f"statements cannot loop over a symbolic list: {_COMPREHENSION}")
    width, names = targets(frame)
    if ignores(frame, names):
        raise BuilderError(_UNUSED)
    loop = Loop(iterable, span, [*names, *["x"] * max(1, width)][: max(1, width)])
    for round in (0, 1):
        symbols = [wrap(Ref(name, span, Variable(loop, round, k))) for k, name in enumerate(loop.names)]
        yield tuple(symbols) if width else symbols[0]
    _finished.loops.append(loop)


def comprehension_of(items: Sequence[s.Expr], loop: Loop | None, at: Span) -> s.Comprehension | None:
    """The comprehension whose two rounds gave these items, if they are not just two items.

    ``loop`` is the loop that gave them, if it is known. Raises BuilderError if they are no single loop.
    """
    loops = _loops_between(items[0], items[1]) if len(items) == 2 else None
    if loop is not None:
        if loops is None or not loops <= {loop}:
            raise BuilderError("a comprehension has one loop over one list, without conditions", at)
    elif not loops:
        if loops is not None and not isinstance(items[0], s.Literal) and _ends_a_loop(items[0].span, items[1].span):
            raise BuilderError(_UNUSED, at)
        return None
    elif len(loops) > 1:
        raise BuilderError(f"a comprehension has one loop: {_FUNCTIONS}", at)
    loop = loop or loops.pop()
    return _bound(loop, items[0], at)


def _ends_a_loop(one: Span, other: Span) -> bool:
    """Whether one instruction of Python made two nodes just before the head of a loop that nothing else uses."""
    at, heads = place(one), [place(loop.span) for loop in _finished.loops if not loop.bound]
    return one == other and any(h.file == at.file and 0 <= h.line - at.end_line <= 2 for h in heads)


def drained(generator: Iterator[Any]) -> tuple[list[Any], Loop | None]:
    """What a generator gives, and the loop over a symbolic list that it is, if it is one."""
    before = len(_finished.loops)
    items = list(generator)
    loops = [loop for loop in _finished.loops[before:] if not loop.bound]
    return items, loops[-1] if loops else None


def _loops_between(a: object, b: object) -> set[Loop] | None:
    """The loops whose variables differ between two equal nodes; None if they differ in anything else."""
    match a, b:
        case Ref(of=Variable() as one), Ref(of=Variable() as other) if one.round != other.round:
            return {one.loop} if one.loop is other.loop and one.number == other.number else None
        case Ref(), Ref():
            return set() if a.id == b.id and (a.of is b.of or a.of == b.of) else None
        case Span(), Span():
            return set()
        case tuple(), tuple():
            parts = list(zip(cast(tuple[object, ...], a), cast(tuple[object, ...], b), strict=False))
            if len(cast(tuple[object, ...], a)) != len(cast(tuple[object, ...], b)):
                return None
        case Struct(), Struct() if type(a) is type(b):
            parts = [(getattr(a, name), getattr(b, name)) for name in a.__struct_fields__]
        case _:
            return set() if type(a) is type(b) and a == b else None
    loops = set[Loop]()
    for part in parts:
        inner = _loops_between(*part)
        if inner is None:
            return None
        loops |= inner
    return loops


def _bound(loop: Loop, body: s.Expr, at: Span) -> s.Comprehension:
    """A comprehension over the list of a loop, whose variables have names that hide nothing in its body."""
    if not loop.bound:
        loop.bound = True
        _finished.loops.remove(loop)
    avoid = {ref.id for ref in refs(body) if not (isinstance(ref.of, Variable) and ref.of.loop is loop)}
    names: list[str] = []
    for name in loop.names:
        free = (f"{name}{k}" if k else name for k in range(len(avoid) + len(KEYWORDS) + len(names) + 1))
        names.append(next(n for n in free if n not in avoid and n not in KEYWORDS and n not in names))

    def named(ref: Ref) -> s.Name:
        mine = isinstance(ref.of, Variable) and ref.of.loop is loop
        return Ref(names[ref.of.number], ref.span, LOCAL) if mine else ref

    targets = tuple([Ref(name, loop.span, LOCAL) for name in names])
    return s.Comprehension(mapped(body, named), targets, loop.iterable, at)


@contextmanager
def every_loop_used() -> Generator[None]:
    """Raise BuilderError if a loop that ends in the body of a ``with`` statement is no part of a comprehension."""
    before = len(_finished.loops)
    try:
        yield
        for loop in _finished.loops[before:]:
            raise BuilderError(f"what this loop over a symbolic list gives is not used: {_COMPREHENSION}", loop.span)
    finally:
        del _finished.loops[before:]
