"""Cycles over relative levels: ``F[n+1] = … G[n+1] …`` and ``G[n] = … F[n] …``."""

from __future__ import annotations

from collections.abc import Sequence

from fractal_dsl.language import syntax as s
from fractal_dsl.language.source import Span
from fractal_dsl.program.syntax_to_program.context import Context
from fractal_dsl.program.syntax_to_program.levels import does_not_fall
from fractal_dsl.program.syntax_to_program.termination.call_graph import Edge, components, head, rising_cycle
from fractal_dsl.program.syntax_to_program.termination.numbers import Relative
from fractal_dsl.program.syntax_to_program.termination.rule_calls import Reader


def check_relative(context: Context, reader: Reader, rules: Sequence[s.RuleDecl]) -> set[Span]:
    """Report cycles over relative levels around which the level does not decrease. Returns the spans of the reported
    calls."""
    reported: set[Span] = set()
    for component in components(_edges(reader, rules)):
        while cycle := rising_cycle(component):
            worst = min([e for e in cycle if e.change >= 0], key=lambda e: e.span.start)
            at = cycle.index(worst)
            _report(context, [*cycle[at:], *cycle[:at]])
            reported.add(worst.span)
            component = [e for e in component if e.span not in reported]
    return reported


def _edges(reader: Reader, rules: Sequence[s.RuleDecl]) -> list[Edge]:
    return [
        Edge(rule, case, call.rule, call.level.offset - case.offset, call.span, call.via)
        for rule in rules
        for case in rule.cases
        if case.var is not None
        for call in reader.case(rule, case, Relative(0))
        if isinstance(call.level, Relative)
    ]


def _report(context: Context, cycle: Sequence[Edge]) -> None:
    """Report a cycle at its first call."""
    worst, name = cycle[0], cycle[0].start.name.id
    assert worst.case.var is not None
    var, level = worst.case.var.id, worst.case.offset
    path = [head(worst.start, var, level)]
    for edge in cycle:
        level += edge.change
        path += [*edge.via, head(edge.end, var, level)]
    with context.within(name):
        does_not_fall(context, name, worst.span, path)
