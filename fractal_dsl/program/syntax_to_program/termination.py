"""Whether every cycle of calls between the rules of a file lowers the level, whether a net uses them or not.

Two searches tell:

- between rules, over mentions relative to the case's own level: ``F[n+1] = … F[n] …`` changes it by -1, and
  around a cycle the changes must add up to -1 or less;
- between rules at levels: none may come back to itself. It starts at each level that is written as a number; and at
  all levels of rules that can come back to themselves by a level written otherwise, such as ``F[n // 2]``.

A case whose guard depends on arguments is left to the check at expansion (``rules``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from msgspec import Struct

from fractal_dsl.language import syntax as s
from fractal_dsl.language.source import Span
from fractal_dsl.program.syntax_to_program.binding import written
from fractal_dsl.program.syntax_to_program.mentions import MAX_WORK, Mention, Number, Reader, Relative, names_in
from fractal_dsl.program.syntax_to_program.values import BUILTINS, MAX_LEVEL

if TYPE_CHECKING:
    from fractal_dsl.program.syntax_to_program.evaluate import Evaluator
    from fractal_dsl.program.syntax_to_program.modules import Module


class _Edge(Struct, frozen=True):
    """A mention in a case: from a rule to a rule, the level changed by ``change``."""

    start: s.RuleDecl
    case: s.Case
    end: s.RuleDecl
    change: int
    span: Span
    via: tuple[str, ...]


def check(module: Module) -> None:
    """Report, at a mention in it, each cycle between rules of the file around which the level does not fall."""
    rules = [d for d in module.file.decls if isinstance(d, s.RuleDecl)]
    reader = Reader(module)
    bad = _check_relative(module, reader, rules)
    _check_levels(module, reader, rules, bad)


def does_not_fall(
    ev: Evaluator, name: str, span: Span, path: Sequence[str], *, certain: bool = True, help: str | None = None
) -> None:
    """Report a cycle of the rule ``name``; ``path`` names its rules at their levels, and the layers between, the
    first one again at the end."""
    how = "does not fall here, so the rule would never end" if certain else "is not certain to fall here"
    ev.error("E0404", span, f"the level of `{name}` {how}: {' -> '.join(path)}", help=help or _must_fall(name))


def _must_fall(name: str) -> str:
    return f"a rule reads `{name}[n+1] = … {name}[n] …`: on the way back to itself its level must fall"


def reached(module: Module, rule: s.RuleDecl) -> list[s.Case]:
    """The cases of a rule that some level reaches, whatever the parameters of the file and of the rule."""
    reader = Reader(module)
    names: dict[str, Number] = dict.fromkeys([*module.decls, *[q.name.id for q in rule.params]])
    found = {id(c): c for c in rule.cases if c.offset > MAX_LEVEL}
    waiting = [c for c in rule.cases if c.var is not None]
    fixed: dict[int, list[s.Case]] = {}
    for case in rule.cases:
        if case.var is None:
            fixed.setdefault(case.offset, []).append(case)
    steps = 0
    for level in range(MAX_LEVEL + 1):
        for case in [*fixed.get(level, ()), *waiting]:
            n = level - case.offset
            if n < 0:
                continue
            if case.var is not None:
                names[case.var.id] = n
            steps += 1
            unknown = case.guard is None or steps > MAX_WORK // 10
            allowed = True if unknown else reader.number(case.guard, names)
            if allowed is not False:
                found[id(case)] = case
            if allowed is True:
                break
    return list(found.values())


# --- relative levels


def _check_relative(module: Module, reader: Reader, rules: Sequence[s.RuleDecl]) -> set[Span]:
    """Report cycles over relative levels; the spans are those of the mentions that were reported."""
    edges = [
        _Edge(rule, case, call.rule, call.level.offset - case.offset, call.span, call.via)
        for rule in rules
        for case in rule.cases
        if case.var is not None
        for call in reader.case(rule, case, Relative(0))
        if isinstance(call.level, Relative)
    ]
    bad: set[Span] = set()
    for part in _components(edges):
        while cycle := _rising(part):
            worst = min([e for e in cycle if e.change >= 0], key=lambda e: e.span.start)
            at = cycle.index(worst)
            cycle = cycle[at:] + cycle[:at]
            assert worst.case.var is not None
            level, path = worst.case.offset, [_at(worst.start, worst.case.var.id, worst.case.offset)]
            for edge in cycle:
                level += edge.change
                path += [*edge.via, _at(edge.end, worst.case.var.id, level)]
            with module.ev.within(worst.start.name.id):
                does_not_fall(module.ev, worst.start.name.id, worst.span, path)
            bad.add(worst.span)
            part = [e for e in part if e.span not in bad]
    return bad


def _at(rule: s.RuleDecl, var: str, offset: int) -> str:
    return f"{rule.name.id}[{var}{f'{offset:+}' if offset else ''}]"


def _components(edges: Sequence[_Edge]) -> list[list[_Edge]]:
    """The edges within each strongly connected part: Tarjan's algorithm."""
    out: dict[int, list[_Edge]] = {}
    for edge in edges:
        out.setdefault(id(edge.start), []).append(edge)
    order: dict[int, int] = {}
    low: dict[int, int] = {}
    part: dict[int, int] = {}
    stack: list[int] = []

    def visit(node: int) -> None:
        order[node] = low[node] = len(order)
        stack.append(node)
        for edge in out.get(node, ()):
            end = id(edge.end)
            if end not in order:
                visit(end)
                low[node] = min(low[node], low[end])
            elif end not in part:
                low[node] = min(low[node], order[end])
        while low[node] == order[node] and node not in part:
            part[stack.pop()] = node

    for node in out:
        if node not in order:
            visit(node)
    parts: dict[int, list[_Edge]] = {}
    for edge in edges:
        if part[id(edge.start)] == part[id(edge.end)]:
            parts.setdefault(part[id(edge.start)], []).append(edge)
    return list(parts.values())


