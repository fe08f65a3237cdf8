"""The calls between the rules of a file, at relative levels or at numbers, read from their syntax."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from msgspec import Struct
from msgspec.structs import replace

from fractal_dsl.language import syntax as s
from fractal_dsl.language.diagnostics import Report
from fractal_dsl.language.source import Span
from fractal_dsl.language.walk import SyntaxNode, parts
from fractal_dsl.program.syntax_to_program.cases import candidates
from fractal_dsl.program.syntax_to_program.context import Context
from fractal_dsl.program.syntax_to_program.evaluate import Evaluator
from fractal_dsl.program.syntax_to_program.limits import MAX_LEVEL, MAX_WORK, OutOfSteps
from fractal_dsl.program.syntax_to_program.modules import Module
from fractal_dsl.program.syntax_to_program.scope import Scope
from fractal_dsl.program.syntax_to_program.termination.numbers import Bounds, Names, Relative, bounds, number
from fractal_dsl.program.syntax_to_program.types import ANY
from fractal_dsl.program.syntax_to_program.values import (
    BUILTINS,
    LayerFn,
    ModuleValue,
    RuleFn,
    Value,
    has_unknown,
    is_list,
    is_literal,
)


class RuleCall(Struct, frozen=True):
    """A call of ``rule`` at ``level``, through the layers ``via``.

    ``certain`` is false if the level is one of several; ``level`` is None if it may be any. ``index`` is the level as
    written."""

    rule: s.RuleDecl
    level: int | Relative | None
    span: Span
    via: tuple[str, ...] = ()
    certain: bool = True
    index: s.Expr | None = None

    def __eq__(self, other: object) -> bool:
        """Calls read in several ways from one place are equal."""
        return isinstance(other, RuleCall) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def _key(self) -> tuple[object, ...]:
        return (id(self.rule), self.level, self.span, self.certain)


class Reader:
    """Reads the calls of a file's rules, including those inside the layers they call."""

    def __init__(self, module: Module) -> None:
        self.module, self.steps = module, 0
        self.quiet = Evaluator(Context(Report(module.file.source), module.context.max_repeat))
        self.calls: dict[object, list[RuleCall]] = {}

    def case(self, rule: s.RuleDecl, case: s.Case, n: int | Relative) -> list[RuleCall]:
        """The calls in a case whose variable is ``n``, including those of the rule's join."""
        key = (id(case), n)
        if key not in self.calls:
            names = _names(rule, case, n)
            self.exact = isinstance(n, int)
            calls = self._in(rule.join, names) if rule.join is not None else []
            self.calls[key] = list(dict.fromkeys(calls + self._in(case.body, names)))
        return self.calls[key]

    def matching(self, rule: s.RuleDecl, level: int) -> Iterator[s.Case]:
        """The case that matches a level. Cases with an unknown guard are skipped."""
        for case, n in candidates(rule, level):
            self.exact = True
            allowed = True if case.guard is None else self._value(case.guard, _names(rule, case, n))
            if allowed is True:
                yield case
            if allowed is not False:
                return

    def _in(self, node: SyntaxNode, names: Names) -> list[RuleCall]:
        self.steps += 1
        if self.steps > MAX_WORK:
            return []
        match node:
            case s.Name():
                decl = self._declared(node, names)
                return self._layer(decl, (), names) if isinstance(decl, s.LayerDecl) else []
            case s.Index(base=s.Name() as base) if isinstance(rule := self._declared(base, names), s.RuleDecl):
                levels = self._levels(node.index, names)
                return [RuleCall(rule, level, node.span, (), certain, node.index) for level, certain in levels]
            case s.Call(func=s.Name() as func) if isinstance(decl := self._declared(func, names), s.LayerDecl):
                calls = [c for arg in node.args for c in self._in(arg.value, names)]
                return calls + self._layer(decl, node.args, names)
            case s.Comprehension():
                return self._in(node.iterable, names) + [
                    c for inner in self._rounds(node, names) for c in self._in(node.body, {**names, **inner})
                ]
            case _:
                return [c for part in parts(node) for c in self._in(part, names)]

    def _layer(self, decl: s.LayerDecl, args: Sequence[s.Arg], names: Names) -> list[RuleCall]:
        """The calls in the body of a called layer or join."""
        given: dict[str, s.Expr] = {a.name: a.value for a in args if a.name is not None}
        if not decl.is_join:  # the branches of a join come before its arguments
            given.update(zip([q.name.id for q in decl.params], [a.value for a in args if a.name is None], strict=False))
        inner: dict[str, Value] = {}
        calls: list[RuleCall] = []
        for q in decl.params:
            name = q.name.id
            if name not in given and q.default is not None:
                calls += self._in(q.default, inner)
            inner[name] = self._value(given[name], names) if name in given else self._value(q.default, inner)
        key = (id(decl), self.exact, tuple(inner.values()))
        if key not in self.calls:
            self.calls[key] = []  # a layer that needs itself is reported elsewhere
            inside = [replace(c, via=(decl.name.id, *c.via)) for c in self._in(decl.body, inner)]
            self.calls[key] = list(dict.fromkeys(inside))
        return calls + self.calls[key]

    def _declared(self, name: s.Name, names: Names) -> s.RuleDecl | s.LayerDecl | None:
        """The rule or layer of this file that a name refers to."""
        if name.id in names:
            return None
        decl = self.module.decls.get(name.id)
        if isinstance(decl, s.RuleDecl | s.LayerDecl):
            return decl
        match self.module.values.get(name.id):
            case RuleFn(decl=decl, module=module) | LayerFn(decl=decl, module=module) if module is self.module:
                return decl
            case _:
                return None

    def _levels(self, expr: s.Expr, names: Names) -> list[tuple[int | Relative | None, bool]]:
        """The levels that an expression may have, and whether each is certain. None of them if it has an error, which
        is reported where it is used."""
        report = self._start_anew()
        value = self._value(expr, names)
        if report.errors:
            return []
        if isinstance(value, int | Relative):
            return [(value, True)]
        ends = self._bounds(expr, names)
        if ends is None:
            return [(None, False)]
        return [(level, False) for level in range(max(ends[0], 0), min(ends[1], MAX_LEVEL) + 1)]

    def _bounds(self, expr: s.Expr, names: Names) -> Bounds | None:
        """The least and the greatest value of an unknown expression; None if it has no bounds."""
        value = self._value(expr, names)
        if isinstance(value, int):
            return value, value
        if not isinstance(expr, s.Binary):
            return None
        return bounds(expr.op, self._bounds(expr.left, names), self._bounds(expr.right, names))

    def _rounds(self, node: s.Comprehension, names: Names) -> list[dict[str, Value]]:
        """The values of a comprehension's names, iteration by iteration; None if unknown. There are no iterations over
        a list with an error, which is reported where it is used."""
        targets = [t.id for t in node.targets]
        report = self._start_anew()
        values = self._value(node.iterable, names)
        if report.errors:
            return []
        if not is_list(values) or len(values) > MAX_LEVEL + 1:
            return [dict.fromkeys(targets)]
        rows = [(v,) if len(targets) == 1 else v for v in values]
        return [dict(zip(targets, row, strict=True)) for row in rows if is_list(row) and len(row) == len(targets)]

    def _start_anew(self) -> Report:
        """A fresh report for the errors of the next evaluation."""
        self.quiet.context.report = Report(self.module.file.source)
        return self.quiet.context.report

    def _value(self, expr: s.Expr | None, names: Names) -> Value:
        """A plain value, or a relative level; None if unknown."""
        value = number(expr, names, self.module.values)
        if value is not None or expr is None or not self.exact or not self._plain(expr, set(names)):
            return value
        local = {k: ANY if v is None else v for k, v in names.items()}
        try:
            value = self.quiet.evaluate(expr, Scope(self.module, local))
        except OutOfSteps:
            return None
        return value if is_literal(value) and not has_unknown(value) else None

    def _plain(self, node: SyntaxNode, bound: set[str]) -> bool:
        """Whether an expression has only plain values and no block in it, so that evaluating it is cheap."""
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
            case _:
                return all(self._plain(part, bound) for part in parts(node))


def _names(rule: s.RuleDecl, case: s.Case, n: int | Relative) -> dict[str, Value]:
    """The names of a case whose variable is ``n``, with unknown rule parameters."""
    names: dict[str, Value] = dict.fromkeys([q.name.id for q in rule.params])
    if case.var is not None:
        names[case.var.id] = n
    return names
