"""Modules of PyTorch with several inputs or outputs come back as nets with as many, under their names."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn

import fractal_dsl
from fractal_dsl.importing import Imported, Refusal, read
from fractal_dsl.importing.ends import tensors
from fractal_dsl.language.source import Source
from fractal_dsl.language.syntax_to_text import syntax_to_text
from fractal_dsl.pipeline import check, parse, pick
from fractal_dsl.runtime.artifact import load_artifact, save_artifact
from tests.support.references import scramble_norms, timm_model, torchvision_models
from tests.support.torch_nets import FractalNet

IMAGE = torch.zeros(1, 3, 32, 32)


def imported(net: nn.Module, *examples: Tensor, fixed: bool = True) -> Imported:
    """The net read back: it is formatted, checks, and computes every output of the module. If it is ``fixed``, it comes
    back once more with other names; in others, the parts follow the classes of the module."""
    scramble_norms(net)
    done = read(net, examples, name="N")
    assert syntax_to_text(parse(Source("net.frac", done.text))) == done.text
    compiled = pick(check(Source("net.frac", done.text)), None)
    assert not compiled.warnings
    assert compiled.summary.params + done.comparison.unused == sum(p.numel() for p in net.parameters())
    x = [
        torch.randint(0, int(e.max()) + 1, (5, *e.shape[1:]))
        if e.dtype == torch.int64
        else torch.randn(5, *e.shape[1:])
        for e in examples
    ]
    with torch.no_grad():
        expected, ours = [t for _, t in tensors(net.eval()(*x))], done.model(*x)
    for a, b in zip(ours if isinstance(ours, tuple) else [ours], expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5 * float(b.abs().max()))
    assert not fixed or words(read(done.model, examples, name="N").text) == words(done.text)
    return done


def words(text: str) -> int:
    """The number of words and signs of a text."""
    return len(re.findall(r"\w+|[^\w\s]", text))


def net_of(done: Imported) -> str:
    """The net's declaration on one line."""
    return " ".join(done.text[done.text.index("net N") :].split())


class Fn(nn.Module):
    """A function of inputs and modules, as a module with one input."""

    def __init__(self, function: Callable[..., Any], *parts: nn.Module) -> None:
        super().__init__()
        self.function, self.parts = function, nn.ModuleList(parts)

    def forward(self, x: Tensor) -> Any:
        return self.function(x, *self.parts)


class Fn2(Fn):
    """The same with two inputs."""

    def forward(self, left: Tensor, right: Tensor) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        return self.function(left, right, *self.parts)


def linear(out: int = 4, features: int = 4) -> nn.Module:
    return nn.Linear(features, out)


class Heads(NamedTuple):
    logits: Tensor
    aux: Tensor | None = None


def both(x: Tensor, a: nn.Module) -> tuple[Tensor, Tensor]:
    y = a(x)
    return y, y


OUTPUTS: dict[str, tuple[nn.Module, str]] = {
    "tuple": (Fn(lambda x, a, b: (a(x), b(x)), linear(), linear(3)),
              "-> (f32[4], f32[3]) = (linear(4), linear(3))"),
    "list": (Fn(lambda x, a, b: [a(x), b(x)], linear(), linear(3)),
             "-> (f32[4], f32[3]) = (linear(4), linear(3))"),
    "dictionary": (Fn(lambda x, a: OrderedDict(out=a(x).relu(), aux=x.tanh()), linear()),
                   "-> (out: f32[4], aux: f32[4]) = (linear(4) >> relu, tanh)"),
    "named tuple": (Fn(lambda x, a, b: Heads(a(x), b(x)), linear(), linear(3)),
                    "-> (logits: f32[4], aux: f32[3]) = (linear(4), linear(3))"),
    "nested": (Fn(lambda x, a: {"features": [a(x), x.relu()], "out": x.tanh()}, linear()),
               "-> (features_0: f32[4], features_1: f32[4], out: f32[4]) = (linear(4), relu, tanh)"),
    "invalid names": (Fn(lambda x, a: {"0": a(x), "train": x.relu(), "a.b": x.tanh(), "a_b": x.exp(), "x": x.sigmoid()},
                         linear()),
                      "-> (out0: f32[4], train2: f32[4], a_b: f32[4], a_b2: f32[4], x2: f32[4]) ="),
    "none": (Fn(lambda x, a: {"out": a(x), "aux": None, "more": x.relu()}, linear()),
             "-> (out: f32[4], more: f32[4]) = (linear(4), relu)"),
    "one of them": (Fn(lambda x, a: {"out": a(x), "aux": None}, linear()), "-> f32[4] = linear(4)"),
    "twice": (Fn(both, linear()), "-> (f32[4], f32[4]) = (a, a) where a = linear(4)"),
    "input": (Fn(lambda x, a: (x, a(x)), linear()), "-> (f32[4], f32[4]) = (id, linear(4))"),
}  # fmt: skip


