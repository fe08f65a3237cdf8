"""Python values as expressions of the language."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from numbers import Integral, Real
from typing import Any, cast

from fractal_dsl.builder.errors import BuilderError
from fractal_dsl.builder.loops import comprehension_of, drained
from fractal_dsl.builder.nodes import declared_name
from fractal_dsl.builder.places import here
from fractal_dsl.language import syntax as s
from fractal_dsl.language.source import Span
from fractal_dsl.language.syntax_to_text import expression_to_text


class Term:
    """Something that stands for an expression of the language."""

    def __init__(self, node: s.Expr) -> None:
        self.node = node

    def __repr__(self) -> str:
        return expression_to_text(self.node)


class prob(float):
    """A probability: ``prob(0.15)`` is written ``15%``.

    >>> prob(0.15) * 2
    0.3
    """


def percent(value: float) -> prob:
    """A probability in percent: ``percent(15)`` is written ``15%``."""
    return prob(value / 100)


def lift(value: object) -> s.Expr:
    """A Python value as an expression. Raises BuilderError for a value that the language cannot write."""
    match value:
        case Term():
            return value.node
        case bool() | str():
            return s.Literal(_text(value) if isinstance(value, str) else value, here())
        case prob():
            return s.Literal(_finite(float(value)), here(), prob=True)
        case Integral():
            return _signed(int(value), here())
        case Real():
            return _signed(_finite(float(value)), here())
        case list() | tuple() | range():
            return _items(cast(Sequence[object], value))
        case Iterator():
            return _generated(cast(Iterator[object], value))
        case None:
            raise BuilderError("the language has no None: leave the argument out")
        case _:
            raise BuilderError(f"the language has no word for a {type(value).__name__}: {value!r}")


def _text(value: str) -> str:
    if '"' in value or "\n" in value:
        raise BuilderError("strings of the language contain no quotation mark and no line break")
    return value


def _finite(value: float) -> float:
    if not math.isfinite(value):
        raise BuilderError(f"numbers of the language are finite, found {value}")
    return value


def _signed(value: float, at: Span) -> s.Expr:
    return s.Literal(value, at) if math.copysign(1, value) > 0 else s.Unary("-", s.Literal(-value, at), at)


def _items(values: Sequence[object]) -> s.Expr:
    items, at = tuple([lift(value) for value in values]), here()
    return comprehension_of(items, None, at) or s.Items(items, at)


def _generated(generator: Iterator[object]) -> s.Expr:
    at = here()
    values, loop = drained(generator)
    items = tuple([lift(value) for value in values])
    return (comprehension_of(items, loop, at) if loop else None) or s.Items(items, at)


def arguments(values: Sequence[object], named: Mapping[str, object] | None = None) -> tuple[s.Arg, ...]:
    """Arguments of a call. A generator that is the only one is written without brackets."""
    at = here()
    if len(values) == 1 and not named and isinstance(values[0], Iterator):
        node = _generated(cast(Iterator[object], values[0]))
        if isinstance(node, s.Items):
            return tuple([s.Arg(None, item, item.span) for item in node.items])
        return (s.Arg(None, node, node.span),)
    args = [s.Arg(None, lift(value), _around(at)) for value in values]
    return (*args, *[s.Arg(declared_name(k, at), lift(v), _around(at)) for k, v in (named or {}).items()])


def _around(at: Span) -> Span:
    """The span of an argument whose comprehension has brackets: only without them the spans are equal."""
    return Span(at.start, at.end + 1)


def call(function: s.Expr, values: Sequence[Any], named: Mapping[str, Any] | None = None) -> s.Call:
    """A call of an expression."""
    return s.Call(function, arguments(values, named), here())
