"""Activations."""

from __future__ import annotations

from fractal_dsl.ops.shapes import constructor, floating, free, integer, same
from fractal_dsl.ops.spec import Args, OpParam, OpSpec, ShapeError, Tensor, TorchModule


def elementwise(target: str, *params: OpParam) -> OpSpec:
    """An activation that works on each number by itself; ``target`` is torch's class."""
    name = target.lower()
    return OpSpec(name, params, same(name), lambda x, a: constructor(f"nn.{target}", params, a), free, "activation")


def softmax(target: str) -> OpSpec:
    """``softmax`` or ``logsoftmax``; ``target`` is torch's class."""
    name = target.lower()
    params = (OpParam("dim", "int", -1),)

    def out(x: Tensor, args: Args) -> Tensor:
        floating(name, x)
        dim = integer(args, "dim")
        if dim == 0 or not -len(x.shape) <= dim <= len(x.shape):
            raise ShapeError(f"`{name}` has no axis {dim} in {x} (axis 0 is the batch)")
        return x

    return OpSpec(
        name, params, out, lambda x, a: TorchModule(f"nn.{target}", (), (("dim", a["dim"]),)), free, "activation"
    )
