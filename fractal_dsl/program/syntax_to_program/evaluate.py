"""Expressions to values: each form evaluates its parts, then a function of another module makes its value.

The same evaluator evaluates the concrete program and checks declarations alone, with ``Unknown`` parameters. Layers and
rules evaluate their bodies here, through ``core.Core``.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from fractal_dsl.language import syntax as s
from fractal_dsl.language.source import Span
from fractal_dsl.program import program as p
from fractal_dsl.program.syntax_to_program.arguments import Argument, texts
from fractal_dsl.program.syntax_to_program.blocks import annotated, bundle, no_block, no_join
from fractal_dsl.program.syntax_to_program.calls import apply, call_block
from fractal_dsl.program.syntax_to_program.context import Context
from fractal_dsl.program.syntax_to_program.dropped import check_columns, check_steps, dropped, misplaced
from fractal_dsl.program.syntax_to_program.fitting import type_as
from fractal_dsl.program.syntax_to_program.limits import MAX_ELEMENTS
from fractal_dsl.program.syntax_to_program.lists import element, sized, unknown_element, unpacked
from fractal_dsl.program.syntax_to_program.names import attribute, lookup
from fractal_dsl.program.syntax_to_program.operators import binary, literal_of, repeated_block, repeats, unary
from fractal_dsl.program.syntax_to_program.scope import Scope
from fractal_dsl.program.syntax_to_program.types import ANY, ANY_LIST, Type, Unknown
from fractal_dsl.program.syntax_to_program.values import (
    BLOCKS,
    TERMS,
    Dropped,
    EachFn,
    ExternFn,
    JoinFn,
    LayerFn,
    OpFn,
    RuleAt,
    RuleFn,
    TorchFn,
    Value,
    is_list,
    type_of,
)
from fractal_dsl.program.syntax_to_program.where import where


class Evaluator(Struct):
    """Evaluates expressions. Errors go to the report of ``context``.

    Raises OutOfSteps, after reporting it, if a file takes more than MAX_STEPS.
    """

    context: Context

    def evaluate(self, expr: s.Expr, scope: Scope) -> Value:
        """The value of an expression; ``ANY``, Unknown or a Hole after an error."""
        context = self.context
        context.spend(1, expr.span)
        match expr:
            case s.Literal():
                return literal_of(context, expr)
            case s.Name():
                return lookup(context, expr, scope)
            case s.Items():
                values = tuple([self.evaluate(e, scope) for e in expr.items])
                return sized(context, values, expr.span, [e.span for e in expr.items])
            case s.Comprehension():
                return self._comprehension(expr, scope)
            case s.Unary():
                return unary(context, expr, self.evaluate(expr.operand, scope))
            case s.Binary():
                return self._binary(expr, scope)
            case s.Flow():
                return self._flow(expr, scope)
            case s.Columns():
                values = [self.evaluate(e, scope) for e in expr.columns]
                check_columns(context, values)
                columns = self._blocks(values, expr.columns)
                return bundle(context, columns, scope.rule, expr.span)
            case s.Call():
                return self._call(expr, scope)
            case s.Index():
                base, index = self.evaluate(expr.base, scope), self.evaluate(expr.index, scope)
                return element(context, expr, base, index, scope.rule)
            case s.Attribute():
                return self._attribute(expr, scope)
            case s.Annotated():
                return self._annotated(expr, scope)
            case s.Where():
                return where(self, expr, scope)
            case s.Outputs():
                return p.Outputs(self._blocks([self.evaluate(e, scope) for e in expr.items], expr.items), expr.span)
            case s.Broken():
                return ANY

    def block(self, value: Value, span: Span) -> p.Term:
        """Convert a value to a block, calling it without arguments if needed; a Hole after an error."""
        match value:
            case _ if isinstance(value, TERMS):
                return value
            case OpFn() | LayerFn() | RuleAt() | TorchFn() | ExternFn() if type_of(value) == "block":
                block = apply(self, value, (), span)
                return p.Hole(span) if isinstance(block, Unknown) else block
            case Unknown() if value.type.name in ("any", "block"):
                return p.Hole(span)
            case Dropped():
                return misplaced(self.context, value)
            case _:
                return no_block(self.context, value, span)

    def join(self, value: Value, span: Span) -> p.JoinUse | None:
        """Convert a value to a join: a built-in one, a user's, or the value of a user's join body; None after an
        error."""
        match value:
            case p.JoinUse():
                return value
            case JoinFn() | LayerFn() | ExternFn() if type_of(value) == "join":
                use = apply(self, value, (), span)
                return use if isinstance(use, p.JoinUse) else None
            case Unknown() if value.type.name in ("any", "join"):
                return None
            case p.Hole() | p.Seq(items=(p.Hole(), *_)):  # begins with a reported error
                return None
            case _:
                return no_join(self.context, value, span)

    def _annotated(self, expr: s.Annotated, scope: Scope) -> Value:
        base = self.evaluate(expr.base, scope)
        given = [Argument(a.name, self.evaluate(a.value, scope), a.span, a.value) for a in expr.args]
        if expr.name == "drop":
            return dropped(self, expr, base, given)
        if isinstance(base, Dropped):
            block = annotated(self.context, expr, base.block, given)
            return block if isinstance(block, Unknown) else Dropped(block, base.drop, base.by_example, base.span)
        return annotated(self.context, expr, self.block(base, expr.base.span), given)

    def _flow(self, expr: s.Flow, scope: Scope) -> Value:
        """``a >> b``, and ``concat >> conv2d(64, 1)``: a join followed by a block."""
        values = [self.evaluate(e, scope) for e in expr.steps]
        check_steps(self.context, expr, values)
        if type_of(values[0]) != "join":
            return p.Seq(self._blocks(values, expr.steps), expr.span)
        use = self.join(values[0], expr.steps[0].span)
        after = self._blocks(values[1:], expr.steps[1:])
        if use is None:
            return Unknown(Type("join"))
        before = () if use.after is None else (use.after,)
        return p.JoinUse(use.spec, use.args, p.Seq((*before, *after), expr.span), expr.span)

    def _blocks(self, values: Sequence[Value], exprs: Sequence[s.Expr]) -> tuple[p.Term, ...]:
        return tuple([self.block(value, e.span) for value, e in zip(values, exprs, strict=True)])

    def _binary(self, expr: s.Binary, scope: Scope) -> Value:
        left, right = self.evaluate(expr.left, scope), self.evaluate(expr.right, scope)
        if right is not ANY and repeats(expr.op, left):
            return repeated_block(self.context, expr, self.block(left, expr.left.span), right)
        return binary(self.context, expr, left, right)

    def _comprehension(self, expr: s.Comprehension, scope: Scope) -> Value:
        context, names = self.context, [t.id for t in expr.targets]
        iterable = self.evaluate(expr.iterable, scope)
        if not is_list(iterable):
            value = unknown_element(context, expr, iterable)
            if value is None:
                return ANY
            return Unknown(Type("list", type_as(self.evaluate(expr.body, scope.inner(dict.fromkeys(names, value))))))
        result: list[Value] = []
        errors, weight = len(context.report.errors), 0
        for item in iterable:
            row = unpacked(context, expr, item)
            if row is None:
                return ANY
            result.append(self.evaluate(expr.body, scope.inner(dict(zip(names, row, strict=True)))))
            weight += context.weigh(result[-1])[0]
            if len(context.report.errors) > errors:  # report it once
                return ANY_LIST
            if weight > MAX_ELEMENTS:
                break
        return sized(context, tuple(result), expr.span)

    def _attribute(self, expr: s.Attribute, scope: Scope) -> Value:
        base = self.evaluate(expr.base, scope)
        if base is ANY:
            return ANY
        if expr.name == "each" and (isinstance(base, BLOCKS) or type_of(base) == "block"):
            return EachFn(self.block(base, expr.base.span))
        return attribute(self.context, base, expr.name, expr.span)

    def _call(self, expr: s.Call, scope: Scope) -> Value:
        context = self.context
        match expr.func:
            case s.Call(func=s.Name() as name, args=(level,)) if isinstance(self.evaluate(name, scope), RuleFn):
                help = f"write `{name.id}[{context.written(level.span)}]({texts(context, expr.args)})`"
                return context.error("E0406", expr.func.span, f"rule `{name.id}` needs a level", help=help)
            case _:
                func = self.evaluate(expr.func, scope)
        given = [Argument(a.name, self.evaluate(a.value, scope), a.span, a.value) for a in expr.args]
        context.spend(sum([context.weigh(a.value)[0] for a in given]), expr.span)
        if func is ANY:
            return ANY
        if isinstance(func, TERMS):
            return call_block(context, expr, func, given)
        return apply(self, func, given, expr.span)
