"""Helpers for shape rules, and parameters that several families share."""

from __future__ import annotations

from collections.abc import Callable

from fractal_dsl.ops.spec import REQUIRED, Args, OpParam, OpValue, ShapeError, Tensor, TorchModule

OUT = OpParam("out_channels", "int", low=1)
KERNEL = OpParam("kernel_size", "size", low=1)
STRIDE = OpParam("stride", "size", 1, low=1)
DILATION = OpParam("dilation", "size", 1, low=1)
GROUPS = OpParam("groups", "int", 1, low=1)
BIAS = OpParam("bias", "bool", True)
SMALL = 1e-20  # the gradient of a norm contains eps ** (-3/2), which must fit into f32
EPS = OpParam("eps", "float", 1e-5, low=SMALL, high=1)


_MAX_DIVIDED = 10_000  # larger divisors are not searched


def sizes(value: OpValue, rank: int) -> tuple[int, ...]:
    """One integer for each of ``rank`` axes."""
    if isinstance(value, int):
        return (value,) * rank
    assert isinstance(value, tuple) and len(value) == rank
    return tuple(map(int, value))


def integer(args: Args, name: str) -> int:
    """An argument that is a whole number."""
    value = args[name]
    assert isinstance(value, int)
    return value


def spatial(name: str, x: Tensor, rank: int) -> tuple[int, ...]:
    """The spatial sizes of ``x``, which must be floating point, [channels, …] with ``rank`` axes. Raises ShapeError."""
    floating(name, x)
    if len(x.shape) != rank + 1:
        axes = {1: "[channels, length]", 2: "[channels, height, width]", 3: "[channels, depth, height, width]"}[rank]
        others = {len(x.shape) - 1} & {1, 2, 3}
        help = f"use `{name.rstrip('123d')}{others.pop()}d` for this input" if others else None
        raise ShapeError(f"`{name}` takes {axes}, but its input is {x}", help)
    return x.shape[1:]


def floating(name: str, x: Tensor) -> None:
    """Check that ``x`` is floating point. Raises ShapeError."""
    if x.dtype != "f32":
        help = "write an `embedding(count, width)` before it" if x.dtype == "i64" else None
        raise ShapeError(f"`{name}` takes floating-point numbers, but its input is {x}", help)


def windows(name: str, x: Tensor, rank: int, args: Args, *, ceil: bool = False) -> tuple[int, ...]:
    """The output sizes of a sliding window over ``rank`` axes, by torch's formula.

    With ``ceil``, a window may extend past the padding. Raises ShapeError if no window fits.
    """
    axes = spatial(name, x, rank)
    kernel = sizes(args["kernel_size"], rank)
    stride = sizes(args["kernel_size"] if args["stride"] is None else args["stride"], rank)
    dilation = sizes(args.get("dilation", 1), rank)
    if args["padding"] == "same":
        if any(s != 1 for s in stride):
            halves = tuple(d * (k - 1) // 2 for k, d in zip(kernel, dilation, strict=True))
            shown = _show(halves[0] if len({*halves}) == 1 else halves)
            help = f"write padding={shown}, which fits a kernel of {_show(args['kernel_size'])}"
            raise ShapeError(f'`{name}` with padding="same" needs stride 1', help)
        return axes
    padding = sizes(0 if args["padding"] == "valid" else args["padding"], rank)
    result: list[int] = []
    for size, k, s, p, d in zip(axes, kernel, stride, padding, dilation, strict=True):
        out = (size + 2 * p - d * (k - 1) - 1 + (s - 1 if ceil else 0)) // s + 1
        if ceil and (out - 1) * s >= size + p:
            out -= 1
        if out < 1:
            raise ShapeError(
                f"`{name}` with a window of {d * (k - 1) + 1} does not fit into its input {x}"
                + (f" padded by {p}" if p else ""),
                "the input is too small here: use fewer or smaller poolings or strides, or more padding",
                code="E0504",
            )
        result.append(out)
    return tuple(result)


def nearest_divisors(number: int, wanted: int) -> str:
    """The nearest divisors of a number below and above ``wanted``, for a help text."""
    divisors = [d for d in range(1, min(number, _MAX_DIVIDED) + 1) if number % d == 0]
    below, above = [d for d in divisors if d < wanted], [d for d in divisors if d > wanted]
    return " or ".join(map(str, below[-1:] + above[:1]))


def _show(value: OpValue) -> str:
    return str(list(value) if isinstance(value, tuple) else value)


def same_shape(name: str) -> Callable[[Tensor, Args], Tensor]:
    """The shape rule of a layer that keeps the shape of its floating-point input."""

    def out(x: Tensor, args: Args) -> Tensor:
        floating(name, x)
        return x

    return out


def free(x: Tensor, out: Tensor, args: Args) -> tuple[int, int]:
    """The cost rule of a layer without parameters and multiply-accumulates."""
    return 0, 0


def constructor(target: str, params: tuple[OpParam, ...], args: Args, *inferred: OpValue) -> TorchModule:
    """A constructor call as people write it: required arguments by position, defaults left out."""
    positional = [args[p.name] for p in params if p.default is REQUIRED]
    keywords = [(p.name, args[p.name]) for p in params if p.default is not REQUIRED and args[p.name] != p.default]
    return TorchModule(target, (*inferred, *positional), tuple(keywords))
