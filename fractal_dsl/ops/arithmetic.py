"""Arithmetic with each number of a tensor: fixed factors, terms and powers, and learned terms."""

from __future__ import annotations

from fractal_dsl.ops.shapes import constructor, floating, free, integer, same_shape
from fractal_dsl.ops.spec import Args, OpParam, OpSpec, ShapeError, Tensor, TorchModule


def arithmetic(name: str, operand: str) -> OpSpec:
    """``times(factor)``, ``plus(term)`` or ``power(exponent)``. The shape stays."""
    params = (OpParam(operand, "float"),)
    return OpSpec(
        name, params, same_shape(name), lambda x, a: TorchModule(name.capitalize(), (a[operand],)), free, "activation"
    )


def exp() -> OpSpec:
    """``exp``: e to the power of each number. The shape stays."""
    return OpSpec("exp", (), same_shape("exp"), lambda x, a: TorchModule("Exp"), free, "activation")


def clamp() -> OpSpec:
    """``clamp``: each number, or ``min`` or ``max`` where it is beyond. The shape stays."""
    params = (OpParam("min", "float", None), OpParam("max", "float", None))

    def out(x: Tensor, args: Args) -> Tensor:
        floating("clamp", x)
        if args["min"] is None and args["max"] is None:
            raise ShapeError("`clamp` needs `min`, `max` or both", code="E0302")
        return x

    return OpSpec("clamp", params, out, lambda x, a: constructor("Clamp", params, a), free, "activation")


def learned(name: str, init: float, family: str) -> OpSpec:
    """``scale`` and ``shift``: a learned factor or term for each channel, for each number on another axis
    ``dim``, or one for all if ``dim`` is 0."""
    params = (OpParam("init", "float", init), OpParam("dim", "int", 1))

    def axis(x: Tensor, args: Args) -> int:
        floating(name, x)
        dim = integer(args, "dim")
        number = dim + len(x.shape) + 1 if dim < 0 else dim
        if not 0 <= number <= len(x.shape) or (dim < 0 and number == 0):
            raise ShapeError(f"`{name}` has no axis {dim} in {x} (axis 0 is the batch: dim=0 is one for all)")
        return number

    def out(x: Tensor, args: Args) -> Tensor:
        axis(x, args)
        return x

    def features(x: Tensor, args: Args) -> int:
        number = axis(x, args)
        return x.shape[number - 1] if number else 1

    def torch(x: Tensor, args: Args) -> TorchModule:
        number = axis(x, args)
        after = len(x.shape) - number if number else 0
        return TorchModule(name.capitalize(), (features(x, args), after, args["init"]))

    return OpSpec(name, params, out, torch, lambda x, y, a: (features(x, a), 0), family)
