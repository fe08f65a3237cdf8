"""Shared blocks, modules of torch.nn by name, and Python's own layers and joins."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from fractal_dsl.compiled import Compiled
from fractal_dsl.graph.graph import Join, Layer
from fractal_dsl.language.diagnostics import FracError
from fractal_dsl.language.source import Source
from fractal_dsl.pipeline import check, compile_file, compile_text, pick
from fractal_dsl.runtime import FractalModule, build
from fractal_dsl.runtime.artifact import load_artifact, model_source, save_artifact
from fractal_dsl.runtime.fit import tensors_of
from tests.test_artifact import inputs, trained

# --- shared

SHARED = """
shared stem = conv2d(4, 3, padding=1) >> batchnorm2d >> relu
rule H join gated { H[1] = conv2d(4, 1)  H[n+1] = H[n] >> H[n] | conv2d(4, 3, padding=1) }
shared side = conv2d(4, 1)
shared deep = H[2] >> stem
rule F join mean { F[1] = stem  F[n+1] = F[n] >> F[n] | stem >> sum(side, conv2d(4, 1)) >> deep }
net N(x: f32[4, 5, 5]) -> f32[7] with drop_path(local=30%, global=50%)
    = F[3] >> deep >> stem >> F[2].each(stem) >> flatten >> linear(7)
"""


def written(compiled: Compiled, model: FractalModule, column: int | None = None) -> tuple[nn.Module, str]:
    """The net of ``model.py``, with the model's weights."""
    source = model_source(compiled, model.join_graph, column)
    names: dict[str, type[nn.Module]] = {}
    exec(compile(source, "model.py", "exec"), names)
    plain = names[compiled.program.net]()
    plain.load_state_dict({k: v for k, v in tensors_of(model).items() if "_column" not in k.rpartition(".")[2]})
    return plain.eval(), source


def test_mentions_of_a_shared_block_are_one_module() -> None:
    c = compile_text(SHARED)
    model = build(c)
    mentions = [n for _, n in c.graph.items() if isinstance(n, Layer) and n.module == "stem.conv2d"]
    assert len(mentions) > 10 and len({n.name for n in mentions}) == len(mentions)
    targets = [n.target for n in model.graph.nodes if n.op == "call_module"]
    assert targets.count("stem.conv2d") == len(mentions)
    assert sum(name.startswith("stem.conv2d") for name in model.state_dict()) == 2


def test_shared_parameters_count_once_as_a_whole_and_by_column() -> None:
    c = compile_text(SHARED)
    model = build(c, device="meta")
    assert c.summary.params == sum(p.numel() for p in model.parameters())
    for k, column in enumerate(c.summary.columns, 1):
        assert column.params == sum(p.numel() for p in model.column(k).parameters())
        assert not column.shared
    apart = compile_text(SHARED.replace("shared ", "let "))
    assert apart.summary.params > c.summary.params
    assert (apart.summary.macs, apart.summary.paths) == (c.summary.macs, c.summary.paths)


def test_a_shared_block_is_the_same_block_with_copied_weights() -> None:
    """With all copies equal, separate blocks and the shared one are one function, and gradients add up."""
    text = "KIND s = linear(4) >> tanh\nnet N(x: f32[4]) -> f32[4] = s >> sum(s, s >> linear(4)) >> s"
    one, many = (build(compile_text(text.replace("KIND", kind)), 1).double() for kind in ("shared", "let"))
    layers = [m for m in many.modules() if isinstance(m, nn.Linear)]
    apart = [m for i, m in enumerate(layers) if i != 3]
    shared = one.get_submodule("s.linear")
    assert isinstance(shared, nn.Linear) and len(layers) == 5
    for layer in apart:
        layer.load_state_dict(shared.state_dict())
    layers[3].load_state_dict(one.get_submodule("linear").state_dict())
    x = torch.randn(2, 4, dtype=torch.float64)
    a, b = one(x), many(x)
    torch.testing.assert_close(a, b)
    a.square().sum().backward()
    b.square().sum().backward()
    grads = [m.weight.grad for m in apart]
    assert shared.weight.grad is not None and all(g is not None for g in grads)
    torch.testing.assert_close(shared.weight.grad, torch.stack([g for g in grads if g is not None]).sum(0))


