"""The built-in joins: mean, sum, max, concat, gated."""

from __future__ import annotations

from collections.abc import Callable

from fractal_dsl.ops.shapes import floating, integer
from fractal_dsl.ops.spec import Args, JoinSpec, OpParam, ShapeError, Tensor, TorchModule


def _agree(name: str) -> Callable[[tuple[Tensor, ...], Args], Tensor]:
    def out(operands: tuple[Tensor, ...], args: Args) -> Tensor:
        first = operands[0]
        for i, other in enumerate(operands[1:], 1):
            if other != first:
                help = _agree_help(first, other)
                raise ShapeError(f"`{name}` joins operands of one shape", help, "E0501", (0, i))
        return first

    return out


def _agree_help(a: Tensor, b: Tensor) -> str | None:
    if len(a.shape) == len(b.shape) > 1 and a.shape[1:] == b.shape[1:]:
        return f"end the second operand with `project({a.shape[0]})` to give it {a.shape[0]} channels"
    if len(a.shape) == len(b.shape) > 1 and a.shape[0] == b.shape[0]:
        return f"the sizes differ: {_PADDING}"
    return None


_PADDING = "check the padding and stride of the layers (padding=1 keeps the size under a 3x3 kernel)"


def _concat(operands: tuple[Tensor, ...], args: Args) -> Tensor:
    first, dim = operands[0], integer(args, "dim")
    axis = dim - 1 if dim > 0 else dim + len(first.shape)
    if dim == 0 or not 0 <= axis < len(first.shape):
        raise ShapeError(f"`concat` has no axis {dim} in {first} (axis 0 is the batch)", code="E0501")

    def rest(t: Tensor) -> tuple[object, ...]:
        return (t.dtype, *t.shape[:axis], None, *t.shape[axis + 1 :])

    for i, other in enumerate(operands[1:], 1):
        if rest(other) != rest(first):
            message = f"`concat` joins operands that differ in axis {dim} only (axis 0 is the batch)"
            alike = dim == 1 and len(other.shape) == len(first.shape) > 2 and other.dtype == first.dtype
            help = f"channels may differ, and nothing else: {_PADDING}" if alike else None
            raise ShapeError(message, help, "E0501", (0, i))
    shape = list(first.shape)
    shape[axis] = sum(t.shape[axis] for t in operands)
    return Tensor(first.dtype, tuple(shape))


def _weighed(name: str) -> Callable[[tuple[Tensor, ...], Args], Tensor]:
    def out(operands: tuple[Tensor, ...], args: Args) -> Tensor:
        floating(name, operands[0])
        return _agree(name)(operands, args)

    return out


JOINS: dict[str, JoinSpec] = {
    "mean": JoinSpec("mean", (), _weighed("mean"), doc="The elementwise mean of the operands that drop-path keeps."),
    "sum": JoinSpec("sum", (), _agree("sum"), doc="The elementwise sum of the operands that drop-path keeps."),
    "max": JoinSpec("max", (), _agree("max"), doc="The elementwise maximum of the operands that drop-path keeps."),
    "concat": JoinSpec(
        "concat",
        (OpParam("dim", "int", 1),),
        _concat,
        doc="The operands one after another along `dim`, by default the channels; a dropped operand becomes zeros.",
    ),
    "gated": JoinSpec(
        "gated",
        (OpParam("init", "float", 0.0),),
        _weighed("gated"),
        lambda operands, args: TorchModule("Gated", (operands,), (("init", args["init"]),) if args["init"] else ()),
        lambda operands, args: len(operands),
        doc="The sum of the operands, each times a learned softmax weight.",
    ),
}
