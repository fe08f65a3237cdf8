"""Whether every cycle of calls between the rules of a file lowers the level, whether a net uses them or not.

Two searches tell:

- between rules, over mentions relative to the case's own level: ``F[n+1] = … F[n] …`` changes it by -1, and
  around a cycle the changes must add up to -1 or less;
- between rules at levels: none may come back to itself. It starts at each level that is written as a number; and at
  all levels of rules that can come back to themselves by a level written otherwise, such as ``F[n // 2]``.

A case whose guard depends on arguments is left to the check at expansion (``rules``).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, cast

from msgspec import Struct
from msgspec.structs import replace

from fractal_dsl import syntax as s
from fractal_dsl.diagnostics import Report
from fractal_dsl.source import Span
from fractal_dsl.syntax_to_program.binding import written
from fractal_dsl.syntax_to_program.scope import Scope
from fractal_dsl.syntax_to_program.values import (
    ANY,
    BUILTINS,
    MAX_INT,
    MAX_LEVEL,
    LayerFn,
    ModuleValue,
    OutOfSteps,
    RuleFn,
    Value,
    has_unknown,
    is_list,
    is_literal,
)

if TYPE_CHECKING:
    from fractal_dsl.syntax_to_program.evaluate import Evaluator
    from fractal_dsl.syntax_to_program.modules import Module

_MAX_STEPS = 200_000
"""The work that the searches may do; no file that a person writes needs it."""


class _Relative(Struct, frozen=True):
    """The case's level variable plus ``offset``."""

    offset: int


_Number = int | _Relative | None
"""A whole number or a truth value, a level relative to the case's variable, or what is not known."""
_Names = Mapping[str, Value]
"""Numbers, levels relative to the case's variable, other plain values, and None for what is not known."""


class _Call(Struct, frozen=True):
    """A mention of ``rule`` at ``level`` in the text, by way of the layers ``via``. A level that is one of several
    is not ``certain``; one that may be any is None. ``index`` is the level as it is written."""

    rule: s.RuleDecl
    level: int | _Relative | None
    span: Span
    via: tuple[str, ...] = ()
    certain: bool = True
    index: s.Expr | None = None

    def __eq__(self, other: object) -> bool:
        """One mention found by several ways is one."""
        return isinstance(other, _Call) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def _key(self) -> tuple[object, ...]:
        return (id(self.rule), self.level, self.span, self.certain)


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
    reader = _Reader(module)
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
        _Edge(rule, case, call.rule, call.level.offset - case.offset, call.span, call.via)
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
    """Report cycles between rules at levels, from each level where one may begin."""
    search = _Search(module, reader, bad)
    search.parts = _parts(reader, rules)
    starts = [(rule, case.offset) for rule in rules for case in rule.cases if case.var is None]
    calls = [c for rule in rules for case in rule.cases for c in reader.case(rule, case, _Relative(0))]
    starts += [(call.rule, call.level) for call in calls if isinstance(call.level, int)]
    starts += [(rule, level) for rule in rules if id(rule) in search.parts for level in range(MAX_LEVEL + 1)]
    for rule, level in starts:
        search.visit(rule, level)


def _parts(reader: _Reader, rules: Sequence[s.RuleDecl]) -> dict[int, int]:
    """The rules that can come back to themselves by a level that is neither relative nor a number, each with the
    number of its part: the rules that it calls and that call it."""
    edges: list[_Edge] = []
    odd: set[Span] = set()
    for rule in rules:
        for case in rule.cases:
            for call in reader.case(rule, case, _Relative(0)):
                edges.append(_Edge(rule, case, call.rule, 0, call.span, call.via))
                odd |= {call.span} if call.level is None else set()
    parts = [part for part in _components(edges) if any(edge.span in odd for edge in part)]
    return {id(rule): i for i, part in enumerate(parts) for edge in part for rule in (edge.start, edge.end)}


