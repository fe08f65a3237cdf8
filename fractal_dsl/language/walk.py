"""Walk the syntax tree: the children of a node, and the names in it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

from msgspec import Struct

from fractal_dsl.language import syntax as s
from fractal_dsl.language.source import Span

SyntaxNode = (
    s.Expr
    | s.Arg
    | s.Binding
    | s.TypeExpr
    | s.RangeDomain
    | s.SetDomain
    | s.Parameter
    | s.Output
    | s.Case
    | s.Setting
    | s.Decl
)


def parts(node: SyntaxNode) -> Iterator[SyntaxNode]:
    """The direct children of a node, in the order of its fields."""
    for name in node.__struct_fields__:
        yield from _nodes(getattr(node, name))


def _nodes(value: object) -> Iterator[SyntaxNode]:
    if isinstance(value, tuple):
        for item in cast(tuple[object, ...], value):
            yield from _nodes(item)
    elif isinstance(value, Struct) and not isinstance(value, Span):
        yield cast(SyntaxNode, value)


def walk(node: SyntaxNode) -> Iterator[SyntaxNode]:
    """A node and everything in it, in preorder."""
    yield node
    for part in parts(node):
        yield from walk(part)


def names_in(node: SyntaxNode) -> set[str]:
    """The names in a node, including those of loops."""
    return {part.id for part in walk(node) if isinstance(part, s.Name)}
