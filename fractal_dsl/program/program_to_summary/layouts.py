"""Layers that accept their input but most likely misread it: swapped axes, and the first argument of torch."""

from __future__ import annotations

from fractal_dsl.ops import Args, OpSpec, Tensor
from fractal_dsl.ops.shapes import integer

_FEATURES_LAST = {"embedding", "positions", "attention", "layernorm", "rnn", "lstm", "gru"}
_CHANNELS_FIRST = {"global_avgpool", "groupnorm", "project"}
_KEEPING = {"id", "linear"}  # and dropouts and activations
_NO_KERNEL = {1: 32, 2: 12, 3: 12}  # of this size, by rank: AlexNet's is 11, those of ECG nets are 17
_NO_STACK = 12  # recurrent layers


def source(spec: OpSpec, before: str) -> str:
    """The layer that makes the output of ``spec`` read [length, features], or "".

    ``before`` is that layer for its input. It matters only for tensors with two axes.
    """
    if spec.name in _FEATURES_LAST:
        return spec.name
    return before if spec.name in _KEEPING or spec.family in ("activation", "dropout") else ""


def swapped_axes(spec: OpSpec, x: Tensor, params: int, before: str) -> str | None:
    """The warning about a layer that takes channels first, on [length, features]; None if it is fine."""
    if not before or len(x.shape) != 2 or (spec.name == "project" and not params):
        return None
    if spec.rank != 1 and spec.name not in _CHANNELS_FIRST:
        return None
    return (
        f"`{spec.name}` takes [channels, length], but `{before}` before it gives [length, features]: "
        f"the length, {x.shape[0]}, counts as channels"
    )


def leading_argument(spec: OpSpec, x: Tensor, args: Args) -> tuple[str, str] | None:
    """The warning about a layer that got the input's size first, as in torch, and its help; None if it is fine."""
    if spec.family == "conv" and spec.rank and args["out_channels"] == x.shape[0] and _too_large(spec.rank, args):
        kernel = args["kernel_size"]
        message = f"`{spec.name}` on {x.shape[0]} channels has as many output channels, and a kernel of size {kernel}"
        return message, f"input channels are inferred: `{spec.name}({kernel}, {args['stride']})`"
    if spec.name in ("rnn", "lstm", "gru") and args["hidden_size"] == x.shape[-1]:
        count = integer(args, "num_layers")
        if count >= _NO_STACK:
            message = f"`{spec.name}` on {x.shape[-1]} features stacks {count} layers of hidden size {x.shape[-1]}"
            return message, f"input features are inferred: `{spec.name}({count})`"
    return None


def _too_large(rank: int, args: Args) -> bool:
    """Whether a kernel is larger than any in common use with these other arguments."""
    kernel, stride = args["kernel_size"], args["stride"]
    if not (isinstance(kernel, int) and isinstance(stride, int)) or args["groups"] != 1 or kernel < _NO_KERNEL[rank]:
        return False
    return kernel > stride and (stride > 1 or args["padding"] == 0)
