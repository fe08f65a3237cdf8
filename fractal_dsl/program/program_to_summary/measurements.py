"""What was measured of each part of a net, by its place in the text, for editors."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Struct

from fractal_dsl.language.source import Span
from fractal_dsl.ops import Tensor
from fractal_dsl.program import program as p
from fractal_dsl.program.program_to_summary.measure import Measure
from fractal_dsl.program.terms import subterms


class Measurement(Struct, frozen=True):
    """A part of a net on one input: its output, parameters, and multiply-accumulates per sample.

    ``outs`` are the distinct outputs of the columns of an open bundle. Anything else has one output, or none after an
    error."""

    into: Tensor
    outs: tuple[Tensor, ...]
    params: int
    macs: int


def measurements(body: p.Term, measure: Measure) -> dict[Span, list[Measurement]]:
    """The distinct measurements that a walk over a net took, by the spans of the parts, in the order of the walk."""
    spans = _spans(body)
    result: dict[Span, list[Measurement]] = {}
    for (term, into, *_), (signals, totals) in measure.known.items():
        if into is None:
            continue
        outs = tuple(dict.fromkeys(s.out for s in signals if s.out is not None))
        measured = Measurement(into, outs, totals.params, totals.macs)
        for span in spans.get(term, ()):
            others = result.setdefault(span, [])
            if measured not in others:
                others.append(measured)
    return result


def _spans(body: p.Term) -> dict[int, list[Span]]:
    """Where each term, by its id, is in the text. The target of an ``each`` is measured as the body of its rule."""
    spans: dict[int, list[Span]] = {}
    for term in _terms(body):
        spans.setdefault(id(term), []).append(term.span)
        if isinstance(term, p.Each):
            target = term.target
            while isinstance(target, p.Tagged):
                target = target.body
            if isinstance(target, p.Mention):
                spans.setdefault(id(target.instance.body), []).append(target.span)
    return spans


def _terms(body: p.Term) -> Iterator[p.Term]:
    """A term and everything in it, each object once, with the blocks after joins."""
    seen: set[int] = set()
    waiting = [body]
    while waiting:
        term = waiting.pop()
        if id(term) in seen:
            continue
        seen.add(id(term))
        yield term
        waiting += subterms(term)
        join = term.join if isinstance(term, p.Merge) else term.instance.join if isinstance(term, p.Mention) else None
        if join is not None and join.after is not None:
            waiting.append(join.after)
