"""Numbers that have no result, and arguments that torch cannot take, are refused with the reason."""

from __future__ import annotations

import pytest

from fractal_dsl.language.diagnostics import FracError
from fractal_dsl.language.source import Source
from fractal_dsl.pipeline import check, compile_text


def net(layer: str, into: str = "f32[4]") -> str:
    return f"net N(x: {into}) -> f32[4] = {layer}"


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        *[(text, "division by zero") for text in ("0 / 0", "0 ** -1", "0.0 ** -1", "0% ** -0.5", "1.0 % 0.0")],
        *[(text, "no fractional power") for text in ("(-1) ** 0.5", "(-2.0) ** 2.5")],
        *[(text, "a negative power of a whole number") for text in ("2 ** -1", "(-2) ** -2000")],
        *[(text, "exceeds the limit of 2") for text in ("2 ** 100", "10 ** 10 ** 10", "9223372036854775807 + 1")],
        *[(text, "too large for a float") for text in ("10.0 ** 400", "2.5 ** 9223372036854775807", "1e308 * -10")],
    ],
)
def test_an_operation_without_a_result_says_why(expression: str, message: str) -> None:
    with pytest.raises(FracError, match=message):
        compile_text(net(f"leakyrelu({expression})"))


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        *[(f"batchnorm1d(eps={eps})", "at least 1e-20") for eps in ("0.0", "-1.0", "1e-320")],
        ("layernorm(eps=0.0)", "at least 1e-20"),
        ("softplus(beta=0.0)", "at least 1e-20"),
        *[(f"{call}", "at most 3.4e") for call in ("leakyrelu(1e39)", "elu(1e308)", "prelu(init=1e39)")],
        ("linear(3000000000)", "at most 2,147,483,647"),
    ],
)
def test_an_argument_that_torch_cannot_take_is_refused(layer: str, message: str) -> None:
    with pytest.raises(FracError, match=message):
        compile_text(net(layer))


@pytest.mark.parametrize("eps", ["0.0", "-1e-5"])
@pytest.mark.parametrize("layer", ["batchnorm1d", "layernorm", "instancenorm1d", "groupnorm"])
def test_a_norm_needs_an_eps_above_0(layer: str, eps: str) -> None:
    with pytest.raises(FracError, match=r"`eps` of .* must be at least 1e-20"):
        compile_text(f"net N(x: f32[4, 6]) -> f32[4, 6] = {layer}({'2, ' * (layer == 'groupnorm')}eps={eps})")


def test_a_transposed_convolution_may_crop_its_output() -> None:
    compile_text("net N(x: f32[2, 20]) -> f32[2, 12] = convtranspose1d(2, 3, padding=5)")
    with pytest.raises(FracError, match="would have a size below 1"):
        compile_text("net N(x: f32[2, 8]) -> f32[2, 1] = convtranspose1d(2, 3, padding=5)")
    with pytest.raises(FracError, match="crops at most 16,384"):
        compile_text("net N(x: f32[2, 3]) -> f32[2, 1] = convtranspose1d(2, 1, 32768, 32768)")


@pytest.mark.parametrize(
    ("target", "message"),
    [
        *[
            (target, "does not name a class")
            for target in ("", ":", "a:b:c", " x:Y", "x.:Y", ":Y", "x:1a", "nn.Linear")
        ],
        *[(target, "need no declaration") for target in ("nn.Linear", "nn:Linear", "nn.Linear:X")],
        *[(target, "not a subclass of torch.nn.Module") for target in ("os:getcwd", "builtins:int")],
        ("torch.nn:Linear", "cannot be made"),
    ],
)
def test_a_malformed_target_of_extern_is_refused(target: str, message: str) -> None:
    text = f'extern layer f from "{target}"\n{net("f")}'
    with pytest.raises(FracError, match=message):
        check(Source("spec.frac", text), allow_python=True)
