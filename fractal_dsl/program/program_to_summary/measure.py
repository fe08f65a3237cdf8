"""One walk over the terms: shapes, and the cost along each column. A term is measured once for each input shape."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from msgspec import Struct
from msgspec.structs import replace

from fractal_dsl.language.diagnostics import Report
from fractal_dsl.language.source import Span
from fractal_dsl.ops import ShapeError, Tensor
from fractal_dsl.program import program as p
from fractal_dsl.program.columns import Label, choose_operands, labels_of
from fractal_dsl.program.drops import chances_of
from fractal_dsl.program.mentioned import Mentioned
from fractal_dsl.program.program_to_summary.checks import Checks
from fractal_dsl.program.program_to_summary.hints import layer_help, output_help
from fractal_dsl.program.program_to_summary.layouts import source
from fractal_dsl.program.program_to_summary.signals import (
    Digest,
    Signal,
    Totals,
    mention_of,
    merged,
    repeated_signal,
    sum_of,
    with_values,
)
from fractal_dsl.program.program_to_summary.summary import ColumnCost


class Shared(Struct, frozen=True):
    """A shared block as first measured: its input shape, its parameters in total and by column, and its modules."""

    into: Tensor
    params: int
    columns: tuple[int, ...]
    modules: Digest


Open = tuple[tuple[Signal, ...], Totals]


SEVERAL = Tensor("several", ())
"""What flows into the body of a net with several inputs, which mentions them by name."""
_NO_VALUES = frozenset[int]()


class Measure(Checks):
    """One walk over the terms of a program, for the given columns. It collects the labels on its way."""

    def __init__(self, program: p.Program, report: Report, columns: Sequence[Label]) -> None:
        super().__init__(program, report)
        self.order = columns
        self.labels: set[Label] = set()
        self.known: dict[tuple[int, Tensor | None, bool, str, frozenset[int]], Open] = {}
        self.closes = False  # whether a rule with a join was met
        self.instances: list[p.Instance] = []
        self.shared: dict[int, Shared] = {}
        self.values: dict[int, Signal] = {}  # of the bodies around the present term
        self.base_values: set[int] = set()  # those whose blocks count as base layers
        self.mentioned = Mentioned()

    def net(self) -> tuple[Signal, Totals]:
        """Measure the whole net and compare the shapes of its outputs with the declaration."""
        program = self.program
        for one in program.inputs:
            known = self.affordable(one.tensor, 0, f"the input `{one.name}`", program.span)
            self.values[one.key] = self._signal(one.tensor if known else None, program.span)
        first = self.values[program.inputs[0].key].out
        signal, totals = self.closed(program.body, first if len(program.inputs) == 1 else SEVERAL, False)
        signal = with_values(signal, {one.key: self.values[one.key] for one in program.inputs})
        outs = signal.outs or (signal.out,)
        for out, declared in zip(outs, program.outputs, strict=False):
            if out is not None and out != declared.tensor:
                message = f"net `{program.net}` declares {declared.tensor}, but its body outputs {out}"
                help = output_help(program, out) if len(outs) == 1 else None
                self.report.error("E0503", declared.span, message, help=help)
        columns = tuple(
            [
                replace(c, params=c.params + sum(self.shared[i].columns[k] for i in c.shared), shared=frozenset())
                for k, c in enumerate(signal.columns)
            ]
        )
        totals = totals + Totals(sum(self.shared[i].params for i in totals.shared))
        fits = self.affordable(None, totals.params, f"net `{program.net}`", program.span)
        if None in outs or not fits:
            signal = replace(signal, out=None)
        return replace(signal, columns=columns, outs=outs), totals

    def _signal(self, out: Tensor | None, span: Span, cost: ColumnCost | None = None) -> Signal:
        return Signal(out, span, (cost or ColumnCost(),) * len(self.order), behind=self.behind)

    def closed(self, term: p.Term, x: Tensor | None, placed: bool) -> tuple[Signal, Totals]:
        """Measure a term as one signal. The join of its rule closes an open bundle."""
        signals, totals = self.open(term, x, placed)
        if p.opens(term):
            signals, totals = self._close(signals, totals, p.closing(term, self.instances), term.span)
        return signals[0], totals

    def open(self, term: p.Term, x: Tensor | None, placed: bool) -> Open:
        """Measure a term, for an input of shape ``x``, as the columns that it outputs.

        If a rule places the term (``placed``), blocks count as base layers.
        """
        base_values = frozenset(self.mentioned.of(term).keys & self.base_values) if self.base_values else _NO_VALUES
        key = (id(term), x, placed, self.behind, base_values)
        if key not in self.known:
            self.known[key] = self._open(term, x, placed)
            self.behind = key[3]
        return self.known[key]

    def _open(self, term: p.Term, x: Tensor | None, placed: bool) -> Open:
        match term:
            case p.Op():
                return self._op(term, x, placed)
            case p.Seq():
                return self._seq(term.items, x, placed, term.span)
            case p.Bundle():
                parts = [self.open(c, x, placed) for c in term.columns]
                return tuple([s for signals, _ in parts for s in signals]), sum_of([t for _, t in parts])
            case p.Mention() | p.Each():
                signals, totals, join = self._bundle(term, x, placed)
                return (signals, totals) if join is None else self._close(signals, totals, join, term.span)
            case p.Merge():
                parts = [self.closed(b, x, False) for b in term.branches]
                branches = [replace(s, span=b.span) for (s, _), b in zip(parts, term.branches, strict=True)]
                totals = [t for _, t in parts]
                if term.drops:
                    self.check_drops(term, branches)
                    chances = zip(totals, term.drops, chances_of(term.drops), strict=True)
                    totals = [t.dropped(drop, live) if drop else t for t, drop, live in chances]
                signal, totals = self._join(branches, sum_of(totals), term.join, None)
                self.check_shortcut(term, branches, signal.out if term.join.after is None else None)
                return self._base(signal, totals, placed)
            case p.NamedBlock():
                self.trail.append(term.name)
                signal, totals = self.closed(term.body, x, False)
                self.trail.pop()
                if term.shared and x is not None and signal.out is not None:
                    signal, totals = self._shared(term, x, signal, totals)
                return self._base(replace(signal, span=term.span), totals, placed)
            case p.Tagged():
                return self.open(term.body, x, placed)
            case p.Where():
                return self._where(term, x, placed)
            case p.ValueUse():
                value = self.values[term.key]
                self.behind = value.behind
                return (mention_of(value, term.key, term.span),), Totals()
            case p.Outputs():
                return self._outputs(term, x, placed)
            case p.Hole():
                return (self._signal(None, term.span),), Totals()

    def _where(self, term: p.Where, x: Tensor | None, placed: bool) -> Open:
        """Measure the values of a body, and then the body, on the same input."""
        behind, parts = self.behind, list[Totals]()
        for value in term.values:
            self.behind = behind
            signal, totals = self.closed(value.block, x, placed)
            self.values[value.key] = signal
            (self.base_values.add if placed else self.base_values.discard)(value.key)
            parts.append(totals)
        self.behind = behind
        signals, totals = self.open(term.body, x, placed)
        own = {value.key: self.values[value.key] for value in term.values}
        return tuple([with_values(s, own) for s in signals]), sum_of([*parts, totals])

    def _outputs(self, term: p.Outputs, x: Tensor | None, placed: bool) -> Open:
        """Measure the outputs of a net on one input."""
        behind, parts = self.behind, list[tuple[Signal, Totals]]()
        for item in term.items:
            self.behind = behind
            parts.append(self.closed(item, x, placed))
        signals = [signal for signal, _ in parts]
        columns = tuple([merged(costs) for costs in zip(*[s.columns for s in signals], strict=True)])
        depth, weighted = max(s.depth for s in signals), max(s.weighted for s in signals)
        outs, paths = tuple([s.out for s in signals]), sum(s.paths for s in signals)
        whole = Signal(outs[0], term.span, columns, depth, weighted, paths, outs=outs)
        return (whole,), sum_of([totals for _, totals in parts])

    def _shared(self, term: p.NamedBlock, x: Tensor, signal: Signal, totals: Totals) -> tuple[Signal, Totals]:
        """Measure a use of a shared block. Its parameters are set aside, to be counted once."""
        params = tuple([c.params for c in signal.columns])
        first = self.shared.setdefault(term.owner, Shared(x, totals.params, params, totals.modules))
        if first.modules != totals.modules:
            message = f"`{term.name}` is shared, but needs different weights for {first.into} and {x}"
            help = f"a shared block has one set of weights; write `let {term.name} = …` to give each use its own"
            self.error(ShapeError(message, help), term.span)
        one = frozenset((term.owner,))
        columns = tuple([replace(c, params=0, shared=c.shared | one) for c in signal.columns])
        return replace(signal, columns=columns), replace(totals, params=0, shared=totals.shared | one)

    def _base(self, signal: Signal, totals: Totals, placed: bool) -> Open:
        if not placed:
            return (signal,), totals
        columns = tuple([c + ColumnCost(1) for c in signal.columns])
        return (replace(signal, depth=signal.depth + 1, columns=columns),), totals + Totals(base=1)

    def _op(self, term: p.Op, x: Tensor | None, placed: bool) -> Open:
        spec, args = term.spec, term.args
        if x is None or x is SEVERAL:  # reported already
            return (self._signal(None, term.span),), Totals()
        try:
            out = spec.out(x, args)
        except ShapeError as error:
            error.help = layer_help(self.program, term, x, error)
            self.error(error, term.span)
            return (self._signal(None, term.span),), Totals()
        params, macs = spec.cost(x, out, args)
        if not self.affordable(out, params, f"`{self.text(term.span)}`", term.span):
            return (self._signal(None, term.span),), Totals()
        self.warn(term, x, params)
        weighted = int(spec.weighted and params > 0)
        base = int(placed and spec.name != "id")
        signal = replace(self._signal(out, term.span, ColumnCost(base, params, macs)), depth=base, weighted=weighted)
        signal = replace(signal, last=spec if weighted else None, behind=source(spec, self.behind))
        modules = Digest.of(spec.torch(x, args))
        return (signal,), Totals(params, macs, base, weighted, modules=modules, training_macs=float(macs))

    def _seq(self, items: Sequence[p.Term], x: Tensor | None, placed: bool, span: Span) -> Open:
        before, totals = self._signal(x, span), Totals()
        for _, alike in groupby(items[:-1], key=id):
            run = list(alike)
            while run:
                self.behind = before.behind
                signal, more = self.closed(run.pop(), before.out, placed)
                if run and (signal.out, signal.behind) == (before.out, before.behind):
                    # shape and axes are a fixed point: the rest of the run costs the same
                    signal, more = repeated_signal(signal, more, 1 + len(run))
                    run.clear()
                before, totals = signal.after(before), totals + more
        if not items:
            return (before,), totals
        self.behind = before.behind
        signals, more = self.open(items[-1], before.out, placed)
        joined = [s.after(before) for s in signals]
        if not p.opens(items[-1]):
            joined = [replace(s, span=span) for s in joined]
        return tuple(joined), totals + more

    def _bundle(
        self, term: p.Term, x: Tensor | None, placed: bool
    ) -> tuple[tuple[Signal, ...], Totals, p.Instance | None]:
        """The open columns of a use of a rule or of an ``each``, and the instance whose join closes them, if any."""
        match term:
            case p.Mention():
                instance = term.instance
                self.closes |= instance.join is not None
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
                parts: list[tuple[Signal, tuple[Signal, Totals]]] = []
                for signal in signals:
                    self.behind = signal.behind
                    parts.append((signal, self.closed(term.block, signal.out, placed)))
                mapped = tuple([replace(t.after(s), span=s.span, level=s.level) for s, (t, _) in parts])
                return mapped, sum_of([totals, *[more for _, (_, more) in parts]]), join
            case p.Tagged():
                return self._bundle(term.body, x, placed)
            case _:
                return (*self.open(term, x, placed), None)

    def _close(self, signals: tuple[Signal, ...], totals: Totals, instance: p.Instance, span: Span) -> Open:
        if len(signals) == 1:
            return (replace(signals[0], level=None, span=span),), totals
        assert instance.join is not None
        labels = labels_of([instance.level if s.level is None else s.level for s in signals])
        self.labels.update(labels)
        self.trail.append(str(instance))
        signal, totals = self._join(signals, totals, instance.join, labels)
        self.trail.pop()
        more = len(signals) - 2 if instance.join.spec.pairs else 0
        return (replace(signal, span=span),), totals + Totals(raw=more)

    def _join(
        self, signals: Sequence[Signal], totals: Totals, join: p.JoinUse, labels: Sequence[Label] | None
    ) -> tuple[Signal, Totals]:
        """Close signals by a join: of columns if there are labels, else inline."""
        if len(signals) == 1 and labels is None:
            signal = signals[0]
        else:
            depth, weighted = max(s.depth for s in signals), max(s.weighted for s in signals)
            if labels is not None:
                chosen = choose_operands(labels, self.order) if self.order else ()
                routes = [ColumnCost(route=hash((i + 1, len(signals)))) for i in range(len(signals))]
                columns = tuple([signals[i].columns[k] + routes[i] for k, i in enumerate(chosen)])
            else:
                columns = tuple([merged(costs) for costs in zip(*[s.columns for s in signals], strict=True)])
            out = self.joined(signals, join, labels)
            if not self.affordable(out, 0, f"`{join.spec.name}`", join.span):
                out = None
            params, macs, modules = self._weights(signals, join) if out is not None else (0, 0, Digest())
            if labels is None and (params or macs):
                columns = tuple([c + ColumnCost(0, params, macs) for c in columns])
            behind = next((s.behind for s in signals if s.behind), "")
            signal = Signal(out, join.span, columns, depth, weighted, sum(s.paths for s in signals), behind=behind)
            more = Totals(params, macs, raw=1, joins=((len(signals), 1),), modules=modules, training_macs=float(macs))
            totals = totals + more
        if join.after is None:
            return signal, totals
        self.behind = signal.behind
        processed, more = self.closed(join.after, signal.out, False)
        return processed.after(signal), totals + more

    def _weights(self, signals: Sequence[Signal], join: p.JoinUse) -> tuple[int, int, Digest]:
        """The parameters and MACs of a join and, for ``Totals.modules``, what it constructs."""
        operands = tuple([s.out for s in signals if s.out is not None])
        modules = Digest.of(join.spec.torch(len(operands), join.args)) if join.spec.torch else Digest()
        return join.spec.cost(operands, join.args), join.spec.macs(operands, join.args), modules
