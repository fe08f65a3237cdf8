"""Layers of sequences [length, features] without weights of their own kind: class tokens, and summaries."""

from __future__ import annotations

from math import prod

from fractal_dsl.ops.shapes import floating, free, integer
from fractal_dsl.ops.spec import Args, OpParam, OpSpec, ShapeError, Tensor, TorchModule


def sequence(name: str, x: Tensor) -> tuple[int, int]:
    """The length and the features of a sequence. Raises ShapeError."""
    floating(name, x)
    if len(x.shape) != 2:
        raise ShapeError(f"`{name}` takes [length, features], but its input is {x}")
    return x.shape[0], x.shape[1]


def positions() -> OpSpec:
    """``positions``: adds a learned number to each number, [length, features] or more axes to the same shape."""

    def out(x: Tensor, args: Args) -> Tensor:
        floating("positions", x)
        if len(x.shape) < 2:
            raise ShapeError(f"`positions` takes [length, features] or more axes, but its input is {x}")
        return x

    def cost(x: Tensor, y: Tensor, args: Args) -> tuple[int, int]:
        return prod(x.shape), 0

    return OpSpec("positions", (), out, lambda x, a: TorchModule("Positions", (x.shape,)), cost, "shape")


def class_token() -> OpSpec:
    """``class_token``: learned vectors before the first position, [length, features] to [length + count, features]."""
    params = (OpParam("count", "int", 1, low=1),)

    def out(x: Tensor, args: Args) -> Tensor:
        length, features = sequence("class_token", x)
        return Tensor("f32", (length + integer(args, "count"), features))

    def cost(x: Tensor, y: Tensor, args: Args) -> tuple[int, int]:
        return integer(args, "count") * x.shape[1], 0

    def torch(x: Tensor, args: Args) -> TorchModule:
        return TorchModule("ClassToken", (x.shape[1], args["count"]))

    return OpSpec("class_token", params, out, torch, cost, "shape")


def last_step() -> OpSpec:
    """``last_step``: the last position of a sequence, [length, features] to [features]."""
    return _summary("last_step", "LastStep")


def sequence_mean() -> OpSpec:
    """``sequence_mean``: the mean over the positions of a sequence, [length, features] to [features]."""
    return _summary("sequence_mean", "SequenceMean")


def _summary(name: str, target: str) -> OpSpec:
    def out(x: Tensor, args: Args) -> Tensor:
        return Tensor("f32", (sequence(name, x)[1],))

    return OpSpec(name, (), out, lambda x, a: TorchModule(target), free, "shape")
