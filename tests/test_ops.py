"""Every built-in layer against torch itself, on the meta device: shapes, parameters, multiply-accumulates."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, note, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from fractal_dsl.language.diagnostics import FracError
from fractal_dsl.ops import JOINS, LAYERS, REQUIRED, OpParam, OpSpec, OpValue, ShapeError, Tensor
from fractal_dsl.pipeline import compile_file, compile_text
from fractal_dsl.program.program import Init
from fractal_dsl.program.syntax_to_program.aliases import NEEDLESS, OMITTED
from fractal_dsl.runtime import build, graph_to_fx
from fractal_dsl.runtime.cloning import Template, can_clone
from fractal_dsl.runtime.graph_to_fx import make_module
from tests.support.effort import examples

EXAMPLES = Path(__file__).parents[1] / "examples"


def values(param: OpParam, rank: int, dims: int) -> st.SearchStrategy[OpValue]:
    low = int(param.low or 0)
    number = st.integers(low, low + 3)
    each = st.tuples(*[number] * rank) if rank else number
    match param.kind:
        case "int" if param.name in ("dim", "start_dim", "end_dim", "padding_idx", "start", "stop"):
            return st.integers(-3, 4)
        case "int":
            return st.integers(max(low, 1), 8)
        case "size" if param.default is None:
            return st.none() | number.filter(bool)
        case "size":
            return number | each
        case "sides":
            return number | st.tuples(*[number] * 2 * rank)
        case "scale":
            scale = st.integers(1, 3) | st.floats(0.1, 3)
            return scale | st.tuples(*[scale] * max(1, dims - 1))
        case "numbers":
            few = st.integers(-1, 4)
            return (
                few | st.lists(few, min_size=1, max_size=4).map(tuple) | st.permutations(range(1, dims + 1)).map(tuple)
            )
        case "padding":
            return number | each | st.sampled_from(["same", "valid"])
        case "bool":
            return st.booleans()
        case "prob":
            return st.floats(0, 1)
        case "float":
            return st.floats(0.001, 1)
        case _:
            return st.sampled_from(param.choices)


@st.composite
def calls(draw: st.DrawFn, spec: OpSpec) -> tuple[Tensor, Mapping[str, OpValue]]:
    dims = spec.rank + 1 if spec.rank is not None else draw(st.integers(0, 4))
    shape = tuple(draw(st.lists(st.sampled_from([1, 2, 3, 4, 6, 9, 12]), min_size=dims, max_size=dims)))
    args: dict[str, OpValue] = {}
    for param in spec.params:
        default = param.default
        keep = default is not REQUIRED and draw(st.booleans())
        args[param.name] = default if keep else draw(values(param, spec.rank or 0, dims))
    return Tensor("i64" if spec.name == "embedding" else "f32", shape), args


def in_torch(
    spec: OpSpec, x: Tensor, args: Mapping[str, OpValue], device: str = "meta", rearranged: bool = False
) -> tuple[tuple[int, ...], int, float]:
    """Shape, parameters, and multiply-accumulates: torch counts two operations for each. A ``rearranged`` input has its
    numbers in another order in memory, as a ``permute`` before a layer leaves it."""
    batch = 3
    with torch.device(device), FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        module: Any = make_module(spec.torch(x, args)).train()
        shape, axes = (batch, *x.shape), range(len(x.shape) + 1)
        zeros = torch.zeros(
            shape[::-1] if rearranged else shape, dtype=torch.int64 if x.dtype == "i64" else torch.float32
        )
        y = module(zeros.permute(*reversed(axes)) if rearranged else zeros)
    params = sum(p.numel() for p in module.parameters())
    return tuple(y.shape[1:]), params, counter.get_total_flops() / 2 / batch


STRICTER = "|".join(
    [
        "axis 0 is the batch",  # torch lets a layer work on the batch
        r"but its input is|does not take f32|takes channels|takes 1 parameter",  # and on fewer axes
        "needs more than one value",  # where there is a batch of several
        "would have a size below 1",  # where torch gives a tensor without numbers
        "stacks at most",
        "wholly in the padding",  # -inf, or worse
        "with a stride needs spatial axes",
        "a shift for each axis",  # without axes torch moves numbers to other examples
        "takes nothing",  # where torch gives a tensor without numbers
        "above 0, found|must be below the window's size|do not divide an image",  # what our classes get is checked
        "crops at most",  # much more of it crashes
    ]
)
"""What is refused here though torch takes it, or takes it now and then."""


@pytest.mark.parametrize("name", sorted(LAYERS))
@settings(max_examples=50)
@given(data=st.data())
def test_shapes_and_counts_are_torchs(name: str, data: st.DataObject) -> None:
    """What is taken runs, and what is refused does not."""
    spec = LAYERS[name]
    x, args = data.draw(calls(spec))
    note(f"{name} {x} {args}")
    try:
        y = spec.out(x, args)
    except ShapeError as error:
        note(error.message)
        if not re.search(STRICTER, error.message):
            with pytest.raises((RuntimeError, ValueError, AssertionError, IndexError)):
                in_torch(spec, x, args)
                in_torch(spec, x, args, "cpu")  # which looks at more than "meta" does
        return
    assert in_torch(spec, x, args, rearranged=data.draw(st.booleans())) == (y.shape, *spec.cost(x, y, args))


@pytest.mark.parametrize("rank", [1, 2, 3])
@settings(max_examples=60)
@given(data=st.data())
def test_maxima_are_of_numbers_that_are_there(rank: int, data: st.DataObject) -> None:
    """A window that lies wholly in the padding has none."""
    spec = LAYERS[f"maxpool{rank}d"]
    x, args = data.draw(calls(spec))
    note(f"{spec.name} {x} {args}")
    sides = [st.integers(1, 3) | st.just(v) for v in x.shape[1:]]
    x = Tensor("f32", (2, *[data.draw(s) for s in sides]))
    try:
        spec.out(x, args)
    except ShapeError:
        return
    assert make_module(spec.torch(x, args))(torch.zeros(1, *x.shape)).isfinite().all()


SENSIBLE: dict[str, tuple[int, ...]] = {
    **{f"{kind}{r}d": (4, *[9] * r) for r in (1, 2, 3) for kind in ("conv", "convtranspose", "maxpool", "avgpool")},
    **{f"adaptive{kind}pool{r}d": (4, *[9] * r) for r in (1, 2, 3) for kind in ("max", "avg")},
    "attention": (5, 8),
    **dict.fromkeys(("class_token", "last_step", "sequence_mean"), (5, 8)),
    "embedding": (5,),
    "pairs": (3, 4),
    "rnn": (5, 8),
    "lstm": (5, 8),
    "gru": (5, 8),
}


@pytest.mark.parametrize("name", sorted(LAYERS))
def test_what_is_sensible_is_taken(name: str) -> None:
    """The property above is not met by refusing everything."""
    spec = LAYERS[name]
    shape = SENSIBLE.get(
        name,
        (4, *[6] * (spec.rank if spec.rank is not None else int(name[7]) if name in ("dropout2d", "dropout3d") else 1)),
    )
    given = {"int": 2, "float": 2.0, "size": 2, "sides": 2, "scale": 2, "numbers": (1, 2), "shape": (3, -1)}
    given |= {"shape": (3, 4)} if name == "parameter" else {}
    given |= {"image_size": (4, 6), "shift_size": (0, 1)} if name == "window_mask" else {}
    args: dict[str, OpValue] = {
        p.name: given.get(p.name, given[p.kind]) if p.default is REQUIRED else p.default for p in spec.params
    }
    args |= {"max": 1.0} if name == "clamp" else {}
    x = Tensor("i64" if name == "embedding" else "f32", shape)
    y = spec.out(x, args)
    assert in_torch(spec, x, args) == (y.shape, *spec.cost(x, y, args))
    assert spec.weighted == (
        name.startswith(
            ("conv", "stdconv", "linear", "embedding", "attention", "window_attention", "project", "rnn", "lstm", "gru")
        )
    )


@pytest.mark.parametrize(
    ("name", "x", "args", "macs"),
    [
        ("conv2d", (3, 32, 32), {"out_channels": 64, "kernel_size": 3, "padding": 1}, 3 * 64 * 9 * 1024),
        ("conv2d", (8, 4, 4), {"out_channels": 8, "kernel_size": 3, "padding": 1, "groups": 8}, 8 * 9 * 16),
        ("conv1d", (2, 10), {"out_channels": 4, "kernel_size": 3, "stride": 2}, 2 * 4 * 3 * 4),
        ("convtranspose2d", (4, 5, 5), {"out_channels": 6, "kernel_size": 2, "stride": 2}, 4 * 6 * 4 * 25),
        ("linear", (128,), {"out_features": 10}, 1280),
        ("linear", (7, 16), {"out_features": 4}, 7 * 64),
        ("attention", (7, 16), {"num_heads": 4}, 7 * 4 * 256 + 2 * 7 * 7 * 16),
        ("relu", (128,), {}, 0),
        ("lstm", (7, 16), {"hidden_size": 4}, 7 * 4 * 4 * (16 + 4)),
        ("gru", (7, 16), {"hidden_size": 4, "bidirectional": True, "num_layers": 2}, 7 * 6 * 4 * (16 + 4 + 8 + 4)),
        ("lstm", (7, 16), {"hidden_size": 4, "proj_size": 2}, 7 * 4 * (4 * (16 + 2) + 2)),
    ],
)
def test_multiply_accumulates(name: str, x: tuple[int, ...], args: dict[str, OpValue], macs: int) -> None:
    spec = LAYERS[name]
    defaults = {p.name: p.default for p in spec.params if p.default is not REQUIRED}
    complete = {**defaults, **args}
    into = Tensor("f32", x)
    assert spec.cost(into, spec.out(into, complete), complete)[1] == macs


OWN = set(
    "channel_shuffle clamp class_token distances exp global_avgpool id last_step layernorm2d normalize pairs parameter "
    "permute plus positions power project reshape roll scale sequence_mean shift slice stdconv2d times transpose "
    "window_attention window_mask".split()
)
"""The layers that torch.nn does not have under their name."""


@pytest.mark.parametrize("name", sorted(LAYERS))
def test_parameters_are_torchs_in_torchs_order(name: str) -> None:
    """By place, arguments mean what they mean in torch; what torch has beside them is left out on purpose."""
    spec = LAYERS[name]
    classes = {k.lower(): v for k, v in vars(nn).items() if isinstance(v, type) and issubclass(v, nn.Module)}
    cls = {"attention": nn.MultiheadAttention}.get(name, classes.get(name))
    if cls is None:
        assert name in OWN
        return
    if name in ("rnn", "lstm", "gru"):  # their signatures are but *args: as the documentation has them
        torchs = ["input_size", "hidden_size", "num_layers", "bias", "batch_first", "dropout", "bidirectional"]
        torchs[3:3] = ["nonlinearity"] if name == "rnn" else []
        torchs += ["proj_size"] if name == "lstm" else []
    else:
        torchs = [q for q in inspect.signature(cls).parameters if q not in ("device", "dtype", "args", "kwargs")]
    needed = [q for q in torchs if q not in NEEDLESS and q not in ("embed_dim", "normalized_shape")]
    if name == "upsample":
        needed.remove("size")  # the one that stands before ours: the reference says so
    by_place = [q.name for q in spec.params if not q.keyword]
    assert by_place == needed[: len(by_place)]
    ours = {q.name for q in spec.params}
    left_out = {q for q in torchs if q not in ours and q not in NEEDLESS and not q.startswith("_")}
    assert left_out <= {*OMITTED.get(name, ())}
    for parameter in OMITTED.get(name, ()):
        with pytest.raises(FracError) as caught:
            compile_text(f"net N(x: f32[4]) -> f32[4] = {name}({parameter}=1)")
        assert OMITTED[name][parameter] in str(caught.value)


@settings(max_examples=examples(40))
@given(shape=st.lists(st.integers(1, 4), min_size=1, max_size=4), data=st.data(), dtype=st.sampled_from(["f32", "i64"]))
def test_transpose_swaps_two_axes_as_torch_does(shape: list[int], data: st.DataObject, dtype: str) -> None:
    n = len(shape)
    a, b = (data.draw(st.integers(1, n)) - data.draw(st.sampled_from([0, n + 1])) for _ in range(2))
    numbers = torch.rand(2, *shape) if dtype == "f32" else torch.randint(9, (2, *shape))
    expected = numbers.transpose(a, b)
    out = Tensor(dtype, tuple(expected.shape[1:]))
    compiled = compile_text(f"net N(x: {Tensor(dtype, tuple(shape))}) -> {out} = transpose({a}, {b})")
    assert torch.equal(build(compiled)(numbers), expected)
    assert (compiled.summary.params, compiled.summary.macs) == (0, 0)


@pytest.mark.parametrize("axes", ["0, 1", "1, 3", "-3, 1", "1, -4"])
def test_transpose_leaves_the_batch_and_knows_its_axes(axes: str) -> None:
    with pytest.raises(FracError, match=r"cannot swap axes .* \(axis 0 is the batch\)"):
        compile_text(f"net N(x: f32[3, 4]) -> f32[4, 3] = transpose({axes})")


def test_numbers_of_a_join_can_be_averaged() -> None:
    whole = Tensor("i64", (8,))
    for name, join in JOINS.items():
        if join.inline:
            continue
        args = {q.name: q.default for q in join.params if q.default is not REQUIRED}
        if name in ("mean", "gated"):
            with pytest.raises(ShapeError, match="takes floating-point numbers"):
                join.out((whole, whole), args)
        else:
            assert join.out((whole, whole), args).dtype == "i64"


def test_a_group_has_more_than_one_value() -> None:
    """Torch refuses it with a batch of 1 only, and else gives zeros."""
    args: dict[str, OpValue] = {"num_groups": 4, "eps": 1e-5, "affine": True}
    with pytest.raises(ShapeError, match="needs more than one value in each group"):
        LAYERS["groupnorm"].out(Tensor("f32", (4,)), args)
    assert LAYERS["groupnorm"].out(Tensor("f32", (4, 2)), args).shape == (4, 2)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ("conv2d(4, [3])", "`kernel_size` of `conv2d` must be a whole number, or a list of 2, .*found a list of 1"),
        ("conv2d(4, [3])", "help: write `3`"),
        ("zeropad2d([2, 1])", r"`padding` of `zeropad2d` .*a list of 4, two for each axis(.|\n)*\[1, 1, 2, 2\]"),
        ("maxpool2d(2, 2, 0, 1, true)", "takes 4 arguments by position(.|\n)*name it: `ceil_mode=true`"),
        ("gru(4, 1, true, 0.5)", "takes 3 arguments by position(.|\n)*name it: `dropout=0.5`"),
        ("upsample([2, 0.0])", r"`scale_factor` of `upsample` must be above 0, found \[2, 0.0\]"),
        ("upsample([2, 2, 2])", "`upsample` takes one scale_factor or 2 for"),
        ("upsample(true)", "a number, or a list of one for each axis, found bool"),
        ("upsample(2, align_corners=true)", "`align_corners` only with"),
        ("layernorm([8, 8])", r"for several axes write `nn.LayerNorm\(\[16, 16\]\)`"),
        ("lstm(4, proj_size=4)", "projects to fewer features"),
    ],
)
def test_wrong_arguments_are_told_by_their_names(call: str, message: str) -> None:
    shape = "[5, 3]" if call.startswith("lstm") else "[3, 8, 8]"
    with pytest.raises(FracError, match=message):
        compile_text(f"net N(x: f32{shape}) -> f32[4] = {call}")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("net N(x: f32[50]) -> f32[8] = linear(2_000_000_000)", "would have 102,000,000,000 parameters"),
        ("net N(x: f32[1]) -> f32[8] = linear(2_000_000_000) ** 2", "would have about 4.0e18 parameters"),
        ("net N(x: f32[8]) -> f32[8] = linear(1_000_000_000) >> linear(95) >> linear(8)", "net `N` would have"),
        ("net N(x: f32[1_000_000, 1_000_000]) -> f32[8] = relu", "the input `x` would have"),
        ("net N(x: f32[1, 60_000, 1_000_000]) -> f32[8] = concat(id, id)", "`concat` would have 120,000,000,000 num"),
        ("net N(x: f32[6_000, 9]) -> f32[8] = zeropad1d(16_000_000)", "would have 192,000,054,000 numbers"),
    ],
)
def test_what_no_machine_holds_is_refused(text: str, message: str) -> None:
    with pytest.raises(FracError, match=message) as caught:
        compile_text(text)
    assert {d.code for d in caught.value.diagnostics} == {"E0601"}


# --- templates, which stand for constructors


def _facts(module: nn.Module) -> dict[str, object]:
    """What there is in a module, apart from its tensors."""
    tensors = ("_parameters", "_buffers")
    return {name: list(value) if name in tensors else value for name, value in vars(module).items()}


@pytest.mark.parametrize("name", sorted(LAYERS))
@settings(max_examples=20)
@given(data=st.data())
def test_a_template_makes_what_the_constructor_makes(name: str, data: st.DataObject) -> None:
    spec = LAYERS[name]
    x, args = data.draw(calls(spec))
    columns = data.draw(st.integers(0, 5))
    try:
        spec.out(x, args)
    except ShapeError:
        return
    construction = spec.torch(x, args)
    first = make_module(construction, columns)
    if not can_clone(first):
        assert name in (
            "attention",
            "class_token",
            "embedding",
            "parameter",
            "positions",
            "prelu",
            "scale",
            "window_attention",
            "shift",
            "stdconv2d",
            "normalise",
            "rnn",
            "lstm",
            "gru",
        )
        return
    template = Template(first)
    before = {key: value.clone() for key, value in first.state_dict().items()}
    torch.manual_seed(7)
    constructed, constructed_state = make_module(construction, columns), torch.get_rng_state()
    torch.manual_seed(7)
    made, made_state = template(), torch.get_rng_state()
    assert type(made) is type(constructed) and _facts(made) == _facts(constructed)
    assert torch.equal(made_state, constructed_state)
    expected = constructed.state_dict()
    assert made.state_dict().keys() == expected.keys()
    assert all(torch.equal(value, expected[key]) for key, value in made.state_dict().items())
    assert [p.requires_grad for p in made.parameters()] == [p.requires_grad for p in constructed.parameters()]
    for tensor in made.state_dict().values():
        tensor.fill_(3)
    made.register_forward_hook(lambda *_: None)
    assert all(torch.equal(value, before[key]) for key, value in first.state_dict().items())
    assert _facts(template()) == _facts(constructed)


@pytest.mark.parametrize(
    ("net", "init"),
    [
        ("digits", "default"),
        ("digits", "xavier"),
        ("digits", "orthogonal"),
        ("transformer", "default"),
        ("tcn", "kaiming"),
    ],
)
def test_nets_have_the_weights_that_constructors_draw(net: str, init: str, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled = compile_file(EXAMPLES / f"{net}.frac")
    compiled = replace(compiled, program=replace(compiled.program, init=Init(init)))
    cloned = build(compiled, seed=3).state_dict()
    monkeypatch.setattr(graph_to_fx, "can_clone", lambda module: False)
    constructed = build(compiled, seed=3).state_dict()
    assert list(cloned) == list(constructed)
    differing = [k for k, v in cloned.items() if isinstance(v, torch.Tensor) and not torch.equal(v, constructed[k])]
    assert differing == []
