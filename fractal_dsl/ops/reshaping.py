"""Layers that only rearrange numbers: ``flatten``, ``transpose``, ``upsample``, ``id``, and ``place``."""

from __future__ import annotations

from math import floor, prod

from fractal_dsl.ops.shapes import constructor, floating, free, integer, sizes, spatial
from fractal_dsl.ops.spec import Args, OpParam, OpSpec, OpValue, ShapeError, Tensor, TorchModule


def flatten() -> OpSpec:
    """``flatten``: several axes become one. Axis 0 is the batch, which stays."""
    params = (OpParam("start_dim", "int", 1), OpParam("end_dim", "int", -1))

    def out(x: Tensor, args: Args) -> Tensor:
        axes = (0, *x.shape)  # torch counts the batch as axis 0
        start, end = (a + len(axes) if a < 0 else a for a in (integer(args, "start_dim"), integer(args, "end_dim")))
        if not 1 <= start <= end < len(axes):
            raise ShapeError(f"`flatten` cannot fold axes {start} to {end} of {x} (axis 0 is the batch)")
        return Tensor(x.dtype, (*axes[1:start], prod(axes[start : end + 1]), *axes[end + 1 :]))

    return OpSpec("flatten", params, out, lambda x, a: constructor("nn.Flatten", params, a), free, "shape")


def transpose() -> OpSpec:
    """``transpose``: two axes swap places. Axis 0 is the batch, which stays."""

    def axes(x: Tensor, args: Args) -> tuple[int, int]:
        first, second = (n + len(x.shape) + 1 if n < 0 else n for n in (integer(args, "dim0"), integer(args, "dim1")))
        if not (1 <= first <= len(x.shape) and 1 <= second <= len(x.shape)):
            message = f"`transpose` cannot swap axes {args['dim0']} and {args['dim1']} of {x} (axis 0 is the batch)"
            raise ShapeError(message, "`transpose(1, 2)` swaps the first two axes" if len(x.shape) > 1 else None)
        return first, second

    def out(x: Tensor, args: Args) -> Tensor:
        first, second = axes(x, args)
        shape = list(x.shape)
        shape[first - 1], shape[second - 1] = shape[second - 1], shape[first - 1]
        return Tensor(x.dtype, tuple(shape))

    params = (OpParam("dim0", "int"), OpParam("dim1", "int"))
    return OpSpec("transpose", params, out, lambda x, a: TorchModule("Transpose", axes(x, a)), free, "shape")


def upsample() -> OpSpec:
    """``upsample`` by a factor, or by one for each axis: [channels, …] to [channels, …], with sizes rounded down."""
    modes = ("nearest", "linear", "bilinear", "bicubic", "trilinear")
    params = (
        OpParam("scale_factor", "scale", high=1e9),
        OpParam("mode", "str", "nearest", choices=modes, keyword=True),
        OpParam("align_corners", "bool", False, keyword=True),
    )

    def out(x: Tensor, args: Args) -> Tensor:
        floating("upsample", x)
        axes = {"linear": (2,), "bilinear": (3,), "bicubic": (3,), "trilinear": (4,)}.get(str(args["mode"]), (2, 3, 4))
        if len(x.shape) not in axes:
            raise ShapeError(f"`upsample` with mode {args['mode']!r} does not take {x}")
        if args["align_corners"] and args["mode"] == "nearest":
            raise ShapeError(
                "`upsample` takes `align_corners` only with an interpolating mode", 'write mode="bilinear"', "E0302"
            )
        factors = args["scale_factor"]
        if not isinstance(factors, tuple):
            factors = (factors,) * len(x.shape[1:])
        if len(factors) != len(x.shape[1:]):
            message = f"`upsample` takes one scale_factor or {len(x.shape[1:])} for {x}, not {len(factors)}"
            raise ShapeError(message, code="E0302")
        shape = tuple([_scaled(size, factor) for size, factor in zip(x.shape[1:], factors, strict=True)])
        if min(shape) < 1:
            raise ShapeError(f"the output of `upsample` on {x} would have a size below 1", code="E0504")
        return Tensor("f32", (x.shape[0], *shape))

    def torch(x: Tensor, args: Args) -> TorchModule:
        call = constructor("nn.Upsample", params, args)
        return TorchModule(call.target, (), (("scale_factor", args["scale_factor"]), *call.kwargs))

    return OpSpec("upsample", params, out, torch, free, "shape")


