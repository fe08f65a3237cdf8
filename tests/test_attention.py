"""Attention with shared keys, windows and rotary positions, against plain loops and against torch's own."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fractal_dsl.language.diagnostics import FracError
from fractal_dsl.ops import LAYERS, REQUIRED
from fractal_dsl.ops import Tensor as Shape
from fractal_dsl.pipeline import compile_text
from fractal_dsl.runtime import build
from fractal_dsl.runtime.graph_to_fx import make_module
from fractal_dsl.runtime.layers import Attention, GroupedAttention
from tests.support.effort import examples
from tests.support.references import torchvision_models


def rotated(x: Tensor, at: int) -> Tensor:
    """One head's numbers [size], turned by a position, pair by pair."""
    half = len(x) // 2
    out = x.clone()
    for i in range(half):
        angle = at / 10_000 ** (i / half)
        pair = complex(x[i], x[half + i]) * complex(math.cos(angle), math.sin(angle))
        out[i], out[half + i] = pair.real, pair.imag
    return out


def slowly(a: GroupedAttention, x: Tensor) -> Tensor:
    """The output for one example [length, features], head by head and position by position."""
    q, k, v = a.query(x), a.key(x), a.value(x)
    heads = []
    for h in range(a.num_heads):
        own = slice(h * a.size, (h + 1) * a.size)
        group = h // (a.num_heads // a.kv_heads)
        given = slice(group * a.size, (group + 1) * a.size)
        rows = []
        for i in range(len(x)):
            seen = [
                j for j in range(len(x)) if (j <= i or not a.causal) and (a.window is None or abs(i - j) < a.window)
            ]
            turn = rotated if a.rotary else lambda z, at: z
            scores = torch.stack([turn(q[i, own], i) @ turn(k[j, given], j) for j in seen]) / math.sqrt(a.size)
            rows.append(sum(w * v[j, given] for w, j in zip(scores.softmax(0), seen, strict=True)))
        heads.append(torch.stack(rows))
    return a.out(torch.cat(heads, 1))


@settings(max_examples=examples(20))
@given(
    shared=st.sampled_from([(1, 1), (2, 1), (4, 2), (3, 3)]),
    length=st.integers(1, 6),
    half=st.integers(1, 3),
    causal=st.booleans(),
    window=st.none() | st.integers(1, 7),
    rotary=st.booleans(),
)
def test_grouped_attention_is_what_its_formula_says(
    shared: tuple[int, int], length: int, half: int, causal: bool, window: int | None, rotary: bool
) -> None:
    heads, kv = shared
    a = GroupedAttention(heads * 2 * half, heads, 0.0, True, causal, kv, window, rotary)
    x = torch.randn(2, length, heads * 2 * half)
    with torch.no_grad():
        torch.testing.assert_close(a(x), torch.stack([slowly(a, one) for one in x]), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("window", [None, 1, 2, 9])
def test_without_sharing_it_is_torchs(causal: bool, window: int | None) -> None:
    own, grouped = Attention(8, 2, causal=causal, window=window), GroupedAttention(8, 2, 0.0, True, causal, 2, window)
    weight, bias = own.attention.in_proj_weight.detach().chunk(3), own.attention.in_proj_bias.detach().chunk(3)
    for layer, w, b in zip((grouped.query, grouped.key, grouped.value), weight, bias, strict=True):
        layer.load_state_dict({"weight": w, "bias": b})
    grouped.out.load_state_dict(own.attention.out_proj.state_dict())
    x = torch.randn(3, 5, 8)
    torch.testing.assert_close(own(x), grouped(x))


def test_rotary_scores_depend_on_distances_alone() -> None:
    a = GroupedAttention(8, 2, rotary=True)
    q, k = torch.randn(1, 2, 1, 8), torch.randn(1, 2, 1, 8)
    a.size = 8
    turned = [a.turned(z.expand(-1, -1, 9, -1), torch.arange(9)) for z in (q, k)]
    scores = turned[0] @ turned[1].transpose(-1, -2)
    for i in range(1, 9):
        torch.testing.assert_close(scores[..., i, 1:], scores[..., i - 1, :-1], rtol=1e-4, atol=1e-5)


def test_parameters_and_multiply_accumulates() -> None:
    spec = LAYERS["attention"]
    defaults = {p.name: p.default for p in spec.params if p.default is not REQUIRED}
    args = {**defaults, "num_heads": 8, "kv_heads": 2, "rotary": True}
    x = Shape("f32", (10, 64))
    params, macs = spec.cost(x, x, args)
    assert params == sum(p.numel() for p in make_module(spec.torch(x, args)).parameters()) == 64 * 160 + 160
    assert macs == 10 * 64 * 160 + 2 * 10 * 10 * 64


def test_a_decoder_that_shares_keys_is_causal() -> None:
    text = "net N(x: i64[6]) -> f32[6, 9] = embedding(9, 8) >> sum(id, rmsnorm >> attention(4, CAUSAL)) >> linear(9)"
    options = "causal=true, kv_heads=1, window=3, rotary=true"
    model = build(compile_text(text.replace("CAUSAL", options)), 1).eval()
    x = torch.randint(9, (1, 6))
    y = x.clone()
    y[0, 3] = (y[0, 3] + 1) % 9
    a, b = model(x), model(y)
    assert torch.equal(a[:, :3], b[:, :3])
    assert not torch.equal(a[:, 3:], b[:, 3:])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("4, kv_heads=3", r"4 heads of `attention` cannot share 3 heads of keys and values evenly(.|\n)*kv_heads=2"),
        ("8, rotary=true", "needs an even number of features in each head"),
        ("4, window=0", "`window` of `attention` must be at least 1"),
    ],
)
def test_what_does_not_fit_is_named(options: str, message: str) -> None:
    with pytest.raises(FracError, match=message):
        compile_text(f"net N(x: f32[6, 8]) -> f32[6, 8] = attention({options})")


