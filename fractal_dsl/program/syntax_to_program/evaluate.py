"""Expressions to values. One evaluator serves both the concrete program and the check of a declaration
by itself, whose parameters are then ``Unknown``."""

from __future__ import annotations

import math
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager

from msgspec import Struct, field

from fractal_dsl.base.errors import suggestion
from fractal_dsl.language import syntax as s
from fractal_dsl.language.diagnostics import Report
from fractal_dsl.language.source import Span
from fractal_dsl.ops import JOINS, LAYERS
from fractal_dsl.program import program as p
from fractal_dsl.program.syntax_to_program import calls
from fractal_dsl.program.syntax_to_program.aliases import name_help
from fractal_dsl.program.syntax_to_program.binding import Given, kind_of
from fractal_dsl.program.syntax_to_program.joins import as_join
from fractal_dsl.program.syntax_to_program.layers import torch_module
from fractal_dsl.program.syntax_to_program.modules import member
from fractal_dsl.program.syntax_to_program.operators import binary, unary
from fractal_dsl.program.syntax_to_program.scope import Scope
from fractal_dsl.program.syntax_to_program.values import (
    ANY,
    BLOCKS,
    BUILTINS,
    MAX_DEPTH,
    MAX_ELEMENTS,
    MAX_INT,
    MAX_LIST,
    MAX_STEPS,
    TERMS,
    Builtin,
    EachFn,
    ExternFn,
    JoinFn,
    LayerFn,
    ModuleValue,
    OpFn,
    OutOfSteps,
    Prob,
    RuleAt,
    RuleFn,
    TorchFn,
    TorchNn,
    Type,
    Unknown,
    Value,
    is_list,
    item_type,
    odd_one,
    show,
    type_as,
    type_of,
)

_MAX_COMPARED = 50_000  # names that unknown ones are compared with; the errors beyond have no suggestion


