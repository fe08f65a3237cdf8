"""Linear layers, projections, embeddings and attention."""

from __future__ import annotations

from math import prod

from fractal_dsl.ops.convolutions import conv
from fractal_dsl.ops.sequences import sequence
from fractal_dsl.ops.shapes import BIAS, constructor, floating, integer, nearest_divisors, sizes
from fractal_dsl.ops.spec import REQUIRED, Args, OpParam, OpSpec, OpValue, ShapeError, Tensor, TorchModule


def linear() -> OpSpec:
    """``linear`` over the last axis: […, features] to […, out_features]."""
    params = (OpParam("out_features", "int", low=1), BIAS)

    def out(x: Tensor, args: Args) -> Tensor:
        floating("linear", x)
        if not x.shape:
            raise ShapeError(f"`linear` takes at least one axis, but its input is {x}")
        return Tensor("f32", (*x.shape[:-1], integer(args, "out_features")))

    def cost(x: Tensor, y: Tensor, args: Args) -> tuple[int, int]:
        weights = x.shape[-1] * y.shape[-1]
        return weights + (y.shape[-1] if args["bias"] else 0), weights * prod(x.shape[:-1])

    return OpSpec(
        "linear", params, out, lambda x, a: constructor("nn.Linear", params, a, x.shape[-1]), cost, "linear", None, True
    )


def project() -> OpSpec:
    """``project``, the projection of a shortcut: [channels, …] to [out, …].

    It is the identity, a linear layer, or a convolution with kernel 1.
    """
    params = (OpParam("out", "int", low=1), OpParam("stride", "int", 1, low=1))
    layers = {0: linear(), 1: conv(1), 2: conv(2), 3: conv(3)}

    def module(x: Tensor, args: Args) -> tuple[OpSpec, Args] | None:
        """The layer that implements the projection; None for the identity."""
        out, stride, rank = integer(args, "out"), integer(args, "stride"), len(x.shape) - 1
        if x.shape[0] == out and stride == 1:
            return None
        given: dict[str, OpValue] = {"bias": False, "out_features": out}
        if rank:
            given = {"bias": False, "out_channels": out, "kernel_size": 1, "stride": stride}
        defaults = {q.name: q.default for q in layers[rank].params if q.default is not REQUIRED}
        return layers[rank], {**defaults, **given}

    def out(x: Tensor, args: Args) -> Tensor:
        floating("project", x)
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


def embedding(*, tied: bool = False) -> OpSpec:
    """``embedding``: whole numbers […] to vectors […, embedding_dim]. A ``tied`` one can lend its weights."""
    params = (OpParam("num_embeddings", "int", low=1), OpParam("embedding_dim", "int", low=1))
    params += (OpParam("padding_idx", "int", None),)

    def out(x: Tensor, args: Args) -> Tensor:
        if x.dtype != "i64":
            raise ShapeError(f"`embedding` takes whole numbers (i64), but its input is {x}")
        count, padding = integer(args, "num_embeddings"), args["padding_idx"]
        if isinstance(padding, int) and not -count <= padding < count:
            message = f"`padding_idx` of `embedding` must be one of its {count} indices, found {padding}"
            raise ShapeError(message, f"the indices go from 0 to {count - 1}", "E0302")
        return Tensor("f32", (*x.shape, integer(args, "embedding_dim")))

    def cost(x: Tensor, y: Tensor, args: Args) -> tuple[int, int]:
        return integer(args, "num_embeddings") * integer(args, "embedding_dim"), 0

    target = "TiedEmbedding" if tied else "nn.Embedding"
    return OpSpec("embedding", params, out, lambda x, a: constructor(target, params, a), cost, "linear", None, True)


def _unembed() -> OpSpec:
    """``unembed``: vectors […, embedding_dim] to their products with each vector of an embedding, whose arguments and
    weights it has (Press and Wolf 2017)."""

    def out(x: Tensor, args: Args) -> Tensor:
        floating("unembed", x)
        width = integer(args, "embedding_dim")
        if not x.shape or x.shape[-1] != width:
            raise ShapeError(f"`unembed` takes vectors of {width} features, like its embedding, but its input is {x}")
        return Tensor("f32", (*x.shape[:-1], integer(args, "num_embeddings")))

    def cost(x: Tensor, y: Tensor, args: Args) -> tuple[int, int]:
        weights = integer(args, "num_embeddings") * integer(args, "embedding_dim")
        return weights, weights * prod(x.shape[:-1])

    return OpSpec("unembed", TIED_EMBEDDING.params, out, TIED_EMBEDDING.torch, cost, "linear", None, True)