@pytest.mark.parametrize("name", OUTPUTS)
def test_what_a_module_returns_becomes_outputs(name: str) -> None:
    net, text = OUTPUTS[name]
    assert text in net_of(imported(net, torch.zeros(1, 4)))


def stages(x: Tensor, *parts: nn.Module) -> dict[str, Tensor]:
    result: dict[str, Tensor] = {}
    for number, part in enumerate(parts):
        x = result[f"stage{number}"] = part(x)
    return result


def test_an_output_that_others_read_is_a_value() -> None:
    text = net_of(imported(Fn(stages, linear(8), linear(8, 8), linear(2, 8)), torch.zeros(1, 4)))
    assert "= (a, b, b >> linear(2)) where a = linear(8), b = a >> linear(8)" in text


def test_a_fractal_net_with_two_heads_keeps_its_rule() -> None:
    class Headed(FractalNet):
        def forward(self, x: Tensor) -> Any:
            y = self.blocks[0](x)
            return {"early": y.mean((2, 3)), "late": self.blocks[1](y).mean((2, 3))}

    done = imported(Headed(3, (4, 8)), IMAGE, fixed=False)
    assert "F[n+1] = F[n] >> F[n] | conv_block(out)" in done.text
    assert "= (a >> global_avgpool, a >> F[3](8) >> global_avgpool) where a = F[3](4)" in net_of(done)


