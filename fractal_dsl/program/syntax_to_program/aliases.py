"""Names from PyTorch, Keras and Python and their counterparts here: tables for help texts."""

from __future__ import annotations

from fractal_dsl.ops import LAYERS

WHOLE = "`//` divides whole numbers and rounds down: `64 * 25 // 100`"
"""How to get a whole number."""

NO_FUNCTIONS = "there are no functions of numbers: compute it elsewhere and pass it as a `param`"
_EXTERN = "import one from Python by `extern`"

FOREIGN_NAMES = {
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
        ("view", "Reshape", "unflatten"),
        "write `flatten`, or `reshape([8, 4, 4])`, which leaves the batch out",
    ),
    "swapaxes": "write `transpose(1, 2)`; axis 0 is the batch",
    **dict.fromkeys(("movedim", "Permute"), "write `permute([2, 1])`; axis 0 is the batch"),
    **dict.fromkeys(("mul", "multiply", "Multiply"), "did you mean `product`?"),
    "Dot": "did you mean `matmul`?",
    **dict.fromkeys(("sub", "subtract", "Subtract"), f"no join subtracts: {_EXTERN}"),
    "stack": "no join adds an axis: `concat(a, b)` joins along the channels",
    **dict.fromkeys(
        ("droppath", "DropPath", "drop_path", "StochasticDepth", "stochastic_depth"),
        "mark a branch, as in `sum(id, linear(8) @drop(10%))`; for the columns of rules, write `with "
        "drop_path(local=15%)` behind the net's output",
    ),
    **dict.fromkeys(
        ("adam", "Adam", "adamw", "AdamW", "sgd", "SGD", "RMSprop", "rmsprop"),
        "an optimizer belongs in the train block: `train { optimizer = adamw(lr=0.001) }`",
    ),
    **dict.fromkeys(
        ("cosine", "Cosine", "CosineAnnealingLR"),
        "a schedule belongs in the train block: `train { schedule = cosine() }`",
    ),
    **dict.fromkeys(
        ("labels", "CrossEntropyLoss", "NLLLoss", "cross_entropy"),
        "the labels and the loss are part of training, not of the net, which ends in one number for each class",
    ),
    **dict.fromkeys(
        ("SeparableConv1D", "SeparableConv2D"),
        "write two convolutions: `conv2d(c, 3, groups=c) >> conv2d(out, 1)`, with the input's c channels",
    ),
    **dict.fromkeys(
        ("DepthwiseConv1D", "DepthwiseConv2D"), "write `conv2d(c, 3, groups=c)`, with the input's c channels"
    ),
    "Activation": "use the activation's name as a layer, such as `relu`",
    **dict.fromkeys(("Lambda", "lambda"), f"blocks are built of layers: {_EXTERN}"),
    "Bidirectional": "write `lstm(64, bidirectional=true)`",
    "TimeDistributed": "leave it out: `linear` works on the last axis, at each position",
    **dict.fromkeys(("SimpleRNN", "RNNCell"), "did you mean `rnn`?"),
    **dict.fromkeys(
        ("Transformer", "TransformerEncoder", "TransformerEncoderLayer"),
        'write `sum(id, layernorm >> attention(8))`, or import `"std:transformer"`',
    ),
    "ModuleList": "write the layers in a row, as in `a >> b`",
    **dict.fromkeys(("Input", "InputLayer", "input"), "the net declares its input, which flows in by itself"),
    **dict.fromkeys(
        ("gap", "GAP", "GlobalAveragePooling1D", "GlobalAveragePooling2D"), "did you mean `global_avgpool`?"
    ),
    **dict.fromkeys(
        ("GlobalMaxPooling2D", "global_max_pool", "global_maxpool"), "write `adaptivemaxpool2d(1) >> flatten`"
    ),
    "GlobalMaxPooling1D": "write `adaptivemaxpool1d(1) >> flatten`",
    **dict.fromkeys(("bn", "BN", "BatchNormalization"), "there are `batchnorm1d`, `batchnorm2d` and `batchnorm3d`"),
    **dict.fromkeys(("pool", "pooling"), "there are `maxpool2d`, `avgpool2d` and others for 1 and 3 axes"),
    **{f"Conv{r}{d}Transpose": f"did you mean `convtranspose{r}d`?" for r in (1, 2, 3) for d in "Dd"},
    "fc": "did you mean `linear`?",
    **dict.fromkeys(
        ("repeat", "Repeat"), "write `block ** 3` to repeat a block three times, each with its own weights"
    ),
    **dict.fromkeys(("squeeze", "Squeeze"), "write `flatten`, which also drops axes of size 1"),
    **dict.fromkeys(
        ("split", "chunk", "RepeatVector", "Masking", "GaussianNoise"), f"there is no such layer: {_EXTERN}"
    ),
    **dict.fromkeys(("Cropping1D", "Cropping2D"), f"no layer crops: {_EXTERN}"),
    **dict.fromkeys(
        ("residual", "residual_block", "ResidualBlock", "skip", "shortcut"),
        "write a shortcut as a branch `id`: `sum(id, conv2d(64, 3, padding=1))`",
    ),
    **dict.fromkeys(("swish", "Swish"), "did you mean `silu`?"),
    **dict.fromkeys(("lrelu", "leaky"), "did you mean `leakyrelu`?"),
    **dict.fromkeys(("mha", "MHA", "MultiheadAttention", "multihead_attention"), "did you mean `attention`?"),
    **dict.fromkeys(
        ("torch", "functional"), "use the layer's name alone, such as `relu`, or `nn.…` for a module of torch.nn"
    ),
    "F": "declare it, for example by `rule F { … }`, or use a layer's name alone, such as `relu`",
    **dict.fromkeys(("abs", "prod", "round", "floor", "ceil", "sqrt", "pow", "log2"), NO_FUNCTIONS),
    **dict.fromkeys(("Add", "add"), "did you mean `sum`?"),
    **dict.fromkeys(("Average", "average", "avg"), "did you mean `mean`?"),
    **dict.fromkeys(("Concatenate", "concatenate", "cat"), "did you mean `concat`?"),
    **dict.fromkeys(("Identity", "identity"), "did you mean `id`?"),
}
"""Names with a meaning in other libraries or languages."""

FIRST_SETTINGS = {
    **dict.fromkeys(("sgd", "adamw"), "lr"),
    **dict.fromkeys(("npz", "folder"), "path"),
    **dict.fromkeys(("cifar10", "cifar100", "svhn", "imagenet"), "root"),
    "synthetic": "classes",
    "python": "factory",
}
"""Names of the train block whose first setting is often given without its name, and that name."""

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
    "rmsnorm": {"normalized_shape": "it works on the last axis; for several axes write `nn.RMSNorm([16, 16])`"},
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
    *("AlphaDropout", "CELU", "FeatureAlphaDropout", "Fold", "Hardshrink", "Hardtanh", "LogSigmoid"),
    *("RReLU", "Softmax2d", "Softmin", "Softshrink", "Softsign", "Tanhshrink"),
    *("Threshold", "Unfold", "UpsamplingBilinear2d", "UpsamplingNearest2d"),
    *(f"{kind}{r}d" for kind in ("CircularPad", "LPPool", "ReflectionPad") for r in (1, 2, 3)),
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
    return FOREIGN_NAMES.get(name)