class _Search:
    """Walks from a rule at a level to those that it calls, in depth."""

    def __init__(self, module: Module, reader: _Reader, bad: set[Span]) -> None:
        self.module, self.reader, self.bad = module, reader, bad
        self.parts: dict[int, int] = {}
        self.done: set[tuple[int, int]] = set()
        self.path: list[tuple[s.RuleDecl, int, _Call]] = []
        self.places: dict[tuple[int, int], int] = {}

    def visit(self, rule: s.RuleDecl, level: int) -> None:
        """Everything that a rule at a level leads to."""
        node = (id(rule), level)
        if node in self.done or not 0 <= level <= MAX_LEVEL or len(self.done) > _MAX_STEPS // 10:
            return
        self.places[node] = len(self.path)
        for case in self.reader.matching(rule, level):
            for call in self.reader.case(rule, case, level - case.offset):
                if call.span not in self.bad:
                    self._call(rule, level, case, call)
        del self.places[node]
        self.done.add(node)

    def _call(self, rule: s.RuleDecl, level: int, case: s.Case, call: _Call) -> None:
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

    def _cycle(self, cycle: Sequence[tuple[s.RuleDecl, int, _Call]]) -> None:
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

    def _guard(self, rule: s.RuleDecl, case: s.Case, call: _Call) -> str | None:
        """Help with a level of the rule itself that arguments decide: the guard under which it falls."""
        known = {q.name.id for q in rule.params} | {*self.module.decls, *BUILTINS}
        known |= {case.var.id} if case.var is not None else set()
        if call.rule is not rule or call.via or call.index is None or not _names(call.index) <= known:
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

    def _rises(self, rule: s.RuleDecl, level: int, call: _Call) -> None:
        name = rule.name.id
        path = " -> ".join([f"{name}[{level}]", *call.via, f"{name}[{call.level}]"])
        self.bad.add(call.span)
        with self.module.ev.within(name):
            message = f"the level of `{name}` rises over every limit here: {path}"
            self.module.ev.error("E0404", call.span, message, help=_must_fall(name))


def _names(node: object) -> set[str]:
    """The names in an expression."""
    if isinstance(node, s.Name):
        return {node.id}
    if isinstance(node, tuple):
        return {n for part in cast(tuple[object, ...], node) for n in _names(part)}
    if not isinstance(node, Struct) or isinstance(node, Span):
        return set()
    return {n for part in node.__struct_fields__ for n in _names(getattr(node, part))}


# --- the text


