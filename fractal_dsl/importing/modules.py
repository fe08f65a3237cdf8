"""Modules of torch.nn as layers of the language."""

from __future__ import annotations

from collections.abc import Mapping
from math import isclose
from typing import Any

from torch import nn

from fractal_dsl.importing.refusal import Refusal
from fractal_dsl.ops import LAYERS, REQUIRED, OpValue, Tensor
from fractal_dsl.runtime import distances, layers, tensors

_RECURRENT: dict[type[nn.Module], str] = {nn.RNN: "rnn", nn.LSTM: "lstm", nn.GRU: "gru"}
_OURS = {
    layers.GlobalAvgPool: "global_avgpool",
    layers.Transpose: "transpose",
    layers.Positions: "positions",
    layers.Attention: "attention",
    layers.ChannelShuffle: "channel_shuffle",
    layers.Scale: "scale",
    distances.LearnedTensor: "parameter",
    distances.Distances: "distances",
    distances.Pairs: "pairs",
    distances.WindowMask: "window_mask",
    tensors.Exp: "exp",
    tensors.Clamp: "clamp",
    tensors.LocalResponseNorm: "localresponsenorm",
    distances.UnitVectors: "normalize",
    nn.ChannelShuffle: "channel_shuffle",
}
_BY_NAME = {name.lower(): cls for name, cls in vars(nn).items() if isinstance(cls, type)}
_BY_CLASS: dict[type[nn.Module], str] = {
    **{_BY_NAME[name]: name for name in LAYERS if name in _BY_NAME and _BY_NAME[name] not in _RECURRENT},
    nn.Identity: "id",
    **_OURS,
}

OUTPUTS: dict[type[nn.Module], str] = {nn.MultiheadAttention: "attention", **_RECURRENT}
"""Modules that return a tuple, of which the language keeps the first element."""


def is_known(module: nn.Module) -> bool:
    """Whether a module is a layer of the language as a whole."""
    return type(module) in _BY_CLASS or type(module) in OUTPUTS or isinstance(module, layers.Recurrent | layers.Gated)


def is_trailing(module: nn.Module) -> bool:
    """Whether a module treats all axes but the last alike, so that some of them may be folded into the batch."""
    return isinstance(module, _TRAILING) or (isinstance(module, nn.Softmax) and module.dim == -1)


_TRAILING = (
    nn.Linear,
    nn.LayerNorm,
    nn.RMSNorm,
    nn.Dropout,
    nn.Identity,
    nn.GELU,
    nn.ReLU,
    nn.SiLU,
    nn.Tanh,
    nn.Sigmoid,
)


