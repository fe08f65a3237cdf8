"""The joins ``matmul`` and ``attend``, and the layers of arithmetic, against torch; what does not fit is named."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from fractal_dsl.language.diagnostics import FracError
from fractal_dsl.ops import JOINS, ShapeError, Tensor
from fractal_dsl.pipeline import compile_text
from fractal_dsl.plans.plan_on_graph import cost
from fractal_dsl.runtime import build
from fractal_dsl.runtime.artifact import model_source
from fractal_dsl.runtime.graph_to_fx import make_module
from tests.support.effort import examples

HEADS = """
layer heads = reshape([6, 4, 8]) >> transpose(1, 2)
net N(x: f32[6, 32]) -> f32[6, 32]
    = attend(linear(32) >> heads, linear(32) >> heads, linear(32) >> heads)
    >> transpose(1, 2) >> flatten(2) >> linear(32)
"""
ARITHMETIC = """
net N(x: f32[4, 5, 5]) -> f32[4, 5, 5]
    = times(2) >> plus(-0.5) >> power(2) >> scale(0.5, 0) >> shift(1.5) >> shift(0.25, 0)
    >> stdconv2d(4, 3, padding=1, gamma=1.7)
"""


@st.composite
def operands(draw: st.DrawFn) -> tuple[str, list[tuple[int, ...]], dict[str, float | bool | None]]:
    """Operands, of which one may not fit."""
    small = st.integers(1, 4)
    name = draw(st.sampled_from(["matmul", "attend"]))
    leading, n, m, k, e = draw(st.lists(small, max_size=2)), *[draw(small) for _ in range(4)]
    if name == "matmul":
        given = [(*leading, n, m), (*leading, m, k)]
        args: dict[str, float | bool | None] = {}
    else:
        given = [(*leading, n, m), (*leading, k, m), (*leading, k, e)]
        given += [(*leading, n, k)] if draw(st.booleans()) else []
        args = {"scale": draw(st.none() | st.floats(0.1, 2)), "causal": draw(st.booleans())}
    if draw(st.booleans()):
        at = draw(st.integers(0, len(given) - 1))
        axis = draw(st.integers(0, len(given[at]) - 1))
        given[at] = (*given[at][:axis], draw(small), *given[at][axis + 1 :])
    return name, given, args


@settings(max_examples=examples(150))
@given(case=operands())
def test_shapes_and_multiply_accumulates_are_torchs(
    case: tuple[str, list[tuple[int, ...]], dict[str, float | bool | None]],
) -> None:
    name, shapes, args = case
    spec, given = JOINS[name], tuple(Tensor("f32", shape) for shape in shapes)
    assert spec.torch is not None
    module = make_module(spec.torch(len(given), args))

    def run() -> tuple[torch.Tensor, float]:
        with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
            y = module(*[torch.zeros(3, *shape, device="meta") for shape in shapes])
        return y, counter.get_total_flops() / 2 / 3

    try:
        out = spec.out(given, args)
    except ShapeError:
        if name == "matmul":  # torch's own attention also repeats keys and values
            with pytest.raises(RuntimeError):
                run()
        return
    y, macs = run()
    assert tuple(y.shape[1:]) == out.shape
    assert spec.macs(given, args) == macs


def test_attention_of_given_tensors_is_torchs_attention() -> None:
    compiled = compile_text(HEADS)
    model, theirs = build(compiled, 1).eval(), nn.MultiheadAttention(32, 4, batch_first=True).eval()
    linear = [m for m in model.modules() if isinstance(m, nn.Linear)]
    with torch.no_grad():
        theirs.in_proj_weight.copy_(torch.cat([m.weight for m in linear[:3]]))
        theirs.in_proj_bias.copy_(torch.cat([m.bias for m in linear[:3]]))
        theirs.out_proj.load_state_dict(linear[3].state_dict())
    x = torch.randn(2, 6, 32)
    torch.testing.assert_close(model(x), theirs(x, x, x, need_weights=False)[0])
    assert compiled.summary.macs == compile_text("net N(x: f32[6, 32]) -> f32[6, 32] = attention(4)").summary.macs
    assert cost(compiled.graph, [number for number, _ in compiled.graph.items()]).macs == compiled.summary.macs


def test_arithmetic_is_torchs() -> None:
    model = build(compile_text(ARITHMETIC), 1).eval()
    x = torch.randn(2, 4, 5, 5)
    conv = next(m for m in model.modules() if type(m).__name__ == "StdConv2d")
    filters = conv.weight.flatten(1)
    filters = (filters - filters.mean(1, keepdim=True)) / filters.var(1, unbiased=False, keepdim=True).add(1e-6).sqrt()
    filters = (filters * 1.7 / 36**0.5).reshape_as(conv.weight)
    expected = nn.functional.conv2d((2 * x - 0.5) ** 2 * 0.5 + 1.75, filters, conv.bias, padding=1)
    torch.testing.assert_close(model(x), expected)


@pytest.mark.parametrize("text", [HEADS, ARITHMETIC], ids=["attention", "arithmetic"])
def test_the_source_computes_the_same(text: str) -> None:
    compiled = compile_text(text)
    model = build(compiled, 1).eval()
    space: dict[str, object] = {}
    exec(compile(model_source(compiled, compiled.graph), "model.py", "exec"), space)
    own = space["N"]()  # type: ignore[operator]
    own.load_state_dict(model.state_dict())
    x = torch.randn(2, *compiled.graph.input[1].out.shape)
    torch.testing.assert_close(own.eval()(x), model(x))


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("matmul(id, id)", "multiplies […, n, m] by […, m, k], but operand 1 (`id`) outputs f32[4, 6]"),
        ("matmul(id, id, id)", "`matmul` multiplies two operands, not 3"),
        ("attend(id, id)", "`attend` takes queries, keys, values and perhaps a term for the scores, not 2"),
        ("attend(id, id, transpose(1, 2))", "`attend` takes keys […, m, d] and values […, m, e]"),
        ("attend(id, id, id, id)", "`attend` adds a term to scores of shape [4, 4]"),
        ("matmul(id, transpose(1, 2) @drop(10%))", "`matmul` needs all its operands, but `@drop` leaves branches out"),
    ],
)
def test_what_does_not_fit_is_named(body: str, message: str) -> None:
    with pytest.raises(FracError) as caught:
        compile_text(f"net N(x: f32[4, 6]) -> f32[4, 6] = {body}")
    assert message in str(caught.value)


def test_columns_need_a_join_that_can_lack_one() -> None:
    text = "rule F join matmul { F[1] = id  F[n+1] = F[n] >> id | id } net N(x: f32[4, 4]) -> f32[4, 4] = F[2]"
    with pytest.raises(FracError, match="`matmul` needs all its operands, but drop-path drops columns"):
        compile_text(text)
