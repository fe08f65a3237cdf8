"""Numbers in the syntax of a rule: known, relative to the level of the case, or within bounds."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

from fractal_dsl.language import syntax as s
from fractal_dsl.program.syntax_to_program.limits import MAX_INT
from fractal_dsl.program.syntax_to_program.values import Value


class Relative(Struct, frozen=True):
    """The case's level variable plus ``offset``."""

    offset: int


Number = int | Relative | None
"""A whole number, a boolean, a level relative to the case's variable, or None."""
Names = Mapping[str, Value]
"""Numbers, levels relative to the case's variable, other plain values, and None for unknown values."""


def number(expr: s.Expr | None, names: Names, declared: Names) -> Number:
    """The number that an expression evaluates to, as far as the syntax tells. ``names`` are local names, ``declared``
    those of the file."""
    match expr:
        case s.Literal(value=int() as value):
            return value
        case s.Name():
            value = names[expr.id] if expr.id in names else declared.get(expr.id)
            return value if isinstance(value, int | Relative) else None
        case s.Unary():
            value = number(expr.operand, names, declared)
            if not isinstance(value, int) or isinstance(value, bool) != (expr.op == "not"):
                return None
            return not value if expr.op == "not" else -value
        case s.Binary():
            return _combined(expr.op, number(expr.left, names, declared), number(expr.right, names, declared))
        case _:
            return None


def _combined(op: str, a: Number, b: Number) -> Number:
    """An operator on numbers; None if the result is unknown."""
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


Bounds = tuple[int, int]
"""The least and the greatest value."""


def bounds(op: str, left: Bounds | None, right: Bounds | None) -> Bounds | None:
    """The bounds of an operator's result from those of its operands; None if it has none."""
    divisor = right[0] if right and right[0] == right[1] > 0 else None
    if op == "%" and divisor:
        return 0, divisor - 1
    if left is None or right is None:
        return None
    match op:
        case "+":
            return left[0] + right[0], left[1] + right[1]
        case "-":
            return left[0] - right[1], left[1] - right[0]
        case "//" if divisor:
            return left[0] // divisor, left[1] // divisor
        case _:
            return None