def _rising(edges: Sequence[_Edge]) -> list[_Edge]:
    """A cycle whose changes add up to 0 or more, if there is one: Bellman and Ford's algorithm.

    A change counts (nodes + 1) times its size plus 1, so that a cycle of sum 0 counts more than nothing.
    """
    scale = len({id(e.start) for e in edges}) + 1
    reached = {id(rule): 0 for e in edges for rule in (e.start, e.end)}
    into: dict[int, _Edge] = {}
    for _ in range(min(scale, 1 + MAX_WORK // (len(edges) + 1))):
        moved = False
        for edge in edges:
            far = reached[id(edge.start)] + edge.change * scale + 1
            if far > reached[id(edge.end)]:
                reached[id(edge.end)], into[id(edge.end)], moved = far, edge, True
        if not moved:
            return []
        if cycle := _closed(into):
            return cycle
    return []


def _closed(into: Mapping[int, _Edge]) -> list[_Edge]:
    """A cycle among the edges that lead back from each node, if there is one."""
    seen: dict[int, int] = {}
    for walk, first in enumerate(into):
        node = first
        while node in into and node not in seen:
            seen[node] = walk
            node = id(into[node].start)
        if seen.get(node) == walk and node in into:
            cycle, at = [into[node]], id(into[node].start)
            while at != node:
                cycle.append(into[at])
                at = id(into[at].start)
            return cycle[::-1]
    return []


# --- levels that are numbers


def _check_levels(module: Module, reader: Reader, rules: Sequence[s.RuleDecl], bad: set[Span]) -> None:
    """Report cycles between rules at levels, from each level where one may begin."""
    search = _Search(module, reader, bad)
    search.parts = _parts(reader, rules)
    starts = [(rule, case.offset) for rule in rules for case in rule.cases if case.var is None]
    calls = [c for rule in rules for case in rule.cases for c in reader.case(rule, case, Relative(0))]
    starts += [(call.rule, call.level) for call in calls if isinstance(call.level, int)]
    starts += [(rule, level) for rule in rules if id(rule) in search.parts for level in range(MAX_LEVEL + 1)]
    for rule, level in starts:
        search.visit(rule, level)


def _parts(reader: Reader, rules: Sequence[s.RuleDecl]) -> dict[int, int]:
    """The rules that can come back to themselves by a level that is neither relative nor a number, each with the
    number of its part: the rules that it calls and that call it."""
    edges: list[_Edge] = []
    odd: set[Span] = set()
    for rule in rules:
        for case in rule.cases:
            for call in reader.case(rule, case, Relative(0)):
                edges.append(_Edge(rule, case, call.rule, 0, call.span, call.via))
                odd |= {call.span} if call.level is None else set()
    parts = [part for part in _components(edges) if any(edge.span in odd for edge in part)]
    return {id(rule): i for i, part in enumerate(parts) for edge in part for rule in (edge.start, edge.end)}


class _Search:
    """Walks from a rule at a level to those that it calls, in depth."""

    def __init__(self, module: Module, reader: Reader, bad: set[Span]) -> None:
        self.module, self.reader, self.bad = module, reader, bad
        self.parts: dict[int, int] = {}
        self.done: set[tuple[int, int]] = set()
        self.path: list[tuple[s.RuleDecl, int, Mention]] = []
        self.places: dict[tuple[int, int], int] = {}

    def visit(self, rule: s.RuleDecl, level: int) -> None:
        """Everything that a rule at a level leads to."""
        node = (id(rule), level)
        if node in self.done or not 0 <= level <= MAX_LEVEL or len(self.done) > MAX_WORK // 10:
            return
        self.places[node] = len(self.path)
        for case in self.reader.matching(rule, level):
            for call in self.reader.case(rule, case, level - case.offset):
                if call.span not in self.bad:
                    self._call(rule, level, case, call)
        del self.places[node]
        self.done.add(node)

    def _call(self, rule: s.RuleDecl, level: int, case: s.Case, call: Mention) -> None:
        back = id(rule) in self.parts and self.parts[id(rule)] == self.parts.get(id(call.rule))
        self.path.append((rule, level, call))
        if call.level is None:
            if back:
                text = written(self.module.ev, call.span)
                head = _at(rule, case.var.id, case.offset) if case.var is not None else f"{rule.name.id}[{level}]"
                self._report(
                    rule, call.span, [head, *call.via, text], certain=False, help=self._guard(rule, case, call)
                )
        elif (id(call.rule), call.level) in self.places:
            assert isinstance(call.level, int)
            self._cycle(self.path[self.places[id(call.rule), call.level] :])
        elif isinstance(call.level, int):
            if back and call.level > MAX_LEVEL and rule is call.rule:
                self._rises(rule, level, call)
            self.visit(call.rule, call.level)
        self.path.pop()

    def _cycle(self, cycle: Sequence[tuple[s.RuleDecl, int, Mention]]) -> None:
        levels = [level for _, level, _ in cycle]
        after = levels[1:] + levels[:1]
        at = min([i for i, pair in enumerate(zip(levels, after, strict=True)) if pair[1] >= pair[0]])
        cycle = [*cycle[at:], *cycle[:at]]
        names = [n for rule, level, call in cycle for n in (f"{rule.name.id}[{level}]", *call.via)]
        rule, level, call = cycle[0]
        certain = all(c.certain for _, _, c in cycle)
        case = next(self.reader.matching(rule, level))
        help = None if certain else self._guard(rule, case, call)
        self._report(rule, call.span, [*names, names[0]], certain=certain, help=help)

    def _guard(self, rule: s.RuleDecl, case: s.Case, call: Mention) -> str | None:
        """Help with a level of the rule itself that arguments decide: the guard under which it falls."""
        known = {q.name.id for q in rule.params} | {*self.module.decls, *BUILTINS}
        known |= {case.var.id} if case.var is not None else set()
        if call.rule is not rule or call.via or call.index is None or not names_in(call.index) <= known:
            return None
        ev, level = self.module.ev, f"{case.offset}"
        falls = f"{written(ev, call.index.span)} < {level}"
        if case.var is not None:
            level = f"{case.var.id}{f' + {case.offset}' if case.offset else ''}"
            falls = f"{written(ev, call.index.span)} < {level}"
            match call.index:
                case s.Binary(op="-", left=s.Name(id=id)) if id == case.var.id and not case.offset:
                    falls = f"{written(ev, call.index.right.span)} > 0"
                case _:
                    pass
        if case.guard is not None:
            guard = written(ev, case.guard.span)
            falls = f"({guard}) and {falls}" if " or " in guard else f"{guard} and {falls}"
        head = f"{rule.name.id}[{level.replace(' ', '')}]"
        return f"add a guard, under which the level falls: `{head} when {falls} = …`"

    def _report(
        self, rule: s.RuleDecl, span: Span, path: Sequence[str], *, certain: bool, help: str | None = None
    ) -> None:
        self.bad.add(span)
        with self.module.ev.within(rule.name.id):
            does_not_fall(self.module.ev, rule.name.id, span, path, certain=certain, help=help)

    def _rises(self, rule: s.RuleDecl, level: int, call: Mention) -> None:
        name = rule.name.id
        path = " -> ".join([f"{name}[{level}]", *call.via, f"{name}[{call.level}]"])
        self.bad.add(call.span)
        with self.module.ev.within(name):
            message = f"the level of `{name}` rises over every limit here: {path}"
            self.module.ev.error("E0404", call.span, message, help=_must_fall(name))