class _Reader:
    """Finds the mentions of a file's rules, also within the layers that it calls."""

    def __init__(self, module: Module) -> None:
        self.module, self.steps = module, 0
        self.quiet = module.ev.alone(Report(module.file.source))
        self.known: dict[object, list[_Call]] = {}

    def case(self, rule: s.RuleDecl, case: s.Case, n: int | _Relative) -> list[_Call]:
        """The mentions in a case whose variable is ``n``, those of the rule's join included."""
        key = (id(case), n)
        if key not in self.known:
            names: dict[str, Value] = dict.fromkeys([q.name.id for q in rule.params])
            if case.var is not None:
                names[case.var.id] = n
            self.exact = isinstance(n, int)
            calls = self._in(rule.join, names) + self._in(case.body, names)
            self.known[key] = list(dict.fromkeys(calls))
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
            self.exact = True
            allowed = True if case.guard is None else self._value(case.guard, names)
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
                levels = self._levels(node.index, names)
                return [_Call(rule, level, node.span, (), certain, node.index) for level, certain in levels]
            case s.Call(func=s.Name() as func) if isinstance(decl := self._declared(func, names), s.LayerDecl):
                calls = [c for arg in node.args for c in self._in(arg.value, names)]
                return calls + self._layer(decl, node.args, names)
            case s.Comprehension():
                return self._in(node.iterable, names) + [
                    c for inner in self._rounds(node, names) for c in self._in(node.body, {**names, **inner})
                ]
            case tuple():
                return [c for part in cast(tuple[object, ...], node) for c in self._in(part, names)]
            case Struct() if not isinstance(node, Span):
                return [c for part in node.__struct_fields__ for c in self._in(getattr(node, part), names)]
            case _:
                return []

    def _layer(self, decl: s.LayerDecl, args: Sequence[s.Arg], names: _Names) -> list[_Call]:
        """The mentions in the body of a layer, or a join, that is called."""
        given: dict[str, s.Expr] = {a.name: a.value for a in args if a.name is not None}
        if not decl.is_join:  # the branches of a join stand before its arguments
            given.update(zip([q.name.id for q in decl.params], [a.value for a in args if a.name is None], strict=False))
        inner: dict[str, Value] = {}
        calls: list[_Call] = []
        for q in decl.params:
            name = q.name.id
            calls += self._in(q.default, inner) if name not in given else []
            inner[name] = self._value(given[name], names) if name in given else self._value(q.default, inner)
        key = (id(decl), self.exact, tuple(inner.values()))
        if key not in self.known:
            self.known[key] = []  # a layer that needs itself is another error
            found = [replace(c, via=(decl.name.id, *c.via)) for c in self._in(decl.body, inner)]
            self.known[key] = list(dict.fromkeys(found))
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

    def _levels(self, expr: s.Expr, names: _Names) -> list[tuple[int | _Relative | None, bool]]:
        """The levels that an expression may be, and whether each is certain."""
        self.quiet.report = Report(self.module.file.source)
        value = self._value(expr, names)
        if self.quiet.report.found:  # it has no value, which is told where it is used
            return []
        if isinstance(value, int | _Relative):
            return [(value, True)]
        bounds = self._bounds(expr, names)
        if bounds is None:
            return [(None, False)]
        return [(level, False) for level in range(max(bounds[0], 0), min(bounds[1], MAX_LEVEL) + 1)]

    def _bounds(self, expr: s.Expr, names: _Names) -> tuple[int, int] | None:
        """The least and the greatest value of an expression that is not known; None where it has none."""
        value = self._value(expr, names)
        if isinstance(value, int):
            return value, value
        if not isinstance(expr, s.Binary):
            return None
        left, right = self._bounds(expr.left, names), self._bounds(expr.right, names)
        if expr.op == "%" and right and right[0] == right[1] > 0:
            return 0, right[0] - 1
        if left is None or right is None:
            return None
        match expr.op:
            case "+":
                return left[0] + right[0], left[1] + right[1]
            case "-":
                return left[0] - right[1], left[1] - right[0]
            case "//" if right[0] == right[1] > 0:
                return left[0] // right[0], left[1] // right[0]
            case _:
                return None

    def _rounds(self, node: s.Comprehension, names: _Names) -> list[dict[str, Value]]:
        """What the names of a comprehension stand for, round by round; None where that is not known. There are no
        rounds over a list that has an error, which is told where it is used."""
        targets = [t.id for t in node.targets]
        self.quiet.report = Report(self.module.file.source)
        values = self._value(node.iterable, names)
        if self.quiet.report.found:
            return []
        if not is_list(values) or len(values) > MAX_LEVEL + 1:
            return [dict.fromkeys(targets)]
        rows = [(v,) if len(targets) == 1 else v for v in values]
        return [dict(zip(targets, row, strict=True)) for row in rows if is_list(row) and len(row) == len(targets)]

    def _value(self, expr: s.Expr | None, names: _Names) -> Value:
        """A plain value, or a relative level; None where that is not known. Read of the text, it is a number."""
        value = self.number(expr, names)
        if value is not None or expr is None or not self.exact or not self._plain(expr, set(names)):
            return value
        local = {k: ANY if v is None else v for k, v in names.items()}
        try:
            found = self.quiet.eval(expr, Scope(self.module, local))
        except OutOfSteps:
            return None
        return found if is_literal(found) and not has_unknown(found) else None

    def _plain(self, node: object, bound: set[str]) -> bool:
        """Whether an expression is of plain values only, with no block in it, and so is evaluated in no time."""
        match node:
            case s.Name(id=id):
                value = self.module.values.get(id)
                known = isinstance(value, ModuleValue) or (value is not None and is_literal(value))
                return id in bound or known or (id in BUILTINS and id != "seq" and id not in self.module.decls)
            case s.Comprehension():
                bound = bound | {t.id for t in node.targets}
                return self._plain(node.iterable, bound) and self._plain(node.body, bound)
            case s.Flow() | s.Columns() | s.Annotated():
                return False
            case tuple():
                return all(self._plain(part, bound) for part in cast(tuple[object, ...], node))
            case Struct() if not isinstance(node, Span):
                return all(self._plain(getattr(node, part), bound) for part in node.__struct_fields__)
            case _:
                return True

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
