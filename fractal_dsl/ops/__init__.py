"""The built-in layers and joins: parameters, shape rule, cost rule, torch target.

In: arguments and input shapes. Out: an ``OpSpec`` or ``JoinSpec`` for each name; output shapes and costs.
Not imported here: torch (targets are strings; only ``foreign_python`` loads it), ``program`` and above.

Names follow torch: the class name of ``torch.nn`` in lower case, torch's keyword names, and torch's order of arguments
without the inferred ones (input channels, features). Shapes leave the batch out; costs are per sample."""

from __future__ import annotations

from fractal_dsl.ops.activations import elementwise, glu, prelu, softmax
from fractal_dsl.ops.arithmetic import arithmetic, clamp, exp, learned
from fractal_dsl.ops.convolutions import adaptive_pool, conv, conv_transpose, global_avg_pool, pool, std_conv
from fractal_dsl.ops.distances import distances, pairs, parameter, window_mask
from fractal_dsl.ops.foreign import foreign_join, foreign_layer
from fractal_dsl.ops.joins import JOINS
from fractal_dsl.ops.linear import TIED_EMBEDDING, UNEMBED, attention, embedding, linear, project, window_attention
from fractal_dsl.ops.norms import (
    DROP_EXAMPLES,
    batch_norm,
    dropout,
    group_norm,
    instance_norm,
    layer_norm,
    layer_norm_2d,
    local_response_norm,
    normalize,
    rms_norm,
)
from fractal_dsl.ops.rearranging import SPLIT, channel_shuffle, permute, pixel_unshuffle, reshape, roll, slice_
from fractal_dsl.ops.recurrent import MAX_STACKED, recurrent
from fractal_dsl.ops.reshaping import (
    IDENTITY,
    NORMALISE,
    PLACE,
    RESTORE,
    constant_pad,
    flatten,
    pixel_shuffle,
    transpose,
    upsample,
    zero_pad,
)
from fractal_dsl.ops.sequences import class_token, last_step, positions, sequence_mean
from fractal_dsl.ops.shapes import SMALL, sizes
from fractal_dsl.ops.spec import REQUIRED, Args, JoinSpec, OpParam, OpSpec, OpValue, ShapeError, Tensor, TorchModule

__all__ = [
    "DROP_EXAMPLES",
    "JOINS",
    "LAYERS",
    "MAX_STACKED",
    "NORMALISE",
    "PLACE",
    "REQUIRED",
    "RESTORE",
    "SPLIT",
    "TIED_EMBEDDING",
    "UNEMBED",
    "Args",
    "JoinSpec",
    "OpParam",
    "OpSpec",
    "OpValue",
    "ShapeError",
    "Tensor",
    "TorchModule",
    "foreign_join",
    "foreign_layer",
    "sizes",
]

_RANKS = (1, 2, 3)
_ALL: tuple[OpSpec, ...] = (
    *(conv(r) for r in _RANKS),
    *(conv_transpose(r) for r in _RANKS),
    std_conv(),
    *(pool(kind, r) for kind in ("Max", "Avg") for r in _RANKS),
    *(adaptive_pool(kind, r) for kind in ("Max", "Avg") for r in _RANKS),
    *(batch_norm(r) for r in _RANKS),
    *(instance_norm(r) for r in _RANKS),
    group_norm(),
    layer_norm(),
    layer_norm_2d(),
    rms_norm(),
    learned("scale", 1.0, "norm"),
    learned("shift", 0.0, "norm"),
    arithmetic("times", "factor"),
    arithmetic("plus", "term"),
    arithmetic("power", "exponent"),
    exp(),
    clamp(),
    local_response_norm(),
    normalize(),
    *(dropout(suffix) for suffix in ("", "1d", "2d", "3d")),
    linear(),
    flatten(),
    transpose(),
    permute(),
    reshape(),
    slice_(),
    roll(),
    channel_shuffle(),
    embedding(),
    positions(),
    class_token(),
    parameter(),
    distances(),
    pairs(),
    window_mask(),
    last_step(),
    sequence_mean(),
    attention(),
    window_attention(),
    *(recurrent(kind) for kind in ("RNN", "LSTM", "GRU")),
    global_avg_pool(),
    project(),
    upsample(),
    *(zero_pad(r) for r in _RANKS),
    *(constant_pad(r) for r in _RANKS),
    pixel_shuffle(),
    pixel_unshuffle(),
    IDENTITY,
    *(elementwise(t) for t in ("ReLU", "ReLU6", "SELU", "SiLU", "Mish", "Sigmoid", "Tanh", "Hardswish", "Hardsigmoid")),
    elementwise("Softplus", OpParam("beta", "float", 1.0, low=SMALL), OpParam("threshold", "float", 20.0)),
    elementwise("LeakyReLU", OpParam("negative_slope", "float", 0.01)),
    elementwise("ELU", OpParam("alpha", "float", 1.0)),
    elementwise("GELU", OpParam("approximate", "str", "none", choices=("none", "tanh"))),
    softmax("Softmax"),
    prelu(),
    glu(),
    softmax("LogSoftmax"),
)

LAYERS: dict[str, OpSpec] = {spec.name: spec for spec in _ALL}
