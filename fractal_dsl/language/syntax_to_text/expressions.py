"""Expressions as documents, with the parentheses that precedence requires and those that hold comments."""

from __future__ import annotations

from collections.abc import Sequence

from fractal_dsl.language import syntax as s
from fractal_dsl.language.syntax_to_text.layout import (
    SPACE,
    Doc,
    Fill,
    Hug,
    Infix,
    Nest,
    Paren,
    bracketed,
    group,
    join,
)
from fractal_dsl.language.syntax_to_text.sources import Unwritten, Written

_BINARY = {
    "or": (1, 1, 2),
    "and": (2, 2, 3),
    **dict.fromkeys(("==", "!=", "<", "<=", ">", ">="), (4, 5, 5)),
    **dict.fromkeys(("+", "-"), (7, 7, 8)),
    **dict.fromkeys(("*", "/", "//", "%"), (8, 8, 9)),
    "**": (11, 12, 11),
}
"""For each operator its precedence, and the least precedence of its left and right operand (the grammar's levels)."""

_NOT, _COLUMNS, _FLOW, _SUM, _NEGATIVE, _ANNOTATED, POSTFIX, _ATOM = 3, 5, 6, 7, 9, 10, 12, 13


class Expressions:
    """Documents of the expressions and types of one file."""

    def __init__(self, text: Written | Unwritten) -> None:
        self.text = text

    def expr(self, expr: s.Expr, least: int = 0) -> Doc:
        """An expression in a place where precedence ``least`` or higher needs no parentheses."""
        doc = self._doc(expr)
        for opening in self.text.parentheses(expr, needed=_precedence(expr) < least):
            doc = bracketed(Paren(opening), doc, ")")
        return doc

    def body(self, expr: s.Expr) -> Doc:
        """The right side of `=`: on the same line if it fits or can break inside its brackets, else below."""
        if isinstance(expr, s.Where):
            return group(self.body(expr.body), Nest((SPACE, self._values(expr))))
        doc = self.expr(expr)
        return Hug(doc) if isinstance(expr, s.Call | s.Items) else group(Nest((SPACE, doc)))

    def _values(self, expr: s.Where) -> Doc:
        values = [(f"{v.name.id} = ", self.expr(v.value)) for v in expr.values]
        return group("where", Nest((SPACE, join((",", SPACE), values))))

    def _doc(self, expr: s.Expr) -> Doc:
        match expr:
            case s.Literal():
                return self.text.literal(expr)
            case s.Broken():
                return self.text.slice(expr.span)
            case s.Name():
                return expr.id
            case s.Items():
                return self._items(expr)
            case s.Comprehension():
                return bracketed("[", self._comprehension(expr), "]")
            case s.Unary(op="not"):
                return ("not ", self.expr(expr.operand, _NOT))
            case s.Unary():
                return ("-", self.expr(expr.operand, _NEGATIVE))
            case s.Binary():
                _, left, right = _BINARY[expr.op]
                if expr.op == "**" and isinstance(expr.right, s.Unary) and expr.right.op == "-":
                    right = _NEGATIVE
                return group(self.expr(expr.left, left), SPACE, Infix(f"{expr.op} "), self.expr(expr.right, right))
            case s.Flow():
                return self._chain(expr.steps, ">> ", _SUM)
            case s.Columns():
                return self._chain(expr.columns, "| ", _FLOW)
            case s.Call():
                return (self.expr(expr.func, POSTFIX), self.arguments(expr))
            case s.Index():
                return (self.expr(expr.base, POSTFIX), "[", self._index(expr.index), "]")
            case s.Attribute():
                return (self.expr(expr.base, POSTFIX), f".{expr.name}")
            case s.Annotated():
                given = expr.args or self.text.remarked_call(expr)
                return (self.expr(expr.base, _ANNOTATED), f" @{expr.name}", self.arguments(expr) if given else "")
            case s.Outputs():
                return bracketed("(", join((",", SPACE), [self.expr(e) for e in expr.items]), ")")
            case s.Where():
                return (self.expr(expr.body), SPACE, self._values(expr))

    def _chain(self, parts: Sequence[s.Expr], sign: str, least: int) -> Doc:
        first, *rest = [self.expr(part, least) for part in parts]
        return group(first, *[(SPACE, Infix(sign), step) for step in rest])

    def _index(self, expr: s.Expr) -> Doc:
        match expr:
            case s.Binary(op="+" | "-" as op, left=s.Name() as name, right=s.Literal() as right):
                return (self.expr(name, _ATOM), op, self.expr(right, _ATOM))
            case _:
                return self.expr(expr)

    def _items(self, expr: s.Items) -> Doc:
        if not expr.items:
            return "[]"
        items = [self.expr(e) for e in expr.items]
        texts = tuple(
            [d for d, e in zip(items, expr.items, strict=True) if isinstance(e, s.Literal) and isinstance(d, str)]
        )
        return bracketed("[", Fill(texts) if len(texts) == len(items) else join((",", SPACE), items), "]")

    def _comprehension(self, expr: s.Comprehension) -> Doc:
        names = ", ".join(t.id for t in expr.targets)
        return (self.expr(expr.body), SPACE, f"for {names} in ", self.expr(expr.iterable))

    def arguments(self, call: s.Call | s.Annotated) -> Doc:
        """Arguments in parentheses."""
        self.text.called(call)
        return bracketed("(", join((",", SPACE), [self._argument(a) for a in call.args]), ")") if call.args else "()"

    def _argument(self, arg: s.Arg) -> Doc:
        if isinstance(arg.value, s.Comprehension) and arg.value.span == arg.span:
            return group(self._comprehension(arg.value))
        return (f"{arg.name}=" if arg.name is not None else "", self.expr(arg.value))

    def type(self, type: s.TypeExpr) -> Doc:
        """A type as declared."""
        if type.item is not None:
            return ("[", self.type(type.item), "]")
        if type.dims is not None:
            return (type.name, "[", join(", ", [self.expr(d) for d in type.dims]), "]")
        return type.name

    def signature(self, name: s.Name, params: Sequence[s.Parameter]) -> Doc:
        """Parameters in parentheses after a name; empty if there are none."""
        if params:
            docs = [(f"{q.name.id}: ", self.type(q.type), self._default(q.default)) for q in params]
            return bracketed("(", join((",", SPACE), docs), ")")
        return "()" if self.text.remarked_signature(name) else ""

    def _default(self, default: s.Expr | None) -> Doc:
        return "" if default is None else (" = ", self.expr(default))


def _precedence(expr: s.Expr) -> int:
    match expr:
        case s.Unary(op=op):
            return _NOT if op == "not" else _NEGATIVE
        case s.Binary(op=op):
            return _BINARY[op][0]
        case s.Flow():
            return _FLOW
        case s.Columns():
            return _COLUMNS
        case s.Call() | s.Index() | s.Attribute():
            return POSTFIX
        case s.Annotated():
            return _ANNOTATED
        case _:
            return _ATOM
