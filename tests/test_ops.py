"""Every built-in layer against torch itself, on the meta device: shape and parameters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

from fractal_dsl.ops import LAYERS, REQUIRED, OpParam, OpSpec, ShapeError, Tensor, Value
from fractal_dsl.runtime.graph_to_fx import make_module


def values(param: OpParam, rank: int) -> st.SearchStrategy[Value]:
    low = int(param.low or 0)
    number = st.integers(low, low + 3)
    each = st.tuples(*[number] * rank) if rank else number
    match param.kind:
        case "int" if param.name in ("dim", "start_dim", "end_dim"):
            return st.integers(-3, 4)
        case "int":
            return st.integers(max(low, 1), 8)
        case "size":
            return number | each
        case "optional size":
            return st.none() | number.filter(bool)
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
def calls(draw: st.DrawFn, spec: OpSpec) -> tuple[Tensor, Mapping[str, Value]]:
    dims = spec.rank + 1 if spec.rank is not None else draw(st.integers(1, 4))
    shape = tuple(draw(st.lists(st.sampled_from([1, 2, 4, 6, 9, 12]), min_size=dims, max_size=dims)))
    args: dict[str, Value] = {}
    for param in spec.params:
        default = param.default
        keep = default is not REQUIRED and draw(st.booleans())
        args[param.name] = default if keep else draw(values(param, spec.rank or 0))
    return Tensor("i64" if spec.name == "embedding" else "f32", shape), args


def in_torch(spec: OpSpec, x: Tensor, args: Mapping[str, Value]) -> tuple[tuple[int, ...], int]:
    with torch.device("meta"):
        module: Any = make_module(spec.torch(x, args)).train()
        y = module(torch.empty(3, *x.shape, dtype=torch.int64 if x.dtype == "i64" else torch.float32))
    return tuple(y.shape[1:]), sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize("name", sorted(LAYERS))
@settings(max_examples=40)
@given(data=st.data())
def test_shape_and_parameters_equal_torchs(name: str, data: st.DataObject) -> None:
    spec = LAYERS[name]
    x, args = data.draw(calls(spec))
    try:
        y = spec.out(x, args)
    except ShapeError:
        return
    assert in_torch(spec, x, args) == (y.shape, spec.cost(x, y, args)[0])


SENSIBLE: dict[str, tuple[int, ...]] = {
    **{f"{kind}{r}d": (4, *[9] * r) for r in (1, 2, 3) for kind in ("conv", "convtranspose", "maxpool", "avgpool")},
    **{f"adaptive{kind}pool{r}d": (4, *[9] * r) for r in (1, 2, 3) for kind in ("max", "avg")},
    "attention": (5, 8),
    "embedding": (5,),
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
    given = {"int": 2, "size": 2}
    args: dict[str, Value] = {p.name: given[p.kind] if p.default is REQUIRED else p.default for p in spec.params}
    x = Tensor("i64" if name == "embedding" else "f32", shape)
    y = spec.out(x, args)
    assert in_torch(spec, x, args) == (y.shape, spec.cost(x, y, args)[0])
    assert spec.weighted == (
        name.startswith(("conv", "linear", "embedding", "attention", "project", "rnn", "lstm", "gru"))
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
        ("attention", (7, 16), {"num_heads": 4}, 7 * 4 * 256),
        ("relu", (128,), {}, 0),
        ("lstm", (7, 16), {"hidden_size": 4}, 7 * 4 * 4 * (16 + 4)),
        ("gru", (7, 16), {"hidden_size": 4, "bidirectional": True, "num_layers": 2}, 7 * 6 * 4 * (16 + 4 + 8 + 4)),
    ],
)
def test_multiply_accumulates(name: str, x: tuple[int, ...], args: dict[str, Value], macs: int) -> None:
    spec = LAYERS[name]
    defaults = {p.name: p.default for p in spec.params if p.default is not REQUIRED}
    complete = {**defaults, **args}
    into = Tensor("f32", x)
    assert spec.cost(into, spec.out(into, complete), complete)[1] == macs


@pytest.mark.parametrize("name", sorted(n for n in LAYERS if n.startswith(("conv", "linear", "project"))))
@settings(max_examples=40)
@given(data=st.data())
def test_multiply_accumulates_equal_torchs_count(name: str, data: st.DataObject) -> None:
    """Torch counts two operations for each multiply-accumulate."""
    spec = LAYERS[name]
    x, args = data.draw(calls(spec))
    try:
        y = spec.out(x, args)
    except ShapeError:
        return
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        make_module(spec.torch(x, args))(torch.empty(3, *x.shape))
    assert counter.get_total_flops() == 2 * 3 * spec.cost(x, y, args)[1]
