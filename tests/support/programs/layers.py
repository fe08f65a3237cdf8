"""The built-in layers a second time, with the weights of the net's modules."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True, eq=False)
class Op:
    """A built-in layer with the arguments that tell it from others."""

    name: str
    args: Mapping[str, Any]


_CONV = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
_TRANSPOSED = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}
_MAX = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}
_AVG = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}
_ADAPTIVE_MAX = {1: F.adaptive_max_pool1d, 2: F.adaptive_max_pool2d, 3: F.adaptive_max_pool3d}
_ADAPTIVE_AVG = {1: F.adaptive_avg_pool1d, 2: F.adaptive_avg_pool2d, 3: F.adaptive_avg_pool3d}
POINTWISE: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": torch.relu,
    "relu6": lambda x: x.clamp(0, 6),
    "selu": F.selu,
    "mish": lambda x: x * torch.tanh(F.softplus(x)),
    "hardsigmoid": lambda x: (x / 6 + 0.5).clamp(0, 1),
    "softmax": lambda x: x.softmax(-1),
    "logsoftmax": lambda x: x.log_softmax(-1),
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "gelu": F.gelu,
    "silu": F.silu,
    "elu": F.elu,
    "softplus": F.softplus,
    "hardswish": F.hardswish,
    "leakyrelu": lambda x: torch.where(x > 0, x, 0.2 * x),
}


def apply(op: Op, m: Any, x: Tensor) -> Tensor:
    """A built-in layer in eval mode, with the weights of its module and the arguments of the program."""
    a, rank = op.args, x.ndim - 2
    match op.name:
        case "conv":
            assert m.weight.shape[0] == a["out"] and (m.bias is not None) == a["bias"]
            assert tuple(m.weight.shape[2:]) == tuple(a["kernel"])
            groups = a["out"] if a["depthwise"] else 1
            return _CONV[rank](x, m.weight, m.bias, a["stride"], tuple(a["padding"]), a["dilation"], groups)
        case "linear":
            assert m.weight.shape[0] == a["out"] and (m.bias is not None) == a["bias"]
            return F.linear(x, m.weight, m.bias)
        case "project":
            if x.shape[1] == a["out"]:
                assert isinstance(m, nn.Identity)
                return x
            assert m.bias is None and m.weight.shape[0] == a["out"]
            return _CONV[rank](x, m.weight) if rank else F.linear(x, m.weight)
        case "maxpool":
            return _MAX[rank](x, a["kernel"], a["stride"], a["padding"])
        case "avgpool":
            return _AVG[rank](x, a["kernel"], a["stride"], a["padding"])
        case "batchnorm":
            return F.batch_norm(x, m.running_mean, m.running_var, m.weight, m.bias, False, eps=1e-5)
        case "instancenorm":
            return F.instance_norm(x, eps=1e-5)
        case "groupnorm":
            return F.group_norm(x, a["groups"], m.weight, m.bias, 1e-5)
        case "layernorm":
            return F.layer_norm(x, x.shape[-1:], m.weight, m.bias, 1e-5)
        case "layernorm2d":
            centred = x - x.mean(1, keepdim=True)
            deviation = (centred.square().mean(1, keepdim=True) + 1e-5).sqrt()
            return centred / deviation * m.weight[:, None, None] + m.bias[:, None, None]
        case "rmsnorm":
            return x / (x.square().mean(-1, keepdim=True) + 0.001).sqrt() * m.weight
        case "scale":
            return x * m.weight
        case "shift":
            return x + m.weight
        case "times":
            return x * a["by"]
        case "exp":
            return x.exp()
        case "clamp":
            return x.clamp(-1.0, 0.5)
        case "distances":  # of two pixels below each other
            down = torch.tensor([-1.0, 0.0, 1.0])
            return torch.stack([down, torch.zeros(3)], 1)[:, None].expand(len(x), -1, -1, -1)
        case "first":
            return x[..., :1]
        case "hidden":  # no pixel is from another side of an image that is one window
            return torch.zeros(len(x), 1, 1, 1)
        case "plus":
            return x + a["by"]
        case "power":
            return x ** a["by"]
        case "parameter":
            return m.weight.expand(len(x), *m.weight.shape)
        case "pairs":  # of one pixel with itself
            return x[:, None]
        case "normalize":
            return x / x.square().sum(-1, keepdim=True).sqrt().clamp(min=1e-12)
        case "thinned":
            return x[:, :, ::2]
        case "thin":
            return x[..., ::2]
        case "constantpad":
            return F.pad(x, (1, 1) * rank, value=0.5)
        case "turn":
            return x.transpose(-2, -1)
        case "stdconv":
            w = m.weight.flatten(1)
            w = (w - w.mean(1, keepdim=True)) / (w.var(1, keepdim=True, correction=0) + 1e-6).sqrt()
            return F.conv2d(x, w.view_as(m.weight), m.bias, padding=1)
        case "dropout":
            assert abs(m.p - a["p"]) < 1e-12
            return x
        case "global_avgpool":
            return x.flatten(2).mean(2)
        case "transpose":
            return x.transpose(1, -1)
        case "permute":
            return x.permute(0, *range(x.ndim - 1, 0, -1))
        case "roll":
            return torch.roll(x, (2, 1), (-1, 2))
        case "slice":
            start = a["start"]
            return x[:, start:] if start else x
        case "channel_shuffle":
            return torch.stack([x[:, : x.shape[1] // 2], x[:, x.shape[1] // 2 :]], 2).flatten(1, 2)
        case "flatten" | "reshape":
            return x.flatten(1)
        case "last_step":
            return x[:, -1]
        case "sequence_mean":
            return x.sum(1) / x.shape[1]
        case "class_token":
            return torch.cat([m.weight.expand(len(x), 1, -1), x], 1)
        case "convtranspose":
            assert m.weight.shape[1] == a["out"]
            return _TRANSPOSED[rank](x, m.weight, m.bias, 1, 1)
        case "adaptivemaxpool":
            return _ADAPTIVE_MAX[rank](x, a["size"])
        case "adaptiveavgpool":
            return _ADAPTIVE_AVG[rank](x, a["size"])
        case "localresponsenorm":
            return F.local_response_norm(x, 3)
        case "prelu":
            return torch.where(x > 0, x, m.weight * x)
        case "glu":
            half, gate = x.chunk(2, -1)
            return half * gate.sigmoid()
        case "zeropad":
            return F.pad(x, (1, 1) * rank)
        case "upsample":
            return F.interpolate(x, scale_factor=2, mode=a["mode"], align_corners=a["align"] or None)
        case "pixelshuffle":
            return F.pixel_shuffle(x, 2)
        case "pixelunshuffle":
            return F.pixel_unshuffle(x, 2)
        case "embedding":
            assert m.weight.shape[0] == a["count"]
            return m.weight[x]
        case "positions":
            return x + m.weight
        case "window":  # of one pixel, which attends to itself
            return m.out(m.qkv(x).chunk(3, -1)[2])
        case "attention":
            inner = m.attention
            q, k, v = F.linear(x, inner.in_proj_weight, inner.in_proj_bias).chunk(3, -1)
            scores = q @ k.transpose(1, 2) / x.shape[2] ** 0.5
            if a["causal"]:
                scores = scores.masked_fill(torch.ones_like(scores, dtype=torch.bool).triu(1), float("-inf"))
            return inner.out_proj(scores.softmax(-1) @ v)
        case "grouped":
            q, k, v = m.query(x), m.key(x), m.value(x)
            scores = q @ k.transpose(1, 2) / x.shape[2] ** 0.5
            ones = torch.ones_like(scores, dtype=torch.bool)
            return m.out(scores.masked_fill(ones.triu(2) | ones.tril(-2), float("-inf")).softmax(-1) @ v)
        case "rnn" | "lstm" | "gru":
            assert isinstance(m.layer, getattr(nn, op.name.upper())) and m.layer.hidden_size == a["out"]
            return m.layer(x)[0]
        case "scaled":
            return x * m.weight
        case "hardtanh":
            return x.clamp(-0.5, 0.5)
        case _:
            return POINTWISE[op.name](x)
