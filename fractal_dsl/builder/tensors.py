"""Values: tensors that a body names, and mentions as often as it likes (``where``)."""

from __future__ import annotations

from itertools import count

from fractal_dsl.builder.errors import BuilderError
from fractal_dsl.builder.lift import lift
from fractal_dsl.builder.nodes import BUILT_IN, LOCAL, Ref, declared_name, refs
from fractal_dsl.builder.places import here, place
from fractal_dsl.builder.values import Block
from fractal_dsl.language import syntax as s
from fractal_dsl.language.source import Span

_numbers = count()


class Bound:
    """A value of a body. ``body`` is what it belongs to, once that is known."""

    def __init__(self, name: str, block: s.Expr, at: Span) -> None:
        self.name, self.block, self.at = name, block, at
        self.number = next(_numbers)
        self.body: object = None


def value(name: str, block: Block) -> Block:
    """One tensor, the output of a block on the input of the body. A body that mentions it twice computes it once.

    A Python variable that holds a block is no value: it stands for its text, and each mention has its own weights.

    >>> from fractal_dsl.builder import concat, conv2d, id, layer
    >>> @layer
    ... def two(out: int):
    ...     a = value("a", conv2d(out, 3, padding=1))
    ...     b = value("b", a >> conv2d(out, 3, padding=1))
    ...     return concat(id, a, b)
    """
    at, name = here(), declared_name(name, here())
    return Block(Ref(name, at, Bound(name, lift(block), at)))


def with_values(body: s.Expr, owner: object) -> s.Expr:
    """A body with the values that it mentions, in the order in which Python made them.

    ``owner`` tells bodies apart. Raises BuilderError for a value of another body.
    """
    bound: dict[str, Bound] = {}
    seen: set[Bound] = set()
    todo = [body]
    while todo:
        for one in [ref.of for ref in refs(todo.pop()) if isinstance(ref.of, Bound)]:
            other = bound.setdefault(one.name, one)
            if other is not one:
                raise BuilderError(f"`{one.name}` is also the value of {place(other.at)}: rename it", one.at)
            if one.body not in (None, owner):
                raise BuilderError(f"the value `{one.name}` belongs to one body, and another one mentions it", one.at)
            one.body = owner
            todo += [one.block] if one not in seen else []
            seen.add(one)
    if not bound:
        return body
    values = sorted(bound.values(), key=lambda one: one.number)
    for ref in (ref for part in (body, *[one.block for one in values]) for ref in refs(part)):
        if ref.of == BUILT_IN and ref.id in bound:
            raise BuilderError(f"the value `{ref.id}` hides `{ref.id}` of the language: rename it", bound[ref.id].at)
    return s.Where(body, tuple([s.Binding(Ref(o.name, o.at, LOCAL), o.block, o.at) for o in values]), body.span)
