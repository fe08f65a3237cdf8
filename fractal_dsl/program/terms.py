"""Walk and map terms: the one place that knows the children of each term."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from msgspec.structs import replace

from fractal_dsl.program import program as p


def subterms(term: p.Term) -> tuple[p.Term, ...]:
    """The direct children of a term; for a use of a rule, the body of its instance. Excludes the block after a join."""
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
        case p.NamedBlock() | p.Tagged():
            return (term.body,)
        case p.Where():
            return (*[value.block for value in term.values], term.body)
        case p.Outputs():
            return term.items
        case p.Op() | p.ValueUse() | p.Hole():
            return ()


def walk_terms(term: p.Term) -> Iterator[p.Term]:
    """A term and everything in it in preorder, each object once."""
    seen: set[int] = set()
    waiting = [term]
    while waiting:
        term = waiting.pop()
        if id(term) not in seen:
            seen.add(id(term))
            yield term
            waiting += reversed(subterms(term))


def instances(term: p.Term) -> Iterator[p.Instance]:
    """The rule instances that a term uses, outer ones first. An instance used twice occurs twice."""
    return (t.instance for t in walk_terms(term) if isinstance(t, p.Mention))


def mapped(term: p.Term, change: Callable[[p.Term], p.Term]) -> p.Term:
    """A term with a function applied to each child. A use of a rule gets a new instance."""
    match term:
        case p.Seq():
            return p.Seq(tuple(map(change, term.items)), term.span)
        case p.Bundle():
            return p.Bundle(tuple(map(change, term.columns)), term.span)
        case p.Merge():
            return p.Merge(term.join, tuple(map(change, term.branches)), term.span, term.drops)
        case p.Mention():
            old = term.instance
            new = p.Instance(old.rule, old.level, old.join, change(old.body))
            return p.Mention(new, term.inside, term.span)
        case p.Each():
            return p.Each(change(term.target), change(term.block), term.span)
        case p.NamedBlock():
            return p.NamedBlock(term.name, change(term.body), term.span, term.shared, term.weights)
        case p.Tagged():
            return p.Tagged(change(term.body), term.annotation, term.value, term.span)
        case p.Where():
            values = tuple([replace(value, block=change(value.block)) for value in term.values])
            return p.Where(values, change(term.body), term.span)
        case p.Outputs():
            return p.Outputs(tuple(map(change, term.items)), term.span)
        case p.Op() | p.ValueUse() | p.Hole():
            return term
