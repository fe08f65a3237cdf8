"""Whether every cycle of calls between the rules of a file lowers the level, told from the syntax alone.

A mention's level is read as the case's own variable plus a number, or as a number; any other is left to the
check at expansion (``rules``), as are guards and levels that depend on arguments. Two searches tell the rest:

- between rules, over mentions relative to the case's own level: ``F[n+1] = … F[n] …`` changes it by -1, and
  around a cycle the changes must add up to -1 or less;
- between rules at levels, from every level that is written as a number: none may come back to itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import TYPE_CHECKING, cast

from fractal_dsl import syntax as s
from fractal_dsl.source import Span
from fractal_dsl.syntax_to_program.values import MAX_INT, MAX_LEVEL, LayerFn, RuleFn

if TYPE_CHECKING:
    from fractal_dsl.syntax_to_program.evaluate import Evaluator
    from fractal_dsl.syntax_to_program.modules import Module

_MAX_STEPS = 200_000
"""The work that the searches may do; no file that a person writes needs it."""


@dataclass(frozen=True, slots=True)
class _Relative:
    """The case's level variable plus ``offset``."""

    offset: int


_Number = int | _Relative | None
"""A whole number or a truth value, a level relative to the case's variable, or what is not known."""
_Names = Mapping[str, _Number]


@dataclass(frozen=True, slots=True)
class _Call:
    """A mention of ``rule`` at ``level`` in the text."""

    rule: s.RuleDecl
    level: int | _Relative
    span: Span

    def __hash__(self) -> int:
        return hash((id(self.rule), self.level, self.span))


@dataclass(frozen=True, slots=True)
class _Edge:
    """A mention in a case: from a rule to a rule, the level changed by ``change``."""

    start: s.RuleDecl
    case: s.Case
    end: s.RuleDecl
    change: int
    span: Span


def check(module: Module) -> None:
    """Report, at a mention in it, each cycle between rules of the file around which the level does not fall."""
    rules = [d for d in module.file.decls if isinstance(d, s.RuleDecl)]
    reader = _Reader(module)
    bad = _check_relative(module, reader, rules)
    _check_levels(module, reader, rules, bad)


def does_not_fall(ev: Evaluator, name: str, span: Span, path: Sequence[str]) -> None:
    """Report a cycle of the rule ``name``; ``path`` names its rules at their levels, the first one again at the end."""
    help = f"a rule reads `{name}[n+1] = … {name}[n] …`: on the way back to itself its level must fall"
    message = f"the level of `{name}` does not fall here, so the rule would never end: {' -> '.join(path)}"
    ev.error("E0404", span, message, help=help)


def reached(module: Module, rule: s.RuleDecl) -> list[s.Case]:
    """The cases of a rule that some level reaches, whatever the parameters of the file and of the rule."""
    reader = _Reader(module)
    names: dict[str, _Number] = dict.fromkeys([*module.decls, *[q.name.id for q in rule.params]])
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
            unknown = case.guard is None or steps > _MAX_STEPS // 10
            allowed = True if unknown else reader.number(case.guard, names)
            if allowed is not False:
                found[id(case)] = case
            if allowed is True:
                break
    return list(found.values())


# --- relative levels


