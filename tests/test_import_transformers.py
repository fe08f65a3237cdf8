"""Torch's transformers and recurrent layers read back, in the forms in which people use them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from fractal_dsl.importing import Refusal, read
from tests.test_import_torch import Fn, imported

LENGTH, WIDTH, HEADS = 6, 16, 4


def layer(**given: object) -> nn.TransformerEncoderLayer:
    return nn.TransformerEncoderLayer(WIDTH, HEADS, 32, **{"batch_first": True} | given)  # type: ignore[arg-type]


def encoder(count: int = 3, **given: object) -> nn.TransformerEncoder:
    return nn.TransformerEncoder(layer(**given), count, enable_nested_tensor=False)


class LengthFirst(nn.Module):
    """A module whose sequences have their length before the batch, with steps around it that do not mind."""

    def __init__(self, inner: nn.Module, call: Callable[..., Tensor] = lambda inner, x: inner(x)) -> None:
        super().__init__()
        self.inner, self.call, self.last = inner, call, nn.Linear(WIDTH, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = x.transpose(0, 1)
        x = x + x.relu() * 2
        return self.last(self.call(self.inner, x)).permute(1, 0, 2)


POST = """    sum(id, attention(4, dropout=10%) >> dropout(10%))
    >> layernorm
    >> sum(id, linear(32) >> relu >> dropout(10%) >> linear(16) >> dropout(10%))
    >> layernorm
"""
PRE = """    sum(id, layernorm >> attention(4, dropout=10%) >> dropout(10%))
    >> sum(id, layernorm >> linear(32) >> gelu >> dropout(10%) >> linear(16) >> dropout(10%))