@settings(max_examples=examples(20))
@given(
    windows=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    counts=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    heads=st.sampled_from([1, 2, 3]),
    bias=st.booleans(),
    data=st.data(),
)
def test_window_attention_is_torchvisions(
    windows: tuple[int, int], counts: tuple[int, int], heads: int, bias: bool, data: st.DataObject
) -> None:
    torchvision_models()
    from torchvision.models.swin_transformer import ShiftedWindowAttention

    shift = tuple(data.draw(st.integers(0, window - 1)) for window in windows)
    other = ShiftedWindowAttention(6, [*windows], [*shift], heads, bias, bias)
    height, width = (window * count for window, count in zip(windows, counts, strict=True))
    spec, args = LAYERS["window_attention"], {"num_heads": heads, "window_size": windows, "shift_size": shift}
    args |= {"dropout": 0.0, "bias": bias}
    shape = Shape("f32", (height, width, 6))
    own = make_module(spec.torch(shape, args))
    own.qkv.load_state_dict(other.qkv.state_dict())
    own.out.load_state_dict(other.proj.state_dict())
    own.bias_table.data = other.relative_position_bias_table.data = torch.randn_like(own.bias_table)
    assert spec.cost(shape, shape, args)[0] == sum(p.numel() for p in other.parameters())
    x = torch.randn(2, height, width, 6)
    torch.testing.assert_close(own(x), other(x), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("block", "shape", "message"),
    [
        ("window_attention(2, 4)", "6, 8, 4", "windows of 4 pixels do not divide the 6 pixels(.|\n)*windows of 3 or 6"),
        ("window_attention(3, 2)", "6, 8, 4", "with 3 heads needs a multiple of 3 features"),
        ("window_attention(2, 2, 2)", "6, 8, 4", "must be below the window's size 2, found 2"),
        ("window_attention(2, 2)", "6, 8", r"takes \[height, width, features\]"),
    ],
)
def test_windows_that_do_not_fit_are_refused(block: str, shape: str, message: str) -> None:
    with pytest.raises(FracError, match=message):
        compile_text(f"net N(x: f32[{shape}]) -> f32[{shape}] = {block}")
