"""What the text of a rule mentions: rules at levels, relative to the case's own or as numbers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, cast

from msgspec import Struct
from msgspec.structs import replace

from fractal_dsl.language import syntax as s
from fractal_dsl.language.diagnostics import Report
from fractal_dsl.language.source import Span
from fractal_dsl.program.syntax_to_program.scope import Scope
from fractal_dsl.program.syntax_to_program.values import (
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
    from fractal_dsl.program.syntax_to_program.modules import Module

MAX_WORK = 200_000
"""The work that the searches may do; no file that a person writes needs it."""


class Relative(Struct, frozen=True):
    """The case's level variable plus ``offset``."""

    offset: int


Number = int | Relative | None
"""A whole number or a truth value, a level relative to the case's variable, or what is not known."""
Names = Mapping[str, Value]
"""Numbers, levels relative to the case's variable, other plain values, and None for what is not known."""


class Mention(Struct, frozen=True):
    """A mention of ``rule`` at ``level`` in the text, by way of the layers ``via``. A level that is one of several
    is not ``certain``; one that may be any is None. ``index`` is the level as it is written."""

    rule: s.RuleDecl
    level: int | Relative | None
    span: Span
    via: tuple[str, ...] = ()
    certain: bool = True
    index: s.Expr | None = None

    def __eq__(self, other: object) -> bool:
        """One mention found by several ways is one."""
        return isinstance(other, Mention) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def _key(self) -> tuple[object, ...]:
        return (id(self.rule), self.level, self.span, self.certain)


def names_in(node: object) -> set[str]:
    """The names in an expression."""
    if isinstance(node, s.Name):
        return {node.id}
    if isinstance(node, tuple):
        return {n for part in cast(tuple[object, ...], node) for n in names_in(part)}
    if not isinstance(node, Struct) or isinstance(node, Span):
        return set()
    return {n for part in node.__struct_fields__ for n in names_in(getattr(node, part))}


class Reader:
    """Finds the mentions of a file's rules, also within the layers that it calls."""

    def __init__(self, module: Module) -> None:
        self.module, self.steps = module, 0
        self.quiet = module.ev.alone(Report(module.file.source))
        self.known: dict[object, list[Mention]] = {}

    def case(self, rule: s.RuleDecl, case: s.Case, n: int | Relative) -> list[Mention]:
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
            names: dict[str, Number] = dict.fromkeys([q.name.id for q in rule.params])
            if case.var is not None:
                names[case.var.id] = n
            self.exact = True
            allowed = True if case.guard is None else self._value(case.guard, names)
            if allowed is True:
                yield case
            if allowed is not False:
                return

    def _in(self, node: object, names: Names) -> list[Mention]:
        self.steps += 1
        if self.steps > MAX_WORK:
            return []
        match node:
            case s.Name():
                decl = self._declared(node, names)
                return self._layer(decl, (), names) if isinstance(decl, s.LayerDecl) else []
            case s.Index(base=s.Name() as base) if isinstance(rule := self._declared(base, names), s.RuleDecl):
                levels = self._levels(node.index, names)
                return [Mention(rule, level, node.span, (), certain, node.index) for level, certain in levels]
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

    def _layer(self, decl: s.LayerDecl, args: Sequence[s.Arg], names: Names) -> list[Mention]:
        """The mentions in the body of a layer, or a join, that is called."""
        given: dict[str, s.Expr] = {a.name: a.value for a in args if a.name is not None}
        if not decl.is_join:  # the branches of a join stand before its arguments
            given.update(zip([q.name.id for q in decl.params], [a.value for a in args if a.name is None], strict=False))
        inner: dict[str, Value] = {}
        calls: list[Mention] = []
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

    def _declared(self, name: s.Name, names: Names) -> s.RuleDecl | s.LayerDecl | None:
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

    def _levels(self, expr: s.Expr, names: Names) -> list[tuple[int | Relative | None, bool]]:
        """The levels that an expression may be, and whether each is certain."""
        self.quiet.report = Report(self.module.file.source)
        value = self._value(expr, names)
        if self.quiet.report.found:  # it has no value, which is told where it is used
            return []
        if isinstance(value, int | Relative):
            return [(value, True)]
        bounds = self._bounds(expr, names)
        if bounds is None:
            return [(None, False)]
        return [(level, False) for level in range(max(bounds[0], 0), min(bounds[1], MAX_LEVEL) + 1)]

    def _bounds(self, expr: s.Expr, names: Names) -> tuple[int, int] | None:
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

    def _rounds(self, node: s.Comprehension, names: Names) -> list[dict[str, Value]]:
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

    def _value(self, expr: s.Expr | None, names: Names) -> Value:
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

    def number(self, expr: s.Expr | None, names: Names) -> Number:
        match expr:
            case s.Literal(value=int() as value):
                return value
            case s.Name():
                value = names[expr.id] if expr.id in names else self.module.values.get(expr.id)
                return value if isinstance(value, int | Relative) else None
            case s.Unary():
                value = self.number(expr.operand, names)
                if not isinstance(value, int) or isinstance(value, bool) != (expr.op == "not"):
                    return None
                return not value if expr.op == "not" else -value
            case s.Binary():
                return _combined(expr.op, self.number(expr.left, names), self.number(expr.right, names))
            case _:
                return None


def _combined(op: str, a: Number, b: Number) -> Number:
    """An operator on numbers, as far as it can be told."""
    match a, b:
        case bool(), bool():
            return (a and b) if op == "and" else (a or b) if op == "or" else None
        case (bool(), _) | (_, bool()):
            return None
        case Relative(offset=x), int():
            return Relative(x + b) if op == "+" else Relative(x - b) if op == "-" else None
        case int(), Relative(offset=y):
            return Relative(a + y) if op == "+" else None
        case Relative(offset=x), Relative(offset=y):
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
