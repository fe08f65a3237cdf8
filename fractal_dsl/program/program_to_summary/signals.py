"""Measurements of a part of a net: a signal for each of its columns, and totals."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from msgspec import Struct
from msgspec.structs import replace

from fractal_dsl.language.source import Span
from fractal_dsl.ops import OpSpec, Tensor
from fractal_dsl.program.program_to_summary.summary import ColumnCost, Drops

_MODULUS, _BASE = 2**61 - 1, 1_000_003


class Digest(Struct, frozen=True):
    """A Rabin-Karp hash of a sequence, with its length. The hash of ``a + b`` is that of the concatenation."""

    value: int = 0
    length: int = 0

    @classmethod
    def of(cls, element: object) -> Digest:
        """The hash of a sequence of one element."""
        return cls(hash(element) % _MODULUS, 1)

    def __add__(self, other: Digest) -> Digest:
        if not (self.length and other.length):
            return self if self.length else other
        moved = self.value * pow(_BASE, other.length, _MODULUS)
        return Digest((moved + other.value) % _MODULUS, self.length + other.length)


class Totals(Struct, frozen=True):
    """Sums over a part of the net.

    ``macs`` are multiply-accumulates per sample. ``joins`` counts collapsed joins by arity, ``raw`` counts two-input
    joins. ``shared`` is as in ColumnCost. ``modules`` is a digest of all constructed modules, in order. ``drops`` and
    ``training_macs`` are as in Summary.
    """

    params: int = 0
    macs: int = 0
    base: int = 0
    weighted: int = 0
    raw: int = 0
    joins: tuple[tuple[int, int], ...] = ()
    shared: frozenset[int] = frozenset()
    modules: Digest = Digest()
    drops: Drops | None = None
    training_macs: float = 0.0

    def __add__(self, other: Totals) -> Totals:
        joins = self.joins
        if other.joins:
            joins = tuple(sorted((Counter(dict(joins)) + Counter(dict(other.joins))).items())) if joins else other.joins
        return Totals(
            self.params + other.params,
            self.macs + other.macs,
            self.base + other.base,
            self.weighted + other.weighted,
            self.raw + other.raw,
            joins,
            self.shared | other.shared,
            self.modules + other.modules,
            self.drops + other.drops if self.drops and other.drops else self.drops or other.drops,
            self.training_macs + other.training_macs,
        )

    def dropped(self, drop: float, live: float) -> Totals:
        """The totals of a branch that training leaves out with probability ``drop`` > 0; ``live``: that it runs."""
        here = Drops(1, drop, drop)
        return replace(self, drops=here + self.drops if self.drops else here, training_macs=live * self.training_macs)


class Signal(Struct, frozen=True):
    """One column of an open bundle, or a closed signal. ``level`` is None if the enclosing rule introduces it.

    ``out`` is its shape, None after an error. ``columns`` holds the cost of each column up to here. ``last`` is the
    last layer with weights. ``behind`` is the layer that makes it read [length, features], or "". ``outs`` are the
    shapes of all outputs, where a net has several.
    """

    out: Tensor | None
    span: Span
    columns: tuple[ColumnCost, ...]
    depth: int = 0
    weighted: int = 0
    paths: int = 1
    level: int | None = None
    last: OpSpec | None = None
    behind: str = ""
    outs: tuple[Tensor | None, ...] = ()

    def after(self, before: Signal) -> Signal:
        """This signal, measured from the input of ``before``."""
        return replace(
            self,
            depth=before.depth + self.depth,
            weighted=before.weighted + self.weighted,
            paths=before.paths * self.paths if self.out is not None else 1,  # of an error, they may be 2 ** 2 ** levels
            last=self.last or before.last,
            columns=tuple([a + b for a, b in zip(before.columns, self.columns, strict=True)]),
        )


def repeated_signal(signal: Signal, totals: Totals, times: int) -> tuple[Signal, Totals]:
    """A closed signal and its totals, repeated ``times`` times in sequence, in log2(times) sums."""
    if times == 1:
        return signal, totals
    half, more = repeated_signal(signal, totals, times // 2)
    twice, both = half.after(half), more + more
    return (signal.after(twice), both + totals) if times % 2 else (twice, both)


def merged(costs: Sequence[ColumnCost]) -> ColumnCost:
    """The cost of a column that goes through all operands of a join: the maximum depth, and the sum of everything
    else."""
    shared = frozenset[int]().union(*[c.shared for c in costs])
    route = hash(tuple([c.route for c in costs])) if any(c.route for c in costs) else 0
    values = frozenset[int]().union(*[c.values for c in costs])
    params, macs = sum(c.params for c in costs), sum(c.macs for c in costs)
    return ColumnCost(max(c.depth for c in costs), params, macs, shared, route, values)


def mention_of(value: Signal, key: int, span: Span) -> Signal:
    """A mention of a measured value. Its costs are set aside, to be counted once where the body ends."""
    own = frozenset((key,))
    columns = tuple([replace(c, params=0, macs=0, shared=frozenset(), values=c.values | own) for c in value.columns])
    return replace(value, span=span, level=None, columns=columns)


def with_values(signal: Signal, values: Mapping[int, Signal]) -> Signal:
    """The signal of a body, with the costs of its values, by key: each column pays once for what it needs."""
    columns: list[ColumnCost] = []
    for k, column in enumerate(signal.columns):
        needed = [values[key].columns[k] for key in values if key in column.values]
        columns.append(
            replace(
                column,
                params=column.params + sum(c.params for c in needed),
                macs=column.macs + sum(c.macs for c in needed),
                shared=column.shared.union(*[c.shared for c in needed]),
                values=column.values.difference(values),
            )
        )
    return replace(signal, columns=tuple(columns))


def sum_of(totals: Sequence[Totals]) -> Totals:
    """The sum of all totals, in order."""
    result = Totals()
    for t in totals:
        result = result + t
    return result