def test_shared_blocks_are_saved_written_and_extracted(tmp_path: Path) -> None:
    c = compile_text(SHARED)
    model = trained(c)
    x = inputs(model, 9)
    plain, _ = written(c, model)
    assert torch.equal(plain(x), model(x))
    save_artifact(c, model, tmp_path / "net")
    again = load_artifact(tmp_path / "net")
    assert torch.equal(again(x), model(x))
    for k in range(1, model.n_columns + 1):
        expected = model.run(x, model.column_plan(k))
        for alone in (model.column(k), again.column(k), model.extract(k), written(c, model.extract(k), k)[0]):
            torch.testing.assert_close(alone(x), expected)


def test_a_shared_block_takes_any_size_that_needs_the_same_weights() -> None:
    c = compile_text("shared s = conv2d(4, 3)\nnet N(x: f32[4, 9, 9]) -> f32[4, 5, 5] = s >> s")
    assert c.summary.params == 4 * 4 * 9 + 4
    with pytest.raises(FracError, match=r"needs different weights for f32\[3, 9, 9\] and f32\[4, 7, 7\]"):
        compile_text("shared s = conv2d(4, 3)\nnet N(x: f32[3, 9, 9]) -> f32[4, 5, 5] = s >> s")


def test_shared_is_for_blocks() -> None:
    with pytest.raises(FracError, match="expected a block, found int"):
        compile_text("shared s = 3\nnet N(x: f32[4]) -> f32[4] = s")


# --- torch.nn by name


@pytest.mark.parametrize(
    ("call", "into", "out"),
    [
        ("nn.Hardtanh(-0.5, 0.5)", "f32[8]", "f32[8]"),
        ("nn.Hardtanh(min_val=-1.0)", "f32[2, 3]", "f32[2, 3]"),
        ("nn.Unflatten(1, [2, 4])", "f32[8]", "f32[2, 4]"),
        ("nn.Conv2d(3, 8, 3, padding=1)", "f32[3, 6, 6]", "f32[8, 6, 6]"),
        ("nn.LPPool2d(2, [2, 3])", "f32[3, 6, 6]", "f32[3, 3, 2]"),
        ("nn.RMSNorm(8)", "f32[5, 8]", "f32[5, 8]"),
        ("nn.TransformerEncoderLayer(8, 2, 16, batch_first=true)", "f32[5, 8]", "f32[5, 8]"),
        ("nn.Embedding(9, 4)", "i64[5]", "f32[5, 4]"),
        ("nn.Tanh", "f32[8]", "f32[8]"),
    ],
)
def test_modules_of_torch_by_name(call: str, into: str, out: str) -> None:
    c = compile_text(f"net N(x: {into}) -> {out} = {call}")
    assert c.graph.stage == "labelled"
    model = build(c, 1).eval()
    assert c.summary.params == sum(p.numel() for p in model.parameters())
    size = (3, *c.program.input.shape)
    x = torch.randint(0, 9, size) if into[0] == "i" else torch.randn(size)
    assert tuple(model(x).shape[1:]) == c.summary.output_shape
    plain, source = written(c, model)
    assert torch.equal(plain(x), model(x))
    assert call.partition("(")[0] + "(" in source


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ("nn.Hardtan()", "torch.nn has no layer `Hardtan`"),
        ("nn.Hardtan()", "did you mean `nn.Hardtanh`"),
        ("nn.LSTM(8, 8)", "`nn.LSTM` does not map one tensor to one tensor"),
        ("nn.ReLU(true)", "works in place"),
        ("nn.LSTM(8, 8)", "use the built-in layer `lstm`"),
        ("nn.functional", "torch.nn has no layer `functional`"),
        ("nn.Parameter", "torch.nn has no layer `Parameter`"),
        ("nn.Linear(4, 4)", r"does not take f32\[8\].*\[5, 8\]"),
        ("nn.Linear(4)", "missing 1 required positional argument: 'out_features'"),
        ("nn.Linear(4, 4, nose=1)", "unexpected keyword argument 'nose'"),
        ("nn.Bilinear(8, 8, 8)", r"takes 2 tensors \(input1, input2\)"),
        ("nn.MaxPool1d(2, return_indices=true)", "gives a tuple for"),
        ("nn.Flatten(0)", "does not keep the batch"),
        ("nn.BatchNorm1d(8, eps=0.0)", "eps must be positive"),
        ("nn.CELU(0.0)", "`nn.CELU` fails on random numbers: .*alpha cannot be 0"),
        ("nn.Softplus(beta=0.0)", "`nn.Softplus` fails on random numbers: it gives numbers that are not finite"),
        ("nn.Linear(id, 4)", "`nn.Linear` takes numbers, strings, booleans and lists, found block"),
    ],
)
def test_wrong_modules_of_torch_are_refused(call: str, message: str) -> None:
    with pytest.raises(FracError, match=message):
        compile_text(f"net N(x: f32[8]) -> f32[8] = {call}")


