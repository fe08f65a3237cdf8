"""Functions and operators of torch as layers and joins: elementwise ones, and joins.

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
MOVING: set[str] = set()
"""Functions that take views, because they move axes and not numbers."""
TRAILING: set[str] = set()
"""Functions that treat all axes but the last two alike, so that some of them may be folded into the batch."""

MIXING = {"matmul", "bmm", "scaled_dot_product_attention", "softmax", "log_softmax", "glu", "normalize", "pad"} | {
    "linalg_vector_norm"
}
"""Those that do not treat the last two axes alike either, except for a layer over the last one."""


def lowers(*names: str) -> Callable[[Lower], Lower]:
    """Register what lowers the functions of these names."""

    def register(lower: Lower) -> Lower:
        FUNCTIONS.update(dict.fromkeys(names, lower))
        return lower

    return register


def moves(*names: str) -> Callable[[Lower], Lower]:
    """Register what lowers functions that take views."""
    MOVING.update(names)
    return lowers(*names)


def trailing(*names: str) -> Callable[[Lower], Lower]:
    """Register what lowers functions of the last axes."""
    TRAILING.update(names)
    return lowers(*names)


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
TRAILING.update(_POINTWISE.split(), _WITH_ARGUMENTS, ("softmax", "dropout"))


@trailing("exp")
def _exp(b: Builder, x: Any) -> Ref:
    return b.layer("exp", x)


@trailing("clamp_max")
def _at_most(b: Builder, x: Any, most: Any) -> Ref:
    return _clamp(b, x, min=None, max=most)


@trailing("hardtanh", "clamp", "clip")
def _clamp(b: Builder, x: Any, min_val: Any = -1.0, max_val: Any = 1.0, inplace: bool = False, **named: Any) -> Ref:
    low, high = (named.get("min"), named.get("max")) if {"min", "max"} & {*named} else (min_val, max_val)
    if (low, high) == (0, 6):
        return b.layer("relu6", x)
    if low == 0 and high is None:
        return b.layer("relu", x)
    if not all(isinstance(bound, int | float | None) for bound in (low, high)):
        raise Refusal("clamping to bounds that are tensors has no counterpart in the language", b.place)
    return b.layer("clamp", x, min=None if low is None else float(low), max=None if high is None else float(high))


def _softmax_of(op: str) -> Lower:
    def lower(b: Builder, x: Any, dim: Any = None, *rest: Any, **named: Any) -> Ref:
        if not isinstance(dim, int):
            raise Refusal(f"`{op}` without a dim", b.place)
        return b.layer(op, x, dim=-1 if dim == x.rank - 1 else dim)

    return lower


FUNCTIONS.update(softmax=_softmax_of("softmax"), log_softmax=_softmax_of("logsoftmax"))


def _dropout(op: str) -> Lower:
    def lower(b: Builder, x: Any, p: float = 0.5, training: bool = True, inplace: bool = False, **named: Any) -> Ref:
        if training:
            raise Refusal("dropout also acts in eval mode here", b.place)
        return b.layer(op, x, p=float(p)) if p else x

    return lower


@lowers("feature_dropout")
def _feature_dropout(b: Builder, x: Any, p: float = 0.5, training: bool = True, *rest: Any) -> Ref:
    return FUNCTIONS[f"dropout{x.rank - 2}d"](b, x, p, training)


FUNCTIONS["dropout"] = _dropout("dropout")
FUNCTIONS.update({f"dropout{rank}d": _dropout(f"dropout{rank}d") for rank in (1, 2, 3)})


@moves("contiguous", "clone", "detach", "to", "float", "type_as", "stochastic_depth", "alias", "lift_fresh_copy")
def _same(b: Builder, x: Any, *rest: Any, **named: Any) -> Any:
    return x


@lowers("detach_", "_assert_tensor_metadata", "_assert", "_assert_scalar", "sym_constrain_range_for_size")
def _nothing(b: Builder, *rest: Any, **named: Any) -> None:
    return None


# --- joins


@lowers("maximum", "max")
def _maximum(b: Builder, x: Any, y: Any = None, *rest: Any, **named: Any) -> Any:
    if isinstance(x, Stacked) and y == x.dim:
        return b.join("max", x.items), None
    if not isinstance(y, Ref):
        raise Refusal("the maximum over an axis has no counterpart in the language", b.place)
    return b.join("max", [x, y])


@lowers("minimum")
def _minimum(b: Builder, x: Any, y: Any) -> Any:
    return b.join("min", [x, y])


@lowers("cat", "concat", "concatenate")
def _cat(b: Builder, tensors: Any, dim: int = 0, **named: Any) -> Any:
    if dim == 1 and len(tensors) == 2 and isinstance(tensors[0], Held) and isinstance(tensors[1], Ref):
        token = tensors[0]
        if token.name and tensors[1].rank == 3 and token.value.shape[1:] == (1, tensors[1].out.shape[1]):
            return b.layer("class_token", tensors[1], {"weight": token.name})
    rank = next((t.rank for t in tensors if isinstance(t, Ref)), 0)
    dim = dim + rank if dim < 0 else dim
    if dim == 0:
        raise Refusal("concatenating along the batch has no counterpart in the language", b.place)
    return b.join("concat", list(tensors), dim=dim)


@lowers("stack")
def _stack(b: Builder, tensors: Any, dim: int = 0, **named: Any) -> Stacked:
    if not all(isinstance(t, Ref) for t in tensors):
        raise Refusal("`stack` has a constant operand", b.place)
    return Stacked(tuple(tensors), dim + tensors[0].rank + 1 if dim < 0 else dim)


def no(b: Builder, what: str) -> Any:
    raise Refusal(f"{what} has no counterpart in the language", b.place)


def _truth(name: str) -> Lower:
    def refuse(b: Builder, *rest: Any, **named: Any) -> Any:
        reason = "makes a mask of the input, such as one of padding, and the language has none"
        raise Refusal(f"`{name}` {reason}: read the net without it", b.place)

    return refuse


FUNCTIONS.update({name: _truth(name) for name in "eq ne lt le gt ge isnan isinf logical_not".split()})
