"""Numbers and operators: arithmetic, comparisons, boolean operators, and the repetition of blocks."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable

from fractal_dsl.language import syntax as s
from fractal_dsl.language.source import Span
from fractal_dsl.program import program as p
from fractal_dsl.program.syntax_to_program.context import Context
from fractal_dsl.program.syntax_to_program.limits import MAX_INT
from fractal_dsl.program.syntax_to_program.lists import sized
from fractal_dsl.program.syntax_to_program.types import ANY, ANY_LIST, NUMBERS, Type, Unknown
from fractal_dsl.program.syntax_to_program.values import BLOCKS, Prob, Value, is_list, show, type_of

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


def literal_of(context: Context, expr: s.Literal) -> Value:
    """The value of a literal within its limits."""
    value = expr.value
    if expr.prob:
        assert isinstance(value, float)
        if value > 1:
            help = "a probability is between 0% and 100%"
            return context.error("E0302", expr.span, f"{show(Prob(value))} is not a probability", help=help)
        return Prob(value)
    return checked_number(context, value, expr.span) if isinstance(value, int | float) else value


def checked_number(context: Context, value: float, span: Span) -> Value:
    """A number within its limits."""
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > MAX_INT:
        return context.error("E0602", span, "this number exceeds the limit of 2**63 - 1")
    if isinstance(value, float) and not math.isfinite(value):
        return context.error("E0305", span, "this number is too large for a float")
    return value


def unary(context: Context, expr: s.Unary, value: Value) -> Value:
    """``-x``, ``not x``"""
    wanted = ("bool",) if expr.op == "not" else NUMBERS
    if value is ANY:
        return ANY
    if type_of(value) not in wanted:
        message = f"`{expr.op}` takes {' or '.join(wanted[:2])}, found {type_of(value)}"
        return context.error("E0303", expr.span, message)
    if isinstance(value, Unknown):
        return Unknown(value.type if value.type.name != "prob" else Type("float"))
    return not value if expr.op == "not" else -value


def repeats(op: str, left: Value) -> bool:
    """Whether an operator repeats a block: ``block ** n``."""
    return op == "**" and isinstance(left, (*BLOCKS, Unknown)) and type_of(left) in ("block", "join")


def repeated_block(context: Context, expr: s.Binary, block: p.Term, times: Value) -> Value:
    """``block ** n``"""
    if isinstance(times, Unknown) and times.type.name in ("any", "int"):
        return p.Hole(expr.span)
    if not isinstance(times, int) or isinstance(times, bool):
        message = f"the number of repetitions must be a whole number, found {type_of(times)}"
        return context.error("E0303", expr.right.span, message)
    if times < 0:
        return context.error("E0302", expr.right.span, f"a block cannot be repeated {times} times")
    if times > context.max_repeat:
        message = f"the block would be repeated {times:,} times; the limit is {context.max_repeat:,} layers"
        return context.error("E0601", expr.right.span, message, help="raise the limit with `--max-layers`")
    context.spend(times // 10, expr.span)
    return p.Seq((block,) * times, expr.span)


def binary(context: Context, expr: s.Binary, left: Value, right: Value) -> Value:
    """``x + y``, ``x < y``, ``x and y``"""
    if left is ANY or right is ANY:
        return ANY
    op, kinds = expr.op, (type_of(left), type_of(right))
    numbers = kinds[0] in NUMBERS and kinds[1] in NUMBERS
    if op in ("and", "or") and kinds == ("bool", "bool"):
        if isinstance(left, Unknown) or isinstance(right, Unknown):
            return Unknown(Type("bool"))
        return (left and right) if op == "and" else (left or right)
    if op in _COMPARE and (numbers or (kinds[0] == kinds[1] and (op in ("==", "!=") or kinds[0] == "str"))):
        if isinstance(left, Unknown) or isinstance(right, Unknown):
            return Unknown(Type("bool"))
        context.spend(context.weigh(left)[0], expr.span)
        return _COMPARE[op](left, right)
    if op == "+" and is_list(left) and is_list(right):
        return sized(context, left + right, expr.span)
    if op == "+" and all(is_list(v) or (isinstance(v, Unknown) and v.type.name == "list") for v in (left, right)):
        types = [v.type for v in (left, right) if isinstance(v, Unknown)]
        return Unknown(types[0]) if types[0] == types[-1] else ANY_LIST
    if op in _ARITHMETIC and numbers:
        return _arithmetic(context, expr, left, right)
    message = f"`{op}` does not accept {kinds[0]} and {kinds[1]}"
    return context.error("E0303", expr.span, message, help=_operands_help(context, expr, kinds))


def _operands_help(context: Context, expr: s.Binary, kinds: tuple[str, str]) -> str | None:
    """Help for an operator on blocks."""
    if "block" not in kinds:
        return None
    if expr.op == "+":
        return "write `sum(a, b)` to add the outputs of two blocks"
    if expr.op == ">":
        return "did you mean `>>`?"
    if expr.op == "*" and "int" in kinds:
        block, times = (expr.left, expr.right) if kinds[0] == "block" else (expr.right, expr.left)
        factors = [_factor(context.written(e.span)) for e in (block, times)]
        return f"repeat a block with `**`: `{' ** '.join(factors)}`"
    return "compose blocks with `>>`, and repeat a block with `**`"


def _factor(text: str) -> str:
    return f"({text})" if " " in text and not text.endswith(")") else text


def _arithmetic(context: Context, expr: s.Binary, left: Value, right: Value) -> Value:
    whole = type_of(left) == type_of(right) == "int" and expr.op != "/"
    if isinstance(left, Unknown) or isinstance(right, Unknown):
        offset = None
        if expr.op in ("+", "-") and isinstance(left, Unknown) and left.offset is not None:
            offset = left.offset + (right if expr.op == "+" else -right) if isinstance(right, int) else None
        return Unknown(Type("int" if whole else "float"), offset)
    left, right = (float(v) if isinstance(v, Prob) else v for v in (left, right))
    if fault := _no_result(expr.op, left, right):
        return context.error("E0305", expr.span, fault)
    if expr.op == "**" and whole and abs(left) > 1 and right * math.log2(abs(left)) > 64:  # too long to compute
        return checked_number(context, MAX_INT + 1, expr.span)
    try:
        return checked_number(context, _ARITHMETIC[expr.op](left, right), expr.span)
    except OverflowError:
        return checked_number(context, math.inf, expr.span)


def _no_result(op: str, left: float, right: float) -> str | None:
    """Why an operation on two numbers has no result; None if it has one, which may exceed the limits."""
    if right == 0 and op in ("/", "//", "%"):
        return "division by zero"
    if op != "**":
        return None
    if left == 0 and right < 0:
        return "division by zero: this is a negative power of 0"
    if isinstance(left, int) and isinstance(right, int) and right < 0:
        return "a negative power of a whole number is not a whole number: use a float as the base"
    if left < 0 and right != int(right):
        return "a negative number has no fractional power"
    return None
