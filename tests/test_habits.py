"""Names and ways of PyTorch, Keras and Python: the message says what to write here."""

from __future__ import annotations

import pytest

from fractal_dsl.config import TrainConfig
from fractal_dsl.config.errors import variants
from fractal_dsl.language.diagnostics import FracError
from fractal_dsl.pipeline import compile_text
from fractal_dsl.program.syntax_to_program.aliases import FIRST_SETTINGS


def help_with(text: str) -> str:
    with pytest.raises(FracError) as caught:
        compile_text(text)
    return str(caught.value.diagnostics[0].help)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("layernorm(64)", "leave 64 out"),
        ("mul(id, relu)", "`product`"),
        ("Subtract(id, relu)", "no join subtracts"),
        ("stack(id, relu)", "`concat(a, b)`"),
        ("droppath(0.1)", "`with drop_path(local=15%)`"),
        ("StochasticDepth(0.1)", "`with drop_path(local=15%)`"),
        ("relu >> adam(lr=0.1)", "`train { optimizer = adamw(lr=0.001) }`"),
        ("relu >> cosine", "`train { schedule = cosine() }`"),
        ("labels", "part of training"),
        ("CrossEntropyLoss", "part of training"),
        ("conv2d(8, 3, bias=False)", "`false`"),
        ("conv2d(8, 3, bias=True)", "`true`"),
        ("conv2d(8, 3, padding=None)", "leave the argument out"),
        ("maxpool2d(k/2)", "write a whole number, such as 2"),
        ("maxpool2d(2, padding=k/4)", "`//` divides"),
        ("zeropad2d(k/4)", "`//` divides"),
        ("Conv2DTranspose(8, 3)", "`convtranspose2d`"),
        ("SeparableConv2D(8, 3)", "groups=c"),
        ("DepthwiseConv2D(3)", "groups=c"),
        ("Reshape([8])", "`flatten`"),
        ("Permute([2, 1])", "`permute([2, 1])`"),
        ("swapaxes(1, 2)", "`transpose(1, 2)`"),
        ("Lambda(relu)", "`extern`"),
        ('Activation("relu")', "such as `relu`"),
        ("Bidirectional(lstm(8))", "bidirectional=true"),
        ("TimeDistributed(linear(8))", "`linear` works on the last axis"),
        ("SimpleRNN(8)", "`rnn`"),
        ("TransformerEncoderLayer(8)", "std:transformer"),
        ("ModuleList(relu)", "`a >> b`"),
        ("Input(8)", "declares its input"),
        ("gap", "`global_avgpool`"),
        ("GlobalMaxPooling2D", "`adaptivemaxpool2d(1) >> flatten`"),
        ("BatchNormalization", "`batchnorm2d`"),
        ("bn", "`batchnorm2d`"),
        ("pool(2)", "`maxpool2d`"),
        ("fc(8)", "`linear`"),
        ("repeat(relu, 3)", "`block ** 3`"),
        ("squeeze", "`flatten`"),
        ("chunk(2)", "`extern`"),
        ("GaussianNoise(0.1)", "`extern`"),
        ("Cropping2D(1)", "`extern`"),
        ("residual_block(8)", "`sum(id, "),
    ],
)
def test_a_habit_in_a_net_gets_help(body: str, said: str) -> None:
    assert said in help_with(f"let k = 4\nnet N(x: f32[8, 16, 16]) -> f32[8, 16, 16] = {body}")


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ('dataset = npz("x.npz")', '`npz(path="x.npz")`'),
        ("optimizer = adamw(0.1)", "`adamw(lr=0.1)`"),
        ("optimizer = Adam(lr=0.1)", "`adamw`"),
        ("schedule = cosine", '"cosine"'),
        ("schedule = cosine(3)", "`cosine(SETTING=3)`"),
        ("deterministic = True", "`true`"),
        ("compile = False", "`false`"),
        ("clip = None", "leave the setting out"),
    ],
)
def test_a_habit_in_a_train_block_gets_help(setting: str, said: str) -> None:
    assert said in help_with(f"net N(x: f32[8]) -> f32[8] = linear(8)\ntrain {{ {setting} }}")


def test_first_settings_are_settings() -> None:
    models = [model for setting in TrainConfig.model_fields for model in variants(setting)]
    known = {name: model for model in models for name in model.model_fields["name"].annotation.__args__}  # type: ignore[union-attr]
    assert all(first in known[name].model_fields for name, first in FIRST_SETTINGS.items())
