"""The built-in layers and joins: parameters, shape rule, cost rule, torch target.

Names follow torch: the class name of ``torch.nn`` in lower case, torch's keyword names, arguments in
torch's order with the inferred ones (input channels, features) left out. Targets are strings, so that
nothing here imports torch. Shapes leave the batch out; costs are per sample.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod
from typing import Final

Value = int | float | bool | str | tuple[int, ...] | None
Args = Mapping[str, Value]


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor's element type (``f32`` or ``i64``) and its shape without the batch."""

    dtype: str
    shape: tuple[int, ...]

    def __str__(self) -> str:
        return f"{self.dtype}[{', '.join(map(str, self.shape))}]"


class ShapeError(Exception):
    """A layer or join does not take a shape. ``code`` is the diagnostic's code; ``operands`` tells
    which two operands of a join disagree, counted from 0."""

    def __init__(
        self, message: str, help: str | None = None, code: str = "E0502", operands: tuple[int, int] | None = None
    ) -> None:
        super().__init__(message)
        self.message, self.help, self.code, self.operands = message, help, code, operands


class _Required:
    def __repr__(self) -> str:
        return "required"


REQUIRED: Final = _Required()


@dataclass(frozen=True, slots=True)
class OpParam:
    """A parameter of a built-in. ``kind``: int, float, prob, bool, str, size (an int, or one for each
    axis), padding (a size, ``"same"`` or ``"valid"``), optional size. ``low`` bounds numbers from below."""

    name: str
    kind: str
    default: Value | _Required = REQUIRED
    low: float | None = None
    choices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TorchModule:
    """What to construct: ``nn.X`` for torch.nn, else a class of ``fractal_dsl.runtime.layers``."""

    target: str
    args: tuple[Value, ...] = ()
    kwargs: tuple[tuple[str, Value], ...] = ()


@dataclass(frozen=True, slots=True)
class OpSpec:
    """A built-in layer.

    ``out`` gives the output of an input or raises ShapeError; ``cost`` gives (parameters,
    multiply-accumulates) from input and output; ``torch`` says what to construct. ``weighted`` marks
    convolutions, linear layers and the like; ``rank`` is the number of spatial axes, None where any goes.
    """

    name: str
    params: tuple[OpParam, ...]
    out: Callable[[Tensor, Args], Tensor]
    torch: Callable[[Tensor, Args], TorchModule]
    cost: Callable[[Tensor, Tensor, Args], tuple[int, int]]
    family: str
    rank: int | None = None
    weighted: bool = False


@dataclass(frozen=True, slots=True)
class JoinSpec:
    """A built-in join. ``out`` gives the output of the operands or raises ShapeError."""

    name: str
    params: tuple[OpParam, ...]
    out: Callable[[tuple[Tensor, ...], Args], Tensor]


# --- helpers for shapes


def sizes(value: Value, rank: int) -> tuple[int, ...]:
    """One integer for each of ``rank`` axes."""
    if isinstance(value, tuple):
        if len(value) != rank:
            raise ShapeError(f"this needs 1 or {rank} numbers, one for each axis, not {len(value)}")
        return value
    assert isinstance(value, int)
    return (value,) * rank


def _int(args: Args, name: str) -> int:
    value = args[name]
    assert isinstance(value, int)
    return value


def _spatial(name: str, x: Tensor, rank: int) -> tuple[int, ...]:
    """The spatial part of ``x``, which must be floating point with channels and ``rank`` axes."""
    _floating(name, x)
    if len(x.shape) != rank + 1:
        axes = {1: "[channels, length]", 2: "[channels, height, width]", 3: "[channels, depth, height, width]"}[rank]
        others = {len(x.shape) - 1} & {1, 2, 3}
        help = f"for this input there is `{name.rstrip('123d')}{others.pop()}d`" if others else None
        raise ShapeError(f"`{name}` takes {axes}, but its input is {x}", help)
    return x.shape[1:]


