"""Program to figures: shapes are checked and sizes counted from the recurrence, never on the expanded net.

A term is measured once for each shape that reaches it, so a net of level C costs O(C) here, however many
layers it expands to. Numbers are Python's integers and stay exact.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from fractal_dsl import program as p
from fractal_dsl.diagnostics import Report
from fractal_dsl.ops import ShapeError, Tensor
from fractal_dsl.plan import Label, choose_operands, column_order, labels_of
from fractal_dsl.source import Span

MAX_OPS_PER_LAYER = 16


@dataclass(frozen=True, slots=True)
class Cost:
    """One column's share: base layers on its path, parameters, multiply-accumulates a sample."""

    depth: int = 0
    params: int = 0
    macs: int = 0

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.depth + other.depth, self.params + other.params, self.macs + other.macs)


@dataclass(frozen=True, slots=True)
class Summary:
    """The figures of a net, as ``fractal-dsl info`` prints them. MACs are those of convolutions and
    linear layers, a sample; ``joins`` counts the collapsed joins by arity."""

    net: str
    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]
    params: int
    macs: int
    base_layers: int
    depth: int
    weighted_layers: int
    weighted_depth: int
    joins_raw: int
    joins: dict[int, int]
    paths: int
    columns: tuple[Cost, ...]

    def json(self) -> dict[str, Any]:
        """Plain data under the documented keys."""
        plain: dict[str, Any] = {name: getattr(self, name) for name in self.__slots__}
        plain["input_shape"], plain["output_shape"] = list(self.input_shape), list(self.output_shape)
        plain["joins"] = {str(arity): count for arity, count in self.joins.items()}
        plain["columns"] = [
            {"column": k, "depth": c.depth, "params": c.params, "macs": c.macs} for k, c in enumerate(self.columns, 1)
        ]
        return plain


@dataclass(frozen=True, slots=True)
class _Totals:
    params: int = 0
    macs: int = 0
    base: int = 0
    weighted: int = 0
    raw: int = 0
    joins: tuple[tuple[int, int], ...] = ()

    def __add__(self, other: _Totals) -> _Totals:
        joins = self.joins
        if other.joins:
            joins = tuple(sorted((Counter(dict(joins)) + Counter(dict(other.joins))).items())) if joins else other.joins
        return _Totals(
            self.params + other.params,
            self.macs + other.macs,
            self.base + other.base,
            self.weighted + other.weighted,
            self.raw + other.raw,
            joins,
        )


@dataclass(frozen=True, slots=True)
class _Signal:
    """One column of an open bundle, or a closed signal (``level`` is None: introduced where it stands).

    ``out`` is None after an error; ``columns`` holds each column's cost on the way here.
    """

    out: Tensor | None
    span: Span
    columns: tuple[Cost, ...]
    depth: int = 0
    weighted: int = 0
    paths: int = 1
    level: int | None = None

    def after(self, before: _Signal) -> _Signal:
        """This signal, measured from the input of ``before`` on."""
        return replace(
            self,
            depth=before.depth + self.depth,
            weighted=before.weighted + self.weighted,
            paths=before.paths * self.paths,
            columns=tuple([a + b for a, b in zip(before.columns, self.columns, strict=True)]),
        )


_Open = tuple[tuple[_Signal, ...], _Totals]


def program_to_summary(program: p.Program, report: Report, max_layers: int) -> Summary | None:
    """Check shapes and count. Errors go to ``report``; the result is None after an error.

    A net over ``max_layers`` base layers is refused before any shape is computed.
    """
    base, ops = _Count().term(program.body, False)
    if base > max_layers or ops > max_layers * MAX_OPS_PER_LAYER:
        counted = f"{approximate(base)} base layers" if base > max_layers else f"{approximate(ops)} layers"
        limit = max_layers if base > max_layers else max_layers * MAX_OPS_PER_LAYER
        message = f"net `{program.net}` would have {counted}; the limit is {limit:,}"
        help = "lower the levels or parameters, or raise the limit with --max-layers"
        report.error("E0601", program.span, message, help=help)
        return None
    errors = len(report.found)
    labels = _Measure(program, report, ())
    signal, totals = labels.net()
    if len(report.found) > errors or signal.out is None:
        return None
    columns = column_order(labels.labels)
    if columns:
        signal, totals = _Measure(program, report, columns).net()
    assert signal.out is not None
    whole = Cost(signal.depth, totals.params, totals.macs)
    return Summary(
        program.net,
        program.input.shape,
        signal.out.shape,
        totals.params,
        totals.macs,
        totals.base,
        signal.depth,
        totals.weighted,
        signal.weighted,
        totals.raw,
        dict(totals.joins),
        signal.paths,
        signal.columns if columns else (whole,),
    )


def approximate(n: int) -> str:
    """A number for people: exact below 10**15, else to two digits."""
    if n < 10**15:
        return f"{n:,}"
    exponent = max(0, int((n.bit_length() - 1) * 0.30102999566398120))
    while 10 ** (exponent + 1) <= n:
        exponent += 1
    return f"about {n // 10 ** (exponent - 1) / 10:.1f}e{exponent}"


