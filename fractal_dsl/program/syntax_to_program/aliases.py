"""Names from PyTorch, Keras and Python and their counterparts here: tables for help texts."""

from __future__ import annotations

from fractal_dsl.ops import LAYERS

WHOLE = "`//` divides whole numbers and rounds down: `64 * 25 // 100`"
"""How to get a whole number."""

NO_FUNCTIONS = "there are no functions of numbers: compute it elsewhere and pass it as a `param`"
_EXTERN = "import one from Python by `extern`"

NAMES = {
    "True": "write `true`",
    "False": "write `false`",
    "None": "leave the argument out: its default applies",
    **dict.fromkeys(("batch", "batch_size"), "leave it out: the batch is implicit"),
    "int": f"numbers are not converted: {WHOLE}",
    "self": "leave it out: a block gets its input implicitly",
    "same": 'write `"same"`',
    "valid": 'write `"valid"`',
    **dict.fromkeys(("Dense", "dense"), "did you mean `linear`?"),
    **dict.fromkeys(("Sequential", "sequential"), "write `a >> b`, or `seq(a, b)`"),
    **dict.fromkeys(
        ("view", "reshape", "unflatten"), "write `flatten`, or `nn.Unflatten(1, [8, 4, 4])` to split the first axis"
    ),
    **dict.fromkeys(("permute", "movedim", "swapaxes", "Permute"), "write `transpose(1, 2)`; axis 0 is the batch"),
    **dict.fromkeys(("mul", "multiply", "Multiply"), f"no join multiplies: {_EXTERN}"),
    **dict.fromkeys(
        ("residual", "skip", "shortcut"), "write a shortcut as a branch `id`: `sum(id, conv2d(64, 3, padding=1))`"
    ),
    **dict.fromkeys(("swish", "Swish"), "did you mean `silu`?"),
    **dict.fromkeys(("lrelu", "leaky"), "did you mean `leakyrelu`?"),
    **dict.fromkeys(("mha", "MHA", "MultiheadAttention", "multihead_attention"), "did you mean `attention`?"),
    **dict.fromkeys(
        ("torch", "functional"), "use the layer's name alone, such as `relu`, or `nn.…` for a module of torch.nn"
    ),
    "F": "declare it, for example by `rule F { … }`, or use a layer's name alone, such as `relu`",
    **dict.fromkeys(("min", "abs", "prod", "round", "floor", "ceil", "sqrt", "pow", "log2"), NO_FUNCTIONS),
    **dict.fromkeys(("Add", "add"), "did you mean `sum`?"),
    **dict.fromkeys(("Average", "average", "avg"), "did you mean `mean`?"),
    **dict.fromkeys(("Concatenate", "concatenate", "cat"), "did you mean `concat`?"),
    **dict.fromkeys(("Identity", "identity"), "did you mean `id`?"),
}
"""Names with a meaning in other libraries or languages."""

ALIASES = {
    "epsilon": "eps",
    "filters": "out_channels",
    "heads": "num_heads",
    "input_dim": "num_embeddings",
    "output_dim": "embedding_dim",
    "pool_size": "kernel_size",
    "rate": "p",
    "units": "out_features",
}
"""Parameters of built-ins by their names in other libraries."""

NEEDLESS = {
    **dict.fromkeys(("in_channels", "in_features", "num_features", "num_channels"), "it is inferred"),
    **dict.fromkeys(("input_shape", "input_size"), "it is inferred"),
    "batch_first": "the batch always comes first",
    "inplace": "no layer works in place",
    "name": 'name a block with `let`, `layer`, or `@tag("name")`',
}
"""Parameters in other libraries that built-ins do not need, and why."""

_INDICES = {"return_indices": "a layer outputs one tensor: the values"}
_AFFINE = "`affine=false` leaves out weight and bias"
_BATCH_NORM = {
    "track_running_stats": "statistics are always tracked, for the whole net and for each column",
    "bias": _AFFINE,
}
_ROWS = ("max_norm", "norm_type", "scale_grad_by_freq", "sparse")
OMITTED: dict[str, dict[str, str]] = {
    **{f"{kind}{r}d": _INDICES for kind in ("maxpool", "adaptivemaxpool") for r in (1, 2, 3)},
    **{f"batchnorm{r}d": _BATCH_NORM for r in (1, 2, 3)},
    **{
        f"convtranspose{r}d": {"padding_mode": f"pad with zeros before it: `zeropad{r}d(…) >> convtranspose{r}d(…)`"}
        for r in (1, 2, 3)
    },
    **{
        f"instancenorm{r}d": {
            **dict.fromkeys(("momentum", "track_running_stats"), f"write `nn.InstanceNorm{r}d(…)` instead"),
            "bias": _AFFINE,
        }
        for r in (1, 2, 3)
    },
    "groupnorm": {"bias": _AFFINE},
    "layernorm": {"normalized_shape": "it works on the last axis; for several axes write `nn.LayerNorm([16, 16])`"},
    "embedding": dict.fromkeys(_ROWS, "write `nn.Embedding(…)` instead"),
    "upsample": {
        "size": "write `scale_factor=…`, or `nn.Upsample([64, 64])`",
        "recompute_scale_factor": "write `nn.Upsample(…)` instead",
    },
    "attention": {
        **dict.fromkeys(("add_bias_kv", "add_zero_attn"), "it attends only to the sequence itself"),
        **dict.fromkeys(("embed_dim", "kdim", "vdim"), "it is inferred: queries, keys and values are the input"),
    },
}
"""Parameters of torch that a built-in lacks, and why or what to write instead."""


_TORCH = (
    *("AlphaDropout", "CELU", "ChannelShuffle", "FeatureAlphaDropout", "Fold", "Hardshrink", "Hardtanh", "LogSigmoid"),
    *("PixelUnshuffle", "RMSNorm", "RReLU", "Softmax2d", "Softmin", "Softshrink", "Softsign", "Tanhshrink"),
    *("Threshold", "Unfold", "UpsamplingBilinear2d", "UpsamplingNearest2d"),
    *(f"{kind}{r}d" for kind in ("CircularPad", "ConstantPad", "LPPool", "ReflectionPad") for r in (1, 2, 3)),
    *(f"{kind}{r}d" for kind in ("FractionalMaxPool", "ReplicationPad") for r in (2, 3)),
)
TORCH = {name.lower(): name for name in _TORCH}
"""Layers of torch.nn without a built-in counterpart."""


def name_help(name: str) -> str | None:
    """Help for an unknown name that has a meaning elsewhere."""
    base = name.lower().replace("_", "")
    if base in TORCH:
        return f"write `nn.{TORCH[base]}(…)`"
    if f"{base}2d" in LAYERS and base not in LAYERS:
        return f"there are `{base}1d`, `{base}2d` and `{base}3d`"
    return NAMES.get(name)
