"""Layers whose output does not depend on the numbers of their input: learned tensors, and distances in a window.

They make attention biases by distance: ``parameter``, or a small net on ``distances``, gives numbers for each distance
between two pixels of a window, and ``pairs`` looks them up for each pair of pixels.
"""

from __future__ import annotations

from math import prod

from fractal_dsl.ops.shapes import constructor, floating, free, integer
from fractal_dsl.ops.spec import Args, OpParam, OpSpec, ShapeError, Tensor, TorchModule

WINDOW = OpParam("window_size", "numbers")


def _sizes(name: str, args: Args, key: str, count: int | None = None) -> tuple[int, ...]:
    """Sizes above 0: ``count`` of them, if it is given, which one number stands for. Raises ShapeError."""
    value = args[key]
    given = value if isinstance(value, tuple) else (integer(args, key),) * (count or 1)
    if min(given, default=0) < 1 or len(given) != (count or len(given)):
        wanted = f"one size or {count}" if count else "sizes"
        shown = [*given] if isinstance(value, tuple) else value
        raise ShapeError(f"`{key}` of `{name}` must be {wanted} above 0, found {shown}", code="E0302")
    return tuple(map(int, given))


def parameter() -> OpSpec:
    """``parameter``: a learned tensor, whatever the input. Its ``shape`` leaves the batch out."""
    params = (OpParam("shape", "numbers"), OpParam("std", "float", 0.02, low=0))

    def torch(x: Tensor, args: Args) -> TorchModule:
        return constructor("LearnedTensor", params, {**args, "shape": _sizes("parameter", args, "shape")})

    return OpSpec(
        "parameter",
        params,
        lambda x, a: Tensor("f32", _sizes("parameter", a, "shape")),
        torch,
        lambda x, y, a: (prod(y.shape), 0),
        "shape",
    )


def distances() -> OpSpec:
    """``distances``: how far two pixels of a window can be apart, [2 height - 1, 2 width - 1, 2], whatever the input.

    With ``scale="log"`` they are sign(d) log(1 + |d|); with ``"log8"``, sign(d) log8(1 + 8 |d| / extent), where
    ``extent`` is the largest distance unless it is given (Swin v2, Liu et al. 2022)."""
    params = (
        WINDOW,
        OpParam("scale", "str", "linear", choices=("linear", "log", "log8")),
        OpParam("extent", "numbers", None),
    )

    def extent(args: Args) -> tuple[int, ...] | None:
        return None if args["extent"] is None else _sizes("distances", args, "extent", 2)

    def out(x: Tensor, args: Args) -> Tensor:
        floating("distances", x)
        height, width = _sizes("distances", args, "window_size", 2)
        if extent(args) is not None and args["scale"] != "log8":
            raise ShapeError('`distances` takes an `extent` only with scale="log8"', code="E0302")
        return Tensor("f32", (2 * height - 1, 2 * width - 1, 2))

    def torch(x: Tensor, args: Args) -> TorchModule:
        window = _sizes("distances", args, "window_size", 2)
        return constructor("Distances", params, {**args, "window_size": window, "extent": extent(args)})

    return OpSpec("distances", params, out, torch, free, "shape")


def pairs() -> OpSpec:
    """``pairs``: from a table [distances, features], the row of each pair of pixels of a window: [queries, keys,
    features].

    Row (i + height - 1)(2 width - 1) + j + width - 1 is that of a query i pixels below and j right of a key. If
    distances are ``absolute``, it is row i * width + j, and queries may be only every ``stride``-th pixel (LeViT,
    Graham et al. 2021). With ``class_token``, a token comes before the pixels: the last three rows are its distances as
    a query, as a key, and to itself (BEiT, Bao et al. 2021)."""
    params = (
        WINDOW,
        OpParam("absolute", "bool", False, keyword=True),
        OpParam("stride", "int", 1, low=1, keyword=True),
        OpParam("class_token", "bool", False, keyword=True),
    )

    def out(x: Tensor, args: Args) -> Tensor:
        floating("pairs", x)
        height, width = _sizes("pairs", args, "window_size", 2)
        stride, token = integer(args, "stride"), bool(args["class_token"])
        if args["absolute"] and token:
            raise ShapeError("`pairs` takes absolute=true or class_token=true, not both", code="E0302")
        if stride != 1 and not args["absolute"]:
            raise ShapeError("`pairs` takes a stride only with absolute=true", code="E0302")
        rows = height * width if args["absolute"] else (2 * height - 1) * (2 * width - 1) + 3 * token
        if len(x.shape) != 2 or x.shape[0] != rows:
            raise ShapeError(f"`pairs` takes a table of {rows} distances, f32[{rows}, features], but its input is {x}")
        queries = -(-height // stride) * -(-width // stride)
        return Tensor("f32", (queries + token, height * width + token, x.shape[1]))

    def torch(x: Tensor, args: Args) -> TorchModule:
        return constructor("Pairs", params, {**args, "window_size": _sizes("pairs", args, "window_size", 2)})

    return OpSpec("pairs", params, out, torch, free, "shape")


def window_mask() -> OpSpec:
    """``window_mask``: whether two pixels of a window are from opposite sides of an image whose pixels were moved by
    ``shift_size``: [windows, pixels, pixels], 0 or -100, whatever the input (Swin, Liu et al. 2021)."""
    params = (OpParam("image_size", "numbers"), WINDOW, OpParam("shift_size", "numbers"))

    def given(args: Args) -> list[tuple[int, ...]]:
        image, window = (_sizes("window_mask", args, key, 2) for key in ("image_size", "window_size"))
        shift = args["shift_size"]
        shifts = tuple(map(int, shift)) if isinstance(shift, tuple) else (integer(args, "shift_size"),) * 2
        if len(shifts) != 2 or min(shifts) < 0 or any(s >= w for s, w in zip(shifts, window, strict=True)):
            raise ShapeError(f"`shift_size` must be below the window's size {[*window]}, found {shift}", code="E0302")
        if any(i % w for i, w in zip(image, window, strict=True)):
            raise ShapeError(f"windows of {[*window]} pixels do not divide an image of {[*image]}", code="E0302")
        return [image, window, shifts]

    def out(x: Tensor, args: Args) -> Tensor:
        floating("window_mask", x)
        image, window, _ = given(args)
        pixels = prod(window)
        return Tensor("f32", (prod(image) // pixels, pixels, pixels))

    return OpSpec("window_mask", params, out, lambda x, a: TorchModule("WindowMask", tuple(given(a))), free, "shape")
