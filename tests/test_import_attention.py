"""Attention and arithmetic that people write out in PyTorch, read back."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fractal_dsl.importing import Refusal, read
from fractal_dsl.pipeline import compile_text
from fractal_dsl.runtime import build
from tests.support.references import torchvision_models
from tests.test_import_torch import Fn, imported

LENGTH, WIDTH, HEADS = 6, 16, 4


class Heads(nn.Module):
    """Self-attention in one of the ways in which it is written out."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.way = way
        self.qkv = nn.Linear(WIDTH, 3 * WIDTH)
        self.q, self.k, self.v = (nn.Linear(WIDTH, WIDTH) for _ in range(3))
        self.norm = nn.LayerNorm(WIDTH // HEADS)
        self.proj = nn.Linear(WIDTH, WIDTH)
        self.register_buffer("mask", torch.ones(LENGTH, LENGTH).tril().bool(), persistent=False)
        unused = {
            "packed": "q k v norm",
            "chunks": "q k v norm",
            "separate": "qkv norm",
            "normed": "qkv",
            "ViT": "q k v norm",
        }
        for name in unused.get(way, "q k v norm").split():
            delattr(self, name)

    def forward(self, x: Tensor) -> Tensor:
        batch, length, width = x.shape
        match self.way:
            case "packed" | "causal" | "scaled":
                qkv = self.qkv(x).reshape(batch, length, 3, HEADS, width // HEADS).permute(2, 0, 3, 1, 4)
                q, k, v = qkv.unbind(0)
            case "ViT":
                qkv = self.qkv(x).view(batch, length, 3, HEADS, -1).transpose(1, 3)
                q, k, v = qkv[:, :, 0], qkv[:, :, 1], qkv[:, :, 2]
            case "chunks" | "products":
                parts = self.qkv(x).chunk(3, dim=-1)
                q, k, v = (part.view(batch, length, HEADS, -1).transpose(1, 2) for part in parts)
            case _:
                parts = self.q(x), self.k(x), self.v(x)
                q, k, v = (part.unflatten(-1, (HEADS, -1)).transpose(1, 2) for part in parts)
        if self.way == "normed":
            q, k = self.norm(q), self.norm(k)
        if self.way == "products":
            scores = (q * (width // HEADS) ** -0.5) @ k.transpose(-2, -1)
            y = scores.softmax(-1) @ v
        elif self.way == "causal":
            y = F.scaled_dot_product_attention(q, k, v, attn_mask=self.mask)
        else:
            y = F.scaled_dot_product_attention(q, k, v, scale=0.3 if self.way == "scaled" else None)
        return self.proj(y.transpose(1, 2).reshape(batch, length, width))


@pytest.mark.parametrize(
    ("way", "expected"),
    [
        ("packed", "= attention(4)\n"),
        ("chunks", "= attention(4)\n"),
        ("products", "= attention(4)\n"),
        ("separate", "= attention(4, kv_heads=4)\n"),
        ("causal", "= attention(4, causal=true)\n"),
        ("scaled", "scale=0.3"),
        ("normed", "attend("),
    ],
)
def test_self_attention_is_a_layer_where_it_is_the_usual_one(way: str, expected: str) -> None:
    assert expected in imported(Heads(way), torch.zeros(1, LENGTH, WIDTH)).text


ARITHMETIC: dict[str, tuple[Callable[..., Tensor], str]] = {
    "with itself": (lambda x: (y := x.tanh(), y + y * y)[1], "tanh >> sum(id, power(2.0))"),
    "doubled": (lambda x: (y := x.relu(), y + y)[1], "relu >> times(2.0)"),
    "difference": (lambda x: 1 - x.relu(), "relu >> times(-1.0) >> plus(1.0)"),
    "of two": (lambda x: x.relu() - x, "times(-1.0)"),
    "quotient": (lambda x: x.tanh() / (1 + x**2), "power(-1.0)"),
    "hard": (lambda x: F.relu6(x + 3) / 6, "plus(3.0) >> relu6 >> times("),
    "largest": (lambda x: torch.stack([x.tanh(), x.sigmoid()], 1).amax(1), "max(tanh, sigmoid)"),
    "mean of channels": (lambda x: x.mean(1, keepdim=True), ">> sequence_mean >> reshape([1, 6, 6])"),
    "expanded": (lambda x: x * x.mean(1, keepdim=True).expand_as(x), "product(id, flatten"),
    "mean of rows": (lambda x: x.mean(-1), "sequence_mean"),
    "sum": (lambda x: x.sum((1, 3), keepdim=True) + x, "sequence_mean >> reshape([1, 6, 1]) >> times(12.0)"),
    "roots": (lambda x: x.sigmoid().sqrt().rsqrt(), "sigmoid >> power(0.5) >> power(-0.5)"),
}  # fmt: skip


@pytest.mark.parametrize("name", ARITHMETIC)
def test_arithmetic_is_read(name: str) -> None:
    function, expected = ARITHMETIC[name]
    assert expected in imported(Fn(function), torch.zeros(1, 2, 6, 6)).text


LEARNED: dict[str, tuple[tuple[int, ...], Callable[..., Tensor], str]] = {
    "term of a channel": ((2, 1, 1), lambda x, w: x + w, "= shift\n"),
    "term of a column": ((6,), lambda x, w: x + w, "= shift(dim=-1)\n"),
    "one term": ((1,), lambda x, w: w + x, "= shift(dim=0)\n"),
    "one factor": ((1,), lambda x, w: w * x, "= scale(dim=0)\n"),
    "terms": ((1, 2, 6, 6), lambda x, w: x + w, "= positions\n"),
}


@pytest.mark.parametrize("name", LEARNED)
def test_parameters_in_arithmetic_are_layers(name: str) -> None:
    shape, function, expected = LEARNED[name]
    assert expected in imported(Fn(function, *shape), torch.zeros(1, 2, 6, 6)).text


def test_one_factor_for_all_stays_one() -> None:
    net = build(compile_text("net N(x: f32[4, 3]) -> f32[4, 3] = scale(0.5, 0) >> scale >> scale(dim=-1)"), 1)
    assert "= scale(dim=0) >> scale >> scale(dim=-1)" in imported(net, torch.zeros(1, 4, 3)).text


class Windows(nn.Module):
    """Linear layers on windows, which count as examples for a while."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.fc = nn.LayerNorm(4), nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        batch, height, width, channels = x.shape
        x = x.view(batch, height // 3, 3, width // 3, 3, channels).permute(0, 1, 3, 2, 4, 5).reshape(-1, 9, channels)
        x = self.fc(self.norm(x)).relu().transpose(1, 2).softmax(-1).transpose(1, 2)
        x = x.view(batch, height // 3, width // 3, 3, 3, channels).permute(0, 1, 3, 2, 4, 5)
        return x.reshape(batch, height, width, channels)


def test_windows_that_are_folded_into_the_batch_are_axes() -> None:
    text = imported(Windows(), torch.zeros(1, 6, 9, 4)).text
    assert "reshape([2, 3, 3, 3, 4])" in text and "layernorm\n    >> linear(4)\n    >> relu" in text


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x.transpose(0, 1).relu().transpose(0, 1),
        lambda x: x.flatten(0, 1).sort(1)[0].view(x.shape),
        lambda x: F.avg_pool1d(x.reshape(-1, 2, 6, 6).flatten(0, 1), 2).view(-1, 2, 6, 3),
        lambda x: x.reshape(-1, 4, 6).softmax(0).view(x.shape),
        lambda x: x.reshape(x.shape[0] * 2, 36).softmax(1).view(x.shape),
    ],
)
def test_operations_across_examples_are_refused_or_read_right(function: Callable[[Tensor], Tensor]) -> None:
    try:
        imported(Fn(function), torch.zeros(1, 2, 6, 6))
    except Refusal as refusal:
        assert "no counterpart" in str(refusal) or "folded" in str(refusal)


class Standardised(nn.Module):
    """The convolution of norm-free nets."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.gain = nn.Parameter(torch.randn(4, 3, 3, 3)), nn.Parameter(torch.rand(4, 1, 1, 1))
        self.bias = nn.Parameter(torch.zeros(4))

    def forward(self, x: Tensor) -> Tensor:
        flat, gain = self.weight.reshape(1, 4, -1), (self.gain * 0.25).view(-1)
        weight = F.batch_norm(flat, None, None, weight=gain, training=True, momentum=0.0, eps=1e-6)
        return F.conv2d(x, weight.reshape_as(self.weight), self.bias, padding=1)


def test_standardised_filters_are_read() -> None:
    assert "stdconv2d(4, 3, padding=1, gamma=1.29903" in read(Standardised(), torch.zeros(1, 3, 6, 6)).text


def test_padding_that_a_pooling_needs_at_the_end_is_its_ceil_mode() -> None:
    def same(x: Tensor) -> Tensor:
        return F.max_pool2d(F.pad(x, (0, 1, 0, 1), value=float("-inf")), 3, 2)

    assert "= maxpool2d(3, stride=2, ceil_mode=true)" in imported(Fn(same), torch.zeros(1, 2, 6, 8)).text
    with pytest.raises(Refusal, match="this padding before a pooling"):
        read(Fn(same), torch.zeros(1, 2, 5, 8))


def test_swin_transformers_of_torchvision_come_back() -> None:
    swin = torchvision_models().SwinTransformer([4, 4], 8, [2, 2], [2, 4], [2, 2], num_classes=5)
    text = imported(swin, torch.zeros(1, 3, 32, 32)).text
    assert "window_attention(heads, 2, shift_size=" in text
    with pytest.raises(Refusal, match="do not divide"):
        read(swin, torch.zeros(1, 3, 36, 36))


class Biased(nn.Module):
    """Self-attention of the pixels of a window with biases by their distances, in one of the ways that nets use."""

    def __init__(self, way: str, side: int = 3, token: bool = False) -> None:
        super().__init__()
        self.way, self.count = way, side * side + token
        self.qkv = nn.Linear(WIDTH, 3 * WIDTH)
        at = torch.stack(torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")).flatten(1)
        apart = at[:, :, None] - at[:, None]
        signed = (apart[0] + side - 1) * (2 * side - 1) + apart[1] + side - 1
        index = apart[0].abs() * side + apart[1].abs() if way == "LeViT" else signed
        if way == "BEiT":
            index = F.pad(index, (1, 0, 1, 0))
            last = (2 * side - 1) ** 2
            index[0], index[:, 0], index[0, 0] = last, last + 1, last + 2
        self.register_buffer("index", index, persistent=False)
        if way == "continuous":
            d = torch.arange(1 - side, side).float()
            table = torch.stack(torch.meshgrid(d, d, indexing="ij"), 2) / (side - 1) * 8
            self.register_buffer("table", table.sign() * (table.abs() + 1).log2() / 3, persistent=False)
            self.mlp = nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, HEADS, bias=False))
            return
        size = side * side if way == "LeViT" else (2 * side - 1) ** 2 + 3 * (way == "BEiT")
        self.biases = nn.Parameter(torch.randn((HEADS, size) if way == "LeViT" else (size, HEADS)))

    def bias(self) -> Tensor:
        if self.way == "LeViT":
            return self.biases[:, self.index]
        if self.way == "continuous":
            rows = self.mlp(self.table).view(-1, HEADS)[self.index.view(-1)]
            return 16 * rows.view(self.count, self.count, -1).permute(2, 0, 1).sigmoid()
        return self.biases[self.index.view(-1)].view(self.count, self.count, -1).permute(2, 0, 1).unsqueeze(0)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).reshape(*x.shape[:2], 3, HEADS, WIDTH // HEADS).permute(2, 0, 3, 1, 4).unbind(0)
        if self.way == "cosine":
            q, k = F.normalize(q, dim=-1), F.normalize(k, dim=-1)
        if self.way == "continuous":
            return F.scaled_dot_product_attention(q, k, v, attn_mask=self.bias()).transpose(1, 2).flatten(2)
        scores = q @ k.transpose(-2, -1) * 0.5 + self.bias()
        return (scores.softmax(-1) @ v).transpose(1, 2).flatten(2)


@pytest.mark.parametrize(
    ("way", "expected"),
    [
        ("Swin", "parameter([25, 4]) >> pairs(3) >> permute([3, 1, 2])"),
        ("LeViT", "parameter([4, 9]) >> transpose(1, 2) >> pairs(3, absolute=true) >> permute([3, 1, 2])"),
        ("BEiT", "parameter([28, 4]) >> pairs(3, class_token=true)"),
        ("cosine", "normalize(dim=-1)"),
        ("continuous", 'distances(3, scale="log8")'),
    ],
)
def test_biases_by_distance_are_read(way: str, expected: str) -> None:
    text = imported(Biased(way, token=way == "BEiT"), torch.zeros(1, 9 + (way == "BEiT"), WIDTH)).text
    assert expected in text and "= linear(48)" in text and "attend(" in text


def test_windows_share_the_biases_of_a_layer() -> None:
    """Windows are folded into the batch, and the biases broadcast to all."""

    class Folded(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = Biased("Swin")

        def forward(self, x: Tensor) -> Tensor:
            return self.inner(x.reshape(-1, 9, WIDTH)).reshape(x.shape)

    assert "parameter([25, 4])" in imported(Folded(), torch.zeros(1, 4, 9, WIDTH)).text


class Mixed(nn.Module):
    """Weights that a module computes with before a step reads them."""

    def __init__(self) -> None:
        super().__init__()
        self.alpha, self.rows = nn.Parameter(torch.randn(2, 4)), nn.Parameter(torch.randn(1, 4, 3, 1))
        self.columns, self.cache = nn.Parameter(torch.randn(1, 4, 1, 3)), dict[str, Tensor]()
        self.register_buffer("term", torch.full((4, 1, 1), 0.5))

    def forward(self, x: Tensor) -> Tensor:
        if "alpha" not in self.cache:  # as LeViT caches its biases
            self.cache["alpha"] = self.alpha.sigmoid().view(2, 4, 1, 1)
        alpha = self.cache["alpha"]
        x = x + alpha[0] * x.relu() + self.term
        return x + alpha[1] * x.tanh() + (self.rows + self.columns)


def test_weights_that_a_module_computes_with_are_parameters() -> None:

    text = imported(Mixed(), torch.zeros(1, 4, 3, 3)).text
    assert "parameter([2, 4]) >> sigmoid" in text and "plus(0.5)" in text
    assert text.count("parameter(") == 3


def test_the_second_swin_transformer_of_torchvision_comes_back() -> None:
    models = torchvision_models().swin_transformer
    later = {"block": models.SwinTransformerBlockV2, "downsample_layer": models.PatchMergingV2}
    swin = models.SwinTransformer([4, 4], 8, [2, 2], [2, 4], [2, 2], num_classes=5, **later).eval()
    text = read(swin, torch.zeros(1, 3, 32, 32)).text
    assert 'distances(2, scale="log8")' in text and "linear(512)" in text
    assert "window_mask(" in text and "clamp(max=4.60517" in text


class Moved(nn.Module):
    """Windows of a moved image, counted along one axis with the mask and along two elsewhere, as in timm's Swin."""

    def __init__(self, hidden: float) -> None:
        super().__init__()
        self.inner, self.proj = Biased("Swin", side=2), nn.Linear(WIDTH, WIDTH)
        place = torch.tensor([0, 0, 1, 2])
        region = (3 * place[:, None] + place).reshape(2, 2, 2, 2).transpose(1, 2).reshape(4, 4)
        apart = region[:, None] != region[:, :, None]
        self.register_buffer("mask", torch.zeros(4, 4, 4).masked_fill(apart, hidden), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        x = x.roll((-1, -1), (1, 2)).view(-1, 2, 2, 2, 2, WIDTH).transpose(2, 3).reshape(-1, 4, WIDTH)
        q, k, v = self.inner.qkv(x).view(-1, 4, 3, HEADS, WIDTH // HEADS).permute(2, 0, 3, 1, 4)
        scores = q @ k.transpose(-2, -1) + self.inner.bias()
        scores = scores.view(-1, 4, HEADS, 4, 4) + self.mask.unsqueeze(1).unsqueeze(0)
        y = self.proj((scores.view(-1, HEADS, 4, 4).softmax(-1) @ v).transpose(1, 2).reshape(-1, 4, WIDTH))
        y = y.view(-1, 2, 2, 2, 2, WIDTH).transpose(2, 3).reshape(-1, 4, 4, WIDTH)
        return y.roll((1, 1), (1, 2))


@pytest.mark.parametrize(
    ("hidden", "mask"), [(-100.0, "window_mask(4, 2, 1)"), (-7.0, "window_mask(4, 2, 1) >> times(0.07)")]
)
def test_masks_of_moved_windows_are_read(hidden: float, mask: str) -> None:
    text = imported(Moved(hidden), torch.zeros(1, 4, 4, WIDTH)).text
    assert mask in text and "parameter([9, 4]) >> pairs(2)" in text


def test_a_mask_of_minus_infinity_is_not_read_as_one_of_a_number() -> None:
    with pytest.raises(Refusal):
        imported(Moved(float("-inf")), torch.zeros(1, 4, 4, WIDTH))


@pytest.mark.parametrize(
    "equation", ["bhid,bhjd->bhij", "bhij,bhjd->bihd", "b h i d, b j h d -> b h i j", "bijd,bijd->bij"]
)
def test_products_of_two_tensors_are_einsums(equation: str) -> None:
    names = equation.replace(" ", "").split("->")[0].split(",")
    sizes = {"b": -1, "h": 2, "i": 3, "j": 3, "d": 6}

    def product(x: Tensor) -> Tensor:
        a, b = ([sizes[n] for n in name if n in sizes] for name in names)
        first, second = (x.flatten(1)[:, : abs(torch.Size(s).numel())].reshape(s) for s in (a, b))
        return torch.einsum(equation, first, second)

    assert "matmul(" in imported(Fn(product), torch.zeros(1, 3, 6, 6)).text


class Precise(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        if x.shape[1] > 1:  # torch.fx cannot follow it, and torch.export keeps the part without autocast apart
            with torch.autocast("cpu", enabled=False):
                y = x.float().relu()
                with torch.no_grad(), torch.autocast("cpu", enabled=False):
                    return y + x
        return x


def test_parts_without_autocast_are_read() -> None:
    assert "sum(id, relu)" in read(Precise(), torch.zeros(1, 4)).text
