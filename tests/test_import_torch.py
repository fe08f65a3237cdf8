"""Modules of PyTorch read back: the text is as expected, checks, is formatted, and computes the same.

The texts are in `tests/golden/imported/`. UPDATE_GOLDEN=1 pytest tests/test_import_torch.py writes them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, Phase, given, reject, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

import fractal_dsl
from fractal_dsl.importing import Imported, Refusal, read
from fractal_dsl.importing.ends import Examples
from fractal_dsl.importing.same import Outputs, outputs
from fractal_dsl.language.source import Source
from fractal_dsl.language.syntax_to_text import syntax_to_text
from fractal_dsl.pipeline import check, parse, pick
from fractal_dsl.runtime import build
from fractal_dsl.runtime.artifact import load_artifact, save_artifact
from tests.support.effort import examples
from tests.support.programs import Program, programs
from tests.support.references import scramble_norms, torchvision_models
from tests.support.torch_nets import Encoder, FractalNet, small

GOLDEN = Path(__file__).parent / "golden" / "imported"
IMAGE = (3, 64, 64)
NETS = "resnet18 vgg densenet googlenet squeezenet1_1 mobilenet_v2 fcn_resnet50".split()


def imported(net: nn.Module, example: Tensor, name: str | None = None) -> Imported:
    """The net read back, with all promises checked once more."""
    scramble_norms(net)
    done = read(net, example, name=name)
    assert syntax_to_text(parse(Source("net.frac", done.text))) == done.text
    compiled = pick(check(Source("net.frac", done.text)), None)
    assert not compiled.warnings
    assert compiled.summary.params + done.comparison.unused == sum(p.numel() for p in net.parameters())
    draw = torch.Generator().manual_seed(1)
    shape = (5, *example.shape[1:])
    whole = example.dtype == torch.int64
    x = torch.randint(0, int(example.max()) + 1, shape, generator=draw) if whole else torch.randn(shape, generator=draw)
    with torch.no_grad():
        expected = net.eval()(x)
        expected = expected["out"] if isinstance(expected, dict) else expected
        torch.testing.assert_close(done.model(x), expected, rtol=1e-5, atol=1e-5 * float(expected.abs().max()))
    return done


def golden(name: str, text: str) -> None:
    file = GOLDEN / f"{name}.frac"
    if os.environ.get("UPDATE_GOLDEN"):
        file.write_text(text, encoding="utf-8")
    assert text == file.read_text("utf-8")


@pytest.mark.parametrize("name", NETS)
def test_nets_of_torchvision_come_back(name: str) -> None:
    net = small(torchvision_models(), name)
    done = imported(net, torch.zeros(1, *IMAGE))
    golden(name, done.text)
    assert len(done.text.splitlines()) < len(str(net).splitlines()) // 2 or name == "vgg"


def test_a_fractal_net_comes_back_as_its_recurrence() -> None:
    done = imported(FractalNet(), torch.zeros(1, 3, 32, 32))
    golden("fractalnet", done.text)
    rule = re.search(r"rule .*?\n}", done.text, re.S)
    assert rule is not None and "F[n+1] = F[n] >> F[n] | conv_block(out)" in rule[0]
    assert "F[4](w)" in done.text


@pytest.mark.parametrize("columns", [3, 5])
def test_a_fractal_net_of_any_columns_is_one_rule(columns: int) -> None:
    text = imported(FractalNet(columns, (4,)), torch.zeros(1, 3, 16, 16)).text
    assert f"= F[{columns}] >>" in text and len(text.splitlines()) < 15


def test_an_encoder_of_tokens_comes_back() -> None:
    golden("encoder", imported(Encoder(), torch.full((1, 12), 49)).text)


# --- single operations


def sequential(*layers: nn.Module) -> nn.Module:
    return nn.Sequential(*layers)


MODULES: dict[str, tuple[tuple[int, ...], nn.Module]] = {
    "conv": ((3, 9, 8), nn.Conv2d(3, 6, (3, 1), (2, 1), (1, 0), groups=3, padding_mode="reflect")),
    "same": ((3, 9, 8), nn.Conv2d(3, 6, 3, padding="same", dilation=2)),
    "transposed": ((3, 5), nn.ConvTranspose1d(3, 4, 3, 2, 1, 1)),
    "norms": ((4, 6, 6), sequential(nn.GroupNorm(2, 4), nn.InstanceNorm2d(4, affine=True), nn.LocalResponseNorm(2))),
    "pools": ((4, 9, 9), sequential(nn.MaxPool2d(3, 2, 1, ceil_mode=True), nn.AdaptiveMaxPool2d((2, 3)))),
    "activations": ((4, 6), sequential(nn.LeakyReLU(0.2), nn.PReLU(4), nn.Softplus(2.0), nn.Softmax(-1))),
    "lstm": ((5, 4), nn.LSTM(4, 3, 2, batch_first=True, bidirectional=True)),
    "upsample": ((2, 4, 4), nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True)),
    "pad": ((2, 4, 4), sequential(nn.ZeroPad2d((1, 2, 0, 1)), nn.PixelShuffle(1), nn.Flatten(2))),
}  # fmt: skip


class First(nn.Module):
    """The first output of a module that has several."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x)[0]