TIED_EMBEDDING = embedding(tied=True)
"""The embedding of a ``shared`` block."""
UNEMBED = _unembed()


def _shifts(x: Tensor, args: Args) -> tuple[int, ...]:
    """By how many pixels windows move: not at all where one is as large as the image. Too large shifts stay."""
    axes = zip(x.shape, sizes(args["window_size"], 2), sizes(args["shift_size"], 2), strict=False)
    return tuple([shift if size > window or shift >= window else 0 for size, window, shift in axes])


def window_attention() -> OpSpec:
    """``window_attention``: self-attention within windows (Liu et al. 2021), [height, width, features] to the same."""
    params = (
        OpParam("num_heads", "int", low=1),
        OpParam("window_size", "size", low=1),
        OpParam("shift_size", "size", 0, low=0),
        OpParam("dropout", "prob", 0.0),
        BIAS,
    )

    def out(x: Tensor, args: Args) -> Tensor:
        floating("window_attention", x)
        if len(x.shape) != 3:
            raise ShapeError(f"`window_attention` takes [height, width, features], but its input is {x}")
        heads, windows, shifts = integer(args, "num_heads"), sizes(args["window_size"], 2), sizes(args["shift_size"], 2)
        if x.shape[2] % heads:
            message = f"`window_attention` with {heads} heads needs a multiple of {heads} features, not {x.shape[2]}"
            raise ShapeError(message, f"use {nearest_divisors(x.shape[2], heads)} heads")
        for size, window, shift in zip(x.shape, windows, shifts, strict=False):
            if size % window:
                message = f"windows of {window} pixels do not divide the {size} pixels of an axis of {x}"
                raise ShapeError(message, f"use windows of {nearest_divisors(size, window)} pixels")
            if shift >= window:
                raise ShapeError(f"`shift_size` must be below the window's size {window}, found {shift}", code="E0302")
        return x

    def cost(x: Tensor, y: Tensor, args: Args) -> tuple[int, int]:
        height, width, features = x.shape
        h, w = sizes(args["window_size"], 2)
        weights, biases = 4 * features**2, 4 * features if args["bias"] else 0
        table = (2 * h - 1) * (2 * w - 1) * integer(args, "num_heads")
        return weights + biases + table, height * width * (weights + 2 * h * w * features)

    return OpSpec(
        "window_attention",
        params,
        out,
        lambda x, a: constructor("WindowAttention", params, {**a, "shift_size": _shifts(x, a)}, x.shape[2]),
        cost,
        "attention",
        2,
        True,
    )


def attention() -> OpSpec:
    """``attention``: multi-head self-attention (Vaswani et al. 2017), [length, features] to the same shape."""
    params = (
        OpParam("num_heads", "int", low=1),
        OpParam("dropout", "prob", 0.0),
        BIAS,
        OpParam("causal", "bool", False, keyword=True),
        OpParam("kv_heads", "int", None, low=1, keyword=True),
        OpParam("window", "int", None, low=1, keyword=True),
        OpParam("rotary", "bool", False, keyword=True),
    )

    def out(x: Tensor, args: Args) -> Tensor:
        _, features = sequence("attention", x)
        heads, shared = integer(args, "num_heads"), args["kv_heads"]
        if features % heads:
            message = f"`attention` with {heads} heads needs a multiple of {heads} features, not {features}"
            raise ShapeError(message, f"use {nearest_divisors(features, heads)} heads")
        if isinstance(shared, int) and heads % shared:
            message = f"{heads} heads of `attention` cannot share {shared} heads of keys and values evenly"
            raise ShapeError(message, f"use kv_heads={nearest_divisors(heads, shared).split()[0]}", "E0302")
        if args["rotary"] and features // heads % 2:
            message = f"`attention` with rotary positions needs an even number of features in each head of {x}"
            raise ShapeError(message, f"there are {features // heads}: use another number of heads")
        return x

    def cost(x: Tensor, y: Tensor, args: Args) -> tuple[int, int]:
        length, features = x.shape
        shared = args["kv_heads"] if isinstance(args["kv_heads"], int) else integer(args, "num_heads")
        width = 2 * features + 2 * features // integer(args, "num_heads") * shared  # of the four projections
        weights = width * features
        return weights + (width if args["bias"] else 0), weights * length + 2 * length**2 * features

    def torch(x: Tensor, args: Args) -> TorchModule:
        grouped = args["kv_heads"] is not None or args["rotary"]
        return constructor("GroupedAttention" if grouped else "Attention", params, args, x.shape[1])

    return OpSpec("attention", params, out, torch, cost, "attention", None, True)
