"""Layers that move, scale or summarise numbers, in whole nets, against torch's own functions."""

from __future__ import annotations

import itertools
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
@given(shape=shapes, data=st.data())
def test_split_is_torchs(shape: tuple[int, ...], data: st.DataObject) -> None:
    axis = data.draw(st.integers(1, len(shape)))
    cuts = sorted(data.draw(st.sets(st.integers(1, shape[axis - 1])))) if shape[axis - 1] > 1 else []
    bounds = [0, *[cut for cut in cuts if cut < shape[axis - 1]], shape[axis - 1]]
    sizes = [b - a for a, b in itertools.pairwise(bounds)]
    part = data.draw(st.integers(0, len(sizes) - 1))
    check(shape, f"split({sizes}, {axis})[{part}]", lambda x, _: x.split(sizes, axis)[part])
    if axis == 1 and len(sizes) > 1:
        last = f"split({sizes})[{len(sizes) - 1}], split({sizes})[0]"
        check(shape, f"concat({last})", lambda x, _: torch.cat([x.split(sizes, 1)[-1], x.split(sizes, 1)[0]], 1))


@pytest.mark.parametrize(
    ("block", "message"),
    [
        ("split([2, 3])[0]", r"`split` into \[2, 3\] needs an axis of size 5, but axis 1 of f32\[4, 6\] has 4"),
        ("split(2)[0]", r"`split` takes a list of sizes, found 2(.|\n)*split\(\[2, 2\]\)"),
        ("split([4], 3)[0]", r"`split` has no axis 3 in f32\[4, 6\]"),
        ("split([0, 4])[0]", "at least 1"),
        ("split([2, 2])", "expected a block, found a list"),
    ],
)
def test_splits_that_do_not_fit_are_refused(block: str, message: str) -> None:
    with pytest.raises(FracError, match=message):
        compile_text(f"net N(x: f32[4, 6]) -> f32[4, 6] = {block}")


TIED = """
shared tokens = embedding(11, 4)
layer block = sum(id, layernorm >> linear(4) >> gelu)
net N(text: i64[3]) -> f32[3, 11] = tokens >> block >> layernorm >> unembed(tokens)
"""


def test_unembed_has_the_weights_of_its_embedding() -> None:
    compiled = compile_text(TIED)
    model = build(compiled, 1)
    assert compiled.summary.params == sum(p.numel() for p in model.parameters()) == 44 + 4 * 5 + 4 * 4
    assert compiled.summary.macs == 3 * (16 + 44)
    weight = model.get_parameter("tokens.embedding.weight")
    x = torch.randint(11, (2, 3))
    rest = build(compile_text(TIED.replace(" >> unembed(tokens)", "").replace("[3, 11]", "[3, 4]")), 1)
    rest.load_state_dict(model.state_dict())
    torch.testing.assert_close(model(x), rest(x) @ weight.T)
    model(x).sum().backward()
    assert weight.grad is not None and (weight.grad != 0).all(), "each vector scores every position"
    space: dict[str, object] = {}
    exec(compile(model_source(compiled, compiled.graph), "model.py", "exec"), space)
    plain = space["N"]()  # type: ignore[operator]
    plain.load_state_dict(model.state_dict())
    torch.testing.assert_close(plain(x), model(x))
    exported = torch.export.export(model.eval(), (x,)).module()
    torch.testing.assert_close(exported(x), model(x))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (TIED.replace("shared", "let"), "`unembed` takes a shared embedding, found another block"),
        (TIED.replace("embedding(11, 4)", "linear(4)"), "`unembed` takes a shared embedding"),
        (TIED.replace("unembed(tokens)", "unembed(3)"), "`unembed` takes a shared embedding, found int"),
        (TIED.replace("unembed(tokens)", "unembed()"), "`unembed` takes 1 unnamed argument"),
        (
            TIED.replace("unembed(tokens)", "linear(5) >> unembed(tokens)"),
            "takes vectors of 4 features(.|\n)*f32.3, 5.",
        ),
    ],
)
def test_unembed_needs_a_shared_embedding(text: str, message: str) -> None:
    with pytest.raises(FracError, match=message):
        compile_text(text)


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
