"""Layers that move numbers to other places: permutations, slices, rotations, and channels to pixels and back."""

from __future__ import annotations

from math import prod

from fractal_dsl.ops.shapes import constructor, free, integer, nearest_divisors, spatial
from fractal_dsl.ops.spec import Args, OpParam, OpSpec, ShapeError, Tensor, TorchModule


def permute() -> OpSpec:
    """``permute``: the axes in another order. Axis 0 is the batch, which stays and is not listed."""

    def dims(x: Tensor, args: Args) -> tuple[int, ...]:
        wanted = tuple([axis_of(x, axis) for axis in _numbers(args, "dims")])
        if sorted(wanted) != [*range(1, len(x.shape) + 1)]:
            every = ", ".join(map(str, range(1, len(x.shape) + 1)))
            message = f"`permute` takes each axis of {x} once, in the new order (axis 0 is the batch)"
            raise ShapeError(message, f"the axes are {every}" if every else None)
        return wanted

    def out(x: Tensor, args: Args) -> Tensor:
        return Tensor(x.dtype, tuple([x.shape[axis - 1] for axis in dims(x, args)]))

    params = (OpParam("dims", "numbers"),)
    return OpSpec("permute", params, out, lambda x, a: TorchModule("Permute", (dims(x, a),)), free, "shape")


