"""Functions and operators of torch as layers and joins: elementwise ones, joins, and changes of shape.

``FUNCTIONS`` maps the name of a function, a method, or an aten operator to what adds its steps. One entry serves all
three, because torch gives them the same arguments in the same order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from fractal_dsl.importing.building import Builder, Held, Ref, Stacked
from fractal_dsl.importing.refusal import Refusal

Lower = Callable[..., Any]
FUNCTIONS: dict[str, Lower] = {}


def lowers(*names: str) -> Callable[[Lower], Lower]:
    """Register what lowers the functions of these names."""

    def register(lower: Lower) -> Lower:
        FUNCTIONS.update(dict.fromkeys(names, lower))
        return lower

    return register


# --- elementwise

_POINTWISE = "relu relu6 selu silu mish sigmoid tanh hardswish hardsigmoid"
_WITH_ARGUMENTS = {
    "elu": ("elu", "alpha"),
    "gelu": ("gelu", "approximate"),
    "softplus": ("softplus", "beta threshold"),
    "leaky_relu": ("leakyrelu", "negative_slope"),
    "glu": ("glu", "dim"),
}


def _elementwise(op: str, names: Sequence[str]) -> Lower:
    def lower(b: Builder, x: Any, *values: Any, **named: Any) -> Ref:
        given = dict(zip(names, values, strict=False)) | {k: v for k, v in named.items() if k in names}
        return b.layer(op, x, **given)

    return lower


FUNCTIONS.update({name: _elementwise(name, ()) for name in _POINTWISE.split()})
FUNCTIONS.update({name: _elementwise(op, names.split()) for name, (op, names) in _WITH_ARGUMENTS.items()})


@lowers("hardtanh", "clamp", "clip")
def _clamp(b: Builder, x: Any, min_val: Any = -1.0, max_val: Any = 1.0, inplace: bool = False, **named: Any) -> Ref:
    low, high = named.get("min", min_val), named.get("max", max_val)
    if (low, high) == (0, 6):
        return b.layer("relu6", x)
    raise Refusal(f"clamping to {low} and {high} has no counterpart in the language", b.place)


def _softmax_of(op: str) -> Lower:
    def lower(b: Builder, x: Any, dim: Any = None, *rest: Any, **named: Any) -> Ref:
        if not isinstance(dim, int):
            raise Refusal(f"`{op}` without a dim", b.place)
        return b.layer(op, x, dim=dim)

    return lower


FUNCTIONS.update(softmax=_softmax_of("softmax"), log_softmax=_softmax_of("logsoftmax"))


def _dropout(op: str) -> Lower:
    def lower(b: Builder, x: Any, p: float = 0.5, training: bool = True, inplace: bool = False, **named: Any) -> Ref:
        if training:
            raise Refusal("dropout also acts in eval mode here", b.place)
        return b.layer(op, x, p=float(p)) if p else x

    return lower


FUNCTIONS.update(dropout=_dropout("dropout"), feature_dropout=_dropout("dropout2d"))
FUNCTIONS.update({f"dropout{rank}d": _dropout(f"dropout{rank}d") for rank in (1, 2, 3)})


@lowers("contiguous", "clone", "detach", "to", "float", "type_as", "stochastic_depth", "alias", "lift_fresh_copy")
def _same(b: Builder, x: Any, *rest: Any, **named: Any) -> Any:
    return x


@lowers("detach_", "_assert_tensor_metadata", "_assert", "_assert_scalar", "sym_constrain_range_for_size")
def _nothing(b: Builder, *rest: Any, **named: Any) -> None:
    return None


# --- joins


@lowers("add", "iadd")
def _add(b: Builder, x: Any, y: Any, alpha: float = 1, **named: Any) -> Ref:
    if alpha != 1:
        raise Refusal(f"addition with alpha={alpha} has no counterpart in the language", b.place)
    first, second = (x, y) if isinstance(x, Ref) else (y, x)
    if isinstance(second, Held) and second.name and isinstance(first, Ref):
        shape = second.value.shape
        if (
            len(first.out.shape) == 2
            and tuple(shape)[-2:] == first.out.shape
            and shape.numel() == shape[-1] * shape[-2]
        ):
            return b.layer("positions", first, {"weight": second.name})
    if not isinstance(second, Ref) and second == 0:
        return first
    if x == y:
        raise Refusal("adding a tensor to itself has no counterpart in the language", b.place)
    return b.join("sum", [x, y])


@lowers("maximum", "max")
def _maximum(b: Builder, x: Any, y: Any = None, *rest: Any, **named: Any) -> Any:
    if isinstance(x, Stacked) and y == x.dim:
        return b.join("max", x.items), None
    if not isinstance(y, Ref):
        raise Refusal("the maximum over an axis has no counterpart in the language", b.place)
    return b.join("max", [x, y])


@lowers("cat", "concat", "concatenate")
def _cat(b: Builder, tensors: Any, dim: int = 0, **named: Any) -> Any:
    if not all(isinstance(t, Ref) for t in tensors):
        raise Refusal("`concat` has a constant operand", b.place)
    dim = dim + tensors[0].rank if dim < 0 else dim
    if dim == 0:
        raise Refusal("concatenating along the batch has no counterpart in the language", b.place)
    return b.join("concat", list(tensors), dim=dim)


@lowers("stack")
def _stack(b: Builder, tensors: Any, dim: int = 0, **named: Any) -> Stacked:
    if not all(isinstance(t, Ref) for t in tensors):
        raise Refusal("`stack` has a constant operand", b.place)
    return Stacked(tuple(tensors), dim + tensors[0].rank + 1 if dim < 0 else dim)


@lowers("div", "truediv", "itruediv")
def _divided(b: Builder, x: Any, y: Any, **named: Any) -> Any:
    """A sum of n operands divided by n is their mean."""
    operands = b.operands(x, "sum")
    while (
        isinstance(y, int | float) and len(operands) < y and (first := b.operands(operands[0], "sum")) != operands[:1]
    ):
        operands = [*first, *operands[1:]]
    return b.join("mean", operands) if len(operands) == y else _no(b, "this division")


@lowers("mul", "imul")
def _multiplied(b: Builder, x: Any, y: Any, **named: Any) -> Any:
    number = y if isinstance(y, int | float) else x
    if not isinstance(number, int | float) or not number:
        raise Refusal("multiplication has no counterpart in the language", b.place)
    return _divided(b, x if number is y else y, round(1 / number, 6))


@lowers("mean")
def _mean(b: Builder, x: Any, dim: Any = None, keepdim: bool = False, **named: Any) -> Any:
    if isinstance(x, Stacked):
        return b.join("mean", x.items) if dim in (x.dim, [x.dim], (x.dim,)) else _no(b, "this mean")
    axes = sorted(d + x.rank if d < 0 else d for d in ([dim] if isinstance(dim, int) else dim or ()))
    if axes != list(range(2, x.rank)):
        raise Refusal(f"a mean over the axes {dim} has no counterpart in the language", b.place)
    return b.layer(f"adaptiveavgpool{x.rank - 2}d", x, output_size=1) if keepdim else b.layer("global_avgpool", x)


def _no(b: Builder, what: str) -> Any:
    raise Refusal(f"{what} has no counterpart in the language", b.place)


@lowers("sum", "amax")
def _sum(b: Builder, x: Any, dim: Any = None, *rest: Any, **named: Any) -> Any:
    if isinstance(x, Stacked) and dim in (x.dim, [x.dim], (x.dim,)):
        return b.join("sum", x.items)
    raise Refusal("a sum over an axis has no counterpart in the language", b.place)


# --- shapes


@lowers("flatten")
def _flatten(b: Builder, x: Any, start_dim: int = 0, end_dim: int = -1) -> Ref:
    start, end = (d + x.rank if d < 0 else d for d in (start_dim, end_dim))
    if start == end:
        return x
    return b.layer("flatten", x, start_dim=start, end_dim=-1 if end == x.rank - 1 else end)


@lowers("view", "reshape", "_unsafe_view")
def _view(b: Builder, x: Any, *shape: Any, **named: Any) -> Ref:
    wanted = list(shape[0] if shape and isinstance(shape[0], list | tuple) else shape)
    before = x.out.shape
    after = _resolved(before, [int(s) for s in wanted[1:]])
    if after == before:
        return x
    for start in range(len(before)):
        for end in range(start + 1, len(before)):
            size = 1
            for n in before[start : end + 1]:
                size *= n
            if (*before[:start], size, *before[end + 1 :]) == after:
                return b.layer("flatten", x, start_dim=start + 1, end_dim=-1 if end == len(before) - 1 else end + 1)
    raise Refusal(f"reshaping {list(before)} to {list(after)} has no counterpart in the language", b.place)


def _resolved(before: tuple[int, ...], after: list[int]) -> tuple[int, ...]:
    """A shape with -1 replaced."""
    total, known = 1, 1
    for n in before:
        total *= n
    for n in after:
        known *= n if n != -1 else 1
    return tuple([total // known if n == -1 else n for n in after])


@lowers("transpose", "swapaxes")
def _transpose(b: Builder, x: Any, dim0: int, dim1: int) -> Ref:
    first, second = sorted(d + x.rank if d < 0 else d for d in (dim0, dim1))
    return x if first == second else b.layer("transpose", x, dim0=first, dim1=second)


@lowers("permute")
def _permute(b: Builder, x: Any, *dims: Any) -> Ref:
    axes = [d + x.rank if d < 0 else d for d in (dims[0] if isinstance(dims[0], list | tuple) else dims)]
    moved = [i for i, d in enumerate(axes) if i != d]
    if not moved:
        return x
    if len(moved) == 2 and 0 not in moved:
        return b.layer("transpose", x, dim0=moved[0], dim1=moved[1])
    raise Refusal(f"permuting the axes to {axes} has no counterpart in the language", b.place)


@lowers("pad")
def _pad(b: Builder, x: Any, pad: Any, mode: str = "constant", value: Any = None) -> Ref:
    sides = [int(p) for p in pad]
    rank = x.rank - 2
    if mode != "constant" or value or rank not in (1, 2, 3) or any(sides[2 * rank :]) or min(sides) < 0:
        raise Refusal(f"padding by {sides} with mode {mode!r} has no counterpart in the language", b.place)
    sides = (sides + [0] * 2 * rank)[: 2 * rank]
    if not any(sides):
        return x
    return b.layer(f"zeropad{rank}d", x, padding=sides[0] if len({*sides}) == 1 else tuple(sides))


@lowers("squeeze")
def _squeeze(b: Builder, x: Any, dim: Any = None) -> Ref:
    after = b.layer("flatten", x)
    if dim is None or [n for n in x.out.shape if n != 1] not in ([], [*after.out.shape]):
        raise Refusal("this squeeze has no counterpart in the language", b.place)
    return after


@lowers("getitem")
def _getitem(b: Builder, x: Any, index: Any) -> Any:
    if isinstance(x, list | tuple | dict):
        return x[index]
    if isinstance(x, Ref) and all(
        i in (slice(None), Ellipsis) for i in (index if isinstance(index, tuple) else (index,))
    ):
        return x
    raise Refusal("indexing has no counterpart in the language", b.place)


@lowers("pixel_shuffle")
def _pixel_shuffle(b: Builder, x: Any, upscale_factor: int) -> Ref:
    return b.layer("pixelshuffle", x, upscale_factor=upscale_factor)
