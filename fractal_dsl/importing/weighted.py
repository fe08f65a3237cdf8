"""Functions of torch that take weights, windows or sizes, as layers: convolutions, norms, poolings, upsampling."""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil
from typing import Any

import torch

from fractal_dsl.importing.building import Builder, Held, Padded, Ref, Standard
from fractal_dsl.importing.functions import FUNCTIONS, Lower, lowers, trailing
from fractal_dsl.importing.modules import kind_of, plain
from fractal_dsl.importing.refusal import Refusal


def weights(b: Builder, **given: Any) -> dict[str, str]:
    """The names of weights in the module's state. Raises Refusal for one that is computed."""
    result: dict[str, str] = {}
    for name, value in given.items():
        if value is None:
            continue
        if not isinstance(value, Held) or not value.name:
            reason = "is computed by the module; remove parametrizations and weight norms first"
            raise Refusal(f"the {name} of this operation {reason}", b.place)
        result[name] = value.name
    return result


def _args(op: str, x: Ref, values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: plain(value, kind_of(op, key), x.out) for key, value in values.items()}


def _conv(rank: int) -> Lower:
    op = f"conv{rank}d"

    def lower(
        b: Builder,
        x: Any,
        weight: Any,
        bias: Any = None,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
    ) -> Ref:
        kernel = tuple(weight.value.shape[2:])
        given = {"kernel_size": kernel, "stride": stride, "padding": padding, "dilation": dilation}
        given |= {"out_channels": weight.value.shape[0], "groups": groups, "bias": bias is not None}
        if isinstance(weight, Held) and isinstance(weight.made, Standard) and rank == 2:
            return _standardised(b, x, weight.made, weight.value[0].numel(), bias, given)
        return b.layer(op, x, weights(b, weight=weight, bias=bias), **_args(op, x, given))

    return lower


def _standardised(b: Builder, x: Any, made: Standard, size: int, bias: Any, given: dict[str, Any]) -> Ref:
    """A convolution with standardised filters of some size."""
    tensors = {"weight": made.weight} | weights(b, bias=bias)
    given["eps"] = made.eps
    if made.gain is not None:
        tensors["gain"] = made.gain.name
        given["gamma"] = float(f"{made.gain.factor * size**0.5:.10g}")
    return b.layer("stdconv2d", x, tensors, **_args("stdconv2d", x, given))


def _conv_transpose(rank: int) -> Lower:
    op = f"convtranspose{rank}d"

    def lower(
        b: Builder,
        x: Any,
        weight: Any,
        bias: Any = None,
        stride: Any = 1,
        padding: Any = 0,
        output_padding: Any = 0,
        groups: int = 1,
        dilation: Any = 1,
    ) -> Ref:
        tensors = weights(b, weight=weight, bias=bias)
        kernel = tuple(weight.value.shape[2:])
        given = {"kernel_size": kernel, "stride": stride, "padding": padding, "dilation": dilation}
        given |= {"output_padding": output_padding, "groups": groups, "bias": bias is not None}
        given["out_channels"] = weight.value.shape[1] * groups
        return b.layer(op, x, tensors, **_args(op, x, given))

    return lower


for _rank in (1, 2, 3):
    FUNCTIONS[f"conv{_rank}d"] = _conv(_rank)
    FUNCTIONS[f"conv_transpose{_rank}d"] = _conv_transpose(_rank)


@trailing("linear")
def _linear(b: Builder, x: Any, weight: Any, bias: Any = None) -> Ref:
    tensors = weights(b, weight=weight, bias=bias)
    return b.layer("linear", x, tensors, out_features=weight.value.shape[0], bias=bias is not None)


@lowers("embedding")
def _embedding(b: Builder, x: Any, weight: Any, padding_idx: Any = None, *rest: Any, **named: Any) -> Ref:
    # torch.nn.functional and aten disagree on which argument is first, and on what -1 and the others mean
    functional = not isinstance(x, Held)
    x, weight = (x, weight) if functional else (weight, x)
    names = "max_norm norm_type scale_grad_by_freq sparse" if functional else "scale_grad_by_freq sparse"
    given = dict(zip(names.split(), rest, strict=False)) | named
    if lacking := [name for name in names.split() if name != "norm_type" and given.get(name)]:
        raise Refusal(f"an embedding with {lacking[0]} has no counterpart in the language", b.place)
    count, width = weight.value.shape
    index = padding_idx if functional or padding_idx != -1 else None
    index = index + count if index is not None and index < 0 else index
    return b.layer(
        "embedding", x, weights(b, weight=weight), num_embeddings=count, embedding_dim=width, padding_idx=index
    )


