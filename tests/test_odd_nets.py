"""Warnings of nets that compile and most likely mean something else: axes, first arguments, drop-path without joins."""

from __future__ import annotations

import pytest

from fractal_dsl.language.diagnostics import Diagnostic, FracError
from fractal_dsl.pipeline import compile_text


def warned(x: str, body: str, declarations: str = "", options: str = "") -> tuple[Diagnostic, ...]:
    """The warnings of a net, whose output is found by trial."""
    text = f"{declarations}\nnet N(x: {x}) -> f32[OUT] {options} = {body}"
    try:
        return compile_text(text.replace("OUT", "1")).warnings
    except FracError as error:
        out = error.diagnostics[0].message.rpartition("f32[")[2].rstrip("]")
        assert out, error
        return compile_text(text.replace("OUT", out)).warnings


RULE = "rule F join {join} {{ F[1] = linear(8)  F[n+1] = F[n] >> F[n] | linear(8) }}"
RESIDUAL = "layer block = sum(id, linear(8) >> relu)"


@pytest.mark.parametrize("option", ["drop_path(local=50%)", "drop_path(global=50%)", "drop_path(10%, columns=all)"])
@pytest.mark.parametrize(("body", "declarations"), [("block ** 3", RESIDUAL), ("linear(8)", ""), ("P[3]", "PLAIN")])
def test_drop_path_without_a_join_to_work_on_is_warned_of(option: str, body: str, declarations: str) -> None:
    declarations = declarations.replace("PLAIN", "rule P { P[1] = linear(8)  P[n+1] = P[n] >> sum(id, linear(8)) }")
    (warning,) = warned("f32[8]", body, declarations, f"with {option}")
    assert warning.code == "W0701" and "no effect" in warning.message
    assert warning.source.text[warning.span.start : warning.span.end] == option
    assert warning.help and "joins of rules" in str(warning.help)


@pytest.mark.parametrize("body", ["F[3]", "F[1]", "sum(id, F[2])", "linear(8) >> F[2].each(relu)"])
def test_drop_path_with_a_rule_that_joins_is_not_warned_of(body: str) -> None:
    assert not warned("f32[8]", body, RULE.format(join="mean"), "with drop_path(local=50%)")
    assert not warned("f32[8]", body, RULE.format(join="mean"))


SEQUENCES = ["linear(6) >> positions", "attention(2)", "layernorm", "lstm(6)", "gru(6)", "rnn(6)"]
CHANNELS = ["conv1d(4, 3)", "batchnorm1d", "global_avgpool", "maxpool1d(2)", "avgpool1d(2)", "adaptiveavgpool1d(1)"]


@pytest.mark.parametrize("before", SEQUENCES)
@pytest.mark.parametrize("layer", CHANNELS)
def test_channels_first_behind_features_last_is_warned_of(before: str, layer: str) -> None:
    name = layer.partition("(")[0]
    for between in ("", ">> relu >> dropout(10%)", ">> linear(8)", ">> sum(id, relu)", ">> same(8)"):
        (warning,) = warned("f32[10, 6]", f"{before} {between} >> {layer}", "layer same(n: int) = id")
        assert warning.code == "W0501" and f"`{name}` takes [channels, length]" in warning.message
        assert "`transpose(1, 2)`" in str(warning.help)
    assert not warned("f32[10, 6]", f"{before} >> transpose(1, 2) >> {layer}")


def test_an_embedding_before_a_convolution_is_warned_of_once() -> None:
    (warning,) = warned("i64[56]", "embedding(20000, 300) >> conv1d(100, 3) >> conv1d(100, 3) >> maxpool1d(2)")
    assert "the length, 56, counts as channels" in warning.message


def test_axes_are_followed_through_rules_layers_and_joins() -> None:
    rule = "rule F join mean { F[1] = conv1d(10, 3, padding=1)  F[n+1] = F[n] >> F[n] | conv1d(10, 3, padding=1) }"
    assert {w.code for w in warned("f32[10, 6]", "layernorm >> F[3]", rule)} == {"W0501"}
    assert not warned("f32[10, 6]", "F[3] >> layernorm", rule)
    assert not warned("f32[10, 6]", "sum(transpose(1, 2), layernorm >> transpose(1, 2)) >> conv1d(4, 3)")
    layer = "layer c = conv1d(10, 3, padding=1)"
    (warning,) = warned("f32[10, 6]", "c >> c >> layernorm >> c", layer)
    assert warning.trail[0] == "c"


@pytest.mark.parametrize(
    ("x", "body"),
    [
        ("f32[8]", "layernorm >> batchnorm1d"),
        ("f32[3, 16, 16]", "layernorm >> conv2d(8, 3) >> global_avgpool"),
        ("f32[10, 6]", "conv1d(8, 3) >> batchnorm1d >> global_avgpool"),
        ("f32[10, 6]", "layernorm >> flatten >> batchnorm1d"),
        ("f32[10, 6]", "layernorm >> project(10)"),
    ],
)
def test_what_has_no_length_or_has_channels_is_not_warned_of(x: str, body: str) -> None:
    assert not warned(x, body)


@pytest.mark.parametrize(
    ("x", "body", "help"),
    [
        ("f32[3, 224, 224]", "conv2d(3, 64, 3)", "`conv2d(64, 3)`"),
        ("f32[3, 224, 224]", "conv2d(3, 64, 7, 2, 3)", "`conv2d(64, 7)`"),
        ("f32[1, 28, 28]", "conv2d(1, 16, 3)", "`conv2d(16, 3)`"),
        ("f32[64, 200, 200]", "conv2d(64, 128, 1)", "`conv2d(128, 1)`"),
        ("f32[64, 200]", "conv1d(64, 128, 3)", "`conv1d(128, 3)`"),
        ("f32[16, 32]", "lstm(32, 64)", "`lstm(64)`"),
    ],
)
def test_torchs_first_argument_is_warned_of_where_the_layer_is_valid(x: str, body: str, help: str) -> None:
    (warning,) = warned(x, body)
    assert warning.code == "W0502" and help in str(warning.help)


@pytest.mark.parametrize(
    ("x", "body"),
    [
        ("f32[3, 224, 224]", "conv2d(64, 7, 2, padding=3)"),
        ("f32[3, 224, 224]", "conv2d(96, 11, 4) >> conv2d(96, 5, padding=2)"),
        ("f32[3, 224, 224]", "conv2d(768, 16, 16)"),
        ("f32[16, 64, 64]", "conv2d(16, 16, 16)"),
        ("f32[16, 64, 64]", "conv2d(16, 31, padding=15, groups=16)"),
        ("f32[16, 64, 64]", "conv2d(16, 13, padding=6)"),
        ("f32[64, 1000]", "conv1d(64, 17, 4, padding=8) >> conv1d(64, 16, padding=8)"),
        ("f32[1, 8000]", "conv1d(32, 80, 4)"),
        ("f32[16, 32]", "lstm(32, 3)"),
    ],
)
def test_layers_in_use_are_not_warned_of(x: str, body: str) -> None:
    assert not warned(x, body)