@pytest.mark.parametrize("name", MODULES)
def test_modules_keep_their_arguments(name: str) -> None:
    shape, module = MODULES[name]
    imported(First(module) if name == "lstm" else module, torch.zeros(1, *shape))


class Fn(nn.Module):
    """A function as a module, with a weight."""

    def __init__(self, function: Callable[..., Tensor], *weight: int) -> None:
        super().__init__()
        self.function = function
        if weight:
            self.weight = nn.Parameter(torch.randn(*weight))

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x, self.weight) if hasattr(self, "weight") else self.function(x)


FUNCTIONS: dict[str, tuple[Callable[..., Tensor], str]] = {
    "sum": (lambda x: x.relu() + F.gelu(x) + x, "sum(relu, gelu, id)"),
    "sum in place": (lambda x: F.silu(x).add_(x), "sum(id, silu)"),
    "mean": (lambda x: torch.stack([x, x.tanh()], 2).mean(2), "mean(id, tanh)"),
    "max": (lambda x: torch.maximum(x.tanh(), x.sigmoid()), "max(tanh, sigmoid)"),
    "concat": (lambda x: torch.cat([x, x.relu()], -1), "concat(id, relu, dim=3)"),
    "view": (lambda x: x.relu().view(x.size(0), -1), "relu >> flatten"),
    "pooled view": (lambda x: F.adaptive_avg_pool2d(x, (1, 1)).reshape(x.shape[0], x.shape[1]), "global_avgpool"),
    "permute": (lambda x: x.permute(0, 1, 3, 2).contiguous(), "transpose(2, 3)"),
    "product": (lambda x: x * F.adaptive_avg_pool2d(x, 1).sigmoid(), "product(id, adaptiveavgpool2d(1) >> sigmoid)"),
    "slices": (lambda x: x[:, :, 1:4, :-1].chunk(2, 2)[1], "slice(3, stop=5) >> slice(2, start=2)"),
    "selected": (lambda x: x.flatten(2).transpose(1, 2)[:, 0], "transpose(1, 2) >> slice(1, stop=1) >> flatten"),
    "last step": (lambda x: x.flatten(2)[:, -1], "last_step"),
    "channels last": (lambda x: x.permute(0, 2, 3, 1), "permute([2, 3, 1])"),
    "channels last mean": (lambda x: x.permute(0, 2, 3, 1).tanh().mean([1, 2]), "permute([3, 1, 2]) >> global_avgpool"),
    "channel shuffle": (lambda x: x.view(-1, 2, 1, 6, 6).transpose(1, 2).reshape(x.shape), "channel_shuffle(2)"),
    "reshape": (lambda x: x.reshape(len(x), 4, 18).unsqueeze(1), "= reshape([1, 4, 18])"),
    "roll": (lambda x: x.roll((1, -2), (2, 3)), "roll([1, -2], [2, 3])"),
    "minimum": (lambda x: torch.minimum(x.tanh(), x.sigmoid()), "min(tanh, sigmoid)"),
    "sequence mean": (lambda x: x.flatten(2).mean(1), "sequence_mean"),
    "interpolate": (lambda x: F.interpolate(x, size=(12, 18)), "upsample([2, 3])"),
    "pad channels": (lambda x: F.pad(x, (0, 0, 0, 1, 2, 0)), "zeropad3d([0, 0, 0, 1, 2, 0])"),
    "interpolate to any size": (lambda x: F.interpolate(x, size=(5, 7), mode="bilinear"), "upsample([0.8333333334, "),
    "interpolate sequences": (
        lambda x: F.interpolate(x.flatten(2), size=54, mode="linear"),
        'upsample(1.5, mode="linear")',
    ),
    "in place, read twice": (lambda x: (y := x.sigmoid(), y.relu_() + y.tanh())[1], "sigmoid >> relu >> sum(id, tanh)"),
    "nested concat": (lambda x: torch.cat([x, a := x.relu(), a.tanh()], 1), "concat(id, relu >> concat(id, tanh))"),
}  # fmt: skip


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_become_layers_and_joins(name: str) -> None:
    function, expected = FUNCTIONS[name]
    text = imported(Fn(function), torch.zeros(1, 2, 6, 6)).text
    assert expected in text


