"""Declarations of one line: parameters, lets, shared blocks, imports, and classes of Python modules."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar, cast

from msgspec import Struct

from fractal_dsl.builder.declaration import Declaration, Holder
from fractal_dsl.builder.errors import BuilderError
from fractal_dsl.builder.lift import lift
from fractal_dsl.builder.loops import every_loop_used
from fractal_dsl.builder.nodes import declared_name
from fractal_dsl.builder.places import here
from fractal_dsl.builder.signature import Signature, type_of
from fractal_dsl.builder.tensors import with_values
from fractal_dsl.builder.values import Block, Join, Layer, P, Symbol, Value
from fractal_dsl.language import syntax as s

T = TypeVar("T")


class Between(Struct, frozen=True):
    """A range of numbers, both ends included."""

    low: s.Expr
    high: s.Expr


def between(low: float, high: float) -> Between:
    """The domain of a parameter from ``low`` to ``high``, both included."""
    return Between(lift(low), lift(high))


_REQUIRED: Any = object()


def param(
    name: str, type: type[T], default: T = _REQUIRED, *, within: Between | Sequence[T] | None = None, doc: str = ""
) -> T:
    """A parameter of the file, which ``-p`` and ``compile`` set. ``within`` is its domain: ``between(1, 8)``, or a
    sequence of values. In the text, the result is the parameter's name.

    >>> columns = param("columns", int, 3, within=between(1, 8))
    >>> columns * 2
    columns * 2
    """
    at, name = here(), declared_name(name, here())
    value = None if default is _REQUIRED else lift(default)
    domain = None
    if isinstance(within, Between):
        domain = s.RangeDomain(within.low, within.high, at)
    elif within is not None:
        domain = s.SetDomain(tuple([lift(v) for v in within]), at)
    tree = s.Param(s.Name(name, at), type_of(type, at), value, domain, at, doc)
    ref = Declaration((name,), at, lambda: tree).ref()
    return cast(T, Symbol(ref) if tree.type.item else Value(ref))


def let(name: str, value: T, *, doc: str = "") -> T:
    """A name for a value or a block. In the text, the result is that name, and each use of a block has its own weights.

    >>> from fractal_dsl.builder import conv2d, relu
    >>> stem = let("stem", conv2d(64, 7, stride=2) >> relu)
    >>> stem >> stem
    stem >> stem
    """
    return cast(T, _let(name, value, doc, shared=False))


def shared(name: str, block: Block, *, doc: str = "") -> Block:
    """A block all uses of which have one set of weights."""
    return _let(name, block, doc, shared=True)


def _let(name: str, value: object, doc: str, *, shared: bool) -> Any:
    at, name = here(), declared_name(name, here())
    with every_loop_used():
        node = with_values(lift(value), object())
    tree = s.Let(s.Name(name, at), node, shared, at, doc)
    ref = Declaration((name,), at, lambda: tree).ref()
    match value:
        case Symbol() | list() | tuple() | Iterator():
            return Symbol(ref)
        case Block():
            return Layer[...](ref)
        case Join():
            return Join(ref)
        case _:
            return Value(ref)


class Module(Holder):
    """An imported file: its declarations are attributes."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return Symbol(s.Attribute(self._declarations[0].ref(), declared_name(name, here()), here()))


def import_(path: str, name: str) -> Any:
    """``import "PATH" as NAME``: an object whose attributes are what the file declares.

    >>> cnn = import_("std:cnn", "cnn")
    >>> cnn.conv_bn(64) >> cnn.classifier(10)
    cnn.conv_bn(64) >> cnn.classifier(10)
    """
    at, name = here(), declared_name(name, here())
    tree = s.Import(s.Literal(path, at), s.Name(name, at), at)
    return Module(Declaration((name,), at, lambda: tree))


def from_(path: str, *names: str) -> Any:
    """``from "PATH" import NAMES``: one name, or a tuple of several. ``"conv as base"`` renames.

    >>> conv_bn, classifier = from_("std:cnn", "conv_bn", "classifier as head")
    >>> conv_bn(64) >> classifier(10)
    conv_bn(64) >> head(10)
    """
    at = here()
    if not names:
        raise BuilderError('name what to import: `from_("std:cnn", "conv_bn")`', at)
    pairs = [(there, here_ or there) for there, _, here_ in (name.partition(" as ") for name in names)]
    pairs = [(declared_name(a, at), declared_name(b, at)) for a, b in pairs]
    tree = s.FromImport(s.Literal(path, at), tuple([(s.Name(a, at), s.Name(b, at)) for a, b in pairs]), at)
    declaration = Declaration(tuple([b for _, b in pairs]), at, lambda: tree)
    made = [Symbol(declaration.ref(name)) for name in declaration.names]
    return tuple(made) if len(made) > 1 else made[0]


def extern_layer(target: str) -> Callable[[Callable[P, Any]], Layer[P]]:
    """A class of a Python module, ``"package.module:Class"``, as a layer. The signature of the decorated function has
    its parameters; the function is not called.

    >>> @extern_layer("my_parts:Swish")
    ... def swish(beta: float = 1.0): ...
    >>> swish(2.0)
    swish(2.0)
    """
    return lambda function: Layer[P](_extern(function, target, is_join=False))


def extern_join(target: str) -> Callable[[Callable[..., Any]], Join]:
    """A class of a Python module as a join."""
    return lambda function: Join(_extern(function, target, is_join=True))


def _extern(function: Callable[..., Any], target: str, *, is_join: bool) -> s.Expr:
    signature, at = Signature(function), here()
    name = s.Name(signature.name, at)
    tree = s.Extern(name, signature.parameters, s.Literal(target, at), is_join, at, signature.doc)
    return Declaration((signature.name,), at, lambda: tree, signature).ref()
