"""Products of matrices and attention of torch, as joins."""

from __future__ import annotations

from typing import Any

import torch

from fractal_dsl.importing.building import Builder, Held, Ref
from fractal_dsl.importing.functions import no, trailing
from fractal_dsl.importing.refusal import Refusal
from fractal_dsl.importing.weighted import causal_mask


@trailing("matmul", "bmm")
def _matmul(b: Builder, x: Any, y: Any) -> Any:
    if not isinstance(x, Ref) or not isinstance(y, Ref):
        return no(b, "a product with this constant matrix")
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
        if length != key.out.shape[-2] or not causal_mask(_hidden(attn_mask.value), length):
            raise Refusal("attention with a mask other than a causal one", b.place)
        is_causal, attn_mask = True, None
    if isinstance(attn_mask, Ref):
        operands.append(attn_mask)
    usual = scale is None or abs(scale * query.out.shape[-1] ** 0.5 - 1) < 1e-6
    return b.join("attend", operands, scale=None if usual or scale is None else float(scale), causal=is_causal)
