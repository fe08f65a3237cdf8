"""Count layers without shapes, to refuse a net that is too large before any other work."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from fractal_dsl.program import program as p
from fractal_dsl.program.terms import subterms


class LayerCount:
    """Counts the base layers and built-in layers of a term, without shapes and without expanding it."""

    def __init__(self) -> None:
        self.known: dict[tuple[int, bool], tuple[int, int]] = {}
        self.widths: dict[int, int] = {}
        self.widest = 0
        """The largest number of columns of a rule among the counted terms."""

    def term(self, term: p.Term, placed: bool) -> tuple[int, int]:
        """Base layers and built-in layers of a term. If a rule places it (``placed``), blocks are base layers."""
        key = (id(term), placed)
        if key not in self.known:
            self.known[key] = self._term(term, placed)
        return self.known[key]

    def _sum(self, terms: Sequence[p.Term], placed: bool) -> tuple[int, int]:
        times = Counter(map(id, terms))
        counted = [(times[i], *self.term(term, placed)) for i, term in {id(t): t for t in terms}.items()]
        return sum([n * base for n, base, _ in counted]), sum([n * ops for n, _, ops in counted])

    def _columns(self, term: p.Term) -> int:
        """The number of columns in the open bundle of a term."""
        if id(term) not in self.widths:
            self.widths[id(term)] = self._width(term)
        return self.widths[id(term)]

    def _width(self, term: p.Term) -> int:
        match term:
            case p.Mention():
                return self._columns(term.instance.body)
            case p.Tagged() | p.Where():
                return self._columns(term.body)
            case p.Each():
                return self._columns(term.target)
            case p.Bundle():
                return sum([self._columns(c) if p.opens(c) else 1 for c in term.columns])
            case p.Seq() if term.items and p.opens(term.items[-1]):
                return self._columns(term.items[-1])
            case _:
                return 1

    def _term(self, term: p.Term, placed: bool) -> tuple[int, int]:
        match term:
            case p.Op():
                real = term.spec.name != "id"
                return int(placed and real), 1
            case p.Seq():
                return self._sum(term.items, placed)
            case p.Bundle():
                return self._sum(term.columns, placed)
            case p.Mention():
                base, ops = self.term(term.instance.body, True)
                self.widest = max(self.widest, self._columns(term))
                after = term.instance.join.after if term.instance.join else None
                more = self.term(after, False) if after else (0, 0)
                return base + more[0], ops + more[1]
            case p.Each():
                base, ops = self.term(term.target, placed)
                more, n = self.term(term.block, placed), self._columns(term.target)
                return base + n * more[0], ops + n * more[1]
            case p.Merge():
                base, ops = self._sum(term.branches, False)
                after = self.term(term.join.after, False) if term.join.after else (0, 0)
                return base + after[0] + int(placed), ops + after[1]
            case p.NamedBlock():
                base, ops = self.term(term.body, False)
                return base + int(placed), ops
            case p.Tagged():
                return self.term(term.body, placed)
            case p.Where() | p.Outputs():
                return self._sum(subterms(term), placed)
            case p.ValueUse():  # a branch that only mentions a value is an `id`
                return 0, 1
            case p.Hole():
                return 0, 0
