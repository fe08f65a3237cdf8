"""Layers and joins that are Python classes: modules of torch.nn, and those of ``extern`` declarations.

They run on torch's meta device to get their output shape, so only specs that use one load torch.
"""

from __future__ import annotations

from collections.abc import Sequence

from fractal_dsl.ops.spec import Args, JoinSpec, OpSpec, OpValue, ShapeError, Tensor, TorchModule

_BUILT_IN = {"nn.MultiheadAttention": "self-attention is built in: `attention(num_heads)`"}
"""Modules that cannot be layers, and what to use instead."""


def foreign_layer(name: str, target: str, positional: Sequence[OpValue], named: Args) -> OpSpec:
    """A layer that constructs ``target`` (``nn.X``, or ``package.module:Class``) with these arguments.

    Its shape rule raises ShapeError if the class does not map one tensor to one tensor.
    """
    call = TorchModule(target, tuple(positional), tuple(named.items()))

    def out(x: Tensor, args: Args) -> Tensor:
        from fractal_dsl.ops.foreign_python import Failed, try_layer

        try:
            return try_layer(call, x).out
        except Failed as error:
            raise ShapeError(f"`{name}` {error}", _BUILT_IN.get(name)) from None

    def cost(x: Tensor, y: Tensor, args: Args) -> tuple[int, int]:
        from fractal_dsl.ops.foreign_python import try_layer

        tried = try_layer(call, x)
        return tried.params, tried.macs

    return OpSpec(name, (), out, lambda x, a: call, cost, "shape", None, True)


def foreign_join(name: str, target: str, named: Args) -> JoinSpec:
    """A join that constructs ``target`` with these arguments and calls it with the live operands.

    A single operand passes unchanged. Its shape rule raises ShapeError if the class does not accept the operands.
    """
    call = TorchModule(target, (), tuple(named.items()))

    def out(operands: tuple[Tensor, ...], args: Args) -> Tensor:
        from fractal_dsl.ops.foreign_python import Failed, try_join

        try:
            return try_join(call, operands).out
        except Failed as error:
            raise ShapeError(f"`{name}` {error}", code="E0501") from None

    def cost(operands: tuple[Tensor, ...], args: Args) -> int:
        from fractal_dsl.ops.foreign_python import try_join

        return try_join(call, operands).params

    return JoinSpec(name, (), out, lambda n, a: call, cost, pairs=False)
