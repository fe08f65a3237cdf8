"""What each built-in layer does, in a sentence or two for editors."""

from __future__ import annotations

import re
from typing import Final

_DOCS: Final = {
    "adaptiveavgpool": "The means over windows, as many as `output_size` says.",
    "adaptivemaxpool": "The maxima over windows, as many as `output_size` says.",
    "attention": "Multi-head self-attention on `[length, features]`.",
    "avgpool": "The mean over each window. The stride is the size of the window by default.",
    "batchnorm": "Batch normalisation of each channel. In a fractal net, the whole net and each column have their own "
    "statistics.",
    "channel_shuffle": "The channels of several groups in turn, as in ShuffleNet.",
    "clamp": "Each number, but at least `min` and at most `max`.",
    "class_token": "Puts a learned vector before the first position of `[length, features]`, or `count` of them.",
    "constantpad": "A border of the number `value` around the image.",
    "conv": "A convolution. The number of input channels follows from the input.",
    "convtranspose": "A transposed convolution, which enlarges the image by its stride.",
    "distances": "The distances between pixels of a window, for a small net that gives attention biases (Swin v2).",
    "dropout": "Zeroes each number with probability `p` in training, and scales the rest.",
    "elu": "Exponential linear unit: x above 0, and alpha · (exp(x) - 1) below.",
    "embedding": "A learned vector for each whole number of the input.",
    "exp": "The exponential of each number.",
    "flatten": "All axes, or those from `start_dim` to `end_dim`, as one.",
    "gelu": "Gaussian error linear unit: x · Φ(x).",
    "global_avgpool": "The mean over all axes but the channels.",
    "glu": "Gated linear unit: one half of the axis `dim`, times the sigmoid of the other.",
    "groupnorm": "Normalisation over each group of channels.",
    "gru": "Gated recurrent units: the outputs of all steps of `[length, features]`.",
    "hardsigmoid": "A sigmoid of three straight lines.",
    "hardswish": "x times `hardsigmoid` of x.",
    "id": "The identity: the input itself.",
    "instancenorm": "Normalisation of each channel of each example.",
    "last_step": "The last position of a sequence.",
    "layernorm": "Layer normalisation over the last axis.",
    "layernorm2d": "Layer normalisation over the channels of each pixel, as in ConvNeXt.",
    "leakyrelu": "x above 0, and `negative_slope` · x below.",
    "linear": "A linear layer on the last axis. The number of input features follows from the input.",
    "localresponsenorm": "Normalisation by the squares of neighbouring channels, as in AlexNet.",
    "logsoftmax": "The logarithm of the softmax along the axis `dim`.",
    "lstm": "Long short-term memory: the outputs of all steps of `[length, features]`.",
    "maxpool": "The maximum of each window. The stride is the size of the window by default.",
    "mish": "x · tanh(softplus(x)).",
    "normalize": "Each vector along an axis, divided by its length.",
    "pairs": "From a table of biases, the row of each pair of pixels in a window, as in Swin.",
    "parameter": "A learned tensor, whatever the input.",
    "permute": "The axes in another order.",
    "pixelshuffle": "Channels become pixels: an image that is `upscale_factor` times as high and wide.",
    "pixelunshuffle": "Pixels become channels: an image that is `downscale_factor` times smaller each way.",
    "plus": "Each number plus `term`.",
    "positions": "Adds a learned vector for each position of a sequence.",
    "power": "Each number to the power of `exponent`.",
    "prelu": "x above 0, and x times a learned factor below.",
    "project": "The identity if the shape fits, else a 1×1 convolution without bias (on a vector: a linear layer).",
    "relu": "x above 0, and 0 below.",
    "relu6": "x between 0 and 6, else the nearer of both.",
    "reshape": "The same numbers in other axes, of which one may be left open: `reshape([16, -1])`.",
    "rmsnorm": "Each vector along the last axis, divided by its root mean square.",
    "rnn": "A plain recurrent net: the outputs of all steps of `[length, features]`.",
    "roll": "Moves numbers along axes; those that leave at one end come back at the other.",
    "scale": "Multiplies by a learned factor for each channel, or for each number on the axis `dim`.",
    "selu": "A scaled `elu` that keeps mean 0 and variance 1.",
    "sequence_mean": "The mean over the positions of a sequence.",
    "shift": "Adds a learned term for each channel, or for each number on the axis `dim`.",
    "sigmoid": "1 / (1 + exp(-x)).",
    "silu": "x times the sigmoid of x.",
    "slice": "A part of an axis: from `start` to before `stop`, each `step`-th number.",
    "softmax": "Positive numbers along the axis `dim` that add up to 1.",
    "softplus": "A smooth `relu`: log(1 + exp(beta · x)) / beta.",
    "stdconv": "A convolution whose filters have mean 0 and variance 1, as in NFNet.",
    "tanh": "The hyperbolic tangent of each number.",
    "times": "Each number times `factor`.",
    "transpose": "Two axes in each other's place.",
    "upsample": "Enlarges the image by `scale_factor`: repeats pixels, or interpolates with another `mode`.",
    "window_attention": "Self-attention within windows of `[height, width, features]`, as in Swin.",
    "window_mask": "A term for attention scores in moved windows: -100 between pixels from opposite sides, else 0.",
    "zeropad": "A border of zeros around the image.",
}
_WHOLE_CHANNELS: Final = "Zeroes each channel with probability `p` in training, and scales the rest."


def layer_doc(name: str) -> str:
    """What a built-in layer does. Layers for 1, 2 and 3 axes share a text."""
    if re.fullmatch(r"dropout[123]d", name):
        return _WHOLE_CHANNELS
    return _DOCS.get(name) or _DOCS[re.sub(r"[123]d$", "", name)]
