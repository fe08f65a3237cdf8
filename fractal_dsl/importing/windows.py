"""Torchvision's attention within windows, which is one function, as layers and joins."""

from __future__ import annotations

from math import log, prod
from typing import Any

from fractal_dsl.importing.arithmetic import normalized
from fractal_dsl.importing.building import Builder, Held, Ref, Relative
from fractal_dsl.importing.functions import lowers, moves
from fractal_dsl.importing.modules import plain
from fractal_dsl.importing.rearranging import gathered, sliced
from fractal_dsl.importing.refusal import Refusal
from fractal_dsl.importing.views import View, permuted, reshaped, view_of
from fractal_dsl.importing.weighted import weights


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
    """The first Swin transformer has ``window_attention``, the second one cosine attention."""
    if any(size % window for size, window in zip(x.out.shape, window_size, strict=False)):
        sizes = f"{list(window_size)} pixels do not divide {list(x.out.shape[:2])}"
        raise Refusal(f"windows of {sizes}: give an input whose size they divide", b.place)
    named = {"qkv.weight": qkv_weight, "qkv.bias": qkv_bias, "out.weight": proj_weight, "out.bias": proj_bias}
    tensors = weights(b, **named)
    if logit_scale is not None:
        shifts = [s if size > w else 0 for s, size, w in zip(shift_size, x.out.shape, window_size, strict=False)]
        cosine = _Cosine(b, x, tuple(window_size), (shifts[0], shifts[1]), num_heads)
        return cosine.attention(tensors, qkv_bias, relative_position_bias, logit_scale)
    table = relative_position_bias.made if isinstance(relative_position_bias, Held) else None
    if not isinstance(table, Relative):
        raise Refusal("attention within windows whose biases are computed has no counterpart in the language", b.place)
    return b.layer(
        "window_attention",
        x,
        tensors | {"bias_table": table.table},
        num_heads=num_heads,
        window_size=plain(window_size, "size", x.out),
        shift_size=plain(shift_size, "size", x.out),
        bias=qkv_bias is not None,
    )


class _Cosine:
    """Attention within windows by the cosines of queries and keys (Swin v2, Liu et al. 2022)."""

    def __init__(self, b: Builder, x: Ref, window: tuple[int, ...], shift: tuple[int, int], heads: int) -> None:
        self.b, self.x, self.window, self.shift, self.heads = b, x, window, shift, heads
        self.height, self.width, self.features = x.out.shape
        self.grid = (self.height // window[0], self.width // window[1])

    def attention(self, tensors: dict[str, str], qkv_bias: Any, bias: Any, logit_scale: Any) -> Ref:
        b, features, pixels = self.b, self.features, prod(self.window)
        x = self._moved(self.x, -1)
        x = reshaped(b, x, [self.grid[0], self.window[0], self.grid[1], self.window[1], features])
        x = reshaped(b, permuted(b, x, [1, 3, 2, 4, 5]), [prod(self.grid), pixels, features])
        weight = {"weight": tensors["qkv.weight"]}
        qkv = b.layer("linear", x, weight, out_features=3 * features, bias=False)
        if qkv_bias is not None:
            qkv = b.join("sum", [qkv, self._without_keys(b.operand(qkv_bias, qkv.rank))])
        parts = reshaped(b, qkv, [prod(self.grid), pixels, 3, self.heads, features // self.heads])
        parts = permuted(b, parts, [3, 1, 4, 2, 5])
        q, k, v = (reshaped(b, sliced(b, parts, 1, i, i + 1), parts.out.shape[1:]) for i in range(3))
        q, k = normalized(b, q, -1, 1e-12), normalized(b, k, -1, 1e-12)
        scores = b.join("matmul", [q, permuted(b, k, [1, 2, 4, 3])])
        y = b.join("matmul", [b.layer("softmax", self._scores(scores, bias, logit_scale), dim=-1), v])
        y = reshaped(b, permuted(b, y, [1, 3, 2, 4]), [prod(self.grid), pixels, features])
        out = {name.removeprefix("out."): key for name, key in tensors.items() if name.startswith("out.")}
        y = b.layer("linear", y, out, out_features=features, bias="bias" in out)
        y = reshaped(b, y, [*self.grid, *self.window, features])
        return self._moved(reshaped(b, permuted(b, y, [1, 3, 2, 4, 5]), self.x.out.shape), 1)

    def _moved(self, x: Ref, sign: int) -> Ref:
        shifts = tuple([sign * s for s in self.shift])
        return self.b.layer("roll", x, shifts=shifts, dims=(1, 2)) if any(shifts) else x

    def _without_keys(self, bias: Ref | None) -> Ref:
        """The bias of queries, keys and values; that of keys has no effect."""
        b, n = self.b, self.features
        assert bias is not None
        q, k, v = (sliced(b, bias, 3, start, start + n) for start in (0, n, 2 * n))
        return b.join("concat", [q, b.layer("times", k, factor=0.0), v], dim=3)

    def _scores(self, scores: Ref, bias: Any, logit_scale: Any) -> Ref:
        b, pixels = self.b, prod(self.window)
        scale = b.operand(logit_scale, scores.rank)
        assert scale is not None
        scale = b.layer("exp", b.layer("clamp", scale, min=None, max=log(100.0)))
        scores = b.join("sum", [b.join("product", [scores, scale]), bias])
        if not any(self.shift):
            return scores
        args = {"image_size": (self.height, self.width), "window_size": self.window, "shift_size": self.shift}
        short = {key: v[0] if len({*v}) == 1 else v for key, v in args.items()}
        mask = b.layer("window_mask", b.start, {}, **short)
        return b.join("sum", [scores, reshaped(b, mask, [prod(self.grid), 1, pixels, pixels])])


@moves("_get_relative_position_bias")
def _biases(b: Builder, table: Any, index: Any, window_size: list[int]) -> View:
    """Torchvision's biases of pairs of pixels: [1, heads, pixels, pixels]."""
    pixels = prod(window_size)
    flat = Held(index.value.reshape(pixels, pixels))
    view = gathered(b, view_of(table), [flat])
    return View(view.ref, ((), view.axes[2], view.axes[0], view.axes[1]))


@lowers("_patch_merging_pad")
def _merged(b: Builder, x: Any) -> Ref:
    """Torchvision's squares of four pixels as one pixel with the features of all, column by column."""
    height, width, features = x.out.shape
    if height % 2 or width % 2:
        raise Refusal(f"squares of four pixels do not divide {height} x {width} pixels", b.place)
    grid = reshaped(b, x, [height // 2, 2, width // 2, 2, features])
    return reshaped(b, permuted(b, grid, [1, 3, 4, 2, 5]), [height // 2, width // 2, 4 * features])
