"""Layers that move, scale or summarise numbers, in whole nets, against torch's own functions."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from fractal_dsl.language.diagnostics import FracError
from fractal_dsl.pipeline import compile_text
from fractal_dsl.runtime import build
from fractal_dsl.runtime.artifact import model_source
from tests.support.effort import examples


def check(shape: tuple[int, ...], layer: str, expected: Callable[[Tensor, list[Tensor]], Tensor]) -> None:
    """Compare a layer and its written source with torch, on two examples."""
    x = torch.randn(2, *shape)
    out = expected(x, [torch.ones(()) for _ in range(9)]).shape[1:]
    compiled = compile_text(f"net N(x: f32{list(shape)}) -> f32{list(out)} = {layer}")
    model = build(compiled, 1).eval()
    for parameter in model.parameters():
        nn.init.normal_(parameter)
    y = expected(x, [*model.parameters()])
    torch.testing.assert_close(model(x), y)
    space: dict[str, object] = {}
    exec(compile(model_source(compiled, compiled.graph), "model.py", "exec"), space)
    plain = space["N"]()  # type: ignore[operator]
    plain.load_state_dict(model.state_dict())
    torch.testing.assert_close(plain.eval()(x), y)


shapes = st.lists(st.integers(1, 5), min_size=1, max_size=4).map(tuple)


@settings(max_examples=examples(25))
@given(shape=shapes, data=st.data())
def test_permute_and_roll(shape: tuple[int, ...], data: st.DataObject) -> None:
    axes = [*range(1, len(shape) + 1)]
    dims = data.draw(st.permutations(axes))
    shown = [d - len(shape) - 1 if data.draw(st.booleans()) else d for d in dims]
    check(shape, f"permute({shown})", lambda x, _: x.permute(0, *dims))
    some = data.draw(st.lists(st.sampled_from(axes), min_size=1, unique=True))
    shifts = data.draw(st.lists(st.integers(-6, 6), min_size=len(some), max_size=len(some)))
    check(shape, f"roll({shifts}, {some})", lambda x, _: x.roll(shifts, some))
    check(shape, f"roll({shifts[0]}, {some[0]})", lambda x, _: x.roll(shifts[0], some[0]))


@settings(max_examples=examples(25))
@given(shape=shapes, data=st.data())
def test_slice_is_pythons(shape: tuple[int, ...], data: st.DataObject) -> None:
    axis = data.draw(st.integers(1, len(shape)))
    size = shape[axis - 1]
    first = data.draw(st.integers(0, size - 1))
    last = data.draw(st.integers(first + 1, size))
    start = first - size if data.draw(st.booleans()) else first
    stop = data.draw(st.sampled_from([last, last + 3 * (last == size), last - size if last < size else last]))
    at = (slice(None),) * axis + (slice(start, stop),)
    check(shape, f"slice({axis}, {start}, {stop})", lambda x, _: x[at])
    check(shape, f"slice({axis - len(shape) - 1}, start={start})", lambda x, _: x[(*at[:-1], slice(start, None))])


@settings(max_examples=examples(15))
@given(groups=st.integers(1, 4), each=st.integers(1, 3), rest=st.lists(st.integers(1, 4), min_size=1, max_size=3))
def test_channel_shuffle_is_torchs(groups: int, each: int, rest: list[int]) -> None:
    shape = (groups * each, *rest)
    check(shape, f"channel_shuffle({groups})", lambda x, _: nn.ChannelShuffle(groups)(x))


@pytest.mark.parametrize(
    ("shape", "layer", "expected"),
    [
        ((2, 6), "reshape([3, -1])", lambda x, w: x.reshape(-1, 3, 4)),
        ((2, 6), "reshape(12)", lambda x, w: x.reshape(-1, 12)),
        ((12,), "reshape([2, 3, 2])", lambda x, w: x.reshape(-1, 2, 3, 2)),
        ((4, 6, 9), "pixelunshuffle(3)", lambda x, w: nn.PixelUnshuffle(3)(x)),
        ((4, 6, 9), "pixelunshuffle(3) >> pixelshuffle(3)", lambda x, w: x),
        ((4, 3, 2), "scale", lambda x, w: x * w[0].reshape(-1, 1, 1)),
        ((4, 3), "scale(0.1, -1)", lambda x, w: x * w[0]),
        ((4, 3, 2), "scale(dim=2)", lambda x, w: x * w[0].reshape(-1, 1)),
        (
            (4, 3, 2),
            "layernorm2d(0.001)",
            lambda x, w: (
                (x - x.mean(1, True)) / (x.var(1, False, keepdim=True) + 0.001).sqrt() * w[0].reshape(-1, 1, 1)
                + w[1].reshape(-1, 1, 1)
            ),
        ),
        ((4, 3), "rmsnorm(0.001)", lambda x, w: x / (x.square().mean(-1, True) + 0.001).sqrt() * w[0]),
        ((4, 3), "class_token", lambda x, w: torch.cat([w[0].expand(2, 1, 3), x], 1)),
        ((4, 3), "last_step", lambda x, w: x[:, 3]),
        ((4, 3), "sequence_mean", lambda x, w: x.mean(1)),
    ],
)
def test_outputs_are_torchs(
    shape: tuple[int, ...], layer: str, expected: Callable[[Tensor, list[Tensor]], Tensor]
) -> None:
    check(shape, layer, expected)


def test_the_first_weights() -> None:
    assert (
        build(compile_text("net N(x: f32[4, 3]) -> f32[4, 3] = scale(0.01)"))
        .get_submodule("scale")
        .weight.eq(0.01)
        .all()
    )
    token = build(compile_text("net N(x: f32[4, 3]) -> f32[5, 3] = class_token"), 1).get_submodule("class_token")
    assert 0 < token.weight.abs().max() < 0.1


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ("permute([1, 2])", r"takes each axis of f32\[8, 4, 6\] once(.|\n)*the axes are 1, 2, 3"),
        ("permute([0, 1, 2, 3])", "takes each axis"),
        ("permute(3, 1, 2)", r"write the numbers as a list: `permute\(\[…\]\)`"),
        ("reshape([5, -1])", r"needs a multiple of 5 numbers, but its input is f32\[8, 4, 6\]"),
        ("reshape([8, 4])", "needs 32 numbers"),
        ("reshape([-1, -1])", "of which one may be -1"),
        ("slice(1, 3, 3)", "takes nothing: its size is 8"),
        ("slice(4)", r"has no axis 4 in f32\[8, 4, 6\]"),
        ("roll([1, 2], 1)", "2 shifts and 1 axes"),
        ("roll(1, 0)", "has no axes"),
        ("channel_shuffle(3)", "with 3 groups cannot divide(.|\n)*use 2 or 4 groups"),
        ("pixelunshuffle(4)", "needs multiples of 4 as sizes"),
        ("scale(1.0, 4)", "`scale` has no axis 4"),
        ("class_token", r"`class_token` takes \[length, features\]"),
        ("last_step", r"`last_step` takes \[length, features\]"),
        ("layernorm2d([8])", "`eps` of `layernorm2d` must be"),
        ("rmsnorm(normalized_shape=8)", r"`nn.RMSNorm\(\[16, 16\]\)`"),
    ],
)
def test_what_does_not_fit_is_named(call: str, message: str) -> None:
    with pytest.raises(FracError, match=message):
        compile_text(f"net N(x: f32[8, 4, 6]) -> f32[4] = {call}")