def module_to_layer(module: nn.Module, x: Tensor) -> tuple[str, dict[str, OpValue]]:
    """The layer and the arguments of a known module on an input. Raises Refusal for what the language lacks."""
    if isinstance(module, layers.Recurrent):
        module = module.layer
    kind = type(module)
    name = OUTPUTS.get(kind) or _BY_CLASS[kind]
    if isinstance(module, nn.LayerNorm | nn.RMSNorm) and len(module.normalized_shape) != 1:
        raise Refusal(f"{kind.__name__} normalises {len(module.normalized_shape)} axes; `{name}` takes one")
    values = {p.name: _value(module, p.name, p.default) for p in LAYERS[name].params}
    match module:
        case nn.Conv1d() | nn.Conv2d() | nn.Conv3d() | nn.Linear() | nn.LayerNorm():
            values["bias"] = module.bias is not None
        case nn.ConvTranspose1d() | nn.ConvTranspose2d() | nn.ConvTranspose3d():
            values["bias"] = module.bias is not None
            _only(module, padding_mode="zeros")
        case nn.BatchNorm1d() | nn.BatchNorm2d() | nn.BatchNorm3d():
            _only(module, track_running_stats=True)
        case nn.InstanceNorm1d() | nn.InstanceNorm2d() | nn.InstanceNorm3d():
            _only(module, track_running_stats=False)
        case nn.MaxPool1d() | nn.MaxPool2d() | nn.MaxPool3d():
            _only(module, return_indices=False)
        case nn.Embedding():
            _only(module, max_norm=None, scale_grad_by_freq=False, sparse=False)
        case nn.MultiheadAttention():
            _only(module, bias_k=None, bias_v=None, add_zero_attn=False)
            _only(module, kdim=module.embed_dim, vdim=module.embed_dim)
            values |= {"bias": _has(module, "in_proj_bias"), "dropout": float(module.dropout), "causal": False}
        case nn.PReLU():
            values |= {"num_parameters": module.num_parameters, "init": 0.25}
        case nn.Softmax() | nn.LogSoftmax() if module.dim is None:
            raise Refusal(f"{kind.__name__} has no dim")
        case layers.Scale():
            axis = len(x.shape) - module.after
            number = axis if axis == 1 else axis - len(x.shape) - 1
            values["dim"] = number if x.shape[axis - 1] == len(module.weight) else 0
        case layers.Attention():
            inner = module.attention
            values = {"num_heads": inner.num_heads, "dropout": float(inner.dropout)}
            values |= {"bias": _has(inner, "in_proj_bias"), "causal": module.causal, "window": module.window}
        case distances.Distances() | distances.Pairs() | distances.WindowMask():
            sizes = ("window_size", "extent", "image_size", "shift_size")
            values = {k: v[0] if k in sizes and v is not None and len({*v}) == 1 else v for k, v in values.items()}
        case _:
            pass
    return name, {key: plain(value, kind_of(name, key), x) for key, value in values.items()}


def _value(module: nn.Module, name: str, default: Any) -> Any:
    """An argument of a module. Raises Refusal for None where the language has another default."""
    if not hasattr(module, name) and default is not REQUIRED:
        return default
    given = getattr(module, name, None)
    if given is None and default not in (None, REQUIRED, False) and name != "bias":
        raise Refusal(f"{type(module).__name__} with {name}=None has no counterpart in the language")
    return default if given is None and default is not REQUIRED else given


def _has(module: nn.Module, name: str) -> bool:
    return getattr(module, name) is not None


def _only(module: nn.Module, **expected: Any) -> None:
    for name, value in expected.items():
        actual = getattr(module, name)
        if actual is not value and actual != value:
            shown = repr(actual) if isinstance(actual, bool | int | float | str) else "set"
            raise Refusal(f"{type(module).__name__} with {name}={shown} has no counterpart in the language")


def kind_of(op: str, name: str) -> str:
    """The kind of a layer's parameter."""
    return next(p.kind for p in LAYERS[op].params if p.name == name)


def plain(value: Any, kind: str, x: Tensor) -> OpValue:
    """An argument of torch as one of the language: equal sizes become one number."""
    if isinstance(value, list | tuple):
        items: list[Any] = [x.shape[-len(value) + i] if v is None else plain(v, kind, x) for i, v in enumerate(value)]
        if kind in ("size", "padding", "sides", "scale") and len({*items}) == 1:
            return items[0]
        return tuple(items)
    if kind in ("float", "prob") and isinstance(value, int | float) and not isinstance(value, bool):
        short = float(f"{value:.10g}")  # 1 - 0.9997 is 0.0003
        return short if isclose(short, value, rel_tol=1e-12) else float(value)
    if kind == "scale" and isinstance(value, float) and value.is_integer():
        return int(value)
    assert value is None or isinstance(value, int | float | bool | str), value
    return value


def with_defaults(op: str, args: Mapping[str, OpValue]) -> dict[str, OpValue]:
    """All arguments of a layer, in order. A pooling's stride is its kernel if it is not given."""
    result: dict[str, OpValue] = {}
    for p in LAYERS[op].params:
        value = args.get(p.name, None if p.default is REQUIRED else p.default)
        result[p.name] = result["kernel_size"] if p.name == "stride" and value is None else value
    return result
