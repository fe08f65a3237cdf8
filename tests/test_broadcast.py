"""Joins whose operands are repeated along axes of size 1, against torch; what does not fit is named."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fractal_dsl.language.diagnostics import FracError
from fractal_dsl.ops import JOINS, ShapeError
from fractal_dsl.ops import Tensor as Shape
from fractal_dsl.pipeline import compile_text
from fractal_dsl.runtime import build
from fractal_dsl.runtime.artifact import model_source
from fractal_dsl.runtime.joins import join_broadcast
from tests.support.effort import examples

BROADCASTING = ("mean", "sum", "product")
SE = """
layer excite(out: int) = product(id, adaptiveavgpool2d(1) >> conv2d(2, 1) >> relu >> conv2d(out, 1) >> sigmoid)
net N(x: f32[4, 6, 5]) -> f32[4, 6, 5] = conv2d(4, 3, padding=1) >> batchnorm2d >> excite(4) >> relu
"""


def reference(name: str, operands: list[Tensor]) -> Tensor:
    """The join by torch's own broadcasting."""
    total = operands[0]
    for operand in operands[1:]:
        total = total * operand if name == "product" else total + operand
    return total / len(operands) if name == "mean" else total


@st.composite
def shapes(draw: st.DrawFn) -> list[tuple[int, ...]]:
    """The shapes of operands that broadcast."""
    whole = draw(st.lists(st.integers(1, 4), min_size=1, max_size=4))
    kept = st.tuples(*[st.booleans() for _ in whole])
    return [
        tuple(size if on else 1 for size, on in zip(whole, keep, strict=True))
        for keep in draw(st.lists(kept, min_size=2, max_size=4))
    ]


@settings(max_examples=examples(60))
@given(sizes=shapes(), name=st.sampled_from(BROADCASTING))
def test_shapes_values_and_gradients_are_torchs(sizes: list[tuple[int, ...]], name: str) -> None:
    out = JOINS[name].out(tuple(Shape("f32", size) for size in sizes), {})
    assert out.shape == torch.broadcast_shapes(*sizes)
    operands = [torch.randn(3, *size, dtype=torch.float64, requires_grad=True) for size in sizes]
    ours, theirs = join_broadcast(name, out.shape, *operands), reference(name, operands)
    torch.testing.assert_close(ours, theirs)
    weights = torch.randn_like(ours)
    for a, b in zip(
        torch.autograd.grad(ours, operands, weights), torch.autograd.grad(theirs, operands, weights), strict=True
    ):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("name", [name for name, spec in JOINS.items() if not spec.inline])
def test_operands_that_do_not_broadcast_are_named(name: str) -> None:
    def refused(*sizes: tuple[int, ...]) -> tuple[int, int] | None:
        with pytest.raises(ShapeError) as error:
            JOINS[name].out(tuple(Shape("f32", size) for size in sizes), {"dim": 1})
        return error.value.operands

    assert refused((4, 5, 5), (4, 5, 6)) == (0, 1)
    assert refused((4, 5, 5), (4, 5)) == (0, 1)
    if name in BROADCASTING:
        assert refused((4, 1, 1), (4, 5, 5), (4, 1, 6)) == (1, 2)  # not the first: its axes are repeated
    else:
        assert refused((4, 5, 5), (4, 1, 5)) == (0, 1)


@pytest.mark.parametrize("training", [False, True])
def test_squeeze_and_excitation_in_every_form(training: bool) -> None:
    model = build(compile_text(SE), 1).train(training)
    x = torch.randn(3, 4, 6, 5)
    y = model.dense(x)
    torch.testing.assert_close(model.run(x, model.full_plan()), y)
    *body, last = [m for m in model.modules() if not [*m.children()]]
    z = body[1](body[0](x))
    gate = z
    for layer in body[2:]:
        gate = layer(gate)
    torch.testing.assert_close(last(z * gate), y, rtol=1e-4, atol=1e-5)


def test_the_written_source_computes_the_same() -> None:
    compiled = compile_text(SE)
    model, space = build(compiled, 1).eval(), dict[str, object]()
    source = model_source(compiled, compiled.graph)
    assert "x * " in source or " * x" in source
    exec(compile(source, "model.py", "exec"), space)
    plain = space["N"]()  # type: ignore[operator]
    plain.load_state_dict(model.state_dict())
    x = torch.randn(3, 4, 6, 5)
    torch.testing.assert_close(plain.eval()(x), model(x))


def test_batches_of_any_size_are_exported() -> None:
    model = build(compile_text(SE), 1).eval()
    batch = torch.export.Dim("batch")
    program = torch.export.export(model, (torch.randn(3, 4, 6, 5),), dynamic_shapes=({0: batch},))
    x = torch.randn(7, 4, 6, 5)
    torch.testing.assert_close(program.module()(x), model(x))


def refusal(body: str, before: str = "") -> str:
    with pytest.raises(FracError) as error:
        compile_text(f"{before}net N(x: f32[4, 6, 5]) -> f32[4, 6, 5] = {body}")
    return str(error.value)


def test_messages_name_both_operands_and_both_shapes() -> None:
    text = refusal("product(id, maxpool2d(2))")
    assert "`product` joins operands of one shape, but" in text
    assert "`id` outputs f32[4, 6, 5] and `maxpool2d(2)` outputs f32[4, 3, 2]" in text
    text = refusal("product(id, global_avgpool >> linear(4))")
    assert "`product` joins operands of one shape" in text and "f32[4, 6, 5]" in text and "f32[4]" in text
    assert "give the operand with fewer axes the shape [4, 1, 1]" in text
    text = refusal("product(conv2d(1, 1), conv2d(3, 1), id)")
    assert "`conv2d(3, 1)` outputs f32[3, 6, 5] and `id` outputs f32[4, 6, 5]" in text
    text = refusal("product(id, adaptiveavgpool2d([1, 3]))")
    assert "of one shape (axes of size 1 are repeated), but `id` outputs f32[4, 6, 5]" in text
    assert "`min` joins operands of one shape" in refusal("min(id, adaptiveavgpool2d(1))")


def test_operands_that_may_be_left_alone_must_have_the_shape_of_the_join() -> None:
    assert "for fewer" in refusal("sum(adaptiveavgpool2d(1), id @drop(10%))")
    rule = "rule F join sum { F[1] = conv2d(4, 1) F[n+1] = F[n] | adaptiveavgpool2d(1) }\n"
    assert "for fewer" in refusal("F[2]", rule)
