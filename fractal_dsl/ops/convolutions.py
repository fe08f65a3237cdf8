"""Convolutions and poolings."""

from __future__ import annotations

from math import gcd, prod

from fractal_dsl.ops.shapes import (
    BIAS,
    DILATION,
    GROUPS,
    KERNEL,
    OUT,
    SMALL,
    STRIDE,
    constructor,
    floating,
    free,
    integer,
    nearest_divisors,
    sizes,
    spatial,
    windows,
)
from fractal_dsl.ops.spec import Args, OpParam, OpSpec, ShapeError, Tensor, TorchModule

_PADDING_MODE = OpParam("padding_mode", "str", "zeros", choices=("zeros", "reflect", "replicate", "circular"))


def _divisible(name: str, x: Tensor, args: Args) -> None:
    groups, out = integer(args, "groups"), integer(args, "out_channels")
    for noun, count in (("input channels", x.shape[0]), ("output channels", out)):
        if count % groups:
            help = f"use groups={nearest_divisors(gcd(x.shape[0], out), groups)}"
            raise ShapeError(f"`{name}` with groups={groups} needs a multiple of {groups} {noun}, not {count}", help)


def _fillable(name: str, x: Tensor, rank: int, args: Args) -> None:
    """Refuse an input too small for reflected or circular padding, which copies its values. Raises ShapeError."""
    most = {"reflect": 1, "circular": 0}.get(str(args["padding_mode"]))
    if most is None or args["padding"] == "valid":
        return
    if args["padding"] == "same":
        spans = [
            d * (k - 1) for d, k in zip(sizes(args["dilation"], rank), sizes(args["kernel_size"], rank), strict=True)
        ]
        padding = tuple((span + 1) // 2 for span in spans)
    else:
        padding = sizes(args["padding"], rank)
    if any(p > size - most for p, size in zip(padding, x.shape[1:], strict=True)):
        raise ShapeError(f"`{name}` with padding_mode {args['padding_mode']!r} cannot pad {x} by {max(padding)}")


def conv(rank: int) -> OpSpec:
    """``conv1d`` to ``conv3d``: [channels, …] with ``rank`` axes to [out_channels, …]."""
    name = f"conv{rank}d"
    params = (
        OUT,
        KERNEL,
        STRIDE,
        OpParam("padding", "padding", 0, low=0),
        DILATION,
        GROUPS,
        BIAS,
        _PADDING_MODE,
    )

    def out(x: Tensor, args: Args) -> Tensor:
        shape = windows(name, x, rank, args)
        _divisible(name, x, args)
        _fillable(name, x, rank, args)
        return Tensor("f32", (integer(args, "out_channels"), *shape))

    def cost(x: Tensor, y: Tensor, args: Args) -> tuple[int, int]:
        weights = y.shape[0] * (x.shape[0] // integer(args, "groups")) * prod(sizes(args["kernel_size"], rank))
        return weights + (y.shape[0] if args["bias"] else 0), weights * prod(y.shape[1:])

    return OpSpec(
        name, params, out, lambda x, a: constructor(f"nn.Conv{rank}d", params, a, x.shape[0]), cost, "conv", rank, True
    )


def std_conv() -> OpSpec:
    """``stdconv2d``: a convolution with standardised filters, [channels, height, width] to [out_channels, …]."""
    size = OpParam("padding", "size", 0, low=0)
    own = (
        OpParam("gamma", "float", None, keyword=True),
        OpParam("eps", "float", 1e-6, low=SMALL, high=1, keyword=True),
    )
    params = (OUT, KERNEL, STRIDE, size, DILATION, GROUPS, BIAS, *own)

    def out(x: Tensor, args: Args) -> Tensor:
        shape = windows("stdconv2d", x, 2, args)
        _divisible("stdconv2d", x, args)
        if x.shape[0] // integer(args, "groups") * prod(sizes(args["kernel_size"], 2)) == 1:
            raise ShapeError("`stdconv2d` needs filters of more than one number", "use `conv2d` here")
        return Tensor("f32", (integer(args, "out_channels"), *shape))

    def cost(x: Tensor, y: Tensor, args: Args) -> tuple[int, int]:
        weights = y.shape[0] * (x.shape[0] // integer(args, "groups")) * prod(sizes(args["kernel_size"], 2))
        own = y.shape[0] * (bool(args["bias"]) + (args["gamma"] is not None))
        return weights + own, weights * prod(y.shape[1:])

    def torch(x: Tensor, args: Args) -> TorchModule:
        both = [sizes(args[name], 2) for name in ("kernel_size", "stride", "padding", "dilation")]
        named = tuple((name, args[name]) for name in ("groups", "bias", "gamma", "eps"))
        return TorchModule("StdConv2d", (x.shape[0], integer(args, "out_channels"), *both), named)

    return OpSpec("stdconv2d", params, out, torch, cost, "conv", 2, True)


_MAX_CROP = 2**14  # torch's CPU kernels crash if a transposed convolution crops 2**15


def conv_transpose(rank: int) -> OpSpec:
    """``convtranspose1d`` to ``convtranspose3d``: [channels, …] with ``rank`` axes to [out_channels, …]."""
    name = f"convtranspose{rank}d"
    params = (
        OUT,
        KERNEL,
        STRIDE,
        OpParam("padding", "size", 0, low=0),
        OpParam("output_padding", "size", 0, low=0),
        GROUPS,
        BIAS,
        DILATION,
    )

    def out(x: Tensor, args: Args) -> Tensor:
        axes = spatial(name, x, rank)
        _divisible(name, x, args)
        rows = [sizes(args[k], rank) for k in ("kernel_size", "stride", "padding", "dilation", "output_padding")]
        shape: list[int] = []
        for size, k, s, p, d, extra in zip(axes, *rows, strict=True):
            if extra >= max(s, d):
                raise ShapeError(f"`{name}` needs output_padding below its stride or dilation")
            if p > d * (k - 1) + _MAX_CROP:
                raise ShapeError(f"`{name}` crops at most {_MAX_CROP:,} from each side; its padding {p:,} is too large")
            shape.append((size - 1) * s - 2 * p + d * (k - 1) + extra + 1)
        if min(shape) < 1:
            raise ShapeError(f"the output of `{name}` on {x} would have a size below 1", "use less padding", "E0504")
        return Tensor("f32", (integer(args, "out_channels"), *shape))

    def cost(x: Tensor, y: Tensor, args: Args) -> tuple[int, int]:
        weights = x.shape[0] * (y.shape[0] // integer(args, "groups")) * prod(sizes(args["kernel_size"], rank))
        return weights + (y.shape[0] if args["bias"] else 0), weights * prod(x.shape[1:])

    def torch(x: Tensor, args: Args) -> TorchModule:
        return constructor(f"nn.ConvTranspose{rank}d", params, args, x.shape[0])

    return OpSpec(name, params, out, torch, cost, "conv", rank, True)


def pool(kind: str, rank: int) -> OpSpec:
    """``maxpool1d`` to ``avgpool3d``: [channels, …] to [channels, …]. ``kind`` is Max or Avg."""
    name = f"{kind.lower()}pool{rank}d"
    params = (KERNEL, OpParam("stride", "size", None, low=1), OpParam("padding", "size", 0, low=0))
    params += (DILATION,) if kind == "Max" else ()
    params += (OpParam("ceil_mode", "bool", False, keyword=kind == "Max"),)
    if kind == "Avg":
        params += (OpParam("count_include_pad", "bool", True),)
        params += (OpParam("divisor_override", "int", None, low=1),) if rank > 1 else ()

    def out(x: Tensor, args: Args) -> Tensor:
        pairs = zip(sizes(args["padding"], rank), sizes(args["kernel_size"], rank), strict=True)
        if any(2 * p > k for p, k in pairs):
            raise ShapeError(f"`{name}` takes a padding of at most half its kernel_size")
        if name == "avgpool3d" and any(
            k > n for n, k in zip(x.shape[1:], sizes(args["kernel_size"], rank), strict=False)
        ):
            raise ShapeError(f"the window of `{name}` is larger than its unpadded input {x}", code="E0504")
        shape = windows(name, x, rank, args, ceil=bool(args["ceil_mode"]))
        if kind == "Max":
            _filled(name, x, rank, args)
        return Tensor("f32", (x.shape[0], *shape))

    return OpSpec(name, params, out, lambda x, a: constructor(f"nn.{kind}Pool{rank}d", params, a), free, "pool", rank)


def _filled(name: str, x: Tensor, rank: int, args: Args) -> None:
    """Refuse a dilated window that steps over a small input and sees only padding. Raises ShapeError."""
    kernel = args["kernel_size"]
    given = (kernel if args["stride"] is None else args["stride"], args["padding"], args["dilation"])
    for size, s, p, d in zip(x.shape[1:], *[sizes(v, rank) for v in given], strict=True):
        if any(start % d >= size for start in range(-p, min(0, d * s - p), s)):
            raise ShapeError(f"some windows of `{name}` lie wholly in the padding of {x}", "use less dilation")


def adaptive_pool(kind: str, rank: int) -> OpSpec:
    """``adaptivemaxpool1d`` to ``adaptiveavgpool3d``: [channels, …] to [channels, *output_size].

    ``kind`` is Max or Avg.
    """
    name = f"adaptive{kind.lower()}pool{rank}d"
    params = (OpParam("output_size", "size", low=1),)

    def out(x: Tensor, args: Args) -> Tensor:
        spatial(name, x, rank)
        return Tensor("f32", (x.shape[0], *sizes(args["output_size"], rank)))

    return OpSpec(
        name, params, out, lambda x, a: constructor(f"nn.Adaptive{kind}Pool{rank}d", params, a), free, "pool", rank
    )


def global_avg_pool() -> OpSpec:
    """``global_avgpool``: the mean over all axes after the channels, [channels, …] to [channels]."""

    def out(x: Tensor, args: Args) -> Tensor:
        floating("global_avgpool", x)
        if len(x.shape) < 2:
            raise ShapeError(f"`global_avgpool` takes channels and at least one more axis, but its input is {x}")
        return Tensor("f32", x.shape[:1])

    return OpSpec("global_avgpool", (), out, lambda x, a: TorchModule("GlobalAvgPool"), free, "pool")
