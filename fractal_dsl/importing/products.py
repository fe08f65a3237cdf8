"""Products of matrices and attention of torch, as joins."""

from __future__ import annotations

from typing import Any

import torch

from fractal_dsl.importing.building import Builder, Held, Ref, Relative
from fractal_dsl.importing.functions import lowers, trailing
from fractal_dsl.importing.modules import plain
from fractal_dsl.importing.refusal import Refusal
from fractal_dsl.importing.views import permuted, reshaped
from fractal_dsl.importing.weighted import causal_mask, weights


@trailing("matmul", "bmm")
def _matmul(b: Builder, x: Any, y: Any) -> Any:
    return b.join("matmul", [x, y])


def _hidden(mask: torch.Tensor) -> torch.Tensor:
    """A mask of scores, true where they are hidden, from one that is true where they are not; others stay."""
    return ~mask if mask.dtype == torch.bool else mask


@trailing("scaled_dot_product_attention")
def _attend(
    b: Builder,
    query: Any,
    key: Any,
    value: Any,
    attn_mask: Any = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Ref:
    operands = [query, key, value]
    if dropout_p:
        raise Refusal("attention drops scores in eval mode, too", b.place)
    if enable_gqa and query.out.shape[-3] != key.out.shape[-3]:
        raise Refusal("attention of heads that share keys has no counterpart in the language here", b.place)
    if isinstance(attn_mask, Held):
        length = query.out.shape[-2]
        if length == key.out.shape[-2] and causal_mask(_hidden(attn_mask.value), length):
            is_causal, attn_mask = True, None
        elif attn_mask.value.dtype == torch.bool:
            raise Refusal("attention with a mask other than a causal one", b.place)
    if attn_mask is not None:
        operands.append(attn_mask)
    usual = scale is None or abs(scale * query.out.shape[-1] ** 0.5 - 1) < 1e-6
    return b.join("attend", operands, scale=None if usual or scale is None else float(scale), causal=is_causal)


@lowers("shifted_window_attention")
def _windows(
    b: Builder,
    x: Any,
    qkv_weight: Any,
    proj_weight: Any,
    relative_position_bias: Any,
    window_size: list[int],
    num_heads: int,
    shift_size: list[int],
    attention_dropout: float = 0.0,
    dropout: float = 0.0,
    qkv_bias: Any = None,
    proj_bias: Any = None,
    logit_scale: Any = None,
    training: bool = True,
) -> Ref:
    """Torchvision's attention within windows, of the first Swin transformer."""
    table = relative_position_bias.made if isinstance(relative_position_bias, Held) else None
    if logit_scale is not None or not isinstance(table, Relative):
        raise Refusal("attention within windows whose biases are computed has no counterpart in the language", b.place)
    if any(size % window for size, window in zip(x.out.shape, window_size, strict=False)):
        sizes = f"{list(window_size)} pixels do not divide {list(x.out.shape[:2])}"
        raise Refusal(f"windows of {sizes}: give an input whose size they divide", b.place)
    named = {"qkv.weight": qkv_weight, "qkv.bias": qkv_bias, "out.weight": proj_weight, "out.bias": proj_bias}
    tensors = weights(b, **named) | {"bias_table": table.table}
    return b.layer(
        "window_attention",
        x,
        tensors,
        num_heads=num_heads,
        window_size=plain(window_size, "size", x.out),
        shift_size=plain(shift_size, "size", x.out),
        bias=qkv_bias is not None,
    )


@lowers("_patch_merging_pad")
def _merged(b: Builder, x: Any) -> Ref:
    """Torchvision's squares of four pixels as one pixel with the features of all, column by column."""
    height, width, features = x.out.shape
    if height % 2 or width % 2:
        raise Refusal(f"squares of four pixels do not divide {height} x {width} pixels", b.place)
    grid = reshaped(b, x, [height // 2, 2, width // 2, 2, features])
    return reshaped(b, permuted(b, grid, [1, 3, 4, 2, 5]), [height // 2, width // 2, 4 * features])
