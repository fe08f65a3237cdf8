"""The shapes and costs of joins that multiply matrices: ``matmul`` and ``attend``."""

from __future__ import annotations

from math import prod

from fractal_dsl.ops.spec import Args, ShapeError, Tensor


def matmul_shape(operands: tuple[Tensor, ...], args: Args) -> Tensor:
    """[…, n, m] and […, m, k] to […, n, k]; leading axes of size 1 are repeated. Raises ShapeError."""
    _matrices("matmul", operands)
    if len(operands) != 2:
        raise ShapeError(f"`matmul` multiplies two operands, not {len(operands)}", "nest it", "E0501")
    a, b = operands
    if len(a.shape) != len(b.shape) or a.shape[-1] != b.shape[-2]:
        message = "`matmul` multiplies […, n, m] by […, m, k]"
        raise ShapeError(message, "`transpose(-2, -1)` swaps the axes of a matrix", "E0501", (0, 1))
    leading = tuple(max(x, y) for x, y in zip(a.shape[:-2], b.shape[:-2], strict=True))
    if any(1 != size != whole for t in operands for size, whole in zip(t.shape[:-2], leading, strict=True)):
        raise ShapeError("`matmul` multiplies operands whose leading axes are equal or 1", None, "E0501", (0, 1))
    return Tensor("f32", (*leading, a.shape[-2], b.shape[-1]))


def matmul_macs(operands: tuple[Tensor, ...], args: Args) -> int:
    """The multiply-accumulates of a product."""
    return prod(matmul_shape(operands, args).shape) * operands[0].shape[-1]


def attend_shape(operands: tuple[Tensor, ...], args: Args) -> Tensor:
    """Queries […, n, d], keys […, m, d], values […, m, e] and perhaps a term for the scores […, n, m] to […, n, e].
    Raises ShapeError."""
    _matrices("attend", operands)
    if len(operands) not in (3, 4):
        message = (
            f"`attend` takes queries, keys, values and perhaps a term for the scores, not {len(operands)} operands"
        )
        raise ShapeError(message, None, "E0501")
    q, k, v = operands[:3]
    if q.shape[:-2] != k.shape[:-2] or q.shape[-1] != k.shape[-1]:
        raise ShapeError("`attend` takes queries […, n, d] and keys […, m, d]", None, "E0501", (0, 1))
    if v.shape[:-1] != k.shape[:-1]:
        raise ShapeError("`attend` takes keys […, m, d] and values […, m, e]", None, "E0501", (1, 2))
    scores = (*q.shape[:-1], k.shape[-2])
    if len(operands) == 4:
        term = operands[3].shape
        if len(term) != len(scores) or any(1 != a != b for a, b in zip(term, scores, strict=True)):
            raise ShapeError(f"`attend` adds a term to scores of shape {list(scores)}", None, "E0501", (0, 3))
        if args["causal"]:
            raise ShapeError("`attend` takes a term for the scores or causal=true, not both", code="E0501")
    return Tensor("f32", (*q.shape[:-1], v.shape[-1]))


def attend_macs(operands: tuple[Tensor, ...], args: Args) -> int:
    """The multiply-accumulates of both products, whatever the mask."""
    q, k, v = operands[:3]
    return prod(q.shape[:-1]) * k.shape[-2] * (q.shape[-1] + v.shape[-1])


def _matrices(name: str, operands: tuple[Tensor, ...]) -> None:
    for i, x in enumerate(operands):
        if x.dtype != "f32" or len(x.shape) < 2:
            message = f"`{name}` takes matrices of floating-point numbers, […, n, m], but operand {i + 1} is {x}"
            raise ShapeError(message, code="E0501")