"""

TRANSFORMERS: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "a layer": (layer, f"    = {POST.strip()}\n"),
    "an encoder": (encoder, f"layer transformer_encoder_layer =\n{POST}"),
    "norms first": (lambda: encoder(norm_first=True, activation="gelu"), f"{PRE}\nnet "),
    "a last norm": (
        lambda: nn.TransformerEncoder(layer(norm_first=True), 4, nn.LayerNorm(WIDTH), enable_nested_tensor=False),
        "transformer_encoder_layer ** 4 >> layernorm\n",
    ),
    "without biases": (lambda: layer(bias=False), "attention(4, dropout=10%, bias=false)"),
    "length first": (lambda: LengthFirst(encoder(batch_first=False)), f"layer transformer_encoder_layer =\n{POST}"),
    "attention, length first": (
        lambda: LengthFirst(nn.MultiheadAttention(WIDTH, HEADS), lambda inner, x: inner(x, x, x)[0]),
        ">> attention(4) >> linear(3)",
    ),
    "recurrent, length first": (
        lambda: LengthFirst(nn.LSTM(WIDTH, WIDTH), lambda inner, x: inner(x)[0]),
        ">> lstm(16) >> linear(3)",
    ),
}


@pytest.mark.parametrize("name", TRANSFORMERS)
def test_transformers_of_torch_are_readable(name: str) -> None:
    make, expected = TRANSFORMERS[name]
    assert expected in imported(make(), torch.zeros(1, LENGTH, WIDTH)).text


class GPT(nn.Module):
    """A language model with a mask and positions that are written in one of several ways."""

    def __init__(self, mask: str, positions: int = LENGTH) -> None:
        super().__init__()
        self.way, self.tokens, self.positions = mask, nn.Embedding(50, WIDTH), nn.Embedding(positions, WIDTH)
        self.blocks, self.head = encoder(2, norm_first=True), nn.Linear(WIDTH, 50, bias=False)
        self.register_buffer("mask", nn.Transformer.generate_square_subsequent_mask(LENGTH))

    def forward(self, x: Tensor) -> Tensor:
        length = x.shape[1]
        y = self.tokens(x) + self.positions(torch.arange(length))
        match self.way:
            case "generated":
                y = self.blocks(y, mask=nn.Transformer.generate_square_subsequent_mask(length), is_causal=True)
            case "sliced":
                y = self.blocks(y, self.mask[:length, :length])
            case "triangle":
                y = self.blocks(y, mask=torch.ones(length, length).triu(1).bool())
            case _:
                y = self.blocks(y, src_key_padding_mask=x == 0)
        return self.head(y)


@pytest.mark.parametrize("mask", ["generated", "sliced", "triangle"])
def test_language_models_keep_their_mask_and_their_dropout(mask: str) -> None:
    text = imported(GPT(mask), torch.full((1, LENGTH), 49)).text
    assert "layernorm >> attention(4, dropout=10%, causal=true) >> dropout(10%)" in text
    assert "embedding(50, 16) >> positions >> transformer_encoder_layer ** 2 >> linear(50, bias=false)" in text


def test_positions_of_a_longer_table_are_its_first_rows() -> None:
    text = imported(GPT("triangle", 20), torch.full((1, LENGTH), 49)).text
    assert "sum(id, parameter([20, 16]) >> slice(1, stop=6))" in text


class ViT(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.patches, self.blocks = nn.Conv2d(3, WIDTH, 8, 8), encoder(4, norm_first=True, activation="gelu")
        self.token, self.positions = nn.Parameter(torch.randn(1, 1, WIDTH)), nn.Parameter(torch.randn(1, 17, WIDTH))
        self.head = nn.Linear(WIDTH, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1) + self.positions
        return self.head(self.blocks(x)[:, 0])


def test_a_vision_transformer_comes_back() -> None:
    text = imported(ViT(), torch.zeros(1, 3, 32, 32)).text
    assert PRE in text and ">> class_token\n    >> positions\n    >> transformer_encoder_layer ** 4\n" in text


class Decodes(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.decoder = nn.TransformerDecoder(nn.TransformerDecoderLayer(WIDTH, HEADS, 32, batch_first=True), 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.decoder(x, x.tanh())


class Attends(nn.Module):
    def __init__(self, forward: Callable[[nn.MultiheadAttention, Tensor], Tensor]) -> None:
        super().__init__()
        self.attention, self.call = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True), forward

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[1] > 100:  # torch.fx cannot follow this
            return x
        return self.call(self.attention, x)


REFUSED: dict[str, tuple[nn.Module, str]] = {
    "padding": (GPT("padding"), "`eq` makes a mask of the input, such as one of padding"),
    "decoder": (
        Decodes(),
        r"attention over another sequence(.|\n)*in module decoder.layers.0.multihead_attn \(MultiheadAttention\)",
    ),
    "other values": (
        Attends(lambda attention, x: attention(x, x, x.tanh())[0]),
        r"attention over another sequence(.|\n)*in module attention \(MultiheadAttention\)",
    ),
    "batch first": (layer(batch_first=False), r"length before the batch, .*set batch_first=True(.|\n)*self_attn"),
    "batch first, recurrent": (Fn(nn.LSTM(WIDTH, 4)), "length before the batch"),
    "other mask": (
        Attends(lambda attention, x: attention(x, x, x, attn_mask=torch.eye(LENGTH).bool())[0]),
        "attention with a mask other than a causal one",
    ),
    "constants": (Fn(lambda x: x + torch.arange(16.0)), r"it computes with a constant, .*\n  at .*py:\d+"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_other_masks_and_sequences_are_refused(name: str) -> None:
    module, message = REFUSED[name]
    example = torch.full((1, LENGTH), 49) if name == "padding" else torch.zeros(1, LENGTH, WIDTH)
    with pytest.raises(Refusal, match=message):
        read(module, example)


def test_a_module_has_its_own_classes_after_it_was_read() -> None:
    good, bad = GPT("sliced"), GPT("padding")
    for net in (good, bad):
        before = [type(m) for m in net.modules()]
        try:
            read(net, torch.full((1, LENGTH), 49))
        except Refusal:
            assert net is bad
        assert [type(m) for m in net.modules()] == before
