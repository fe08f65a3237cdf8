"""Learned tensors, distances in a window, unit vectors and paddings, in whole nets, against torch and plain loops."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from fractal_dsl.language.diagnostics import FracError
from fractal_dsl.pipeline import compile_text
from fractal_dsl.runtime import build
from tests.support.effort import examples
from tests.test_rearranging import check

windows = st.tuples(st.integers(1, 4), st.integers(1, 4))


def test_a_parameter_is_the_same_for_each_example() -> None:
    check((4, 3), "parameter([2, 5])", lambda x, w: w[0].expand(2, 2, 5))
    check((4, 3), "sum(id, parameter([1, 3]))", lambda x, w: x + w[0])
    compiled = compile_text("net N(x: i64[7]) -> f32[5] = parameter(5, 0.1)")
    assert (compiled.summary.params, compiled.summary.macs) == (5, 0)
    assert 0 < build(compiled, 1).get_submodule("parameter").weight.abs().max() < 1


@settings(max_examples=examples(20))
@given(window=windows, scale=st.sampled_from(["linear", "log", "log8", "far"]))
def test_distances_are_those_of_two_pixels(window: tuple[int, int], scale: str) -> None:
    extent = [12, 9] if scale == "far" else [max(1, n - 1) for n in window]

    def scaled(d: int, most: int) -> float:
        size = {"linear": abs(d), "log": math.log1p(abs(d))}.get(scale, math.log(1 + 8 * abs(d) / most, 8))
        return math.copysign(size, d)

    rows, columns = ([scaled(d, e) for d in range(1 - n, n)] for n, e in zip(window, extent, strict=True))
    expected = torch.tensor([[[row, column] for column in columns] for row in rows])
    given = 'scale="log8", extent=[12, 9]' if scale == "far" else f'scale="{scale}"'
    check((3, 2), f"distances({list(window)}, {given})", lambda x, w: expected.expand(2, -1, -1, -1))


@settings(max_examples=examples(30))
@given(window=windows, kind=st.sampled_from(["signed", "absolute", "token"]), stride=st.integers(1, 3))
def test_pairs_have_the_rows_of_their_distances(window: tuple[int, int], kind: str, stride: int) -> None:
    height, width = window
    stride = stride if kind == "absolute" else 1
    pixels = [(i, j) for i in range(height) for j in range(width)]
    queries = [(i, j) for i in range(0, height, stride) for j in range(0, width, stride)]
    rows = height * width if kind == "absolute" else (2 * height - 1) * (2 * width - 1)

    def row(query: tuple[int, int], key: tuple[int, int]) -> int:
        down, along = query[0] - key[0], query[1] - key[1]
        if kind == "absolute":
            return abs(down) * width + abs(along)
        return (down + height - 1) * (2 * width - 1) + along + width - 1

    index = torch.tensor([[row(query, key) for key in pixels] for query in queries])
    if kind == "token":
        index = F.pad(index, (1, 0, 1, 0))
        index[0], index[:, 0], index[0, 0] = rows, rows + 1, rows + 2
        rows += 3
    given = {"signed": "", "absolute": f", absolute=true, stride={stride}", "token": ", class_token=true"}[kind]
    check((rows, 2), f"pairs({list(window)}{given})", lambda x, w: x[:, index])


@settings(max_examples=examples(20))
@given(shape=st.lists(st.integers(1, 4), min_size=1, max_size=3).map(tuple), data=st.data())
def test_normalize_and_steps_are_torchs(shape: tuple[int, ...], data: st.DataObject) -> None:
    dim = data.draw(st.integers(1, len(shape)))
    shown = dim - len(shape) - 1 if data.draw(st.booleans()) else dim
    check(shape, f"normalize({shown}, 0.5)", lambda x, w: F.normalize(x, dim=dim, eps=0.5))
    start, step = data.draw(st.integers(0, shape[dim - 1] - 1)), data.draw(st.integers(1, 5))
    at = (slice(None),) * dim + (slice(start, None, step),)
    check(shape, f"slice({shown}, {start}, step={step})", lambda x, w: x[at])


def test_constants_are_padded() -> None:
    check((2, 5), "constantpad1d([1, 2], 0.5)", lambda x, w: F.pad(x, (1, 2), value=0.5))
    check((2, 5, 3), "constantpad2d(1, -1)", lambda x, w: F.pad(x, (1, 1, 1, 1), value=-1.0))


def test_exp_and_clamp_are_torchs() -> None:
    check((4, 3), "exp", lambda x, w: x.exp())
    check((4, 3), "clamp(-0.5)", lambda x, w: x.clamp(min=-0.5))
    check((4, 3), "clamp(max=0.25)", lambda x, w: x.clamp(max=0.25))


@pytest.mark.parametrize(("image", "window", "shift"), [((4, 6), (2, 3), (1, 1)), ((4, 4), (4, 2), (0, 1))])
def test_masks_hide_pixels_from_the_other_side(
    image: tuple[int, int], window: tuple[int, int], shift: tuple[int, int]
) -> None:
    """Before the image moved, pixels that see each other were less than a window apart."""
    at = torch.stack(torch.meshgrid(torch.arange(image[0]), torch.arange(image[1]), indexing="ij"), 2)
    at = at.roll((-shift[0], -shift[1]), (0, 1))
    at = at.reshape(image[0] // window[0], window[0], image[1] // window[1], window[1], 2).transpose(1, 2)
    at = at.reshape(-1, window[0] * window[1], 2)
    far = ((at[:, :, None] - at[:, None]).abs() >= torch.tensor(window)).any(-1)
    expected = torch.zeros(far.shape).masked_fill(far, -100.0)
    given = f"{list(image)}, {list(window)}, {list(shift)}"
    check((3, 2), f"window_mask({given})", lambda x, w: expected.expand(2, -1, -1, -1))


BIASED = """
net N(x: f32[4, 9, 8]) -> f32[4, 9, 8] = attend(id, id, id, distances(3, "log8") >> linear(16) >> relu >> linear(4)
    >> flatten(1, 2) >> pairs(3) >> sigmoid >> times(16) >> permute([3, 1, 2]))