class Tokens(nn.Module):
    """A class token, positions and a learned factor, as in a vision transformer with layer scale."""

    def __init__(self) -> None:
        super().__init__()
        self.token, self.positions = nn.Parameter(torch.randn(1, 1, 4)), nn.Parameter(torch.randn(1, 7, 4))
        self.gamma = nn.Parameter(torch.randn(4))

    def forward(self, x: Tensor) -> Tensor:
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], dim=1) + self.positions
        return x + self.gamma * F.gelu(x)


def test_parameters_of_a_module_are_layers() -> None:
    text = imported(Tokens(), torch.zeros(1, 6, 4)).text
    assert "class_token >> positions >> sum(id, gelu >> scale(dim=-1))" in text


def test_shared_weights_are_shared() -> None:
    conv = nn.Conv2d(4, 4, 3, padding=1)
    done = imported(nn.Sequential(conv, nn.ReLU(), conv), torch.zeros(1, 4, 6, 6))
    assert "shared shared_conv = conv2d(4, 3, padding=1)" in done.text


def test_the_module_stays_as_it_was() -> None:
    net = small(torchvision_models(), "squeezenet1_1").train()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    read(net, torch.zeros(1, *IMAGE))
    assert all(m.training for m in net.modules())
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


class Cell(nn.Module):
    """Two steps that several others read across each other."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        p, q = self.a(x), self.b(x)
        return torch.maximum((p + q).relu(), p.tanh() + q.sigmoid())


def test_graphs_that_are_not_nested_name_their_values() -> None:
    text = imported(nn.Sequential(Cell(), Cell(), nn.ReLU(), Cell()), torch.zeros(1, 4, 6, 6)).text
    assert "cell ** 2 >> relu >> cell" in text
    assert "where a = conv2d(4, 3, padding=1), b = conv2d(4, 1)" in text


def test_a_mean_that_is_no_level_of_a_rule_names_its_values() -> None:
    def mean(x: Tensor) -> Tensor:
        a = x.tanh()
        return (x.relu() + a.sigmoid() + F.silu(a)) / 3

    text = imported(Fn(mean), torch.zeros(1, 4)).text
    assert "mean(relu, a >> sigmoid, a >> silu) where a = tanh" in text


# --- refusals


class Branching(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        if x.sum() > 0:  # here
            return x.relu()
        return x


class Item(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * x.max().item()  # here


class Counting(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return x.relu()


class Calls(nn.Module):
    """Its output depends on how often it ran."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return x * self.calls