@lowers("batch_norm")
def _batch_norm(b: Builder, x: Any, *given: Any, **named: Any) -> Ref:
    aten = ("weight", "bias", "running_mean", "running_var", "training", "momentum", "eps", "cudnn")
    functional = ("running_mean", "running_var", "weight", "bias", "training", "momentum", "eps")
    of = dict(zip(aten if len(given) == len(aten) else functional, given, strict=False)) | named
    if of.get("training"):
        raise Refusal("batch norm also uses the mini-batch in eval mode here", b.place)
    names = ("weight", "bias", "running_mean", "running_var")
    tensors = weights(b, **{name: of.get(name) for name in names})
    if len(tensors) not in (2, 4):
        raise Refusal("a batch norm with only one of scale and shift has no counterpart in the language", b.place)
    momentum = of.get("momentum", 0.1)
    if momentum is None:
        raise Refusal("a batch norm with momentum=None has no counterpart in the language", b.place)
    args = {"eps": float(of.get("eps", 1e-5)), "momentum": float(momentum)}
    rank = max(1, x.rank - 2)
    return b.layer(f"batchnorm{rank}d", x, tensors, affine=len(tensors) == 4, **args)


@trailing("layer_norm")
def _layer_norm(
    b: Builder, x: Any, normalized_shape: Any, weight: Any = None, bias: Any = None, eps: float = 1e-5, *rest: Any
) -> Ref:
    if len(normalized_shape) != 1:
        raise Refusal(f"a layer norm over {len(normalized_shape)} axes has no counterpart in the language", b.place)
    affine = weight is not None
    tensors = weights(b, weight=weight, bias=bias)
    return b.layer(
        "layernorm", x, tensors, eps=float(eps), elementwise_affine=affine, bias=bias is not None or not affine
    )


@lowers("instance_norm")
def _instance_norm(b: Builder, x: Any, *given: Any, **named: Any) -> Ref:
    names = "running_mean running_var weight bias use_input_stats momentum eps"
    aten = "weight bias running_mean running_var use_input_stats momentum eps cudnn_enabled"
    of = dict(zip((aten if len(given) == 8 else names).split(), given, strict=False)) | named
    if of.get("running_mean") is not None:
        raise Refusal("an instance norm with running statistics has no counterpart in the language", b.place)
    tensors = weights(b, weight=of.get("weight"), bias=of.get("bias"))
    if len(tensors) == 1:
        raise Refusal("an instance norm with only one of scale and shift has no counterpart in the language", b.place)
    return b.layer(f"instancenorm{x.rank - 2}d", x, tensors, eps=float(of.get("eps", 1e-5)), affine=len(tensors) == 2)


@lowers("group_norm")
def _group_norm(
    b: Builder, x: Any, num_groups: int, weight: Any = None, bias: Any = None, eps: float = 1e-5, *rest: Any
) -> Ref:
    tensors = weights(b, weight=weight, bias=bias)
    if len(tensors) == 1:
        raise Refusal("a group norm with only one of scale and shift has no counterpart in the language", b.place)
    return b.layer("groupnorm", x, tensors, num_groups=num_groups, eps=float(eps), affine=weight is not None)


@lowers("prelu")
def _prelu(b: Builder, x: Any, weight: Any) -> Ref:
    return b.layer("prelu", x, weights(b, weight=weight), num_parameters=weight.value.numel())


def _pool(op: str, names: str) -> Lower:
    order = names.split()

    def lower(b: Builder, x: Any, *values: Any, **named: Any) -> Ref:
        given = dict(zip(order, values, strict=False)) | {k: v for k, v in named.items() if k in order}
        if "stride" in given and given["stride"] in (None, [], ()):
            del given["stride"]
        if isinstance(x, Padded):
            x = _to_the_end(b, op, x, given)
        return b.layer(op, x, **_args(op, x, given))

    return lower


