"""Operators on numbers, texts and lists, and the repetition of blocks."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import TYPE_CHECKING

from fractal_dsl.language import syntax as s
from fractal_dsl.language.source import Span
from fractal_dsl.program import program as p
from fractal_dsl.program.syntax_to_program.binding import written
from fractal_dsl.program.syntax_to_program.scope import Scope
from fractal_dsl.program.syntax_to_program.values import ANY, BLOCKS, Prob, Type, Unknown, Value, is_list, type_of

if TYPE_CHECKING:
    from fractal_dsl.program.syntax_to_program.evaluate import Evaluator

_ARITHMETIC: dict[str, Callable[[float, float], float]] = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "/": lambda a, b: a / b,
    "//": lambda a, b: a // b,
    "%": lambda a, b: a % b,
    "**": lambda a, b: a**b,
}
_COMPARE: dict[str, Callable[[Value, Value], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


def unary(ev: Evaluator, expr: s.Unary, scope: Scope) -> Value:
    """``-x``, ``not x``"""
    value = ev.eval(expr.operand, scope)
    wanted = ("bool",) if expr.op == "not" else ("int", "float", "prob")
    if value is ANY:
        return ANY
    if type_of(value) not in wanted:
        message = f"`{expr.op}` takes {' or '.join(wanted[:2])}, found {type_of(value)}"
        return ev.error("E0303", expr.span, message)
    if isinstance(value, Unknown):
        return Unknown(value.type if value.type.name != "prob" else Type("float"))
    return not value if expr.op == "not" else -value


def binary(ev: Evaluator, expr: s.Binary, scope: Scope) -> Value:
    """``x + y``, ``x < y``, ``x and y``, ``block ** n``"""
    left, right = ev.eval(expr.left, scope), ev.eval(expr.right, scope)
    if left is ANY or right is ANY:
        return ANY
    kinds = (type_of(left), type_of(right))
    numbers = [k in ("int", "float", "prob") for k in kinds]
    op = expr.op
    if op == "**" and kinds[0] in ("block", "join") and isinstance(left, (*BLOCKS, Unknown)):
        return _repeat(ev, expr, ev.block(left, expr.left.span), right)
    if op in ("and", "or") and kinds == ("bool", "bool"):
        if isinstance(left, Unknown) or isinstance(right, Unknown):
            return Unknown(Type("bool"))
        return (left and right) if op == "and" else (left or right)
    if op in _COMPARE and (all(numbers) or (kinds[0] == kinds[1] and (op in ("==", "!=") or kinds[0] == "str"))):
        if isinstance(left, Unknown) or isinstance(right, Unknown):
            return Unknown(Type("bool"))
        ev.spend(ev.weight(left), expr.span)
        return _COMPARE[op](left, right)
    if op == "+" and is_list(left) and is_list(right):
        return ev.sized(left + right, expr.span)
    if op == "+" and all(is_list(v) or (isinstance(v, Unknown) and v.type.name == "list") for v in (left, right)):
        types = [v.type for v in (left, right) if isinstance(v, Unknown)]
        return Unknown(types[0] if types[0] == types[-1] else Type("list", Type("any")))
    if op in _ARITHMETIC and all(numbers):
        return _arithmetic(ev, expr, left, right)
    help = None
    if op == "+" and "block" in kinds:
        help = "write `sum(a, b)` to add the outputs of two blocks"
    elif op == ">" and "block" in kinds:
        help = "did you mean `>>`?"
    elif op == "*" and set(kinds) == {"block", "int"}:
        block, times = (expr.left, expr.right) if kinds[0] == "block" else (expr.right, expr.left)
        help = f"a block is repeated with `**`: `{_factor(ev, block.span)} ** {_factor(ev, times.span)}`"
    elif "block" in kinds:
        help = "blocks are composed with `>>`, and repeated with `**`"
    return ev.error("E0303", expr.span, f"`{op}` does not take {kinds[0]} and {kinds[1]}", help=help)


def _factor(ev: Evaluator, span: Span) -> str:
    text = written(ev, span)
    return f"({text})" if " " in text and not text.endswith(")") else text


def _arithmetic(ev: Evaluator, expr: s.Binary, left: Value, right: Value) -> Value:
    whole = type_of(left) == type_of(right) == "int" and expr.op != "/"
    if isinstance(left, Unknown) or isinstance(right, Unknown):
        offset = None
        if expr.op in ("+", "-") and isinstance(left, Unknown) and left.offset is not None:
            offset = left.offset + (right if expr.op == "+" else -right) if isinstance(right, int) else None
        return Unknown(Type("int" if whole else "float"), offset)
    if expr.op in ("/", "//", "%") and right == 0:
        return ev.error("E0305", expr.span, "division by zero")
    if expr.op == "**":
        if whole and right < 0:
            return ev.error("E0305", expr.span, "a whole number to a negative power: write a float")
        if left < 0 and not whole and right != int(right):
            return ev.error("E0305", expr.span, "a negative number to a fractional power")
        if (abs(left) > 1 and right * math.log2(abs(left)) > 1100) or (left == 0 and right < 0):
            return ev.error("E0602", expr.span, "this power is over the limit of 2**63 - 1")
    left, right = (float(v) if isinstance(v, Prob) else v for v in (left, right))
    try:
        return ev.number(_ARITHMETIC[expr.op](left, right), expr.span)
    except OverflowError:
        return ev.error("E0305", expr.span, "this number is too large for a float")


def _repeat(ev: Evaluator, expr: s.Binary, block: p.Term, times: Value) -> Value:
    if isinstance(times, Unknown) and times.type.name in ("any", "int"):
        return p.Hole(expr.span)
    if not isinstance(times, int) or isinstance(times, bool):
        message = f"a block is repeated a whole number of times, found {type_of(times)}"
        return ev.error("E0303", expr.right.span, message)
    if times < 0:
        return ev.error("E0302", expr.right.span, f"a block cannot be repeated {times} times")
    if times > ev.max_repeat:
        message = f"a block repeated {times:,} times; the limit is {ev.max_repeat:,} layers"
        return ev.error("E0601", expr.right.span, message, help="--max-layers sets the limit")
    ev.spend(times // 10, expr.span)
    return p.Seq((block,) * times, expr.span)
