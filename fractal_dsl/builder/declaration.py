"""A declaration that Python code made, and what its body may mention."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import Any

from fractal_dsl.builder.errors import BuilderError
from fractal_dsl.builder.lift import Term
from fractal_dsl.builder.loops import Variable, every_loop_used
from fractal_dsl.builder.nodes import BUILT_IN, Parameter, Ref, refs
from fractal_dsl.builder.places import here, place
from fractal_dsl.builder.signature import Signature
from fractal_dsl.language import syntax as s
from fractal_dsl.language.source import Span

_numbers = count()


class Declaration:
    """A declaration by the names that it declares. ``make`` builds its tree; for a function that is its call, so that
    its body may use what is defined below it."""

    def __init__(
        self, names: tuple[str, ...], at: Span, make: Callable[[], s.Decl], signature: Signature | None = None
    ) -> None:
        self.names, self.at, self.make, self.signature = names, at, make, signature
        self.number = next(_numbers)

    def ref(self, name: str | None = None) -> Ref:
        """A mention of what it declares."""
        return Ref(name or self.names[0], here(), self)

    def built(self) -> s.Decl:
        """Its tree. Raises BuilderError for a mention that has no meaning in it."""
        with every_loop_used():
            tree = self.make()
        for ref in refs(tree):
            self._check(ref)
        return tree

    def _check(self, ref: Ref) -> None:
        bound = self.signature.names if self.signature else []
        match ref.of:
            case Variable(loop=loop):
                raise BuilderError(f"a variable of the loop in line {_line(loop.span)} is used outside it", ref.span)
            case Parameter(owner=Signature() as owner) if owner is not self.signature:
                raise BuilderError(f"`{ref.id}` is a parameter of `{owner.name}`, and is used outside it", ref.span)
            case Declaration() if ref.id in bound:
                what = f"what is declared in line {_line(ref.of.at)}"
            case str() if ref.of == BUILT_IN and ref.id in bound:
                what = f"`{ref.id}` of the language"
            case _:
                return
        raise BuilderError(f"the parameter `{ref.id}` of `{self.names[0]}` hides {what}: rename it", self.at)


class Holder:
    """What holds declarations and is no expression: a net, training settings, an imported file."""

    def __init__(self, *declarations: Declaration) -> None:
        self._declarations = declarations


def declarations_of(part: object) -> tuple[Declaration, ...]:
    """The declarations that a value stands for; none if it is not a declared name."""
    if isinstance(part, Holder):
        return part._declarations  # pyright: ignore[reportPrivateUsage]
    if isinstance(part, Term) and isinstance(part.node, Ref) and isinstance(part.node.of, Declaration):
        return (part.node.of,)
    return ()


def _line(at: Span) -> int:
    return place(at).line


def body_of(signature: Signature, result: Any, kind: type[Any], what: str) -> s.Expr:
    """What a decorated function returned. Raises BuilderError if it is not of the kind."""
    if not isinstance(result, kind):
        raise BuilderError(f"`{signature.name}` must return {what}, and returned {result!r}", signature.at)
    return result.node