def _floating(name: str, x: Tensor) -> None:
    if x.dtype != "f32":
        help = "put an `embedding(count, width)` before it" if x.dtype == "i64" else None
        raise ShapeError(f"`{name}` takes floating-point numbers, but its input is {x}", help)


def _windows(name: str, x: Tensor, rank: int, args: Args, *, ceil: bool = False) -> tuple[int, ...]:
    """Output sizes of a sliding window; torch's formula."""
    axes = _spatial(name, x, rank)
    kernel = sizes(args["kernel_size"], rank)
    stride = sizes(args["kernel_size"] if args["stride"] is None else args["stride"], rank)
    dilation = sizes(args.get("dilation", 1), rank)
    if args["padding"] == "same":
        if any(s != 1 for s in stride):
            raise ShapeError(f"`{name}` with padding=\"same\" needs stride 1", "give the padding as a number")
        return axes
    padding = sizes(0 if args["padding"] == "valid" else args["padding"], rank)
    result: list[int] = []
    for size, k, s, p, d in zip(axes, kernel, stride, padding, dilation, strict=True):
        span = size + 2 * p - d * (k - 1) - 1
        out = span // s + 1
        if ceil and span % s and out * s < size + p:
            out += 1
        if span < 0 or out < 1:
            raise ShapeError(
                f"`{name}` with a window of {d * (k - 1) + 1} does not fit into its input {x}"
                + (f" padded by {p}" if p else ""),
                "the input is already too small here: use fewer or smaller poolings or strides, or more padding",
                code="E0504",
            )
        result.append(out)
    return tuple(result)


def _same(name: str) -> Callable[[Tensor, Args], Tensor]:
    def out(x: Tensor, args: Args) -> Tensor:
        _floating(name, x)
        return x

    return out


def _free(x: Tensor, out: Tensor, args: Args) -> tuple[int, int]:
    return 0, 0


def _call(target: str, params: tuple[OpParam, ...], args: Args, *inferred: Value) -> TorchModule:
    """A constructor call as a person writes it: required arguments by position, defaults left out."""
    positional = [args[p.name] for p in params if p.default is REQUIRED]
    keywords = [
        (p.name, args[p.name]) for p in params if p.default is not REQUIRED and args[p.name] != p.default
    ]
    return TorchModule(target, (*inferred, *positional), tuple(keywords))


# --- families

_OUT = OpParam("out_channels", "int", low=1)
_KERNEL = OpParam("kernel_size", "size", low=1)
_STRIDE = OpParam("stride", "size", 1, low=1)
_DILATION = OpParam("dilation", "size", 1, low=1)
_GROUPS = OpParam("groups", "int", 1, low=1)
_BIAS = OpParam("bias", "bool", True)
_PADDING_MODE = OpParam("padding_mode", "str", "zeros", choices=("zeros", "reflect", "replicate", "circular"))
_EPS = OpParam("eps", "float", 1e-5, low=0)


def _divisible(name: str, x: Tensor, args: Args) -> None:
    groups = _int(args, "groups")
    for what, count in (("input channels", x.shape[0]), ("output channels", _int(args, "out_channels"))):
        if count % groups:
            raise ShapeError(f"`{name}` with groups={groups} needs a multiple of {groups} {what}, not {count}")