class _Count:
    """Base layers and built-in layers of a term, without shapes: cheap whatever the size of the net."""

    def __init__(self) -> None:
        self.known: dict[tuple[int, bool], tuple[int, int]] = {}
        self.widths: dict[int, int] = {}

    def term(self, term: p.Term, placed: bool) -> tuple[int, int]:
        key = (id(term), placed)
        if key not in self.known:
            self.known[key] = self._term(term, placed)
        return self.known[key]

    def _sum(self, terms: Sequence[p.Term], placed: bool) -> tuple[int, int]:
        counted = Counter({id(t): 0 for t in terms})
        counted.update([id(t) for t in terms])
        one = {id(t): self.term(t, placed) for t in terms}
        return sum(n * one[i][0] for i, n in counted.items()), sum(n * one[i][1] for i, n in counted.items())

    def _columns(self, term: p.Term) -> int:
        """How many columns the open bundle of a term has."""
        if id(term) not in self.widths:
            self.widths[id(term)] = self._width(term)
        return self.widths[id(term)]

    def _width(self, term: p.Term) -> int:
        match term:
            case p.Mention():
                return self._columns(term.instance.body)
            case p.Tagged():
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
            case p.Group():
                base, ops = self.term(term.body, False)
                return base + int(placed), ops
            case p.Tagged():
                return self.term(term.body, placed)
            case p.Hole():
                return 0, 0