def test_wrong_modules_of_torch_are_found_in_the_backward_pass() -> None:
    with pytest.raises(FracError, match=r"`nn.AdaptiveMaxPool1d` fails on random numbers: in training, "):
        compile_text("net N(x: f32[4, 6]) -> f32[8] = nn.AdaptiveMaxPool1d(0) >> flatten >> linear(8)")


def test_a_layer_passes_its_parameters_to_torch() -> None:
    text = "layer f(w: int, keep: prob) = nn.Linear(8, w) >> nn.Dropout(keep)\nnet N(x: f32[8]) -> f32[4] = f(4, 20%)"
    model = build(compile_text(text))
    assert [m.p for m in model.modules() if isinstance(m, nn.Dropout)] == [0.2]


@pytest.mark.slow
def test_only_specs_that_use_torchs_modules_load_torch() -> None:
    code = """
import sys
from fractal_dsl.pipeline import compile_text
compile_text("net N(x: f32[8]) -> f32[8] = tanh >> gated(linear(8), lstm_free)" .replace("lstm_free", "id"))
assert "torch" not in sys.modules
compile_text("net N(x: f32[8]) -> f32[8] = nn.Tanh()")
assert "torch" in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)


# --- recurrent


def test_recurrent_layers_are_torchs() -> None:
    c = compile_text("net N(x: f32[5, 3]) -> f32[5, 8] = gru(4, 2, bidirectional=true)")
    model = build(c, 1).eval()
    reference = nn.GRU(3, 4, 2, batch_first=True, bidirectional=True)
    reference.load_state_dict({k.removeprefix("gru.layer."): v for k, v in model.state_dict().items()})
    x = inputs(model, 0)
    assert torch.equal(model(x), reference(x)[0])
    assert torch.equal(written(c, model)[0](x), model(x))


# --- Python's own

CODE = """
import torch
from torch import nn

class Scale(nn.Module):
    def __init__(self, features: int, start: float = 1.0, steps: tuple = ()):
        super().__init__()
        self.weight = nn.Parameter(torch.full((features,), start))
    def forward(self, x):
        return x * self.weight

class Two(nn.Module):
    def forward(self, x):
        return x, x