def _scaled(size: int, factor: OpValue) -> int:
    assert isinstance(factor, int | float)
    return size * factor if isinstance(factor, int) else floor(size * factor)


def zero_pad(rank: int) -> OpSpec:
    """``zeropad1d`` to ``zeropad3d``: [channels, …] with ``rank`` axes to larger ones."""
    return _pad(f"zeropad{rank}d", f"nn.ZeroPad{rank}d", rank)


def constant_pad(rank: int) -> OpSpec:
    """``constantpad1d`` to ``constantpad3d``: ``zeropad`` with another number than zero."""
    return _pad(f"constantpad{rank}d", f"nn.ConstantPad{rank}d", rank, OpParam("value", "float"))


def _pad(name: str, target: str, rank: int, *value: OpParam) -> OpSpec:
    """A padding. ``padding`` is one number for all sides, or two for each axis, the last axis first."""
    params = (OpParam("padding", "sides", low=0), *value)

    def out(x: Tensor, args: Args) -> Tensor:
        axes = spatial(name, x, rank)
        sides = sizes(args["padding"], 2 * rank)
        pairs = zip(sides[0::2], sides[1::2], strict=True)
        shape = [size + a + b for size, (a, b) in zip(reversed(axes), pairs, strict=True)]
        return Tensor("f32", (x.shape[0], *reversed(shape)))

    return OpSpec(name, params, out, lambda x, a: constructor(target, params, a), free, "shape", rank)


def pixel_shuffle() -> OpSpec:
    """``pixelshuffle`` moves channels to pixels: [c * r * r, height, width] to [c, height * r, width * r]."""
    params = (OpParam("upscale_factor", "int", low=1),)

    def out(x: Tensor, args: Args) -> Tensor:
        height, width = spatial("pixelshuffle", x, 2)
        r = integer(args, "upscale_factor")
        if x.shape[0] % r**2:
            raise ShapeError(f"`pixelshuffle` by {r} needs a multiple of {r**2} channels, but its input is {x}")
        return Tensor("f32", (x.shape[0] // r**2, height * r, width * r))

    return OpSpec("pixelshuffle", params, out, lambda x, a: constructor("nn.PixelShuffle", params, a), free, "shape", 2)


IDENTITY = OpSpec("id", (), lambda x, a: x, lambda x, a: TorchModule("nn.Identity"), free, "shape")


def _place(x: Tensor, args: Args) -> Tensor:
    axis = integer(args, "dim") - 1
    size = integer(args, "before") + x.shape[axis] + integer(args, "after")
    return Tensor(x.dtype, (*x.shape[:axis], size, *x.shape[axis + 1 :]))


PLACE = OpSpec(
    "place",
    tuple(OpParam(name, "int", low=0) for name in ("dim", "before", "after")),
    _place,
    lambda x, a: TorchModule("Place", (a["dim"], a["before"], a["after"])),
    free,
    "shape",
)
"""Not in the language: zeros before and after the input along one axis, for a single live operand of ``concat``."""


NORMALISE = OpSpec(
    "normalise",
    (OpParam("channels", "int", low=1),),
    lambda x, a: x,
    lambda x, a: TorchModule("Normalise", (a["channels"], len(x.shape) - 1)),
    free,
    "norm",
)
"""Not in the language: normalises raw inputs. ``channels`` is 1 if all channels share mean and deviation."""


RESTORE = OpSpec(
    "restore",
    (OpParam("channels", "int", low=1),),
    lambda x, a: x,
    lambda x, a: TorchModule("Restore", (a["channels"], len(x.shape) - 1)),
    free,
    "norm",
)
"""Not in the language: outputs in standard units to the unit of the targets that a net was trained on."""
