"""Walking and mapping terms: one place that knows what stands in what."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from fractal_dsl.program import program as p


def parts(term: p.Term) -> tuple[p.Term, ...]:
    """The terms that stand directly in a term, of a mention the body of its instance; not what follows a join."""
    match term:
        case p.Seq():
            return term.items
        case p.Bundle():
            return term.columns
        case p.Merge():
            return term.branches
        case p.Mention():
            return (term.instance.body,)
        case p.Each():
            return (term.target, term.block)
        case p.Group() | p.Tagged():
            return (term.body,)
        case p.Op() | p.Hole():
            return ()


def walk(term: p.Term) -> Iterator[p.Term]:
    """A term and all that is in it, each object once, before its parts."""
    seen: set[int] = set()
    waiting = [term]
    while waiting:
        term = waiting.pop()
        if id(term) not in seen:
            seen.add(id(term))
            yield term
            waiting += reversed(parts(term))


def instances(term: p.Term) -> Iterator[p.Instance]:
    """The instances that a term mentions, those around others first; one that is mentioned twice comes twice."""
    return (t.instance for t in walk(term) if isinstance(t, p.Mention))


def mapped(term: p.Term, change: Callable[[p.Term], p.Term]) -> p.Term:
    """A term with each of its parts changed. A mention gets an instance of its own."""
    match term:
        case p.Seq():
            return p.Seq(tuple(map(change, term.items)), term.span)
        case p.Bundle():
            return p.Bundle(tuple(map(change, term.columns)), term.span)
        case p.Merge():
            return p.Merge(term.join, tuple(map(change, term.branches)), term.span)
        case p.Mention():
            old = term.instance
            new = p.Instance(old.rule, old.level, old.join, change(old.body))
            return p.Mention(new, term.inside, term.span)
        case p.Each():
            return p.Each(change(term.target), change(term.block), term.span)
        case p.Group():
            return p.Group(term.name, change(term.body), term.span, term.shared)
        case p.Tagged():
            return p.Tagged(change(term.body), term.annotation, term.value, term.span)
        case p.Op() | p.Hole():
            return term