class Farthest(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
    def forward(self, *operands):
        return self.weight * (operands[0] - operands[-1] / len(operands))
"""

EXTERN = """
extern layer scale(features: int, start: float = 2.0, steps: [int] = [1]) from "mine.parts:Scale"
extern join far(width: int) from "mine.parts:Farthest"
join j(w: int) = far(w) >> tanh
rule F(w: int) join j(w) { F[1] = scale(w)  F[n+1] = F[n] >> F[n] | linear(w) }
net N(x: f32[6]) -> f32[6] with drop_path(local=30%, global=50%) = F[3](6) >> far(id, linear(6), width=6)
"""


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "parts.py").write_text(CODE)
    monkeypatch.syspath_prepend(tmp_path)


def with_python(text: str) -> Compiled:
    """The last net of a text that may run Python."""
    return pick(check(Source("spec.frac", text), allow_python=True), None)


@pytest.mark.usefixtures("mine")
def test_python_classes_are_layers_and_joins() -> None:
    c = with_python(EXTERN)
    model = trained(c)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(torch.randn(p.shape, generator=torch.Generator().manual_seed(p.numel())) / 9)
    assert c.summary.params == sum(p.numel() for p in model.parameters())
    for k, column in enumerate(c.summary.columns, 1):
        assert column.params == sum(p.numel() for p in model.column(k).parameters())
    x = inputs(model, 1)
    plain, source = written(c, model)
    assert torch.equal(plain(x), model(x))
    assert "import mine.parts\n" in source and "mine.parts.Scale(features=6, start=2.0, steps=(1,))" in source
    assert "This file needs torch and, by `extern`, mine.parts." in source
    assert [len(j.labels) for _, j in c.graph.joins()] == [2, 3]
    assert c.summary.joins_raw == sum(isinstance(n, Join) for _, n in c.raw.items())

    layer = model.get_submodule
    for step in range(8):
        plan = model.plan(3, step)
        values = {model.join_graph.input[0]: x}
        flags = iter(plan.live)
        for number, node in model.join_graph.items():
            operands = [values[o] for o in model.join_graph.operands(number)]
            if isinstance(node, Layer):
                values[number] = operands[0] if node.spec.name == "id" else layer(node.name)(operands[0])
            elif isinstance(node, Join):
                on = next(flags) if node.of_columns else (True,) * len(operands)
                alive = [t for t, flag in zip(operands, on, strict=True) if flag]
                values[number] = layer(node.name)(*alive) if len(alive) > 1 else alive[0]
            elif operands:
                values[number] = operands[0]
        torch.testing.assert_close(model.run(x, plan), values[model.join_graph.output[0]])
    for k in range(1, model.n_columns + 1):
        expected = model.run(x, model.column_plan(k))
        for alone in (model.column(k), model.extract(k), written(c, model.extract(k), k)[0]):
            torch.testing.assert_close(alone(x), expected)


@pytest.mark.usefixtures("mine")
@pytest.mark.parametrize(
    ("declaration", "message"),
    [
        ('extern layer f from "mine.parts:Nothing"', "mine.parts:Nothing cannot be loaded: .*no attribute 'Nothing'"),
        ('extern layer f from "mine.nowhere:F"', "No module named 'mine.nowhere'"),
        ('extern layer f from "mine.parts"', "does not name a class of a Python module"),
        ('extern layer f from "math:sqrt"', "not a subclass of torch.nn.Module"),
        ('extern layer f from "mine.parts:Two"', "`extern f` gives a tuple"),
        ('extern layer f(size: int = 3) from "mine.parts:Two"', "`extern f` cannot be made: .*'size'"),
        ('extern layer f(features: int = 3) from "mine.parts:Scale"', r"`extern f` does not take f32\[8\]"),
        ('extern layer f(features: block = id) from "mine.parts:Scale"', "takes numbers, strings, booleans and lists"),
        ('extern layer f(features: int) from "mine.parts:Scale"', "`f` needs `features`"),
        ('extern layer f(a: tuple) from "mine.parts:Scale"', r"unknown type `tuple`(.|\n)*write `\[int\]`"),
        ('extern join f(width: int = 3) from "mine.parts:Farthest"', "give the join its branches in parentheses"),
    ],
)
def test_wrong_python_classes_are_refused(declaration: str, message: str) -> None:
    with pytest.raises(FracError, match=message):
        with_python(f"{declaration}\nnet N(x: f32[8]) -> f32[8] = f")


def test_python_runs_only_where_it_is_allowed() -> None:
    with pytest.raises(FracError, match="--allow-python") as caught:
        compile_text('extern layer f from "this:that"\nnet N(x: f32[8]) -> f32[8] = f >> f')
    assert len(caught.value.diagnostics) == 1
    assert "this" not in sys.modules


def test_python_code_runs_only_where_it_is_allowed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the file to the artifact and back; without leave nothing is imported."""

    (tmp_path / "own_scale.py").write_text(
        "import torch\n\n\nclass Scale(torch.nn.Module):\n"
        "    def __init__(self, k):\n"
        "        super().__init__()\n"
        "        self.k = torch.nn.Parameter(torch.tensor(k))\n\n"
        "    def forward(self, x):\n        return x * self.k\n"
    )
    spec = tmp_path / "spec.frac"
    spec.write_text(
        'extern layer scale(k: float) from "own_scale:Scale"\nnet N(x: f32[3]) -> f32[3] = linear(3) >> scale(0.5)\n'
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(FracError, match="--allow-python"):
        compile_file(spec)
    compiled = compile_file(spec, allow_python=True)
    assert compiled.summary.params == 13
    model = build(compiled, 1).eval()
    save_artifact(compiled, model, tmp_path / "net")
    with pytest.raises(FracError, match="--allow-python"):
        load_artifact(tmp_path / "net")
    x = torch.randn(2, 3)
    assert torch.equal(load_artifact(tmp_path / "net", allow_python=True)(x), model(x))
