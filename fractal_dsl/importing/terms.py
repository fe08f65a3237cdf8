"""A net as a term: calls in series and in parallel, repeated, looped over lists, and folded into rules.

Terms are compared without their ``nodes``, the bit set of the plain steps that a term covers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

from fractal_dsl.ops import OpValue


@dataclass(frozen=True)
class Var:
    """A parameter of a layer, or the variable of a loop. ``type`` is that of a parameter."""

    name: str
    type: str = field(default="", compare=False)


@dataclass(frozen=True)
class Arith:
    """``left op right``"""

    op: str
    left: Arg
    right: Arg


Arg = OpValue | Var | Arith


@dataclass(frozen=True)
class Call:
    """A layer of the language or of the page, with all its arguments."""

    name: str
    args: tuple[tuple[str, Arg], ...] = ()
    nodes: int = field(default=0, compare=False)


@dataclass(frozen=True)
class Chain:
    """Terms in series; without any, the identity."""

    steps: tuple[Term, ...]


@dataclass(frozen=True)
class Merge:
    """An inline join of branches."""

    join: str
    args: tuple[tuple[str, Arg], ...]
    branches: tuple[Chain, ...]
    nodes: int = field(default=0, compare=False)
    """Of the join itself."""


@dataclass(frozen=True)
class Bundle:
    """Open columns at the end of a branch, which the join around the branch merges with the others."""

    columns: tuple[Chain, ...]


@dataclass(frozen=True)
class Power:
    """``base ** times``"""

    base: Chain
    times: Arg


@dataclass(frozen=True)
class Loop:
    """``seq(body for names in zip(lists))``. ``kinds`` are those of the variables' values."""

    body: Chain
    names: tuple[str, ...]
    lists: tuple[tuple[Arg, ...], ...]


@dataclass(frozen=True)
class Level:
    """A rule at a level, ``F[3](64)``; ``each`` is the block at the end of every column, if any."""

    rule: str
    level: int
    args: tuple[tuple[str, Arg], ...]
    each: Chain = Chain(())
    nodes: int = field(default=0, compare=False)


@dataclass(frozen=True)
class Value:
    """A mention of a value that ``where`` binds."""

    name: str


@dataclass(frozen=True)
class Where:
    """``body where a = …, b = …``: the whole body of a declaration."""

    body: Chain
    names: tuple[str, ...]
    values: tuple[Chain, ...]


Term = Call | Chain | Merge | Bundle | Power | Loop | Level | Value | Where


def children(term: Term) -> tuple[Chain, ...]:
    """The chains right inside a term."""
    match term:
        case Merge():
            return term.branches
        case Bundle():
            return term.columns
        case Power():
            return (term.base,)
        case Loop():
            return (term.body,)
        case Level():
            return (term.each,)
        case Chain():
            return tuple([s if isinstance(s, Chain) else Chain((s,)) for s in term.steps])
        case Where():
            return (*term.values, term.body)
        case Call() | Value():
            return ()


def mapped(term: Term, change: Callable[[Chain], Chain]) -> Term:
    """A term other than a chain with ``change`` applied to the chains right inside it."""
    match term:
        case Merge():
            return replace(term, branches=tuple([change(b) for b in term.branches]))
        case Bundle():
            return Bundle(tuple([change(c) for c in term.columns]))
        case Power():
            return Power(change(term.base), term.times)
        case Loop():
            return replace(term, body=change(term.body))
        case Level():
            return replace(term, each=change(term.each))
        case Where():
            return Where(change(term.body), term.names, tuple([change(v) for v in term.values]))
        case Call() | Chain() | Value():
            return term


def rewrite(chain: Chain, change: Callable[[Chain], Chain]) -> Chain:
    """Apply ``change`` to every chain, the innermost first."""
    return change(Chain(tuple([mapped(step, lambda inner: rewrite(inner, change)) for step in chain.steps])))


def chains(chain: Chain) -> Iterator[Chain]:
    """A chain and all chains inside it."""
    yield chain
    for step in chain.steps:
        for inner in children(step):
            yield from chains(inner)


def calls(chain: Chain) -> Iterator[Call]:
    """All calls of a chain, in the order of the text."""
    for step in chain.steps:
        if isinstance(step, Call):
            yield step
        for inner in children(step):
            yield from calls(inner)


def nodes(term: Term) -> int:
    """The bit set of the plain steps that a term covers."""
    own = term.nodes if isinstance(term, Call | Merge | Level) else 0
    for inner in term.steps if isinstance(term, Chain) else children(term):
        own |= nodes(inner)
    return own


def mentions_value(term: Term) -> bool:
    """Whether a term mentions a value, so that it cannot move to another declaration."""
    inside = term.steps if isinstance(term, Chain) else children(term)
    return isinstance(term, Value | Where) or any(mentions_value(inner) for inner in inside)


def values_in(chain: Chain) -> set[str]:
    """The names that are bound in a chain."""
    steps = [step for inner in chains(chain) for step in inner.steps]
    return {name for step in steps if isinstance(step, Where) for name in step.names}


def free_values(chain: Chain) -> set[str]:
    """The values that a chain mentions and does not bind."""
    steps = [step for inner in chains(chain) for step in inner.steps]
    return {step.name for step in steps if isinstance(step, Value)} - values_in(chain)


def chain_of(*steps: Term) -> Chain:
    """Terms in series, without chains inside the chain."""
    flat: list[Term] = []
    for step in steps:
        flat += step.steps if isinstance(step, Chain) else (step,)
    return Chain(tuple(flat))
