"""Which values a term mentions: those of the bodies around it, apart from the ones that it binds itself.

A value is a block on the input of its body, so a mention has a meaning only where that input flows in: at the head of a
series, of a branch or of a column. ``a >> v`` would discard the output of ``a``.
"""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct, field

from fractal_dsl.language.source import Span
from fractal_dsl.program import program as p

_Uses = dict[tuple[int, Span], p.ValueUse]
"""The mentions of values, by the key of the value and their place in the text."""


_Readers = dict[Span, p.Term]


class Mentions(Struct, frozen=True):
    """The values that a term mentions on its own input (``heads``), and those it mentions behind other blocks.
    ``readers`` are the blocks that read the input itself."""

    heads: _Uses
    behind: _Uses
    readers: _Readers

    @property
    def keys(self) -> set[int]:
        """The keys of all values that the term mentions."""
        return {key for key, _ in (*self.heads, *self.behind)}


_NONE = Mentions({}, {}, {})


class Mentioned(Struct):
    """Finds the values that terms mention, looking at each term once."""

    known: dict[int, tuple[p.Term, Mentions]] = field(default_factory=dict[int, tuple[p.Term, Mentions]])

    def of(self, term: p.Term) -> Mentions:
        """The values that a term mentions, except those that it binds."""
        if id(term) not in self.known:
            self.known[id(term)] = term, self._of(term)  # keep the term alive, so that its id stays unique
        return self.known[id(term)][1]

    def _of(self, term: p.Term) -> Mentions:
        match term:
            case p.Hole():
                return _NONE
            case p.Op() | p.Seq(items=()):
                return Mentions({}, {}, {term.span: term})
            case p.ValueUse():
                return Mentions({(term.key, term.span): term}, {}, {})
            case p.Outputs():
                return self._all(term.items)
            case p.Seq():
                return self._all(term.items[:1], term.items[1:])
            case p.Bundle():
                return self._all(term.columns)
            case p.Mention():
                return self._all((term.instance.body,), _after(term.instance.join))
            case p.Each():
                return self._all((term.target,), (term.block,))
            case p.Merge():
                return self._all(term.branches, _after(term.join))
            case p.NamedBlock() | p.Tagged():
                return self.of(term.body)
            case p.Where():
                inside = self._all((*[value.block for value in term.values], term.body))
                own = {value.key for value in term.values}
                return Mentions(_without(inside.heads, own), _without(inside.behind, own), inside.readers)

    def _all(self, heads: Iterable[p.Term], others: Iterable[p.Term] = ()) -> Mentions:
        """The mentions of terms that get the input itself, and of ``others`` that get another tensor."""
        on_input: _Uses = {}
        behind: _Uses = {}
        readers: _Readers = {}
        for term in heads:
            inside = self.of(term)
            on_input |= inside.heads
            behind |= inside.behind
            readers |= inside.readers
        for term in others:
            inside = self.of(term)
            behind |= inside.heads | inside.behind
        return Mentions(on_input, behind, readers) if on_input or behind or readers else _NONE


def _after(join: p.JoinUse | None) -> tuple[p.Term, ...]:
    return () if join is None or join.after is None else (join.after,)


def _without(uses: _Uses, keys: set[int]) -> _Uses:
    return {at: use for at, use in uses.items() if use.key not in keys}