def _to_the_end(b: Builder, op: str, x: Padded, given: dict[str, Any]) -> Ref:
    """The input of a pooling whose padding behind each axis is what its last window needs: that is ``ceil_mode``."""
    axes = x.ref.out.shape[1:]
    kernel, stride = ([v] * len(axes) if isinstance(v, int) else v for v in (given["kernel_size"], given["stride"]))
    exact = all(
        (n + p - k) % s == 0 and (p < s or not p) for n, p, k, s in zip(axes, x.sides, kernel, stride, strict=True)
    )
    usual = {"padding": 0, "dilation": 1, "ceil_mode": False}
    plainly = all({*(v if isinstance(v, list | tuple) else [v])} == {usual[k]} for k, v in given.items() if k in usual)
    if not op.startswith("maxpool") or not plainly or not exact:
        raise Refusal("this padding before a pooling has no counterpart in the language", b.place)
    given["ceil_mode"] = True
    return x.ref


for _rank in (1, 2, 3):
    FUNCTIONS[f"max_pool{_rank}d"] = _pool(f"maxpool{_rank}d", "kernel_size stride padding dilation ceil_mode")
    _average = "kernel_size stride padding ceil_mode count_include_pad" + " divisor_override" * (_rank > 1)
    FUNCTIONS[f"avg_pool{_rank}d"] = _pool(f"avgpool{_rank}d", _average)
    FUNCTIONS[f"adaptive_avg_pool{_rank}d"] = _pool(f"adaptiveavgpool{_rank}d", "output_size")
    FUNCTIONS[f"adaptive_max_pool{_rank}d"] = _pool(f"adaptivemaxpool{_rank}d", "output_size")


def _upsample(mode: str) -> Lower:
    def lower(b: Builder, x: Any, size: Any = None, align_corners: Any = False, scales: Any = None, *rest: Any) -> Ref:
        return interpolate(b, x, size, None if size is not None else scales, mode, align_corners)

    return lower


def _upsample_nearest(b: Builder, x: Any, size: Any = None, scales: Any = None, *rest: Any) -> Ref:
    return interpolate(b, x, size, None if size is not None else scales, "nearest")


for _name in ("linear1d", "bilinear2d", "bicubic2d", "trilinear3d"):
    FUNCTIONS[f"upsample_{_name}"] = _upsample(_name[:-2])
for _rank in (1, 2, 3):
    FUNCTIONS[f"upsample_nearest{_rank}d"] = _upsample_nearest


def _factor(wanted: int, size: int) -> float:
    """The factor that makes a size another one, rounded up, because sizes are rounded down."""
    return wanted // size if wanted % size == 0 else ceil(wanted / size * 1e10) / 1e10


@lowers("interpolate", "upsample")
def interpolate(
    b: Builder,
    x: Any,
    size: Any = None,
    scale_factor: Any = None,
    mode: str = "nearest",
    align_corners: Any = None,
    recompute_scale_factor: Any = None,
    antialias: bool = False,
) -> Any:
    """Resize by a factor, or to a size. Raises Refusal with antialias."""
    if antialias:
        raise Refusal("resizing with antialias has no counterpart in the language", b.place)
    if size is not None:
        axes = x.out.shape[1:]
        wanted = [size] * len(axes) if isinstance(size, int) else [*size]
        if wanted == [*axes]:
            return x
        scale_factor = [_factor(n, m) for n, m in zip(wanted, axes, strict=True)]
    factors = plain(scale_factor, "scale", x.out)
    return b.layer("upsample", x, scale_factor=factors, mode=mode, align_corners=bool(align_corners))


def causal_mask(mask: torch.Tensor, length: int) -> bool:
    """Whether an attention mask hides exactly the later positions."""
    hidden = torch.ones(length, length, dtype=torch.bool).triu(1)
    shaped = mask.reshape(-1, length, length)[0] if mask.numel() % length**2 == 0 and mask.numel() else mask
    if shaped.shape != hidden.shape or len({*mask.shape[:-2]} - {1}) > 0:
        return False
    return torch.equal(shaped if shaped.dtype == torch.bool else shaped == float("-inf"), hidden) and (
        shaped.dtype == torch.bool or bool((shaped[~hidden] == 0).all())
    )
