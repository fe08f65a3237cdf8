"""Torch's transformers in a form that both ways to capture a module can read.

In eval mode, torch's forwards choose between fused paths by the sizes, the type and the device of their input. While a
module is captured, its transformers have the forwards of this file instead, which compute the same without the choice.
For ``torch.export``, multi-head attention is one operation, so that its dropout and its weights stay together.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def _batch_first(layer: Any, x: Tensor) -> Tensor:
    """A sequence [batch, length, features] of a layer's input, and a layer's output of such a sequence."""
    return x if layer.self_attn.batch_first else x.transpose(0, 1)


def _attended(layer: Any, x: Tensor, mask: Any, padding: Any, causal: bool) -> Tensor:
    """What the attention of a layer adds to a sequence [batch, length, features]."""
    x = _batch_first(layer, x)
    y, _ = layer.self_attn(x, x, x, padding, False, mask, True, causal)
    return _batch_first(layer, y)


def _feed_forward(layer: Any, x: Tensor) -> Tensor:
    return layer.linear2(layer.dropout(layer.activation(layer.linear1(x))))


def _encoder_layer(
    self: nn.TransformerEncoderLayer,
    src: Tensor,
    src_mask: Any = None,
    src_key_padding_mask: Any = None,
    is_causal: bool = False,
) -> Tensor:
    def attended(x: Tensor) -> Tensor:
        return self.dropout1(_attended(self, x, src_mask, src_key_padding_mask, is_causal))

    x = _batch_first(self, src)
    if self.norm_first:
        x = x + attended(self.norm1(x))
        x = x + self.dropout2(_feed_forward(self, self.norm2(x)))
    else:
        x = self.norm1(x + attended(x))
        x = self.norm2(x + self.dropout2(_feed_forward(self, x)))
    return _batch_first(self, x)


def _encoder(
    self: nn.TransformerEncoder,
    src: Tensor,
    mask: Any = None,
    src_key_padding_mask: Any = None,
    is_causal: bool | None = None,
) -> Tensor:
    for layer in self.layers:
        src = layer(src, mask, src_key_padding_mask, bool(is_causal))
    return src if self.norm is None else self.norm(src)


def _multihead(
    self: nn.MultiheadAttention,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    key_padding_mask: Any = None,
    need_weights: bool = True,
    attn_mask: Any = None,
    average_attn_weights: bool = True,
    is_causal: bool = False,
) -> tuple[Tensor, None]:
    output = multihead_attention(
        query,
        key,
        value,
        self.in_proj_weight,
        self.in_proj_bias,
        self.out_proj.weight,
        self.out_proj.bias,
        attn_mask,
        key_padding_mask,
        self.num_heads,
        float(self.dropout),
        self.batch_first,
    )
    return output, None


@torch.library.custom_op(
    "fractal_dsl::multihead_attention",
    mutates_args=(),
    schema="(Tensor query, Tensor key, Tensor value, Tensor in_weight, Tensor? in_bias, Tensor out_weight, "
    "Tensor? out_bias, Tensor? mask, Tensor? padding, int num_heads, float dropout, bool batch_first) -> Tensor",
)
def multihead_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    in_weight: Tensor,
    in_bias: Tensor | None,
    out_weight: Tensor,
    out_bias: Tensor | None,
    mask: Tensor | None,
    padding: Tensor | None,
    num_heads: int,
    dropout: float,
    batch_first: bool,
) -> Tensor:
    """``nn.MultiheadAttention`` in eval mode: [batch, length, features], or [length, batch, features] if the batch is
    not first, to the same shape."""
    query, key, value = (x.transpose(0, 1) if batch_first else x for x in (query, key, value))
    y, _ = F.multi_head_attention_forward(
        query,
        key,
        value,
        query.shape[-1],
        num_heads,
        in_weight,
        in_bias,
        bias_k=None,
        bias_v=None,
        add_zero_attn=False,
        dropout_p=dropout,
        out_proj_weight=out_weight,
        out_proj_bias=out_bias,
        training=False,
        key_padding_mask=padding,
        need_weights=False,
        attn_mask=mask,
    )
    return (y.transpose(0, 1) if batch_first else y).contiguous()


@multihead_attention.register_fake
def _shape(query: Tensor, *rest: Any) -> Tensor:
    return torch.empty_like(query).contiguous()


_FORWARDS: dict[type[nn.Module], Callable[..., Any]] = {
    nn.TransformerEncoderLayer: _encoder_layer,
    nn.TransformerEncoder: _encoder,
}


@contextmanager
def readable(module: nn.Module, *, whole_attention: bool) -> Generator[None]:
    """Give torch's transformers in a module the forwards of this file.

    With ``whole_attention``, also attention, as one operation."""
    forwards = _FORWARDS | ({nn.MultiheadAttention: _multihead} if whole_attention else {})
    changed = [(inner, type(inner)) for inner in module.modules()]
    try:
        for inner, cls in changed:
            base = next((b for b in forwards if isinstance(inner, b) and _as_in(cls, b)), None)
            if base is not None and (base is not nn.MultiheadAttention or _usual(inner)):
                names = {"__module__": cls.__module__, "__qualname__": cls.__qualname__, "forward": forwards[base]}
                object.__setattr__(inner, "__class__", type(cls.__name__, (cls,), names))
        yield
    finally:
        for inner, cls in changed:
            object.__setattr__(inner, "__class__", cls)


def _as_in(cls: type, base: type) -> bool:
    """Whether a class has the methods of a base, except for ``__init__``."""
    methods = [name for name, value in vars(base).items() if callable(value) and name != "__init__"]
    return all(getattr(cls, name) is getattr(base, name) for name in methods)


def _usual(attention: Any) -> bool:
    """Whether an attention has packed weights and adds nothing to the keys."""
    return attention.in_proj_weight is not None and attention.bias_k is None and not attention.add_zero_attn