"""


def test_a_small_net_on_distances_gives_attention_biases() -> None:
    """Continuous position biases of Swin v2, against the formula."""
    model = build(compile_text(BIASED), 1).eval()
    x, table = torch.randn(2, 4, 9, 8), torch.zeros(9, 9, 4)
    linears: list[torch.nn.Linear] = [m for m in model.modules() if isinstance(m, torch.nn.Linear)]

    def log8(d: int) -> float:
        return math.copysign(math.log(1 + 8 * abs(d) / 2, 8), d)

    for query in range(9):
        for key in range(9):
            apart: Tensor = torch.tensor([log8(query // 3 - key // 3), log8(query % 3 - key % 3)])
            table[query, key] = 16 * linears[1](linears[0](apart).relu()).sigmoid()
    scores = x @ x.transpose(-2, -1) / 8**0.5 + table.permute(2, 0, 1)
    torch.testing.assert_close(model(x), scores.softmax(-1) @ x)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ("parameter([3, 0])", r"`shape` of `parameter` must be sizes above 0, found \[3, 0\]"),
        ("distances([2, 2, 2])", r"`window_size` of `distances` must be one size or 2 above 0, found \[2, 2, 2\]"),
        ("distances(0)", "must be one size or 2 above 0, found 0"),
        ("distances(3, extent=2)", "only with scale="),
        ("pairs(2)", r"takes a table of 9 distances, f32\[9, features\], but its input is f32\[8, 4\]"),
        ("pairs([2, 4], absolute=true, class_token=true)", "not both"),
        ("pairs(2, stride=2)", "a stride only with absolute=true"),
        ("normalize(3)", r"`normalize` has no axis 3 in f32\[8, 4\]"),
        ("clamp", "`clamp` needs `min`, `max` or both"),
        ("window_mask(8, 4, 4)", "must be below the window's size"),
        ("window_mask(8, 3, 1)", "do not divide an image"),
        ("slice(1, step=0)", "`step` of `slice` must be at least 1"),
    ],
)
def test_what_does_not_fit_is_named(call: str, message: str) -> None:
    with pytest.raises(FracError, match=message):
        compile_text(f"net N(x: f32[8, 4]) -> f32[4] = {call}")
