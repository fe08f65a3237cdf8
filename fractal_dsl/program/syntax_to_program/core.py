"""The interface of the evaluator by which layers, joins and rules evaluate their bodies and defaults."""

from __future__ import annotations

from typing import Protocol

from fractal_dsl.language import syntax as s
from fractal_dsl.language.source import Span
from fractal_dsl.program import program as p
from fractal_dsl.program.syntax_to_program.context import Context
from fractal_dsl.program.syntax_to_program.scope import Scope
from fractal_dsl.program.syntax_to_program.values import Value


class Core(Protocol):
    """Evaluates expressions. ``evaluate.Evaluator`` is the only one."""

    context: Context

    def evaluate(self, expr: s.Expr, scope: Scope) -> Value:
        """The value of an expression; ``ANY`` after an error."""
        ...

    def block(self, value: Value, span: Span) -> p.Term:
        """Convert a value to a block, calling it without arguments if needed; a Hole after an error."""
        ...

    def join(self, value: Value, span: Span) -> p.JoinUse | None:
        """Convert a value to a join, calling it without arguments if needed; None after an error."""
        ...
