"""Products of matrices and attention of torch, as joins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

import torch

from fractal_dsl.importing.building import Builder, Held, Ref
from fractal_dsl.importing.functions import lowers, moves, no, trailing
from fractal_dsl.importing.refusal import Refusal
from fractal_dsl.importing.views import View, permuted, plain, reshaped, turned
from fractal_dsl.importing.weighted import causal_mask, weights


@trailing("matmul", "bmm")
def _matmul(b: Builder, x: Any, y: Any) -> Any:
    return b.join("matmul", [x, y])


@lowers("einsum")
def _einsum(b: Builder, equation: str, *operands: Any) -> Any:
    """A product of two tensors, summed over the axes that the result lacks, as a product of matrices."""
    given = operands[0] if len(operands) == 1 and isinstance(operands[0], list | tuple) else operands
    before, _, after = equation.replace(" ", "").partition("->")
    names = before.split(",")
    if len(given) != 2 or "." in equation or not after or not all(isinstance(x, Ref) for x in given):
        return no(b, f"`einsum` of {equation!r}")
    (first, second), whole = names, {*before.replace(",", "")}
    batch, left, right, summed = (
        [name for name in after if name in first and name in second],
        [name for name in after if name not in second],
        [name for name in after if name not in first],
        [name for name in first if name in second and name not in after],
    )
    distinct = all(len({*part}) == len(part) for part in (first, second, after))
    if not distinct or len({*batch, *left, *right, *summed}) != len(whole) or batch[:1] != [first[0]] != [after[0]]:
        return no(b, f"`einsum` of {equation!r}")
    size = {n: s for name, x in zip(names, given, strict=True) for n, s in zip(name[1:], x.out.shape, strict=True)}

    def matrix(x: Ref, own: str, rows: list[str], columns: list[str]) -> Ref:
        turned = permuted(b, x, [own.index(name) for name in (*batch[1:], *rows, *columns)])
        return reshaped(
            b, turned, [*(size[n] for n in batch[1:]), *(prod(size[n] for n in m) for m in (rows, columns))]
        )

    result = b.join("matmul", [matrix(given[0], first, left, summed), matrix(given[1], second, summed, right)])
    order = [*batch[1:], *left, *right]
    return permuted(b, reshaped(b, result, [size[n] for n in order]), [order.index(name) + 1 for name in after[1:]])


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


def attended(b: Builder, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Whether a call of multi-head attention is causal. Raises Refusal unless it is self-attention."""
    names = ("query", "key", "value", "key_padding_mask", "need_weights", "attn_mask", "average", "is_causal")
    given = dict(zip(names, args, strict=False)) | dict(kwargs)
    if not given["query"] == given["key"] == given["value"]:
        raise Refusal("attention over another sequence has no counterpart in the language", b.place)
    mask = given.get("attn_mask")
    if given.get("key_padding_mask") is not None or not (mask is None or isinstance(mask, Held)):
        raise Refusal("attention with a mask that depends on the input", b.place)
    causal = isinstance(mask, Held) and causal_mask(mask.value, given["query"].out.shape[0])
    if mask is not None and not causal:
        raise Refusal("attention with a mask other than a causal one", b.place)
    return {"causal": causal}


@moves("multihead_attention")
def _multihead(
    b: Builder,
    query: Any,
    key: Any,
    value: Any,
    in_weight: Any,
    in_bias: Any,
    out_weight: Any,
    out_bias: Any,
    mask: Any,
    padding: Any,
    num_heads: int,
    dropout: float,
    batch_first: bool,
) -> Ref | View:
    """Multi-head attention as ``torch.export`` keeps it (``transformers``)."""
    given = [x if batch_first or isinstance(x, Held) else turned(b, x) for x in (query, key, value)]
    if any(isinstance(x, View) and x.axes[1:2] == ((0,),) for x in given):
        raise Refusal(
            "it takes its length before the batch, but here the batch comes first; set batch_first=True", b.place
        )
    given = [x if isinstance(x, Held) else plain(b, x) for x in given]
    masks = attended(b, given, {"key_padding_mask": padding, "attn_mask": mask})
    inner = weights(b, in_proj_weight=in_weight, in_proj_bias=in_bias)
    inner |= {f"out_proj.{name}": source for name, source in weights(b, weight=out_weight, bias=out_bias).items()}
    tensors = {f"attention.{name}": source for name, source in inner.items()}
    args = {"num_heads": num_heads, "dropout": dropout, "bias": in_bias is not None}
    ref = b.layer("attention", given[0], tensors, **args, **masks)
    return ref if batch_first else turned(b, ref)
