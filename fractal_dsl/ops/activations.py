"""Activations."""

from __future__ import annotations

from fractal_dsl.ops.shapes import constructor, floating, free, integer, same_shape
from fractal_dsl.ops.spec import Args, OpParam, OpSpec, ShapeError, Tensor, TorchModule


def elementwise(target: str, *params: OpParam) -> OpSpec:
    """An elementwise activation, which keeps the shape. ``target`` is torch's class."""
    name = target.lower()
    return OpSpec(
        name, params, same_shape(name), lambda x, a: constructor(f"nn.{target}", params, a), free, "activation"
    )


def prelu() -> OpSpec:
    """``prelu``, with one learned slope or one for each channel. The shape stays."""
    params = (OpParam("num_parameters", "int", 1, low=1), OpParam("init", "float", 0.25))

    def out(x: Tensor, args: Args) -> Tensor:
        floating("prelu", x)
        count = integer(args, "num_parameters")
        if count != 1 and (not x.shape or x.shape[0] != count):
            raise ShapeError(f"`prelu` takes 1 parameter or one for each channel, not {count} for {x}")
        return x

    def cost(x: Tensor, y: Tensor, args: Args) -> tuple[int, int]:
        return integer(args, "num_parameters"), 0

    return OpSpec("prelu", params, out, lambda x, a: constructor("nn.PReLU", params, a), cost, "activation")


def glu() -> OpSpec:
    """``glu``: one half of axis ``dim`` gates the other, so the axis has half the size afterwards."""
    params = (OpParam("dim", "int", -1),)

    def out(x: Tensor, args: Args) -> Tensor:
        floating("glu", x)
        dim = integer(args, "dim")
        if dim == 0 or not -len(x.shape) <= dim <= len(x.shape):
            raise ShapeError(f"`glu` has no axis {dim} in {x} (axis 0 is the batch)")
        axis = dim - 1 if dim > 0 else dim + len(x.shape)
        if x.shape[axis] % 2:
            raise ShapeError(f"`glu` halves axis {dim}, whose size in {x} is odd")
        return Tensor("f32", (*x.shape[:axis], x.shape[axis] // 2, *x.shape[axis + 1 :]))

    return OpSpec("glu", params, out, lambda x, a: constructor("nn.GLU", params, a), free, "activation")


def softmax(target: str) -> OpSpec:
    """``softmax`` or ``logsoftmax`` over axis ``dim``. The shape stays. ``target`` is torch's class."""
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