class _Measure:
    """One walk over the program's terms, for the columns given; collects the labels that it meets."""

    def __init__(self, program: p.Program, report: Report, columns: Sequence[Label]) -> None:
        self.program, self.report, self.order = program, report, columns
        self.labels: set[Label] = set()
        self.known: dict[tuple[int, Tensor | None, bool], _Open] = {}
        self.trail = [f"net {program.net}"]
        self.instances: list[p.Instance] = []

    def net(self) -> tuple[_Signal, _Totals]:
        """The whole net; its output is compared with the declared one."""
        signal, totals = self.closed(self.program.body, self.program.input, False)
        if signal.out not in (None, self.program.output):
            message = f"net `{self.program.net}` declares {self.program.output}, but its body gives {signal.out}"
            self.report.error("E0503", self.program.output_span, message)
        return signal, totals

    def _signal(self, out: Tensor | None, span: Span, cost: Cost | None = None) -> _Signal:
        return _Signal(out, span, (cost or Cost(),) * len(self.order))

    def _error(self, error: ShapeError, span: Span, message: str | None = None) -> None:
        self.report.error(error.code, span, message or error.message, help=error.help, trail=reversed(self.trail))

    def closed(self, term: p.Term, x: Tensor | None, placed: bool) -> tuple[_Signal, _Totals]:
        """A term as one signal: what is open is closed by the join of its rule."""
        signals, totals = self.open(term, x, placed)
        if p.opens(term):
            signals, totals = self._close(signals, totals, p.closing(term, self.instances), term.span)
        return signals[0], totals

    def open(self, term: p.Term, x: Tensor | None, placed: bool) -> _Open:
        """A term as the columns that it hands on. ``placed``: by a rule, so blocks count as base layers."""
        key = (id(term), x, placed)
        if key not in self.known:
            self.known[key] = self._open(term, x, placed)
        return self.known[key]

    def _open(self, term: p.Term, x: Tensor | None, placed: bool) -> _Open:
        match term:
            case p.Op():
                return self._op(term, x, placed)
            case p.Seq():
                return self._seq(term.items, x, placed, term.span)
            case p.Bundle():
                parts = [self.open(c, x, placed) for c in term.columns]
                return tuple([s for signals, _ in parts for s in signals]), _sum([t for _, t in parts])
            case p.Mention() | p.Each():
                signals, totals, join = self._bundle(term, x, placed)
                return (signals, totals) if join is None else self._close(signals, totals, join, term.span)
            case p.Merge():
                parts = [self.closed(b, x, False) for b in term.branches]
                branches = [replace(s, span=b.span) for (s, _), b in zip(parts, term.branches, strict=True)]
                signal, totals = self._join(branches, _sum([t for _, t in parts]), term.join, None)
                return self._base(signal, totals, placed)
            case p.Group():
                self.trail.append(term.name)
                signal, totals = self.closed(term.body, x, False)
                self.trail.pop()
                return self._base(replace(signal, span=term.span), totals, placed)
            case p.Tagged():
                return self.open(term.body, x, placed)
            case p.Hole():
                return (self._signal(None, term.span),), _Totals()

    def _base(self, signal: _Signal, totals: _Totals, placed: bool) -> _Open:
        if not placed:
            return (signal,), totals
        columns = tuple([c + Cost(1) for c in signal.columns])
        return (replace(signal, depth=signal.depth + 1, columns=columns),), totals + _Totals(base=1)

    def _op(self, term: p.Op, x: Tensor | None, placed: bool) -> _Open:
        spec, args = term.spec, term.args
        if x is None:
            return (self._signal(None, term.span),), _Totals()
        try:
            out = spec.out(x, args)
        except ShapeError as error:
            self._error(error, term.span)
            return (self._signal(None, term.span),), _Totals()
        params, macs = spec.cost(x, out, args)
        weighted = int(spec.weighted and params > 0)
        base = int(placed and spec.name != "id")
        signal = replace(
            self._signal(out, term.span, Cost(base, params, macs)), depth=base, weighted=weighted
        )
        return (signal,), _Totals(params, macs, base, weighted)

    def _seq(self, items: Sequence[p.Term], x: Tensor | None, placed: bool, span: Span) -> _Open:
        before, totals = self._signal(x, span), _Totals()
        for item in items[:-1]:
            signal, more = self.closed(item, before.out, placed)
            before, totals = signal.after(before), totals + more
        if not items:
            return (before,), totals
        signals, more = self.open(items[-1], before.out, placed)
        joined = [s.after(before) for s in signals]
        if not p.opens(items[-1]):
            joined = [replace(s, span=span) for s in joined]
        return tuple(joined), totals + more

    def _bundle(
        self, term: p.Term, x: Tensor | None, placed: bool
    ) -> tuple[tuple[_Signal, ...], _Totals, p.Instance | None]:
        """The open columns of a mention or of an ``each``, and the instance whose join closes them, if any."""
        match term:
            case p.Mention():
                instance = term.instance
                self.trail.append(str(instance))
                self.instances.append(instance)
                signals, totals = self.open(instance.body, x, True)
                self.instances.pop()
                self.trail.pop()
                level = instance.level
                signals = tuple([replace(s, level=level) if s.level is None else s for s in signals])
                return signals, totals, None if term.inside else instance
            case p.Each():
                signals, totals, join = self._bundle(term.target, x, placed)
                parts = [(s, self.closed(term.block, s.out, placed)) for s in signals]
                mapped = tuple([replace(t.after(s), span=s.span, level=s.level) for s, (t, _) in parts])
                return mapped, _sum([totals, *[more for _, (_, more) in parts]]), join
            case p.Tagged():
                return self._bundle(term.body, x, placed)
            case _:
                return (*self.open(term, x, placed), None)

    def _close(self, signals: tuple[_Signal, ...], totals: _Totals, instance: p.Instance, span: Span) -> _Open:
        if len(signals) == 1:
            return (replace(signals[0], level=None, span=span),), totals
        assert instance.join is not None
        labels = labels_of([instance.level if s.level is None else s.level for s in signals])
        self.labels.update(labels)
        self.trail.append(str(instance))
        signal, totals = self._join(signals, totals, instance.join, labels)
        self.trail.pop()
        return (replace(signal, span=span),), totals + _Totals(raw=len(signals) - 2)

    def _join(
        self, signals: Sequence[_Signal], totals: _Totals, join: p.JoinUse, labels: Sequence[Label] | None
    ) -> tuple[_Signal, _Totals]:
        """Close signals by a join: of columns if there are labels, else on the spot."""
        if len(signals) == 1 and labels is None:
            signal = signals[0]
        else:
            depth, weighted = max(s.depth for s in signals), max(s.weighted for s in signals)
            if labels is not None:
                chosen = choose_operands(labels, self.order) if self.order else ()
                columns = tuple([signals[i].columns[k] for k, i in enumerate(chosen)])
            else:
                columns = tuple([_merged(costs) for costs in zip(*[s.columns for s in signals], strict=True)])
            out = self._joined(signals, join)
            signal = _Signal(out, join.span, columns, depth, weighted, sum(s.paths for s in signals))
            totals = totals + _Totals(raw=1, joins=((len(signals), 1),))
        if join.after is None:
            return signal, totals
        processed, more = self.closed(join.after, signal.out, False)
        return processed.after(signal), totals + more

    def _joined(self, signals: Sequence[_Signal], join: p.JoinUse) -> Tensor | None:
        tensors = [s.out for s in signals]
        known = [t for t in tensors if t is not None]
        if len(known) < len(tensors):
            return None
        try:
            return join.spec.out(tuple(known), join.args)
        except ShapeError as error:
            if error.operands is None:
                self._error(error, join.span)
                return None
            a, b = error.operands
            texts = [self._text(signals[i].span) for i in (a, b)]
            message = f"{error.message}, but `{texts[0]}` gives {known[a]} and `{texts[1]}` gives {known[b]}"
            self._error(error, signals[b].span, message)
            return None

    def _text(self, span: Span) -> str:
        text = " ".join(self.program.source.text[span.start : span.end].split())
        return text if len(text) <= 40 else text[:37] + "…"


def _merged(costs: Sequence[Cost]) -> Cost:
    return Cost(max(c.depth for c in costs), sum(c.params for c in costs), sum(c.macs for c in costs))


def _sum(totals: Sequence[_Totals]) -> _Totals:
    result = _Totals()
    for t in totals:
        result = result + t
    return result
