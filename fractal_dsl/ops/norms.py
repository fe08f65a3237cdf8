"""Normalisations and dropouts."""

from __future__ import annotations

from math import prod

from fractal_dsl.ops.shapes import BIAS, EPS, SMALL, constructor, floating, free, integer, nearest_divisors, spatial
from fractal_dsl.ops.spec import Args, OpParam, OpSpec, ShapeError, Tensor, TorchModule


def batch_norm(rank: int) -> OpSpec:
    """``batchnorm1d`` to ``batchnorm3d``: [channels, …] with ``rank`` axes to the same shape.

    ``batchnorm1d`` also takes [features].
    """
    name = f"batchnorm{rank}d"
    params = (EPS, OpParam("momentum", "prob", 0.1), OpParam("affine", "bool", True))

    def out(x: Tensor, args: Args) -> Tensor:
        if not (rank == 1 and len(x.shape) == 1):
            spatial(name, x, rank)
        floating(name, x)
        return x

    def cost(x: Tensor, y: Tensor, args: Args) -> tuple[int, int]:
        return (2 * x.shape[0] if args["affine"] else 0), 0

    return OpSpec(
        name, params, out, lambda x, a: constructor(f"nn.BatchNorm{rank}d", params, a, x.shape[0]), cost, "norm", rank
    )


def instance_norm(rank: int) -> OpSpec:
    """``instancenorm1d`` to ``instancenorm3d``: [channels, …] with ``rank`` axes to the same shape."""
    name = f"instancenorm{rank}d"
    params = (EPS, OpParam("affine", "bool", False, keyword=True))

    def out(x: Tensor, args: Args) -> Tensor:
        if prod(spatial(name, x, rank)) == 1:
            raise ShapeError(f"`{name}` needs more than one value in each channel, but its input is {x}")
        return x

    def cost(x: Tensor, y: Tensor, args: Args) -> tuple[int, int]:
        return (2 * x.shape[0] if args["affine"] else 0), 0

    def torch(x: Tensor, args: Args) -> TorchModule:
        return constructor(f"nn.InstanceNorm{rank}d", params, args, x.shape[0])

    return OpSpec(name, params, out, torch, cost, "norm", rank)


def group_norm() -> OpSpec:
    """``groupnorm``: [channels, …] to the same shape."""
    params = (OpParam("num_groups", "int", low=1), EPS, OpParam("affine", "bool", True))

    def out(x: Tensor, args: Args) -> Tensor:
        floating("groupnorm", x)
        groups = integer(args, "num_groups")
        if not x.shape or x.shape[0] % groups:
            help = f"use {nearest_divisors(x.shape[0], groups)} groups" if x.shape else None
            raise ShapeError(f"`groupnorm` with {groups} groups cannot divide the channels of {x}", help)
        if prod(x.shape) == groups:
            message = f"`groupnorm` needs more than one value in each group, but its input is {x}"
            raise ShapeError(message, "use fewer groups" if groups > 1 else None)
        return x

    def cost(x: Tensor, y: Tensor, args: Args) -> tuple[int, int]:
        return (2 * x.shape[0] if args["affine"] else 0), 0

    def torch(x: Tensor, args: Args) -> TorchModule:
        call = constructor("nn.GroupNorm", params, args)
        return TorchModule(call.target, (*call.args, x.shape[0]), call.kwargs)

    return OpSpec("groupnorm", params, out, torch, cost, "norm")


def layer_norm() -> OpSpec:
    """``layernorm`` over the last axis: […, features] to the same shape."""
    params = (EPS, OpParam("elementwise_affine", "bool", True), BIAS)

    def out(x: Tensor, args: Args) -> Tensor:
        floating("layernorm", x)
        if not x.shape:
            raise ShapeError(f"`layernorm` takes at least one axis, but its input is {x}")
        return x

    def cost(x: Tensor, y: Tensor, args: Args) -> tuple[int, int]:
        return (x.shape[-1] * (2 if args["bias"] else 1) if args["elementwise_affine"] else 0), 0

    def torch(x: Tensor, args: Args) -> TorchModule:
        return constructor("nn.LayerNorm", params, args, x.shape[-1])

    return OpSpec("layernorm", params, out, torch, cost, "norm")


