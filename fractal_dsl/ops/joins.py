"""The built-in joins: mean, sum, product, max, min, concat, gated, matmul, attend."""

from __future__ import annotations

from collections.abc import Callable

from fractal_dsl.ops.products import attend_macs, attend_shape, matmul_macs, matmul_shape
from fractal_dsl.ops.shapes import floating, integer
from fractal_dsl.ops.spec import Args, JoinSpec, OpParam, ShapeError, Tensor, TorchModule

_Rule = Callable[[tuple[Tensor, ...], Args], Tensor]


def _agree(name: str) -> _Rule:
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


def _broadcast(name: str) -> _Rule:
    """The shape rule of a join that repeats its operands along their axes of size 1."""

    def out(operands: tuple[Tensor, ...], args: Args) -> Tensor:
        first, shape = operands[0], list(operands[0].shape)
        giver = [0] * len(shape)  # the operand that an axis has its size from
        for i, other in enumerate(operands[1:], 1):
            if other.dtype != first.dtype or len(other.shape) != len(shape):
                help = _rank_help(first, other) if other.dtype == first.dtype else None
                raise ShapeError(f"`{name}` joins operands of one shape", help, "E0501", (0, i))
            for axis, size in enumerate(other.shape):
                if shape[axis] == 1:
                    shape[axis], giver[axis] = size, i
                elif size not in (1, shape[axis]):
                    one = operands[giver[axis]]
                    repeated = " (axes of size 1 are repeated)" * (1 in (*one.shape, *other.shape))
                    message = f"`{name}` joins operands of one shape{repeated}"
                    raise ShapeError(message, _agree_help(one, other), "E0501", (giver[axis], i))
        return Tensor(first.dtype, tuple(shape))

    return out


def _rank_help(a: Tensor, b: Tensor) -> str | None:
    few, many = sorted((a.shape, b.shape), key=len)
    if len(few) == 1 and len(many) > 1 and few[0] == many[0]:
        sizes = ", ".join(map(str, (*few, *(1,) * (len(many) - 1))))
        return f"give the operand with fewer axes the shape [{sizes}]: pool with `adaptiveavgpool2d(1)`"
    return None


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


def _weighed(name: str, rule: _Rule) -> _Rule:
    def out(operands: tuple[Tensor, ...], args: Args) -> Tensor:
        floating(name, operands[0])
        return rule(operands, args)

    return out


JOINS: dict[str, JoinSpec] = {
    "mean": JoinSpec(
        "mean",
        (),
        _weighed("mean", _broadcast("mean")),
        doc="The elementwise mean of the operands that drop-path keeps. Axes of size 1 are repeated.",
    ),
    "sum": JoinSpec(
        "sum",
        (),
        _broadcast("sum"),
        doc="The elementwise sum of the operands that drop-path keeps. Axes of size 1 are repeated.",
    ),
    "product": JoinSpec(
        "product",
        (),
        _broadcast("product"),
        doc="The elementwise product of the operands that drop-path keeps. Axes of size 1 are repeated.",
    ),
    "max": JoinSpec("max", (), _agree("max"), doc="The elementwise maximum of the operands that drop-path keeps."),
    "min": JoinSpec("min", (), _agree("min"), doc="The elementwise minimum of the operands that drop-path keeps."),
    "concat": JoinSpec(
        "concat",
        (OpParam("dim", "int", 1),),
        _concat,
        doc="The operands one after another along `dim`, by default the channels; a dropped operand becomes zeros.",
    ),
    "gated": JoinSpec(
        "gated",
        (OpParam("init", "float", 0.0),),
        _weighed("gated", _agree("gated")),
        lambda operands, args: TorchModule("Gated", (operands,), (("init", args["init"]),) if args["init"] else ()),
        lambda operands, args: len(operands),
        doc="The sum of the operands, each times a learned softmax weight.",
    ),
    "matmul": JoinSpec(
        "matmul",
        (),
        matmul_shape,
        lambda operands, args: TorchModule("Matmul"),
        pairs=False,
        inline=True,
        macs=matmul_macs,
        doc="The product of two matrices, […, n, m] and […, m, k], for each example.",
    ),
    "attend": JoinSpec(
        "attend",
        (OpParam("scale", "float", None, low=0), OpParam("causal", "bool", False)),
        attend_shape,
        lambda operands, args: TorchModule("Attend", (), tuple((k, v) for k, v in args.items() if v)),
        pairs=False,
        inline=True,
        macs=attend_macs,
        doc="Attention of queries to keys and values, […, length, features], with a term for the scores as an option.",
    ),
}