def _fillable(name: str, x: Tensor, rank: int, args: Args) -> None:
    """Reflected and circular padding take their values from the input, which must have that many."""
    most = {"reflect": 1, "circular": 0}.get(str(args["padding_mode"]))
    if most is None or args["padding"] == "valid":
        return
    if args["padding"] == "same":
        spans = [d * (k - 1) for d, k in zip(sizes(args["dilation"], rank), sizes(args["kernel_size"], rank), strict=True)]
        padding = tuple((span + 1) // 2 for span in spans)
    else:
        padding = sizes(args["padding"], rank)
    if any(p > size - most for p, size in zip(padding, x.shape[1:], strict=True)):
        raise ShapeError(f"`{name}` with padding_mode {args['padding_mode']!r} cannot pad {x} by {max(padding)}")


def _conv(rank: int) -> OpSpec:
    name = f"conv{rank}d"
    params = (
        _OUT,
        _KERNEL,
        _STRIDE,
        OpParam("padding", "padding", 0, low=0),
        _DILATION,
        _GROUPS,
        _BIAS,
        _PADDING_MODE,
    )

    def out(x: Tensor, args: Args) -> Tensor:
        shape = _windows(name, x, rank, args)
        _divisible(name, x, args)
        _fillable(name, x, rank, args)
        return Tensor("f32", (_int(args, "out_channels"), *shape))

    def cost(x: Tensor, y: Tensor, args: Args) -> tuple[int, int]:
        weights = y.shape[0] * (x.shape[0] // _int(args, "groups")) * prod(sizes(args["kernel_size"], rank))
        return weights + (y.shape[0] if args["bias"] else 0), weights * prod(y.shape[1:])

    return OpSpec(
        name, params, out, lambda x, a: _call(f"nn.Conv{rank}d", params, a, x.shape[0]), cost, "conv", rank, True
    )


def _conv_transpose(rank: int) -> OpSpec:
    name = f"convtranspose{rank}d"
    params = (
        _OUT,
        _KERNEL,
        _STRIDE,
        OpParam("padding", "size", 0, low=0),
        OpParam("output_padding", "size", 0, low=0),
        _GROUPS,
        _BIAS,
        _DILATION,
    )

    def out(x: Tensor, args: Args) -> Tensor:
        axes = _spatial(name, x, rank)
        _divisible(name, x, args)
        rows = [sizes(args[k], rank) for k in ("kernel_size", "stride", "padding", "dilation", "output_padding")]
        shape: list[int] = []
        for size, k, s, p, d, extra in zip(axes, *rows, strict=True):
            if extra >= max(s, d):
                raise ShapeError(f"`{name}` needs output_padding below its stride or dilation")
            shape.append((size - 1) * s - 2 * p + d * (k - 1) + extra + 1)
        if min(shape) < 1:
            raise ShapeError(f"the output of `{name}` on {x} falls below size 1", "use less padding", "E0504")
        return Tensor("f32", (_int(args, "out_channels"), *shape))

    def cost(x: Tensor, y: Tensor, args: Args) -> tuple[int, int]:
        weights = x.shape[0] * (y.shape[0] // _int(args, "groups")) * prod(sizes(args["kernel_size"], rank))
        return weights + (y.shape[0] if args["bias"] else 0), weights * prod(x.shape[1:])

    def torch(x: Tensor, args: Args) -> TorchModule:
        return _call(f"nn.ConvTranspose{rank}d", params, args, x.shape[0])

    return OpSpec(name, params, out, torch, cost, "conv", rank, True)


def _pool(kind: str, rank: int) -> OpSpec:
    name = f"{kind.lower()}pool{rank}d"
    params = (_KERNEL, OpParam("stride", "optional size", None, low=1), OpParam("padding", "size", 0, low=0))
    params += (_DILATION,) if kind == "Max" else ()
    params += (OpParam("ceil_mode", "bool", False),)
    if kind == "Avg":
        params += (OpParam("count_include_pad", "bool", True),)

    def out(x: Tensor, args: Args) -> Tensor:
        pairs = zip(sizes(args["padding"], rank), sizes(args["kernel_size"], rank), strict=True)
        if any(2 * p > k for p, k in pairs):
            raise ShapeError(f"`{name}` takes a padding of at most half its kernel_size")
        if name == "avgpool3d" and any(k > n for n, k in zip(x.shape[1:], sizes(args["kernel_size"], rank), strict=False)):
            raise ShapeError(f"`{name}` takes no window larger than its unpadded input, which is {x}", code="E0504")
        shape = _windows(name, x, rank, args, ceil=bool(args["ceil_mode"]))
        return Tensor("f32", (x.shape[0], *shape))

    return OpSpec(
        name, params, out, lambda x, a: _call(f"nn.{kind}Pool{rank}d", params, a), _free, "pool", rank
    )


def _adaptive_pool(kind: str, rank: int) -> OpSpec:
    name = f"adaptive{kind.lower()}pool{rank}d"
    params = (OpParam("output_size", "size", low=1),)

    def out(x: Tensor, args: Args) -> Tensor:
        _spatial(name, x, rank)
        return Tensor("f32", (x.shape[0], *sizes(args["output_size"], rank)))

    return OpSpec(
        name, params, out, lambda x, a: _call(f"nn.Adaptive{kind}Pool{rank}d", params, a), _free, "pool", rank
    )


def _batch_norm(rank: int) -> OpSpec:
    name = f"batchnorm{rank}d"
    params = (_EPS, OpParam("momentum", "prob", 0.1), OpParam("affine", "bool", True))

    def out(x: Tensor, args: Args) -> Tensor:
        if not (rank == 1 and len(x.shape) == 1):
            _spatial(name, x, rank)
        _floating(name, x)
        return x

    def cost(x: Tensor, y: Tensor, args: Args) -> tuple[int, int]:
        return (2 * x.shape[0] if args["affine"] else 0), 0

    return OpSpec(
        name, params, out, lambda x, a: _call(f"nn.BatchNorm{rank}d", params, a, x.shape[0]), cost, "norm", rank
    )


def _instance_norm(rank: int) -> OpSpec:
    name = f"instancenorm{rank}d"
    params = (_EPS, OpParam("affine", "bool", False))

    def out(x: Tensor, args: Args) -> Tensor:
        if prod(_spatial(name, x, rank)) == 1:
            raise ShapeError(f"`{name}` needs more than one value in each channel, but its input is {x}")
        return x

    def cost(x: Tensor, y: Tensor, args: Args) -> tuple[int, int]:
        return (2 * x.shape[0] if args["affine"] else 0), 0

    def torch(x: Tensor, args: Args) -> TorchModule:
        return _call(f"nn.InstanceNorm{rank}d", params, args, x.shape[0])

    return OpSpec(name, params, out, torch, cost, "norm", rank)


def _group_norm() -> OpSpec:
    params = (OpParam("num_groups", "int", low=1), _EPS, OpParam("affine", "bool", True))

    def out(x: Tensor, args: Args) -> Tensor:
        _floating("groupnorm", x)
        if not x.shape or x.shape[0] % _int(args, "num_groups"):
            raise ShapeError(f"`groupnorm` with {args['num_groups']} groups cannot divide the channels of {x}")
        return x

    def cost(x: Tensor, y: Tensor, args: Args) -> tuple[int, int]:
        return (2 * x.shape[0] if args["affine"] else 0), 0

    def torch(x: Tensor, args: Args) -> TorchModule:
        call = _call("nn.GroupNorm", params, args)
        return TorchModule(call.target, (*call.args, x.shape[0]), call.kwargs)

    return OpSpec("groupnorm", params, out, torch, cost, "norm")


def _layer_norm() -> OpSpec:
    params = (_EPS, OpParam("elementwise_affine", "bool", True), _BIAS)

    def cost(x: Tensor, y: Tensor, args: Args) -> tuple[int, int]:
        return (x.shape[-1] * (2 if args["bias"] else 1) if args["elementwise_affine"] else 0), 0

    def torch(x: Tensor, args: Args) -> TorchModule:
        return _call("nn.LayerNorm", params, args, x.shape[-1])

    return OpSpec("layernorm", params, _same("layernorm"), torch, cost, "norm")


def _dropout(suffix: str) -> OpSpec:
    name = f"dropout{suffix}"
    params = (OpParam("p", "prob", 0.5),)
    target = f"nn.Dropout{suffix}"

    def out(x: Tensor, args: Args) -> Tensor:
        _floating(name, x)
        if suffix:
            _spatial(name, x, int(suffix[0]))
        return x

    # p is what tells one dropout from another: it is written out, default or not
    return OpSpec(name, params, out, lambda x, a: TorchModule(target, (a["p"],)), _free, "dropout")


def _linear() -> OpSpec:
    params = (OpParam("out_features", "int", low=1), _BIAS)

    def out(x: Tensor, args: Args) -> Tensor:
        _floating("linear", x)
        if not x.shape:
            raise ShapeError(f"`linear` takes at least one axis, but its input is {x}")
        return Tensor("f32", (*x.shape[:-1], _int(args, "out_features")))

    def cost(x: Tensor, y: Tensor, args: Args) -> tuple[int, int]:
        weights = x.shape[-1] * y.shape[-1]
        return weights + (y.shape[-1] if args["bias"] else 0), weights * prod(x.shape[:-1])

    return OpSpec(
        "linear", params, out, lambda x, a: _call("nn.Linear", params, a, x.shape[-1]), cost, "linear", None, True
    )


def _flatten() -> OpSpec:
    params = (OpParam("start_dim", "int", 1), OpParam("end_dim", "int", -1))

    def out(x: Tensor, args: Args) -> Tensor:
        axes = (0, *x.shape)  # torch counts the batch as axis 0
        start, end = (a + len(axes) if a < 0 else a for a in (_int(args, "start_dim"), _int(args, "end_dim")))
        if not 1 <= start <= end < len(axes):
            raise ShapeError(f"`flatten` cannot fold axes {start} to {end} of {x} (axis 0 is the batch)")
        return Tensor(x.dtype, (*axes[1:start], prod(axes[start : end + 1]), *axes[end + 1 :]))

    return OpSpec("flatten", params, out, lambda x, a: _call("nn.Flatten", params, a), _free, "shape")


def _embedding() -> OpSpec:
    params = (OpParam("num_embeddings", "int", low=1), OpParam("embedding_dim", "int", low=1))

    def out(x: Tensor, args: Args) -> Tensor:
        if x.dtype != "i64":
            raise ShapeError(f"`embedding` takes whole numbers (i64), but its input is {x}")
        return Tensor("f32", (*x.shape, _int(args, "embedding_dim")))

    def cost(x: Tensor, y: Tensor, args: Args) -> tuple[int, int]:
        return _int(args, "num_embeddings") * _int(args, "embedding_dim"), 0

    return OpSpec(
        "embedding", params, out, lambda x, a: _call("nn.Embedding", params, a), cost, "linear", None, True
    )


def _sequence(name: str, x: Tensor) -> tuple[int, int]:
    _floating(name, x)
    if len(x.shape) != 2:
        raise ShapeError(f"`{name}` takes [length, features], but its input is {x}")
    return x.shape[0], x.shape[1]


def _positions() -> OpSpec:
    def out(x: Tensor, args: Args) -> Tensor:
        _sequence("positions", x)
        return x

    def cost(x: Tensor, y: Tensor, args: Args) -> tuple[int, int]:
        return prod(x.shape), 0

    return OpSpec("positions", (), out, lambda x, a: TorchModule("Positions", x.shape), cost, "shape")


def _attention() -> OpSpec:
    params = (
        OpParam("num_heads", "int", low=1),
        OpParam("dropout", "prob", 0.0),
        _BIAS,
        OpParam("causal", "bool", False),
    )

    def out(x: Tensor, args: Args) -> Tensor:
        _, features = _sequence("attention", x)
        if features % _int(args, "num_heads"):
            raise ShapeError(f"`attention` with {args['num_heads']} heads cannot divide the features of {x}")
        return x

    def cost(x: Tensor, y: Tensor, args: Args) -> tuple[int, int]:
        weights = 4 * x.shape[1] ** 2
        return weights + (4 * x.shape[1] if args["bias"] else 0), weights * x.shape[0]

    def torch(x: Tensor, args: Args) -> TorchModule:
        return _call("Attention", params, args, x.shape[1])

    return OpSpec("attention", params, out, torch, cost, "attention", None, True)


def _global_avg_pool() -> OpSpec:
    def out(x: Tensor, args: Args) -> Tensor:
        _floating("global_avgpool", x)
        if len(x.shape) < 2:
            raise ShapeError(f"`global_avgpool` takes channels and at least one more axis, but its input is {x}")
        return Tensor("f32", x.shape[:1])

    return OpSpec("global_avgpool", (), out, lambda x, a: TorchModule("GlobalAvgPool"), _free, "pool")


def _project() -> OpSpec:
    params = (OpParam("out", "int", low=1), OpParam("stride", "int", 1, low=1))

    def module(x: Tensor, args: Args) -> tuple[OpSpec, Args] | None:
        """The layer that the projection comes down to; None for the identity."""
        out, stride, rank = _int(args, "out"), _int(args, "stride"), len(x.shape) - 1
        if x.shape[0] == out and stride == 1:
            return None
        spec = LAYERS["linear"] if rank == 0 else LAYERS[f"conv{rank}d"]
        given = {"bias": False, "out_features": out, "out_channels": out, "kernel_size": 1, "stride": stride}
        return spec, {p.name: given.get(p.name, p.default) for p in spec.params}  # type: ignore[misc]

    def out(x: Tensor, args: Args) -> Tensor:
        _floating("project", x)
        if not 1 <= len(x.shape) <= 4:
            raise ShapeError(f"`project` takes channels and up to three axes, but its input is {x}")
        if len(x.shape) == 1 and args["stride"] != 1:
            raise ShapeError(f"`project` with a stride needs spatial axes, but its input is {x}")
        inner = module(x, args)
        return inner[0].out(x, inner[1]) if inner else x

    def cost(x: Tensor, y: Tensor, args: Args) -> tuple[int, int]:
        inner = module(x, args)
        return inner[0].cost(x, y, inner[1]) if inner else (0, 0)

    def torch(x: Tensor, args: Args) -> TorchModule:
        inner = module(x, args)
        return inner[0].torch(x, inner[1]) if inner else TorchModule("nn.Identity")

    return OpSpec("project", params, out, torch, cost, "linear", None, True)


def _upsample() -> OpSpec:
    modes = ("nearest", "linear", "bilinear", "bicubic", "trilinear")
    params = (OpParam("scale_factor", "int", low=1), OpParam("mode", "str", "nearest", choices=modes))

    def out(x: Tensor, args: Args) -> Tensor:
        _floating("upsample", x)
        axes = {"linear": (2,), "bilinear": (3,), "bicubic": (3,), "trilinear": (4,)}.get(str(args["mode"]), (2, 3, 4))
        if len(x.shape) not in axes:
            raise ShapeError(f"`upsample` with mode {args['mode']!r} does not take {x}")
        return Tensor("f32", (x.shape[0], *(s * _int(args, "scale_factor") for s in x.shape[1:])))

    def torch(x: Tensor, args: Args) -> TorchModule:
        call = _call("nn.Upsample", params, args)
        return TorchModule(call.target, (), (("scale_factor", args["scale_factor"]), *call.kwargs))

    return OpSpec("upsample", params, out, torch, _free, "shape")


def _elementwise(target: str, *params: OpParam) -> OpSpec:
    name = target.lower()
    return OpSpec(name, params, _same(name), lambda x, a: _call(f"nn.{target}", params, a), _free, "activation")


def _softmax(target: str) -> OpSpec:
    name = target.lower()
    params = (OpParam("dim", "int", -1),)

    def out(x: Tensor, args: Args) -> Tensor:
        _floating(name, x)
        dim = _int(args, "dim")
        if dim == 0 or not -len(x.shape) <= dim <= len(x.shape):
            raise ShapeError(f"`{name}` has no axis {dim} in {x} (axis 0 is the batch)")
        return x

    return OpSpec(
        name, params, out, lambda x, a: TorchModule(f"nn.{target}", (), (("dim", a["dim"]),)), _free, "activation"
    )


_IDENTITY = OpSpec("id", (), lambda x, a: x, lambda x, a: TorchModule("nn.Identity"), _free, "shape")

_RANKS = (1, 2, 3)
_ALL: tuple[OpSpec, ...] = (
    *(_conv(r) for r in _RANKS),
    *(_conv_transpose(r) for r in _RANKS),
    *(_pool(kind, r) for kind in ("Max", "Avg") for r in _RANKS),
    *(_adaptive_pool(kind, r) for kind in ("Max", "Avg") for r in _RANKS),
    *(_batch_norm(r) for r in _RANKS),
    *(_instance_norm(r) for r in _RANKS),
    _group_norm(),
    _layer_norm(),
    *(_dropout(suffix) for suffix in ("", "1d", "2d", "3d")),
    _linear(),
    _flatten(),
    _embedding(),
    _positions(),
    _attention(),
    _global_avg_pool(),
    _project(),
    _upsample(),
    _IDENTITY,
    *(
        _elementwise(t)
        for t in ("ReLU", "ReLU6", "SELU", "SiLU", "Mish", "Sigmoid", "Tanh", "Softplus", "Hardswish", "Hardsigmoid")
    ),
    _elementwise("LeakyReLU", OpParam("negative_slope", "float", 0.01)),
    _elementwise("ELU", OpParam("alpha", "float", 1.0)),
    _elementwise("GELU", OpParam("approximate", "str", "none", choices=("none", "tanh"))),
    _softmax("Softmax"),
    _softmax("LogSoftmax"),
)

LAYERS: dict[str, OpSpec] = {spec.name: spec for spec in _ALL}


def _place(x: Tensor, args: Args) -> Tensor:
    axis = _int(args, "dim") - 1
    size = _int(args, "before") + x.shape[axis] + _int(args, "after")
    return Tensor(x.dtype, (*x.shape[:axis], size, *x.shape[axis + 1 :]))


PLACE = OpSpec(
    "place",
    tuple(OpParam(name, "int", low=0) for name in ("dim", "before", "after")),
    _place,
    lambda x, a: TorchModule("Place", (a["dim"], a["before"], a["after"])),
    _free,
    "shape",
)
"""Not in the language: zeros before and behind along one axis, where a concatenated operand stands alone."""


# --- joins


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
        return f"`project({a.shape[0]})` at the end of the second operand gives it {a.shape[0]} channels"
    if len(a.shape) == len(b.shape) > 1 and a.shape[0] == b.shape[0]:
        return "the sizes differ: check the padding and stride of the layers (padding=1 keeps the size under a 3x3 kernel)"
    return None


def _concat(operands: tuple[Tensor, ...], args: Args) -> Tensor:
    first, dim = operands[0], _int(args, "dim")
    axis = dim - 1 if dim > 0 else dim + len(first.shape)
    if dim == 0 or not 0 <= axis < len(first.shape):
        raise ShapeError(f"`concat` has no axis {dim} in {first} (axis 0 is the batch)", code="E0501")

    def rest(t: Tensor) -> tuple[object, ...]:
        return (t.dtype, *t.shape[:axis], None, *t.shape[axis + 1 :])

    for i, other in enumerate(operands[1:], 1):
        if rest(other) != rest(first):
            message = f"`concat` joins operands that differ in axis {dim} only (axis 0 is the batch)"
            raise ShapeError(message, None, "E0501", (0, i))
    shape = list(first.shape)
    shape[axis] = sum(t.shape[axis] for t in operands)
    return Tensor(first.dtype, tuple(shape))


JOINS: dict[str, JoinSpec] = {
    "mean": JoinSpec("mean", (), _agree("mean")),
    "sum": JoinSpec("sum", (), _agree("sum")),
    "max": JoinSpec("max", (), _agree("max")),
    "concat": JoinSpec("concat", (OpParam("dim", "int", 1),), _concat),
}
