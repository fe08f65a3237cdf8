"""Expressions as documents, with the parentheses that precedence asks for."""

from __future__ import annotations

from collections.abc import Sequence

from fractal_dsl import syntax as s
from fractal_dsl.source import Source, Span
from fractal_dsl.syntax_to_text.comments import Attached
from fractal_dsl.syntax_to_text.layout import HARD, SOFT, SPACE, Doc, Fill, Nest, Suffix, group, join

_BINARY = {
    "or": (1, 1, 2),
    "and": (2, 2, 3),
    **dict.fromkeys(("==", "!=", "<", "<=", ">", ">="), (4, 5, 5)),
    **dict.fromkeys(("+", "-"), (7, 7, 8)),
    **dict.fromkeys(("*", "/", "//", "%"), (8, 8, 9)),
    "**": (11, 12, 11),
}
"""Of each operator: its precedence, and what its operands need at least (the grammar's levels)."""

_NOT, _COLUMNS, _FLOW, _SUM, _NEGATIVE, _ANNOTATED, _POSTFIX, _ATOM = 3, 5, 6, 7, 9, 10, 12, 13


class Expressions:
    """Documents of expressions and types of one file."""

    def __init__(self, source: Source, comments: Attached) -> None:
        self.source, self.comments = source, comments

    def item(self, node: s.Expr | s.Arg | s.Parameter, doc: Doc) -> Doc:
        """A document with the comments of its node around it."""
        return (self._above(node.span), self._before_comments(node.span, doc))

    def _above(self, span: Span) -> Doc:
        return tuple([part for c in self.comments.leading.get(span, ()) for part in (c.text.rstrip(), HARD)])

    def _before_comments(self, span: Span, doc: Doc) -> Doc:
        return (doc, *[Suffix(c.text.rstrip()) for c in self.comments.trailing.get(span, ())])

    def expr(self, expr: s.Expr, least: int = 0) -> Doc:
        """An expression where one of precedence ``least`` or above may stand without parentheses."""
        precedence, doc = self._expr(expr)
        return doc if precedence >= least else ("(", group(Nest((SOFT, doc)), SOFT), ")")

    def standing(self, expr: s.Expr, least: int = 0) -> Doc:
        """An expression that may have comments of its own."""
        return self.item(expr, self.expr(expr, least))

    def _expr(self, expr: s.Expr) -> tuple[int, Doc]:
        match expr:
            case s.Literal() | s.Broken():
                return _ATOM, self.source.text[expr.span.start : expr.span.end]
            case s.Name():
                return _ATOM, expr.id
            case s.Items():
                return _ATOM, self._items(expr)
            case s.Comprehension():
                return _ATOM, ("[", group(Nest((SOFT, self._comprehension(expr))), SOFT), "]")
            case s.Unary(op="not"):
                return _NOT, ("not ", self.expr(expr.operand, _NOT))
            case s.Unary():
                return _NEGATIVE, ("-", self.expr(expr.operand, _NEGATIVE))
            case s.Binary():
                own, left, right = _BINARY[expr.op]
                if expr.op == "**" and isinstance(expr.right, s.Unary) and expr.right.op == "-":
                    right = _NEGATIVE
                operands = self.expr(expr.left, left), self.expr(expr.right, right)
                return own, group(operands[0], SPACE, f"{expr.op} ", operands[1])
            case s.Flow():
                return _FLOW, self._chain(expr.steps, ">> ", _SUM)
            case s.Columns():
                return _COLUMNS, self._chain(expr.columns, "| ", _FLOW)
            case s.Call():
                return _POSTFIX, (self.expr(expr.func, _POSTFIX), self.arguments(expr.args))
            case s.Index():
                return _POSTFIX, (self.expr(expr.base, _POSTFIX), "[", self._index(expr.index), "]")
            case s.Attribute():
                return _POSTFIX, (self.expr(expr.base, _POSTFIX), f".{expr.name}")
            case s.Annotated():
                arguments = self.arguments(expr.args) if expr.args else ""
                return _ANNOTATED, (self.expr(expr.base, _ANNOTATED), f" @{expr.name}", arguments)

    def _chain(self, parts: Sequence[s.Expr], operator: str, least: int) -> Doc:
        first, *rest = parts
        steps = [
            (SPACE, self._above(e.span), operator, self._before_comments(e.span, self.expr(e, least))) for e in rest
        ]
        return group(self.standing(first, least), *steps)

    def _index(self, expr: s.Expr) -> Doc:
        match expr:
            case s.Binary(op="+" | "-" as op, left=s.Name(id=name), right=s.Literal() as right):
                return (f"{name}{op}", self.expr(right, _ATOM))
            case _:
                return self.expr(expr)

    def _items(self, expr: s.Items) -> Doc:
        if not expr.items:
            return "[]"
        items = [self.standing(e) for e in expr.items]
        plain = all(isinstance(e, s.Literal) and not self._has_comments(e.span) for e in expr.items)
        body: Doc = Fill(tuple([self.source.text[e.span.start : e.span.end] for e in expr.items])) if plain else ""
        return ("[", group(Nest((SOFT, body or join((",", SPACE), items))), SOFT), "]")

    def _has_comments(self, span: Span) -> bool:
        return span in self.comments.leading or span in self.comments.trailing

    def _comprehension(self, expr: s.Comprehension) -> Doc:
        names = ", ".join(t.id for t in expr.targets)
        return (self.expr(expr.body), SPACE, f"for {names} in ", self.expr(expr.iterable))

    def arguments(self, args: Sequence[s.Arg]) -> Doc:
        """Arguments in their parentheses."""
        if not args:
            return "()"
        docs = [self.item(arg, self._argument(arg)) for arg in args]
        return ("(", group(Nest((SOFT, join((",", SPACE), docs))), SOFT), ")")

    def _argument(self, arg: s.Arg) -> Doc:
        if isinstance(arg.value, s.Comprehension) and arg.value.span == arg.span:
            return group(self._comprehension(arg.value))
        return (f"{arg.name}=" if arg.name is not None else "", self.expr(arg.value))

    def type(self, type: s.TypeExpr) -> Doc:
        """A type as it is declared."""
        if type.item is not None:
            return ("[", self.type(type.item), "]")
        if type.dims is not None:
            return (type.name, "[", join(", ", [self.expr(d) for d in type.dims]), "]")
        return type.name

    def signature(self, params: Sequence[s.Parameter]) -> Doc:
        """Parameters in their parentheses; nothing where there are none."""
        if not params:
            return ""
        docs = [self.item(q, (f"{q.name.id}: ", self.type(q.type), self._default(q.default))) for q in params]
        return ("(", group(Nest((SOFT, join((",", SPACE), docs))), SOFT), ")")

    def _default(self, default: s.Expr | None) -> Doc:
        return "" if default is None else (" = ", self.expr(default))