def reshape() -> OpSpec:
    """``reshape``: the same numbers in other axes. ``shape`` leaves the batch out; one size may be -1."""

    def sizes(x: Tensor, args: Args) -> tuple[int, ...]:
        wanted, count = _numbers(args, "shape"), prod(x.shape)
        if min(wanted, default=1) < -1 or 0 in wanted or wanted.count(-1) > 1:
            raise ShapeError("`reshape` takes sizes above 0, of which one may be -1", code="E0302")
        known = prod([size for size in wanted if size != -1])
        if count % known or (-1 not in wanted and count != known):
            numbers = f"{known:,}" if -1 not in wanted else f"a multiple of {known:,}"
            raise ShapeError(f"`reshape` to {list(wanted)} needs {numbers} numbers, but its input is {x}")
        return tuple([count // known if size == -1 else size for size in wanted])

    params = (OpParam("shape", "numbers"),)
    return OpSpec(
        "reshape",
        params,
        lambda x, a: Tensor(x.dtype, sizes(x, a)),
        lambda x, a: TorchModule("Reshape", (_numbers(a, "shape"),)),
        free,
        "shape",
    )


def slice_() -> OpSpec:
    """``slice``: every ``step``-th number of an axis from ``start`` to before ``stop``, which count from the end if
    negative."""

    def bounds(x: Tensor, args: Args) -> tuple[int, int, int]:
        axis = axis_of(x, integer(args, "dim"))
        if not 1 <= axis <= len(x.shape):
            raise ShapeError(f"`slice` has no axis {args['dim']} in {x} (axis 0 is the batch)")
        size, stop = x.shape[axis - 1], args["stop"]
        first, last, _ = slice(integer(args, "start"), stop if isinstance(stop, int) else None).indices(size)
        if first >= last:
            part = f"from {args['start']}" + (f" to {stop}" if stop is not None else "")
            raise ShapeError(f"`slice` {part} of axis {axis} takes nothing: its size is {size} in {x}", code="E0504")
        return axis, first, last

    def out(x: Tensor, args: Args) -> Tensor:
        axis, first, last = bounds(x, args)
        return Tensor(x.dtype, (*x.shape[: axis - 1], len(range(first, last, integer(args, "step"))), *x.shape[axis:]))

    def torch(x: Tensor, args: Args) -> TorchModule:
        step = integer(args, "step")
        return TorchModule("Slice", bounds(x, args), (("step", step),) if step != 1 else ())

    params = (OpParam("dim", "int"), OpParam("start", "int", 0), OpParam("stop", "int", None))
    return OpSpec("slice", (*params, OpParam("step", "int", 1, low=1)), out, torch, free, "shape")


def _split() -> OpSpec:
    """One part of ``split(sizes, dim)``: those of axis ``dim`` that come after the parts before it."""

    def bounds(x: Tensor, args: Args) -> tuple[int, int, int]:
        axis, sizes, part = axis_of(x, integer(args, "dim")), _numbers(args, "sizes"), integer(args, "part")
        if not 1 <= axis <= len(x.shape):
            raise ShapeError(f"`split` has no axis {args['dim']} in {x} (axis 0 is the batch)")
        if sum(sizes) != x.shape[axis - 1]:
            message = f"`split` into {list(sizes)} needs an axis of size {sum(sizes):,}, but axis {axis} of {x} has "
            raise ShapeError(f"{message}{x.shape[axis - 1]:,}")
        start = sum(sizes[:part])
        return axis, start, start + sizes[part]

    def out(x: Tensor, args: Args) -> Tensor:
        axis, start, stop = bounds(x, args)
        return Tensor(x.dtype, (*x.shape[: axis - 1], stop - start, *x.shape[axis:]))

    params = (OpParam("sizes", "numbers", low=1), OpParam("dim", "int", 1), OpParam("part", "int", low=0))
    return OpSpec("split", params, out, lambda x, a: TorchModule("Slice", bounds(x, a)), free, "shape")


SPLIT = _split()


def roll() -> OpSpec:
    """``roll``: numbers move along axes, and those that leave at one end come back at the other."""

    def moves(x: Tensor, args: Args) -> tuple[tuple[int, ...], tuple[int, ...]]:
        return _numbers(args, "shifts"), tuple([axis_of(x, axis) for axis in _numbers(args, "dims")])

    def out(x: Tensor, args: Args) -> Tensor:
        shifts, dims = moves(x, args)
        if not all(1 <= axis <= len(x.shape) for axis in dims):
            raise ShapeError(f"`roll` has no axes {list(_numbers(args, 'dims'))} in {x} (axis 0 is the batch)")
        if not dims or len(shifts) != len(dims):
            message = f"`roll` takes a shift for each axis, but {len(shifts)} shifts and {len(dims)} axes are given"
            raise ShapeError(message, code="E0302")
        return x

    params = (OpParam("shifts", "numbers"), OpParam("dims", "numbers"))
    return OpSpec("roll", params, out, lambda x, a: TorchModule("Roll", moves(x, a)), free, "shape")


def channel_shuffle() -> OpSpec:
    """``channel_shuffle``: [channels, …] with the channels of ``groups`` groups in turn (ShuffleNet)."""
    params = (OpParam("groups", "int", low=1),)

    def out(x: Tensor, args: Args) -> Tensor:
        groups = integer(args, "groups")
        if len(x.shape) < 2:
            raise ShapeError(f"`channel_shuffle` takes channels and at least one more axis, but its input is {x}")
        if x.shape[0] % groups:
            message = f"`channel_shuffle` with {groups} groups cannot divide the channels of {x}"
            raise ShapeError(message, f"use {nearest_divisors(x.shape[0], groups)} groups")
        return x

    def torch(x: Tensor, args: Args) -> TorchModule:
        return TorchModule("ChannelShuffle", (args["groups"],))

    return OpSpec("channel_shuffle", params, out, torch, free, "shape")


def pixel_unshuffle() -> OpSpec:
    """``pixelunshuffle`` moves pixels to channels: [c, height * r, width * r] to [c * r * r, height, width]."""
    params = (OpParam("downscale_factor", "int", low=1),)

    def out(x: Tensor, args: Args) -> Tensor:
        height, width = spatial("pixelunshuffle", x, 2)
        r = integer(args, "downscale_factor")
        if height % r or width % r:
            raise ShapeError(f"`pixelunshuffle` by {r} needs multiples of {r} as sizes, but its input is {x}")
        return Tensor("f32", (x.shape[0] * r**2, height // r, width // r))

    def torch(x: Tensor, args: Args) -> TorchModule:
        return constructor("nn.PixelUnshuffle", params, args)

    return OpSpec("pixelunshuffle", params, out, torch, free, "shape", 2)


def axis_of(x: Tensor, axis: int) -> int:
    """An axis counted from the batch, 0. Negative ones count from the end."""
    return axis + len(x.shape) + 1 if axis < 0 else axis


def _numbers(args: Args, name: str) -> tuple[int, ...]:
    """An argument that is a whole number, or several."""
    value = args[name]
    return tuple(map(int, value)) if isinstance(value, tuple) else (integer(args, name),)