class Evaluator(Struct):
    """Evaluates expressions; errors go to ``report``, with the trail of rules and layers that they came about in.

    Raises OutOfSteps, having reported it, where a file takes more than MAX_STEPS.
    """

    report: Report
    max_repeat: int
    trail: list[str] = field(default_factory=list[str])
    remembered: dict[object, tuple[Value, Value]] = field(default_factory=dict[object, tuple[Value, Value]])
    steps: int = 0
    compared: int = 0
    weighed: dict[int, tuple[Value, int, int]] = field(default_factory=dict[int, tuple[Value, int, int]])
    active: list[tuple[s.RuleDecl | s.LayerDecl, int | None]] = field(
        default_factory=list[tuple[s.RuleDecl | s.LayerDecl, int | None]]
    )

    def error(self, code: str, span: Span, message: str, *, label: str = "", help: str | None = None) -> Unknown:
        """Report an error; the result stands for the value that there is not."""
        self.report.error(code, span, message, label=label, help=help, trail=reversed(self.trail))
        return ANY

    def spend(self, steps: int, span: Span) -> None:
        """Count steps of evaluation; over their limit, report that and raise OutOfSteps."""
        self.steps += steps
        if self.steps > MAX_STEPS:
            help = "loops in loops multiply, and so do arguments that differ at every level of a rule"
            self.report.error("E0602", span, f"this file takes over {MAX_STEPS:,} steps to evaluate", help=help)
            raise OutOfSteps

    def weight(self, value: Value) -> int:
        """The elements of a list with those of the lists in it; 1 for anything else."""
        return self._weigh(value)[0]

    def _weigh(self, value: Value) -> tuple[int, int]:
        """Weight, and how deep lists stand in lists."""
        if not is_list(value):
            return 1, 0
        if id(value) not in self.weighed:
            inner = [self._weigh(v) for v in value if is_list(v)]
            weight = 1 + len(value) - len(inner) + sum([w for w, _ in inner])
            depth = 1 + max([d for _, d in inner], default=0)
            self.weighed[id(value)] = (value, weight, depth)  # the list lives on: its id stays its own
        return self.weighed[id(value)][1:]

    def suggestion(self, name: str, known: Sequence[str]) -> str | None:
        """A help text that names the nearest known name."""
        self.compared += len(known)
        return suggestion(name, known) if self.compared <= _MAX_COMPARED else None

    def alone(self, report: Report) -> Evaluator:
        """An evaluator of values that stand outside all files."""
        return Evaluator(report, self.max_repeat)

    @contextmanager
    def within(self, what: str) -> Generator[None]:
        """Name the rule or layer that errors come about in."""
        self.trail.append(what)
        try:
            yield
        finally:
            self.trail.pop()

    # --- expressions

    def eval(self, expr: s.Expr, scope: Scope) -> Value:
        """The value of an expression."""
        self.spend(1, expr.span)
        match expr:
            case s.Literal():
                return self.literal(expr)
            case s.Name():
                return self.name(expr, scope)
            case s.Items():
                spans = [e.span for e in expr.items]
                return self.sized(tuple([self.eval(e, scope) for e in expr.items]), expr.span, spans)
            case s.Comprehension():
                return self.comprehension(expr, scope)
            case s.Unary():
                return unary(self, expr, scope)
            case s.Binary():
                return binary(self, expr, scope)
            case s.Flow():
                return self.flow(expr, scope)
            case s.Columns():
                return self.columns(expr, scope)
            case s.Call():
                return calls.call(self, expr, scope)
            case s.Index():
                return self.index(expr, scope)
            case s.Attribute():
                return self.attribute(expr, scope)
            case s.Annotated():
                return self.annotated(expr, scope)
            case s.Broken():
                return ANY

    def literal(self, expr: s.Literal) -> Value:
        value = expr.value
        if expr.prob:
            assert isinstance(value, float)
            if value > 1:
                help = "a probability lies between 0% and 100%"
                return self.error("E0302", expr.span, f"{show(Prob(value))} is not a probability", help=help)
            return Prob(value)
        return self.number(value, expr.span) if isinstance(value, int | float) else value

    def join(self, expr: s.Expr, scope: Scope) -> Value:
        """The value of an expression that stands where a rule names its join."""
        return self.name(expr, scope, JOINS) if isinstance(expr, s.Name) else self.eval(expr, scope)

    def name(self, expr: s.Name, scope: Scope, wanted: Iterable[str] = (*LAYERS, *JOINS, *BUILTINS)) -> Value:
        """The value of a name; where there is none, a declared one or one of ``wanted`` is suggested."""
        at: Scope | None = scope
        while at is not None:
            if expr.id in at.local:
                return self.local(expr, at.local[expr.id], scope)
            at = at.parent
        value = scope.home.resolve(expr.id, expr.span)
        if value is not None:
            return value
        if expr.id in LAYERS:
            return OpFn(LAYERS[expr.id])
        if expr.id in JOINS:
            return JoinFn(JOINS[expr.id])
        if expr.id in BUILTINS:
            return Builtin(expr.id)
        if expr.id == "nn":
            return TorchNn()
        imported = scope.home.qualified(expr.id)
        help = f"write `{imported}`" if imported else name_help(expr.id)
        help = help or self.suggestion(expr.id, [*scope.known(), *wanted])
        return self.error("E0201", expr.span, f"unknown name `{expr.id}`", help=help)

    def local(self, expr: s.Name, value: Value, scope: Scope) -> Value:
        """The value of a local name. A net's input is none, so one that has a declared name hides what was meant."""
        if type_of(value) != "tensor" or expr.id not in scope.home.names():
            return value
        message = f"`{expr.id}` is the input of the net here, which hides the declared `{expr.id}`"
        return self.error("E0301", expr.span, message, help="give the input another name")

    def number(self, value: float, span: Span) -> Value:
        """A number within its limits."""
        if isinstance(value, int) and not isinstance(value, bool) and abs(value) > MAX_INT:
            return self.error("E0602", span, "this number is over the limit of 2**63 - 1")
        if isinstance(value, float) and not math.isfinite(value):
            return self.error("E0305", span, "this number is too large for a float")
        return value

    def sized(self, value: tuple[Value, ...], span: Span, spans: Sequence[Span] = ()) -> Value:
        """A list within its limits, of values of one type. ``spans`` are those of its elements."""
        self.spend(len(value), span)
        if len(value) > MAX_LIST:
            return self.error("E0602", span, f"a list of {len(value):,}; the limit is {MAX_LIST:,}")
        weight, depth = self._weigh(value)
        if weight > MAX_ELEMENTS:
            return self.error("E0602", span, f"a list of lists that have over {MAX_ELEMENTS:,} elements in all")
        if depth > MAX_DEPTH:
            return self.error("E0602", span, f"lists in lists, over {MAX_DEPTH} deep")
        odd = odd_one(value)
        if odd is not None:
            first, other = type_of(value[0]), type_of(value[odd])
            message = f"a list has elements of one type: the first is {first}, this is {other}"
            return self.error("E0301", spans[odd] if spans else span, message)
        return value

    def comprehension(self, expr: s.Comprehension, scope: Scope) -> Value:
        values = self.eval(expr.iterable, scope)
        targets = [t.id for t in expr.targets]
        if isinstance(values, Unknown) and values.type.name in ("any", "list"):
            item = values.type.item
            value = Unknown(item) if item and len(targets) == 1 and item != ANY.type else ANY
            body = self.eval(expr.body, scope.inner(dict.fromkeys(targets, value)))
            return Unknown(Type("list", type_as(body)))
        if not is_list(values):
            help = "loops run over lists: `range(n)` counts from 0"
            return self.error("E0301", expr.iterable.span, f"expected a list, found {type_of(values)}", help=help)
        result: list[Value] = []
        errors, weight = len(self.report.found), 0
        for value in values:
            row: Value = (value,) if len(targets) == 1 else value
            if row is ANY:
                row = (ANY,) * len(targets)
            if not is_list(row) or len(row) != len(targets):
                message = f"there are {len(targets)} names for {len(row) if is_list(row) else 1} values"
                return self.error("E0301", expr.iterable.span, message)
            result.append(self.eval(expr.body, scope.inner(dict(zip(targets, row, strict=True)))))
            weight += self.weight(result[-1])
            if len(self.report.found) > errors:  # once told is enough
                return Unknown(Type("list", Type("any")))
            if weight > MAX_ELEMENTS:
                break
        return self.sized(tuple(result), expr.span)

    def flow(self, expr: s.Flow, scope: Scope) -> Value:
        values = [self.eval(e, scope) for e in expr.steps]
        if type_of(values[0]) != "join":
            return p.Seq(tuple([self.block(v, e.span) for v, e in zip(values, expr.steps, strict=True)]), expr.span)
        use = as_join(self, values[0], expr.steps[0].span)  # `concat >> conv2d(64, 1)`: a join, then a block
        after = [self.block(v, e.span) for v, e in zip(values[1:], expr.steps[1:], strict=True)]
        if use is None:
            return Unknown(Type("join"))
        before = [use.after] if use.after is not None else []
        return p.JoinUse(use.spec, use.args, p.Seq((*before, *after), expr.span), expr.span)

    def columns(self, expr: s.Columns, scope: Scope) -> Value:
        columns = tuple([self.block(self.eval(e, scope), e.span) for e in expr.columns])
        if scope.rule is None:
            help = "write a join on the spot, such as `mean(a, b)` or `concat(a, b)`, or use a rule"
            return self.error("E0401", expr.span, "`|` stands only inside a rule", help=help)
        if scope.rule.decl.join is None:
            name = scope.rule.decl.name
            help = f"write `rule {name.id}(…) join mean {{ … }}`"
            self.error("E0402", name.span, f"rule `{name.id}` puts columns side by side, but names no join", help=help)
            return p.Hole(expr.span)
        return p.Bundle(columns, expr.span)

    def index(self, expr: s.Index, scope: Scope) -> Value:
        base, index = self.eval(expr.base, scope), self.eval(expr.index, scope)
        if base is ANY or index is ANY:
            return ANY
        if type_of(index) != "int":
            what = "a level" if isinstance(base, RuleFn) else "an index"
            help = "what chooses is an `int`: 0 or 1" if type_of(index) == "bool" else None
            return self.error("E0301", expr.index.span, f"{what} is a whole number, found {type_of(index)}", help=help)
        if isinstance(base, RuleFn):
            return RuleAt(base.decl, base.home, index, expr.span, scope.rule)
        if isinstance(base, Unknown) and base.type.name == "list":
            item = base.type.item
            return ANY if item is None or item == ANY.type else Unknown(item)
        if not is_list(base):
            help = "arguments stand in parentheses, levels of a rule in brackets" if isinstance(base, BLOCKS) else None
            help = "its names stand behind a dot: `m.F[3]`" if isinstance(base, ModuleValue) else help
            return self.error("E0303", expr.span, f"{kind_of(base)} has no elements", help=help)
        if isinstance(index, Unknown):
            self.spend(len(base) // 10, expr.span)
            item = item_type(base)
            return ANY if item == ANY.type else Unknown(item)
        if not -len(base) <= index < len(base):
            message = f"index {index} is out of range: the list has {len(base)} elements, counted from 0"
            return self.error("E0304", expr.span, message)
        return base[index]

    def attribute(self, expr: s.Attribute, scope: Scope) -> Value:
        base = self.eval(expr.base, scope)
        if base is ANY:
            return ANY
        if isinstance(base, ModuleValue):
            return member(self, base.module, expr.name, expr.span)
        if isinstance(base, TorchNn):
            return torch_module(self, expr.name, expr.span)
        if expr.name == "each" and (isinstance(base, BLOCKS) or type_of(base) == "block"):
            return EachFn(self.block(base, expr.base.span))
        help = "a block has `.each(block)`" if type_of(base) == "block" else None
        return self.error("E0201", expr.span, f"{kind_of(base)} has no `.{expr.name}`", help=help)

    def annotated(self, expr: s.Annotated, scope: Scope) -> Value:
        block = self.block(self.eval(expr.base, scope), expr.base.span)
        values = [self.eval(a.value, scope) for a in expr.args]
        match expr.name, values:
            case "tag", [str() as value]:
                return p.Tagged(block, "tag", value, expr.span)
            case "tag", [Unknown()]:
                return block
            case "tag", _:
                return self.error("E0301", expr.span, 'a tag is one text: `@tag("stem")`')
            case "checkpoint", []:
                return p.Tagged(block, "checkpoint", "", expr.span)
            case "checkpoint", _:
                return self.error("E0206", expr.span, "`@checkpoint` takes no arguments")
            case _:
                help = suggestion(expr.name, ("tag", "checkpoint")) or 'there are `@tag("name")` and `@checkpoint`'
                return self.error("E0201", expr.span, f"unknown annotation `@{expr.name}`", help=help)

    # --- blocks

    def apply(self, func: Value, given: Sequence[Given], span: Span) -> Value:
        """Call a value with arguments."""
        return calls.apply(self, func, given, span)

    def block(self, value: Value, span: Span) -> p.Term:
        """A value as a block: what is not called yet is called without arguments."""
        match value:
            case OpFn() | LayerFn() | RuleAt() | TorchFn() | ExternFn() if type_of(value) == "block":
                result = self.apply(value, (), span)
                return result if not isinstance(result, Unknown) else p.Hole(span)
            case Unknown() if value.type.name in ("any", "block"):
                return p.Hole(span)
            case RuleFn():
                name = value.decl.name.id
                help = f"levels stand in brackets: `{name}[3]`"
                self.error("E0406", span, f"rule `{name}` needs a level here", help=help)
                return p.Hole(span)
            case tuple():
                self.error("E0301", span, "expected a block, found a list", help="compose its blocks with `seq(…)`")
                return p.Hole(span)
            case _ if isinstance(value, TERMS):
                return value
            case _:
                found = type_of(value)
                help = {
                    "int": "a number is an argument, as in `linear(10)`; a level hides a layer of its name",
                    "join": "a join takes its branches in parentheses: `sum(id, conv2d(64, 1))`",
                    "str": "a layer or rule takes a block by a parameter of that type: `act: block = relu`",
                    "tensor": "a net is a block, and its input flows in by itself: leave the name out",
                }.get(found)
                self.error("E0301", span, f"expected a block, found {found}", help=help)
                return p.Hole(span)