def _check_relative(module: Module, reader: _Reader, rules: Sequence[s.RuleDecl]) -> set[Span]:
    """Report cycles over relative levels; the spans are those of the mentions that were reported."""
    edges = [
        _Edge(rule, case, call.rule, call.level.offset - case.offset, call.span)
        for rule in rules
        for case in rule.cases
        if case.var is not None
        for call in reader.case(rule, case, _Relative(0))
        if isinstance(call.level, _Relative)
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
                path.append(_at(edge.end, worst.case.var.id, level))
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
    for _ in range(min(scale, 1 + _MAX_STEPS // (len(edges) + 1))):
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


def _check_levels(module: Module, reader: _Reader, rules: Sequence[s.RuleDecl], bad: set[Span]) -> None:
    """Report cycles between rules at levels, from each level that is written as a number."""
    starts = [(rule, case.offset) for rule in rules for case in rule.cases if case.var is None]
    calls = [c for rule in rules for case in rule.cases for c in reader.case(rule, case, _Relative(0))]
    starts += [(call.rule, call.level) for call in calls if isinstance(call.level, int)]
    done: set[tuple[int, int]] = set()
    path: list[tuple[s.RuleDecl, int, Span]] = []
    places: dict[tuple[int, int], int] = {}

    def visit(rule: s.RuleDecl, level: int) -> None:
        node = (id(rule), level)
        if node in done or not 0 <= level <= MAX_LEVEL or len(done) > _MAX_STEPS // 10:
            return
        places[node] = len(path)
        for case in reader.matching(rule, level):
            for call in reader.case(rule, case, level - case.offset):
                assert isinstance(call.level, int)
                if call.span in bad:
                    continue
                path.append((rule, level, call.span))
                if (id(call.rule), call.level) in places:
                    report(path[places[(id(call.rule), call.level)] :])
                else:
                    visit(call.rule, call.level)
                path.pop()
        del places[node]
        done.add(node)

    def report(cycle: Sequence[tuple[s.RuleDecl, int, Span]]) -> None:
        levels = [level for _, level, _ in cycle]
        after = levels[1:] + levels[:1]
        at = min([i for i, pair in enumerate(zip(levels, after, strict=True)) if pair[1] >= pair[0]])
        cycle = [*cycle[at:], *cycle[:at]]
        names = [f"{rule.name.id}[{level}]" for rule, level, _ in cycle]
        rule, _, span = cycle[0]
        bad.add(span)
        with module.ev.within(rule.name.id):
            does_not_fall(module.ev, rule.name.id, span, [*names, names[0]])

    for rule, level in starts:
        visit(rule, level)


# --- the text


class _Reader:
    """Finds the mentions of a file's rules, also within the layers that it calls."""

    def __init__(self, module: Module) -> None:
        self.module, self.steps = module, 0
        self.known: dict[object, list[_Call]] = {}

    def case(self, rule: s.RuleDecl, case: s.Case, n: int | _Relative) -> list[_Call]:
        """The mentions in a case whose variable is ``n``, those of the rule's join included."""
        key = (id(case), n)
        if key not in self.known:
            names: dict[str, _Number] = dict.fromkeys([q.name.id for q in rule.params])
            calls = self._in(rule.join, names)
            if case.var is not None:
                names[case.var.id] = n
            calls += self._in(case.body, names)
            self.known[key] = [c for c in calls if isinstance(n, _Relative) or isinstance(c.level, int)]
        return self.known[key]

    def matching(self, rule: s.RuleDecl, level: int) -> Iterator[s.Case]:
        """The case that takes a level; where a guard is not known, that one is left out."""
        for case in sorted(rule.cases, key=lambda c: c.var is not None):
            n = level - case.offset
            if n < 0 or (case.var is None and n != 0):
                continue
            names: dict[str, _Number] = dict.fromkeys([q.name.id for q in rule.params])
            if case.var is not None:
                names[case.var.id] = n
            allowed = True if case.guard is None else self.number(case.guard, names)
            if allowed is True:
                yield case
            if allowed is not False:
                return

    def _in(self, node: object, names: _Names) -> list[_Call]:
        self.steps += 1
        if self.steps > _MAX_STEPS:
            return []
        match node:
            case s.Name():
                decl = self._declared(node, names)
                return self._layer(decl, (), names) if isinstance(decl, s.LayerDecl) else []
            case s.Index(base=s.Name() as base) if isinstance(rule := self._declared(base, names), s.RuleDecl):
                level = self.number(node.index, names)
                return [] if level is None else [_Call(rule, level, node.span)]
            case s.Call(func=s.Name() as func) if isinstance(decl := self._declared(func, names), s.LayerDecl):
                calls = [c for arg in node.args for c in self._in(arg.value, names)]
                return calls + self._layer(decl, node.args, names)
            case s.Comprehension():
                inner = {**names, **dict.fromkeys([t.id for t in node.targets])}
                return self._in(node.iterable, names) + self._in(node.body, inner)
            case tuple():
                return [c for part in cast(tuple[object, ...], node) for c in self._in(part, names)]
            case _ if is_dataclass(node) and not isinstance(node, Span):
                return [c for f in fields(node) if f.name != "span" for c in self._in(getattr(node, f.name), names)]
            case _:
                return []

    def _layer(self, decl: s.LayerDecl, args: Sequence[s.Arg], names: _Names) -> list[_Call]:
        """The mentions in the body of a layer, or a join, that is called."""
        given: dict[str, s.Expr] = {a.name: a.value for a in args if a.name is not None}
        if not decl.is_join:  # the branches of a join stand before its arguments
            given.update(zip([q.name.id for q in decl.params], [a.value for a in args if a.name is None], strict=False))
        inner: dict[str, _Number] = {}
        calls: list[_Call] = []
        for q in decl.params:
            name = q.name.id
            calls += self._in(q.default, inner) if name not in given else []
            inner[name] = self.number(given[name], names) if name in given else self.number(q.default, inner)
        key = (id(decl), tuple(inner.values()))
        if key not in self.known:
            self.known[key] = []  # a layer that needs itself is another error
            self.known[key] = list(dict.fromkeys(self._in(decl.body, inner)))
        return calls + self.known[key]

    def _declared(self, name: s.Name, names: _Names) -> s.RuleDecl | s.LayerDecl | None:
        """The rule or layer of this file that a name stands for."""
        if name.id in names:
            return None
        decl = self.module.decls.get(name.id)
        if isinstance(decl, s.RuleDecl | s.LayerDecl):
            return decl
        match self.module.values.get(name.id):
            case RuleFn(decl=decl, home=home) | LayerFn(decl=decl, home=home) if home is self.module:
                return decl
            case _:
                return None

    def number(self, expr: s.Expr | None, names: _Names) -> _Number:
        match expr:
            case s.Literal(value=int() as value):
                return value
            case s.Name():
                value = names[expr.id] if expr.id in names else self.module.values.get(expr.id)
                return value if isinstance(value, int | _Relative) else None
            case s.Unary():
                value = self.number(expr.operand, names)
                if not isinstance(value, int) or isinstance(value, bool) != (expr.op == "not"):
                    return None
                return not value if expr.op == "not" else -value
            case s.Binary():
                return _combined(expr.op, self.number(expr.left, names), self.number(expr.right, names))
            case _:
                return None


def _combined(op: str, a: _Number, b: _Number) -> _Number:
    """An operator on numbers, as far as it can be told."""
    match a, b:
        case bool(), bool():
            return (a and b) if op == "and" else (a or b) if op == "or" else None
        case (bool(), _) | (_, bool()):
            return None
        case _Relative(offset=x), int():
            return _Relative(x + b) if op == "+" else _Relative(x - b) if op == "-" else None
        case int(), _Relative(offset=y):
            return _Relative(a + y) if op == "+" else None
        case _Relative(offset=x), _Relative(offset=y):
            return x - y if op == "-" else None
        case int(), int():
            return _arithmetic(op, a, b)
        case _:
            return None


def _arithmetic(op: str, a: int, b: int) -> int | None:
    match op:
        case "+":
            value = a + b
        case "-":
            value = a - b
        case "*":
            value = a * b
        case "//" | "%" if b:
            value = a // b if op == "//" else a % b
        case "<":
            value = a < b
        case "<=":
            value = a <= b
        case ">":
            value = a > b
        case ">=":
            value = a >= b
        case "==":
            value = a == b
        case "!=":
            value = a != b
        case _:
            return None
    return value if abs(value) <= MAX_INT else None