class Mean(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(4))

    def forward(self, x: Tensor) -> Tensor:  # here
        self.mean.mul_(0.9).add_(x.mean((0, 1, 2)))
        return x - self.mean


class Random(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x + torch.rand_like(x)  # here


class Positive(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x[x > 0]  # here


class Complex(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.fft.fft2(x).real  # here


class Sorting(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.relu().sort(-1)[0]  # here


class HalfShared(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 4)
        self.b.weight = self.a.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.b(self.a(x))


def hooked() -> nn.Module:
    net = nn.Sequential(nn.Linear(4, 4))
    net[0].register_forward_hook(lambda module, args, output: output + 1)
    return net


class Inside(nn.Module):
    """A module inside another, so that refusals have a path to name."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x.tanh())


REFUSED: dict[str, tuple[Callable[[], nn.Module], str, bool]] = {
    "control flow": (Branching, "control flow depends on", True),
    "item": (Item, "the maximum over an axis", True),
    "buffer": (Counting, "changes its buffer or attribute `calls`", False),
    "mean": (Mean, "changes its buffer or attribute `mean`", True),
    "random": (Random, "`rand_like`", True),
    "index": (Positive, "`gt`", True),
    "complex": (Complex, "complex", True),
    "unknown": (Sorting, "`sort`", True),
    "hook": (hooked, "it has hooks", False),
    "half-shared": (HalfShared, "shares", False),
    "double": (lambda: nn.Linear(4, 4).double(), "float64, not float32; convert it with .float()", False),
    "weight norm": (lambda: nn.utils.parametrizations.weight_norm(nn.Linear(4, 4)), "remove parametrizations", False),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refusals_name_the_place(name: str) -> None:
    make, message, line = REFUSED[name]
    with pytest.raises(Refusal) as refused:
        read(Inside(make()), torch.randn(2, 3, 4, 4))
    text = str(refused.value)
    assert message in text
    assert "in module inner" in text or not line
    if line:
        assert re.search(r"test_import_torch\.py:\d+: .*# here", text)


def test_modules_with_state_are_refused(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(Refusal, match="computes something else when it runs again"):
        read(Inside(Calls()), torch.zeros(1, 4))
    with pytest.raises(Refusal, match="control flow"):
        read(Inside(Branching()), torch.zeros(1, 4))
    assert capfd.readouterr() == ("", "")  # torch.export prints the graph


@pytest.mark.parametrize(
    ("example", "message"),
    [(torch.zeros(4), "needs the batch"), (torch.zeros(1, 4).double(), "float64"), ([1], "is int, not a tensor")],
)
def test_examples_that_are_no_input_are_refused(example: object, message: str) -> None:
    with pytest.raises(Refusal, match=message):
        read(nn.Linear(4, 4), example)  # pyright: ignore[reportArgumentType]


def test_a_net_that_amplifies_rounding_is_compared_in_float64(monkeypatch: pytest.MonkeyPatch) -> None:
    net = nn.Sequential(nn.Linear(4, 4), nn.Tanh())

    def rough(module: nn.Module, x: Examples) -> tuple[Outputs, bool]:
        expected, stable = outputs(module, x)
        return {path: y * (1 + 1e-3) for path, y in expected.items()}, stable

    monkeypatch.setattr("fractal_dsl.importing.reading.outputs", rough)
    assert read(net, torch.zeros(1, 4)).comparison.difference < 1e-12
    assert {p.dtype for p in net.parameters()} == {torch.float32}
    assert {p.dtype for p in read(net, torch.zeros(1, 4)).model.parameters()} == {torch.float32}


def test_a_wrong_text_would_be_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever goes wrong on the way, the text is compared with the module."""
    monkeypatch.setattr("fractal_dsl.importing.functions.FUNCTIONS", {})
    import fractal_dsl.importing.lowering as lowering

    monkeypatch.setitem(lowering.FUNCTIONS, "relu", lowering.FUNCTIONS["tanh"])
    net = nn.Sequential(nn.Linear(4, 4), nn.Sigmoid(), Fn(lambda x: x + torch.relu(x)))
    place = r"computes something else .*\n  in module 2 \(Fn\)\n  at .*test_import_torch.py:\d+: net = "
    with pytest.raises(Refusal, match=place):
        read(net, torch.zeros(1, 4))
    with pytest.raises(Refusal) as refused:  # a file of torch.export
        read(torch.export.export(net.eval(), (torch.zeros(2, 4),)), torch.zeros(2, 4))
    assert re.search(r"test_import_torch.py:\d+: ", str(refused.value)) and "<eval" not in str(refused.value)


class Repeating(nn.Module):
    """A join of the outputs of two layers, in an order with repetitions."""

    def __init__(self, join: Callable[[list[Tensor]], Tensor], order: str) -> None:
        super().__init__()
        self.join, self.order = join, order
        self.a, self.b = nn.Conv2d(3, 4, 1), nn.Conv2d(3, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        values = {"a": self.a(x), "b": self.b(x)}
        return self.join([values[name] for name in self.order])


@pytest.mark.parametrize("order", ["aab", "aba", "baa", "abab", "aa"])
@pytest.mark.parametrize(
    "join", [lambda t: torch.stack(t).mean(0), lambda t: torch.cat(t, 1), sum], ids="mean cat sum".split()
)
def test_a_join_may_repeat_an_operand(join: Callable[[list[Tensor]], Tensor], order: str) -> None:
    assert "conv2d(4, 1)" in read(Repeating(join, order), torch.zeros(1, 3, 4, 4)).text


class Nested(nn.Module):
    """A join of a join of a join."""

    def __init__(self, join: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.join, self.convs = join, nn.ModuleList(nn.Conv2d(3, 3, 1) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        y = self.convs[0](x)
        for conv in self.convs[1:]:
            y = self.join(y, conv(x))
        return y


@pytest.mark.parametrize(
    ("join", "word"),
    [
        (torch.mul, "product(conv2d(3, 1), conv2d(3, 1), conv2d(3, 1), conv2d(3, 1))"),
        (torch.minimum, "min(conv2d(3, 1), conv2d(3, 1), conv2d(3, 1), conv2d(3, 1))"),
        (
            lambda a, b: torch.stack([a, b]).mean(0),
            "mean(mean(mean(conv2d(3, 1), conv2d(3, 1)), conv2d(3, 1)), conv2d(3, 1))",
        ),
    ],
    ids="product min mean".split(),
)
def test_a_join_of_a_join_is_a_level_of_a_rule_only_if_it_is_associative(
    join: Callable[[Tensor, Tensor], Tensor], word: str
) -> None:
    assert word in " ".join(imported(Nested(join), torch.zeros(1, 3, 4, 4)).text.split()).replace("( ", "(").replace(
        " )", ")"
    )


# --- there and back


@settings(
    max_examples=examples(12),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    phases=set(Phase) - {Phase.shrink},
)
@given(program=programs(), seed=st.integers(0, 2**31))
def test_programs_come_back_from_their_modules(program: Program, seed: int) -> None:
    model = build(fractal_dsl.compile_text(program.text, allow_python=True), seed).eval()
    scramble_norms(model)
    shapes = [(2, *sizes) for sizes in program.inputs.values()]
    x = [torch.full(shape, program.tokens - 1) if program.tokens else torch.randn(shape) for shape in shapes]
    try:
        first = read(model, x, name="N")
        again = read(first.model, x, name="N").text
    except Refusal as refusal:  # Python code, and what the importer cannot read yet: a refusal is no wrong net
        assert "would have an error" not in str(refusal)
        reject()
    assert len(words_of(again)) == len(words_of(first.text)), f"{first.text}\n{again}"  # names follow those of modules


def words_of(text: str) -> list[str]:
    """The words and signs of a text, whatever its lines."""
    return re.findall(r"\w+|[^\w\s]", text)


def test_the_weights_of_an_artifact_are_the_modules(tmp_path: Path) -> None:
    net = FractalNet(3, (4, 8))
    done = imported(net, torch.zeros(1, 3, 16, 16))
    save_artifact(done.compiled, done.model, tmp_path / "net")
    x = torch.randn(2, 3, 16, 16)
    torch.testing.assert_close(load_artifact(tmp_path / "net")(x), net.eval()(x))


def test_from_torch_is_public() -> None:
    assert fractal_dsl.from_torch(nn.Linear(3, 2), torch.zeros(1, 3), name="Line").startswith("frac 1")


class Splits(nn.Module):
    """Splits into parts that are not equal, and shuffles channels."""

    def __init__(self, places: int | tuple[int, ...]) -> None:
        super().__init__()
        self.places, self.shuffle = places, nn.ChannelShuffle(7)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        parts = torch.tensor_split(self.shuffle(x), self.places, 1)
        return torch.cat([part.tanh() for part in reversed(parts)], 1)


@pytest.mark.parametrize("places", [2, 3, 7, (1, 3), (2,)])
def test_uneven_parts_of_the_channels_come_back(places: int | tuple[int, ...]) -> None:
    read(Splits(places), torch.randn(2, 7, 4, 4))


class Anchored(nn.Module):
    """Joins nested like the levels of a rule, each with a branch from one and the same tensor."""

    def __init__(self, depth: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(4, 4, 1)
        self.convs = nn.ModuleList(nn.Conv2d(4, 4, 3, padding=1, bias=False) for _ in range(depth + 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        a = self.stem(x).relu()
        y = self.convs[0](x)
        for conv in self.convs[1:]:
            y = y * conv(a)
        return torch.maximum(y, a)


@pytest.mark.parametrize("depth", [1, 2, 3, 5])
def test_levels_that_read_a_tensor_from_outside_are_no_rule(depth: int) -> None:
    read(Anchored(depth), torch.randn(2, 4, 5, 5))


class Excited(nn.Module):
    """Parts whose widths differ in a submodule that has the name of a class around it."""

    class Squeeze(nn.Module):
        def __init__(self, width: int, hidden: int) -> None:
            super().__init__()
            self.down, self.up = nn.Conv2d(width, hidden, 1), nn.Conv2d(hidden, width, 1)

        def forward(self, x: Tensor) -> Tensor:
            return x * self.up(self.down(x.mean((2, 3), keepdim=True)).relu()).sigmoid()

    def __init__(self, width: int, squeeze: int) -> None:
        super().__init__()
        self.squeeze, self.last = self.Squeeze(width, squeeze), nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.last(self.squeeze(x)).tanh()


def test_a_parameter_has_not_the_name_of_a_layer() -> None:
    widen = [nn.Conv2d(a, b, 1) for a, b in ((3, 8), (8, 12), (12, 10))]
    parts = [part for w, m in zip(widen, ((8, 2), (12, 5), (10, 3)), strict=True) for part in (w, Excited(*m))]
    text = imported(nn.Sequential(*parts), torch.zeros(1, 3, 6, 6)).text
    assert len(re.findall(r"^layer squeeze\d*\(", text, re.M)) >= 1


class ZeroBranch(nn.Module):
    """A residual branch whose norm begins with a scale of 0, as many nets begin."""

    def __init__(self, joined: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.conv, self.norm, self.joined = nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4), joined
        nn.init.zeros_(self.norm.weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.joined(x, self.norm(self.conv(x)))


def _view_changed(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    z = y.view(-1, 4, 64)
    z *= 3
    return x + y


def _part_changed(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    torch.relu_(y[:, :2])
    return x + y


def _by_the_batch(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return x + y * x.size(0)


def _floored(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return x + torch.div(y, 2, rounding_mode="floor")


@pytest.mark.parametrize("joined", [_view_changed, _part_changed, _by_the_batch, _floored])
def test_a_branch_of_zeros_hides_nothing(joined: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]) -> None:
    module = ZeroBranch(joined)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    with pytest.raises(Refusal):
        read(module, torch.zeros(1, 4, 8, 8))
    assert all(torch.equal(before[name], value) for name, value in module.state_dict().items())
