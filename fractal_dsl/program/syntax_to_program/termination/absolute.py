"""Cycles between rules at levels: ``F[3] = … G[2] …`` and ``G[2] = … F[3] …``."""

from __future__ import annotations

from collections.abc import Sequence

from fractal_dsl.language import syntax as s
from fractal_dsl.language.source import Span
from fractal_dsl.language.walk import names_in
from fractal_dsl.program.syntax_to_program.levels import does_not_fall, rises
from fractal_dsl.program.syntax_to_program.limits import MAX_LEVEL, MAX_WORK
from fractal_dsl.program.syntax_to_program.modules import Module
from fractal_dsl.program.syntax_to_program.termination.call_graph import Edge, components, head
from fractal_dsl.program.syntax_to_program.termination.numbers import Relative
from fractal_dsl.program.syntax_to_program.termination.rule_calls import Reader, RuleCall
from fractal_dsl.program.syntax_to_program.values import BUILTINS

_Step = tuple[s.RuleDecl, int, RuleCall]
"""A rule at a level, and a call from it."""


def check_absolute(module: Module, reader: Reader, rules: Sequence[s.RuleDecl], reported: set[Span]) -> None:
    """Report cycles between rules at levels, from each level where one may begin. ``reported`` are the spans of calls
    that have been reported."""
    components = _odd_components(reader, rules)
    search = _Search(module, reader, components, reported)
    starts = [(rule, case.offset) for rule in rules for case in rule.cases if case.var is None]
    calls = [c for rule in rules for case in rule.cases for c in reader.case(rule, case, Relative(0))]
    starts += [(call.rule, call.level) for call in calls if isinstance(call.level, int)]
    starts += [(rule, level) for rule in rules if id(rule) in components for level in range(MAX_LEVEL + 1)]
    for rule, level in starts:
        search.visit(rule, level)


def _odd_components(reader: Reader, rules: Sequence[s.RuleDecl]) -> dict[int, int]:
    """The rules that can reach themselves by a level that is neither relative nor a number, each with the number of its
    strongly connected component."""
    edges: list[Edge] = []
    odd: set[Span] = set()
    for rule in rules:
        for case in rule.cases:
            for call in reader.case(rule, case, Relative(0)):
                edges.append(Edge(rule, case, call.rule, 0, call.span, call.via))
                odd |= {call.span} if call.level is None else set()
    chosen = [component for component in components(edges) if any(edge.span in odd for edge in component)]
    return {id(rule): i for i, component in enumerate(chosen) for edge in component for rule in (edge.start, edge.end)}


class _Search:
    """A depth-first search from a rule at a level along its calls."""

    def __init__(self, module: Module, reader: Reader, components: dict[int, int], reported: set[Span]) -> None:
        self.module, self.context, self.reader = module, module.context, reader
        self.components, self.reported = components, reported
        self.done: set[tuple[int, int]] = set()
        self.path: list[_Step] = []
        self.places: dict[tuple[int, int], int] = {}

    def visit(self, rule: s.RuleDecl, level: int) -> None:
        """Search everything that a rule at a level reaches."""
        node = (id(rule), level)
        if node in self.done or not 0 <= level <= MAX_LEVEL or len(self.done) > MAX_WORK // 10:
            return
        self.places[node] = len(self.path)
        for case in self.reader.matching(rule, level):
            for call in self.reader.case(rule, case, level - case.offset):
                if call.span not in self.reported:
                    self.path.append((rule, level, call))
                    self._follow(rule, level, case, call)
                    self.path.pop()
        del self.places[node]
        self.done.add(node)

    def _follow(self, rule: s.RuleDecl, level: int, case: s.Case, call: RuleCall) -> None:
        component = self.components.get(id(rule))
        leads_back = component is not None and component == self.components.get(id(call.rule))
        if call.level is None:
            if leads_back:
                at = head(rule, case.var.id, case.offset) if case.var is not None else f"{rule.name.id}[{level}]"
                path = [at, *call.via, self.context.written(call.span)]
                self._report(rule, call, path, certain=False, help=self._guard(rule, case, call))
        elif (id(call.rule), call.level) in self.places:
            assert isinstance(call.level, int)
            self._cycle(self.path[self.places[id(call.rule), call.level] :])
        elif isinstance(call.level, int):
            if leads_back and call.level > MAX_LEVEL and rule is call.rule:
                self._rises(rule, level, call)
            self.visit(call.rule, call.level)

    def _cycle(self, cycle: Sequence[_Step]) -> None:
        levels = [level for _, level, _ in cycle]
        after = levels[1:] + levels[:1]
        at = min([i for i, pair in enumerate(zip(levels, after, strict=True)) if pair[1] >= pair[0]])
        cycle = [*cycle[at:], *cycle[:at]]
        names = [n for rule, level, call in cycle for n in (f"{rule.name.id}[{level}]", *call.via)]
        rule, level, call = cycle[0]
        certain = all(c.certain for _, _, c in cycle)
        case = next(self.reader.matching(rule, level))
        help = None if certain else self._guard(rule, case, call)
        self._report(rule, call, [*names, names[0]], certain=certain, help=help)

    def _report(
        self, rule: s.RuleDecl, call: RuleCall, path: Sequence[str], *, certain: bool, help: str | None
    ) -> None:
        self.reported.add(call.span)
        with self.context.within(rule.name.id):
            does_not_fall(self.context, rule.name.id, call.span, path, certain=certain, help=help)

    def _rises(self, rule: s.RuleDecl, level: int, call: RuleCall) -> None:
        name = rule.name.id
        self.reported.add(call.span)
        with self.context.within(name):
            rises(self.context, name, call.span, [f"{name}[{level}]", *call.via, f"{name}[{call.level}]"])

    def _guard(self, rule: s.RuleDecl, case: s.Case, call: RuleCall) -> str | None:
        """Help for a call of the rule itself at a level that depends on arguments: the guard under which it
        decreases."""
        known = {q.name.id for q in rule.params} | {*self.module.decls, *BUILTINS}
        known |= {case.var.id} if case.var is not None else set()
        if call.rule is not rule or call.via or call.index is None or not names_in(call.index) <= known:
            return None
        level = f"{case.offset}"
        if case.var is not None:
            level = f"{case.var.id}{f' + {case.offset}' if case.offset else ''}"
        falls = f"{self.context.written(call.index.span)} < {level}"
        match call.index:
            case s.Binary(op="-", left=s.Name(id=id)) if case.var and id == case.var.id and not case.offset:
                falls = f"{self.context.written(call.index.right.span)} > 0"
            case _:
                pass
        if case.guard is not None:
            guard = self.context.written(case.guard.span)
            falls = f"({guard}) and {falls}" if " or " in guard else f"{guard} and {falls}"
        at = f"{rule.name.id}[{level.replace(' ', '')}]"
        return f"add a guard that makes the level decrease: `{at} when {falls} = …`"