def layer_norm_2d() -> OpSpec:
    """``layernorm2d`` over the channels of each pixel: [channels, height, width] to the same shape (ConvNeXt)."""
    params = (EPS, OpParam("elementwise_affine", "bool", True), BIAS)

    def out(x: Tensor, args: Args) -> Tensor:
        spatial("layernorm2d", x, 2)
        return x

    def cost(x: Tensor, y: Tensor, args: Args) -> tuple[int, int]:
        return (x.shape[0] * (2 if args["bias"] else 1) if args["elementwise_affine"] else 0), 0

    def torch(x: Tensor, args: Args) -> TorchModule:
        return constructor("LayerNorm2d", params, args, x.shape[0])

    return OpSpec("layernorm2d", params, out, torch, cost, "norm", 2)


def rms_norm() -> OpSpec:
    """``rmsnorm`` over the last axis: […, features] to the same shape (Zhang and Sennrich 2019)."""
    params = (OpParam("eps", "float", None, low=SMALL, high=1), OpParam("elementwise_affine", "bool", True))

    def out(x: Tensor, args: Args) -> Tensor:
        floating("rmsnorm", x)
        if not x.shape:
            raise ShapeError(f"`rmsnorm` takes at least one axis, but its input is {x}")
        return x

    def cost(x: Tensor, y: Tensor, args: Args) -> tuple[int, int]:
        return (x.shape[-1] if args["elementwise_affine"] else 0), 0

    def torch(x: Tensor, args: Args) -> TorchModule:
        return constructor("nn.RMSNorm", params, args, x.shape[-1])

    return OpSpec("rmsnorm", params, out, torch, cost, "norm")


def local_response_norm() -> OpSpec:
    """``localresponsenorm`` across channels: [channels, …] to the same shape."""
    params = (
        OpParam("size", "int", low=1, high=2**16),
        OpParam("alpha", "float", 1e-4, low=0),
        OpParam("beta", "float", 0.75),
        OpParam("k", "float", 1.0, low=SMALL),
    )

    def out(x: Tensor, args: Args) -> Tensor:
        floating("localresponsenorm", x)
        if len(x.shape) < 2:
            raise ShapeError(f"`localresponsenorm` takes channels and at least one more axis, but its input is {x}")
        return x

    def torch(x: Tensor, args: Args) -> TorchModule:
        return constructor("LocalResponseNorm" if len(x.shape) > 3 else "nn.LocalResponseNorm", params, args)

    return OpSpec("localresponsenorm", params, out, torch, free, "norm")


def normalize() -> OpSpec:
    """``normalize``: vectors along axis ``dim`` divided by their length, which is at least ``eps``. The shape stays."""
    params = (OpParam("dim", "int", 1), OpParam("eps", "float", 1e-12, low=SMALL, high=1))

    def out(x: Tensor, args: Args) -> Tensor:
        floating("normalize", x)
        dim = integer(args, "dim")
        if dim == 0 or not -len(x.shape) <= dim <= len(x.shape):
            raise ShapeError(f"`normalize` has no axis {dim} in {x} (axis 0 is the batch)")
        return x

    return OpSpec("normalize", params, out, lambda x, a: constructor("UnitVectors", params, a), free, "norm")


def dropout(suffix: str) -> OpSpec:
    """``dropout``, and ``dropout1d`` to ``dropout3d``, which drop whole channels. The shape stays."""
    name = f"dropout{suffix}"
    params = (OpParam("p", "prob", 0.5),)
    target = f"nn.Dropout{suffix}"

    def out(x: Tensor, args: Args) -> Tensor:
        floating(name, x)
        if suffix:
            spatial(name, x, int(suffix[0]))
        return x

    # always show p, even if it is the default
    return OpSpec(name, params, out, lambda x, a: TorchModule(target, (a["p"],)), free, "dropout")


def _drop_examples(x: Tensor, args: Args) -> Tensor:
    if x.dtype != "f32":
        raise ShapeError("`@drop` needs `f32` operands", code="E0501")
    return x


DROP_EXAMPLES = OpSpec(
    "drop_examples",
    (OpParam("p", "prob"),),
    _drop_examples,
    lambda x, a: TorchModule("DropExamples", (a["p"],)),
    free,
    "dropout",
)
"""Not in the language: zeros for some examples of a mini-batch in training, at the end of a branch with ``@drop``."""
