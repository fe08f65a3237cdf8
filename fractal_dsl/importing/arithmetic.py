"""Arithmetic operators of torch as layers and joins: with numbers, with weights, and between tensors."""

from __future__ import annotations

from typing import Any

from fractal_dsl.importing.building import Builder, Expanded, Held, Lengths, Ref
from fractal_dsl.importing.functions import lowers, moves, no, trailing
from fractal_dsl.importing.views import plain


@moves("expand_as")
def _expanded(b: Builder, x: Any, other: Any) -> Any:
    return x if isinstance(x, Lengths) else Expanded(plain(b, x))


@trailing("linalg_vector_norm")
def _lengths(b: Builder, x: Any, p: float = 2, dim: Any = None, keepdim: bool = False, **named: Any) -> Any:
    if p != 2 or not keepdim or not isinstance(dim, list | tuple) or len(dim) != 1:
        return no(b, "this norm of vectors")
    axis = int(dim[0])
    return Lengths(x, axis if axis < 0 else axis + (b.folded if b.folded >= 0 else 1))


@lowers("clamp_min")
def _at_least(b: Builder, x: Any, least: float) -> Any:
    if isinstance(x, Lengths):
        return Lengths(x.ref, x.dim, float(least))
    return b.layer("relu", x) if least == 0 else b.layer("clamp", x, min=float(least), max=None)


def _bare(x: Any) -> Any:
    return x.ref if isinstance(x, Expanded) else x


@trailing("add", "iadd")
def _add(b: Builder, x: Any, y: Any, alpha: float = 1, **named: Any) -> Any:
    x, y = _bare(x), _bare(y)
    first, second = (x, y) if isinstance(x, Ref) else (y, x)
    if alpha != 1:
        return _add(b, x, _multiplied(b, y, alpha))
    match second:
        case Ref():
            return b.join("sum", [x, y]) if x != y else b.layer("times", x, factor=2.0)
        case Held():
            number = b.number(second)
            return _learned(b, "shift", first, second) if number is None else _add(b, first, number)
        case int() | float():
            return b.layer("plus", first, term=float(second)) if second else first
        case _:
            return no(b, "this sum")


@trailing("sub", "isub", "rsub")
def _subtracted(b: Builder, x: Any, y: Any, alpha: float = 1, **named: Any) -> Any:
    if isinstance(y, int | float):
        return _add(b, x, -y * alpha)
    if isinstance(y, Ref):
        return _add(b, x, b.layer("times", y, factor=-1.0 * alpha))
    return no(b, "this difference")


@trailing("normalize")
def _normalize(b: Builder, x: Any, p: float = 2.0, dim: int = 1, eps: float = 1e-12, out: Any = None) -> Ref:
    return normalized(b, x, dim, eps) if p == 2 else no(b, f"`normalize` with p={p:g}")


def normalized(b: Builder, x: Ref, dim: int, eps: float) -> Ref:
    """Vectors along an axis divided by their lengths."""
    return b.layer("normalize", x, dim=dim if dim < 2 else dim - x.rank, eps=float(eps))


@trailing("neg")
def _negative(b: Builder, x: Any) -> Ref:
    return b.layer("times", x, factor=-1.0)


@trailing("div", "truediv", "itruediv")
def _divided(b: Builder, x: Any, y: Any, **named: Any) -> Any:
    """A sum of n operands divided by n is their mean."""
    if isinstance(y, Lengths) and y.ref == x and y.eps:
        return normalized(b, x, y.dim, y.eps)
    if isinstance(y, Ref):
        return _multiplied(b, x, b.layer("power", y, exponent=-1.0))
    if not isinstance(y, int | float) or not y:
        return no(b, "this division")
    operands = b.operands(x, "sum")
    while len(operands) < y and (first := b.operands(operands[0], "sum")) != operands[:1]:
        operands = [*first, *operands[1:]]
    if len(operands) == y:
        return b.join("mean", operands)
    return b.layer("times", x, factor=1 / y)


@trailing("mul", "imul")
def _multiplied(b: Builder, x: Any, y: Any, **named: Any) -> Any:
    """A product of tensors, learned factors, or a sum of n operands times 1 / n, which is their mean."""
    x, y = _bare(x), _bare(y)
    first, second = (x, y) if isinstance(x, Ref) else (y, x)
    match second:
        case Ref():
            return b.join("product", [x, y]) if x != y else b.layer("power", x, exponent=2.0)
        case Held():
            number = b.number(second)
            return _learned(b, "scale", first, second) if number is None else _multiplied(b, first, number)
        case int() | float():
            count = round(1 / second, 6) if second else 0
            whole = count == int(count) and count > 1
            if whole and len(b.operands(first, "sum")) > 1:
                return _divided(b, first, int(count))
            return b.layer("times", first, factor=float(second)) if second != 1 else first
        case _:
            return no(b, "this product")


def _learned(b: Builder, op: str, x: Ref, value: Held) -> Ref:
    """A parameter that is added or multiplied: one number, one for each index of an axis, or one for each number."""
    noun = {"shift": "sum", "scale": "product"}[op]
    sizes = [1] * (x.rank - value.value.dim()) + [*value.value.shape]
    axes = [i for i, n in enumerate(sizes) if n != 1]
    if not value.name or len(sizes) != x.rank or 0 in axes:
        return b.join(noun, [x, value])
    whole = tuple(sizes[1:]) == x.out.shape
    if op == "shift" and len(x.out.shape) > 1 and whole:
        return b.layer("positions", x, {"weight": value.name})
    if not axes and 1 not in x.out.shape[:1]:
        return b.layer(op, x, {"weight": value.name}, dim=0)
    if len(axes) <= 1:
        axis = axes[0] if axes else 1
        if sizes[axis] == x.out.shape[axis - 1]:
            return b.layer(op, x, {"weight": value.name}, dim=axis if axis == 1 else axis - x.rank)
    return b.join(noun, [x, value])


@trailing("pow")
def _power(b: Builder, x: Any, exponent: Any, **named: Any) -> Any:
    if not isinstance(exponent, int | float):
        return no(b, "a power whose exponent is a tensor")
    return b.layer("power", x, exponent=float(exponent)) if exponent != 1 else x


@trailing("square")
def _square(b: Builder, x: Any) -> Ref:
    return b.layer("power", x, exponent=2.0)


@trailing("sqrt")
def _root(b: Builder, x: Any) -> Ref:
    return b.layer("power", x, exponent=0.5)


@trailing("rsqrt")
def _inverse_root(b: Builder, x: Any) -> Ref:
    return b.layer("power", x, exponent=-0.5)


@trailing("reciprocal")
def _reciprocal(b: Builder, x: Any) -> Ref:
    return b.layer("power", x, exponent=-1.0)
