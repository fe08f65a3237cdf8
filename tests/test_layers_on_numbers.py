"""Whatever arguments `check` accepts for a layer, torch constructs it and trains it on numbers."""

from __future__ import annotations

from math import prod

import pytest
import torch
from hypothesis import given, note, settings
from hypothesis import strategies as st

from fractal_dsl.compiled import Compiled
from fractal_dsl.language.diagnostics import FracError
from fractal_dsl.ops import LAYERS, REQUIRED, OpParam, OpSpec
from fractal_dsl.pipeline import compile_text
from fractal_dsl.runtime import build
from tests.support.effort import examples

INTS = st.sampled_from([-3, -1, 0, 1, 1, 2, 2, 3, 3, 4, 5, 6, 8, 9, 17, 1000]).map(str)
FLOATS = st.sampled_from(
    "-1e308 -3.0 -1.0 -1e-9 0.0 1e-320 1e-45 1e-30 1e-9 0.1 0.5 0.75 1.0 2.0 1e9 1e30 1e39 1e308".split()
)
SCALES = st.sampled_from("0.1 0.3 0.5 1 2 1.5 3 1e-3 1e8 1e-320 0.99999999".split())
PROBS = st.sampled_from("0% 0.0 1.0 100% 0.5 50% 1e-30 0.9999999999".split())
SIZES = st.sampled_from([1, 2, 3, 4, 6, 9, 12])
AXES = {**dict.fromkeys(("attention", "positions", "rnn", "lstm", "gru"), (2, 2)), "batchnorm1d": (1, 2)}
MOST = 200_000  # numbers in an output, and parameters


def lists(item: st.SearchStrategy[str], length: int) -> st.SearchStrategy[str]:
    many = st.lists(item, min_size=length, max_size=length)
    return item | many.map(lambda items: f"[{', '.join(items)}]")


def values(param: OpParam, dims: int, rank: int) -> st.SearchStrategy[str]:
    """Texts for an argument, of which some are wrong."""
    match param.kind:
        case "int":
            return INTS
        case "size":
            return lists(INTS, rank)
        case "padding":
            return lists(INTS, rank) | st.sampled_from(['"same"', '"valid"'])
        case "numbers":
            few = st.integers(-2, 4).map(str)
            axes = st.permutations(range(1, dims + 1)).map(str)
            return few | axes | st.lists(few, max_size=4).map(lambda items: f"[{', '.join(items)}]")
        case "sides":
            return lists(INTS, 2 * rank)
        case "scale":
            return lists(SCALES, max(1, dims - 1))
        case "bool":
            return st.sampled_from(["true", "false"])
        case "prob":
            return PROBS
        case "float":
            return FLOATS
        case _:
            return st.sampled_from([f'"{choice}"' for choice in param.choices])


@st.composite
def nets(draw: st.DrawFn, spec: OpSpec) -> str:
    """The text of a net that has the layer."""
    low, high = (spec.rank + 1, spec.rank + 1) if spec.rank is not None else (1, 4)
    dims = draw(st.integers(*AXES.get(spec.name, (low, high))))
    shape = [draw(SIZES) for _ in range(dims)]
    args: list[str] = []
    for param in spec.params:
        if param.default is REQUIRED or draw(st.booleans()):
            args.append(f"{param.name}={draw(values(param, dims, spec.rank or max(1, dims - 1)))}")
    input = f"{'i64' if spec.name == 'embedding' else 'f32'}{shape}"
    return f"net N(x: {input}) -> f32[2] = {spec.name}({', '.join(args)}) >> flatten >> linear(2)"


def small(compiled: Compiled) -> bool:
    sizes = [prod(node.out.shape) for _, node in compiled.graph.items()]
    return max(sizes) <= MOST and compiled.summary.params <= MOST and compiled.summary.macs <= 50 * MOST


@pytest.mark.parametrize("name", sorted(LAYERS))
@settings(max_examples=examples(8))
@given(data=st.data())
def test_a_layer_that_is_accepted_trains(name: str, data: st.DataObject) -> None:
    text = data.draw(nets(LAYERS[name]))
    note(text)
    try:
        compiled = compile_text(text)
    except FracError:
        return
    if not small(compiled):
        return
    model, shape = build(compiled, seed=0).train(), compiled.program.input.shape
    torch.manual_seed(0)
    y = model(torch.zeros(2, *shape, dtype=torch.int64) if name == "embedding" else torch.randn(2, *shape))
    y.sum().backward()
    assert y.shape == (2, 2)
    # Slopes and thresholds may be as large as f32 holds: then it is the user's own number that overflows.
    # A negative number has no root, and zero no reciprocal.
    if name != "power" and not any(huge in text for huge in ("e30", "e9", "e39", "e308")):
        assert y.isfinite().all()
        assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())