REFUSED: dict[str, tuple[nn.Module, int, str]] = {
    "int": (Fn(lambda x, a: (a(x), 3), linear()), 1, r"its output 2 is int, not a tensor"),
    "size": (Fn(lambda x: {"y": x.relu(), "n": x.shape[1]}), 1, r"its output `n` is int, not a tensor"),
    "weight": (Fn(lambda x, a: {"y": a(x), "w": a.weight}, linear()), 1, r"its output `w` is a constant"),
    "nothing": (Fn(lambda x, a: None if a(x) is x else {}, linear()), 1, r"it returns no tensor"),
    "states": (Fn(lambda x, a: a(x[:, None]), nn.LSTM(4, 4, batch_first=True)), 1, r"its output `1_0` is computed in"),
    "unread": (Fn2(lambda x, y, a: a(y), linear()), 2, r"its input `left` takes no part in its output"),
    "too few": (
        Fn2(lambda x, y: x + y),
        1,
        r"takes 2 inputs \(left, right\), and examples are given for 1(.|\n)*def forw",
    ),
    "too many": (Fn(lambda x: x.relu()), 2, r"it takes 1 input \(x\), and examples are given for 2"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refusals_name_the_input_or_output(name: str) -> None:
    net, count, message = REFUSED[name]
    with pytest.raises(Refusal, match=message):
        read(net, [torch.zeros(1, 4)] * count)


def crossed(left: Tensor, right: Tensor, a: nn.Module, b: nn.Module) -> tuple[Tensor, ...]:
    p, q = a(left).relu(), b(right)
    return p + q, p * q, p + q + left


INPUTS: dict[str, tuple[nn.Module, str]] = {
    "sum": (Fn2(lambda x, y: x + y), "net N(left: f32[4], right: f32[4]) -> f32[4] = sum(left, right)"),
    "order": (Fn2(lambda x, y: (y, x)), "= (right, left)"),
    "one after the other": (Fn2(lambda x, y, a: a(a(y) + x.tanh()), linear()),
                            "= sum(right >> shared_linear, left >> tanh)"),
    "crossed": (Fn2(crossed, linear(), linear()),
                "= (sum(a, b), product(a, b), sum(a, b, left)) "
                "where a = left >> linear(4) >> relu, b = right >> linear(4)"),
    "read twice": (Fn2(lambda x, y, a: a(x) * x + y, linear()), "= sum(left >> product(id, linear(4)), right)"),
}  # fmt: skip


@pytest.mark.parametrize("name", INPUTS)
def test_a_module_with_two_inputs_comes_back(name: str) -> None:
    net, text = INPUTS[name]
    assert text in net_of(imported(net, torch.zeros(1, 4), torch.zeros(1, 4)))


# --- shared weights


class Siamese(nn.Module):
    """One encoder of two inputs, whose outputs are compared."""

    def __init__(self, encoder: nn.Module, features: int) -> None:
        super().__init__()
        self.encoder, self.head = encoder, nn.Linear(2 * features, 2)

    def forward(self, left: Tensor, right: Tensor) -> dict[str, Tensor]:
        a, b = self.encoder(left), self.encoder(right)
        return {"same": self.head(torch.cat([a, b], 1)), "features": a}


def test_an_encoder_of_two_inputs_is_a_shared_block() -> None:
    layers = [nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    done = imported(Siamese(nn.Sequential(*layers), 4), IMAGE, IMAGE)
    encoder = "conv2d(4, 3, bias=false) >> batchnorm2d >> relu >> global_avgpool"
    assert f"shared encoder = {encoder}" in done.text or f"shared encoder =\n    {encoder}" in done.text
    assert "= (concat(a, right >> encoder) >> linear(2), a) where a = left >> encoder" in net_of(done)


def test_a_shared_encoder_is_read_as_a_net() -> None:
    """Rules, layers and repetitions stand in a shared block, too."""

    class Pooled(FractalNet):
        def forward(self, x: Tensor) -> Tensor:
            for block in self.blocks:
                x = block(x)
            return x.mean((2, 3))

    done = imported(Siamese(Pooled(3, (4, 8)), 8), IMAGE, IMAGE, fixed=False)
    assert "F[n+1] = F[n] >> F[n] | conv_block(out)" in done.text
    assert "shared encoder = F[3](4) >> F[3](8) >> global_avgpool" in done.text


class Residual(nn.Module):
    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        return x + self.inner(x).relu()


one, two = nn.Linear(4, 4), Residual(nn.Linear(4, 4))
SHARED: dict[str, tuple[nn.Module, str]] = {
    "in a row": (
        nn.Sequential(one, one, one),
        "shared shared_linear = linear(4) net N(x: f32[4]) -> f32[4] = shared_linear ** 3",
    ),
    "a join": (
        nn.Sequential(two, nn.Tanh(), two),
        "shared residual = sum(id, linear(4) >> relu) net N(x: f32[4]) -> f32[4] = residual >> tanh >> residual",
    ),
    "nested": (nn.Sequential(one, two, nn.Tanh(), one, two, one), "shared shared_linear = linear(4)"),
    "among others": (
        nn.Sequential(one, nn.Linear(4, 4), nn.ReLU(), one, nn.Linear(4, 4), nn.ReLU()),
        "shared shared_linear = linear(4)",
    ),
    "two of a kind": (
        Fn(lambda x, a, b: (a(x).relu(), b(x).relu(), b(a(x)).relu(), a(b(x)).relu()), linear(), linear()),
        "shared",
    ),
}


@pytest.mark.parametrize("name", SHARED)
def test_a_part_that_is_called_again_is_a_shared_block(name: str) -> None:
    net, text = SHARED[name]
    assert text in " ".join(imported(net, torch.zeros(1, 4)).text.split())


class ImageAndTable(nn.Module):
    """An image and a table of numbers, whose names are layers of the language."""

    def __init__(self) -> None:
        super().__init__()
        self.image = nn.Sequential(
            nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
        )
        self.a = nn.Sequential(nn.Linear(5, 16), nn.ReLU(), nn.Linear(16, 8))
        self.more = nn.Parameter(torch.ones(2))
        self.head = nn.Linear(18, 3)

    def forward(self, linear: Tensor, a: Tensor, mask: Tensor | None = None, *, double: bool = False) -> Tensor:
        x, y = self.image(linear), self.a(a)
        if mask is not None:
            x = x * mask
        return self.head(torch.cat((x, 2 * y if double else y, self.more.expand(len(x), -1)), dim=1))


def test_names_of_inputs_do_not_hide_layers() -> None:
    text = net_of(imported(ImageAndTable(), IMAGE, torch.zeros(1, 5)))
    assert text.startswith("net N(linear2: f32[3, 32, 32], a: f32[5]) -> f32[3]")
    assert "a >> linear(16) >> relu >> linear(8), linear2 >> parameter([2])" in text


def test_tokens_and_numbers_are_inputs_side_by_side() -> None:
    net = Fn2(lambda t, x, e, a: torch.cat([e(t).mean(1), a(x)], 1), nn.Embedding(9, 4), linear())
    text = net_of(imported(net, torch.full((1, 6), 8), torch.zeros(1, 4)))
    assert text.startswith("net N(left: i64[6], right: f32[4]) -> f32[8]")


def test_an_artifact_has_all_ends(tmp_path: Path) -> None:
    net = Fn2(crossed, linear(), linear())
    done = imported(net, torch.zeros(1, 4), torch.zeros(1, 4))
    save_artifact(done.compiled, done.model, tmp_path / "net")
    x = torch.randn(2, 4), torch.randn(2, 4)
    torch.testing.assert_close(load_artifact(tmp_path / "net")(*x), net.eval()(*x))
    assert fractal_dsl.from_torch(net, x, name="N") == done.text


def test_a_difference_in_any_output_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    import fractal_dsl.importing.lowering as lowering

    monkeypatch.setitem(lowering.FUNCTIONS, "relu", lowering.FUNCTIONS["tanh"])
    with pytest.raises(Refusal, match="computes something else for its output `b`"):
        read(Fn(lambda x: {"a": x.tanh(), "b": x.relu()}), torch.zeros(1, 4))


def test_exported_programs_keep_their_names() -> None:
    x = torch.zeros(3, 4), torch.zeros(3, 4)
    program = torch.export.export(Fn2(lambda x, y, a: {"sum": a(x) + y, "y": y.relu()}, linear()), x)
    text = read(program, x, name="N").text
    assert "net N(left: f32[4], right: f32[4]) -> (sum: f32[4], y: f32[4])" in text


class Variadic(nn.Module):
    """Any number of inputs."""

    def forward(self, *xs: Tensor) -> Tensor:
        return torch.cat([x.relu() for x in xs], 1)


def test_starred_inputs_are_numbered() -> None:
    text = net_of(imported(Variadic(), torch.zeros(1, 4), torch.zeros(1, 3)))
    assert text == "net N(xs1: f32[4], xs2: f32[3]) -> f32[7] = concat(xs1 >> relu, xs2 >> relu)"


# --- nets of libraries


def resnet18() -> nn.Module:
    return torchvision_models().resnet18(weights=None)


def pyramid() -> nn.Module:
    """A feature pyramid on ResNet-18, as torchvision builds it for detection."""
    torchvision_models()
    from torchvision.models._utils import IntermediateLayerGetter
    from torchvision.ops import FeaturePyramidNetwork

    layers = {f"layer{i + 1}": str(i) for i in range(4)}
    return nn.Sequential(IntermediateLayerGetter(resnet18(), layers), FeaturePyramidNetwork([64, 128, 256, 512], 16))


def test_a_feature_pyramid_comes_back() -> None:
    text = net_of(imported(pyramid(), torch.zeros(1, 3, 64, 64), fixed=False))
    assert "-> ( out0: f32[16, 16, 16], out1: f32[16, 8, 8], out2: f32[16, 4, 4], out3: f32[16, 2, 2] )" in text
    assert "f = sum(c >> conv2d(16, 1), e >> upsample(2))" in text


def features_of_torchvision() -> nn.Module:
    torchvision_models()
    from torchvision.models.feature_extraction import create_feature_extractor

    return create_feature_extractor(resnet18(), {"layer1": "low", "layer4": "high"})


def with_auxiliary(name: str) -> nn.Module:
    return torchvision_models().get_model(name, weights=None, weights_backbone=None, aux_loss=True)


LIBRARIES: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "features of torchvision": (features_of_torchvision, "(low: f32[64, 16, 16], high: f32[512, 2, 2])"),
    "features of timm": (lambda: timm_model("resnet18", features_only=True), "f32[512, 2, 2]"),
    "features of an EfficientNet": (lambda: timm_model("efficientnet_b0", features_only=True), "f32[320, 2, 2]"),
    "fcn": (lambda: with_auxiliary("fcn_resnet50"), "(out: f32[21, 64, 64], aux: f32[21, 64, 64])"),
    "deeplabv3": (lambda: with_auxiliary("deeplabv3_resnet50"), "(out: f32[21, 64, 64], aux: f32[21, 64, 64])"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", LIBRARIES)
def test_nets_of_libraries_with_several_outputs_come_back(name: str) -> None:
    make, outputs = LIBRARIES[name]
    assert outputs in net_of(imported(make(), torch.zeros(1, 3, 64, 64), fixed=False))
