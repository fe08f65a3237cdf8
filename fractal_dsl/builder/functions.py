"""The functions of the language. They have the names of Python's, so write ``import fractal_dsl.builder as fd``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, TypeVar, cast, overload

from fractal_dsl.builder.lift import call, lift
from fractal_dsl.builder.nodes import LOCAL, Ref
from fractal_dsl.builder.places import here
from fractal_dsl.builder.values import Block, Symbol, Value, built_in

T = TypeVar("T")
U = TypeVar("U")


def seq(*blocks: Block | Iterable[Block]) -> Block:
    """Blocks in order: ``seq(a, b)`` is ``a >> b``.

    >>> from fractal_dsl.builder import linear, relu
    >>> seq(linear(w) >> relu for w in (64, 32))
    seq(linear(64) >> relu, linear(32) >> relu)
    """
    return Block(call(built_in("seq"), blocks))


def range(start: int, stop: int | None = None, step: int | None = None) -> Sequence[int]:
    """A list of whole numbers, with bounds that may be parameters."""
    return cast(Any, Symbol(call(built_in("range"), [n for n in (start, stop, step) if n is not None])))


@overload
def zip(first: Iterable[T], second: Iterable[U], /) -> Sequence[tuple[T, U]]: ...
@overload
def zip(*lists: Iterable[Any]) -> Sequence[tuple[Any, ...]]: ...
def zip(*lists: Iterable[Any]) -> Any:
    """Lists of equal length, element by element."""
    return Symbol(call(built_in("zip"), lists))


def enumerate(values: Iterable[T]) -> Sequence[tuple[int, T]]:
    """The elements of a list with their indices from 0."""
    return cast(Any, Symbol(call(built_in("enumerate"), [values])))


def len(values: Iterable[object]) -> int:
    """The number of elements of a list."""
    return cast(Any, Value(call(built_in("len"), [values])))


def reversed(values: Iterable[T]) -> Sequence[T]:
    """The elements of a list from last to first."""
    return cast(Any, Symbol(call(built_in("reversed"), [values])))


def split(sizes: Sequence[int], dim: int = 1) -> Sequence[Block]:
    """A list of blocks: each takes a part of an axis, of these sizes."""
    return cast(Any, Symbol(call(built_in("split"), [sizes] if dim == 1 else [sizes, dim])))


def unembed(embedding: Block) -> Block:
    """A score for each token, by the weights of a shared embedding."""
    return Block(call(built_in("unembed"), [embedding]))


def literal(value: T) -> T:
    """A value that is written and not evaluated by Python: arithmetic with it, and loops over it, stay as they are.

    >>> literal(64) * 2
    64 * 2
    >>> literal([w * 2 for w in literal([8, 16])])
    [w * 2 for w in [8, 16]]
    """
    kind = Value if isinstance(value, bool | int | float | str) else Symbol
    return cast(T, value if isinstance(value, Block) else kind(lift(value)))


def earlier(name: str) -> Any:
    """An earlier parameter, in the default of a later one: ``kernel: int = earlier("stride") + 1``."""
    return Symbol(Ref(name, here(), LOCAL))
