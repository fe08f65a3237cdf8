"""Compiled networks as folders: the same function to the last bit, and damage is refused."""

from __future__ import annotations

import importlib.util
import json
import pickletools
from pathlib import Path
from types import ModuleType

import pytest
import safetensors.torch as st
import torch
from hypothesis import example, given, settings

from fractal_dsl.base.errors import UserError
from fractal_dsl.compiled import Compiled
from fractal_dsl.pipeline import compile_file, compile_text
from fractal_dsl.runtime import FractalModule, build
from fractal_dsl.runtime.artifact import load_artifact, model_source, save_artifact
from fractal_dsl.runtime.fit import tensors_of
from tests.support.effort import examples
from tests.support.oracle import Spec, specs

EXAMPLES = Path(__file__).parent.parent / "examples"

RESIDUAL = """
layer norm_relu = batchnorm2d >> relu
layer bottleneck(out: int, stride: int = 1) = sum(
    conv2d(out // 2, 1) >> norm_relu >> conv2d(out, 3, stride=stride, padding=1) >> batchnorm2d,
    project(out, stride)) >> relu
layer stage(out: int, blocks: int, stride: int) = bottleneck(out, stride) >> bottleneck(out) ** (blocks - 1)
layer class(n: int) = linear(n)
layer forward(n: int) = linear(n)
join squash(out: int) = concat >> conv2d(out, 1)
rule G(out: int) join squash(out) {
    G[1]   = conv2d(out, 3, padding=1) | id
    G[n+1] = G[n] >> norm_relu >> G[n] | conv2d(out, 1) ** 2
        | max(project(4), conv2d(4, 1), G[1](4) >> project(4)) >> project(6)
}
net R(x: f32[4, 12, 12]) -> f32[30]
    with drop_path(local=20%, global=50%)
    = stage(4, 2, 1) >> stage(8, 3, 2) >> G[2](4).each(maxpool2d(2)) >> G[1](5)
    >> concat(global_avgpool, adaptivemaxpool2d(1) >> flatten, dim=-1) >> linear(30)
    >> class(12) >> forward(30) >> class(30) >> seq(linear(30) @tag("head"))
"""


def residual() -> Compiled:
    return compile_text(RESIDUAL)


def module_of(source: str) -> ModuleType:
    module = ModuleType("model")
    exec(compile(source, "model.py", "exec"), module.__dict__)
    return module


def trained(compiled: Compiled) -> FractalModule:
    """A net whose batch norms have seen something."""
    model = build(compiled, seed=4).train()
    for step in range(4):
        model.run(inputs(model, step), model.plan(0, step))
    return model.eval()


def inputs(model: FractalModule, seed: int) -> torch.Tensor:
    return torch.randn(3, *model.input.shape, generator=torch.Generator().manual_seed(seed))


def assert_source_equals(compiled: Compiled, model: FractalModule, column: int | None = None) -> None:
    source = model_source(compiled, model.join_graph, column)
    plain = getattr(module_of(source), compiled.program.net)()
    plain.load_state_dict({k: v for k, v in tensors_of(model).items() if "_column" not in k.rpartition(".")[2]})
    x = inputs(model, 9)
    with torch.no_grad():
        torch.testing.assert_close(plain.eval()(x), model(x), rtol=0, atol=0, equal_nan=True)
    imported = {line.split()[1] for line in source.splitlines() if line.startswith(("import ", "from "))}
    assert imported <= {"torch", "collections", "__future__"}


@pytest.mark.parametrize("name", ["digits", "plain", "fractalnet_deep"])
def test_model_py_is_the_same_function_to_the_last_bit(name: str) -> None:
    compiled = compile_file(EXAMPLES / f"{name}.frac")
    model = trained(compiled)
    assert_source_equals(compiled, model)
    assert_source_equals(compiled, model.extract(1).eval(), 1)


def test_model_py_of_residual_and_nested_blocks() -> None:
    compiled = residual()
    model = trained(compiled)
    assert_source_equals(compiled, model)
    for k in range(1, model.n_columns + 1):
        assert torch.equal(model.extract(k)(inputs(model, 1)), model.column(k)(inputs(model, 1)))
        assert_source_equals(compiled, model.extract(k).eval(), k)


@settings(max_examples=examples(25))
@given(spec=specs)
@example(spec=Spec([["id"], ["id"]], [["F", "conv"]], "concat", 2, 1, False))  # a block that begins with a join
def test_model_py_of_random_rules(spec: Spec) -> None:
    compiled = compile_text(spec.text())
    if compiled.summary.base_layers < 60:
        assert_source_equals(compiled, build(compiled, 1).eval())


def test_model_py_is_for_reading() -> None:
    """Golden text: the source of the demo's net."""
    compiled = compile_file(EXAMPLES / "digits.frac")
    golden = Path(__file__).parent / "golden" / "digits_model.py.txt"
    source = model_source(compiled, compiled.graph)
    if not golden.exists():
        golden.write_text(source)
    assert source == golden.read_text()


def test_artifact_comes_back_as_it_was(tmp_path: Path) -> None:
    compiled = residual()
    model = trained(compiled)
    save_artifact(compiled, model, tmp_path / "net")
    again = load_artifact(tmp_path / "net")
    assert isinstance(again, torch.fx.GraphModule)
    x = inputs(model, 5)
    assert torch.equal(again(x), model(x))
    for k in range(1, model.n_columns + 1):
        assert torch.equal(again.column(k)(x), model.column(k)(x))
    assert {f.name for f in (tmp_path / "net").iterdir()} == {
        "spec", "model.py", "weights.safetensors", "columns.safetensors", "manifest.json",
    }  # fmt: skip
    assert [f for f in tmp_path.iterdir() if f.name != "net"] == [], "nothing temporary stays"
    (tmp_path / "ordinary").write_text("")
    assert {f.stat().st_mode for f in (tmp_path / "net").rglob("*") if f.is_file()} == {
        (tmp_path / "ordinary").stat().st_mode
    }


def test_model_py_beside_its_weights(tmp_path: Path) -> None:
    compiled = compile_file(EXAMPLES / "digits.frac")
    model = trained(compiled)
    save_artifact(compiled, model, tmp_path / "net")
    spec = importlib.util.spec_from_file_location("model", tmp_path / "net" / "model.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    plain = module.Digits()
    plain.load_state_dict(st.load_file(tmp_path / "net" / "weights.safetensors"))
    x = inputs(model, 2)
    assert torch.equal(plain.eval()(x), model(x))


def test_artifact_holds_no_pickles(tmp_path: Path) -> None:
    compiled = compile_file(EXAMPLES / "digits.frac")
    save_artifact(compiled, build(compiled), tmp_path / "net")
    for file in (f for f in (tmp_path / "net").rglob("*") if f.is_file()):
        with pytest.raises(Exception):  # noqa: B017
            list(pickletools.genops(file.read_bytes()))


@pytest.mark.parametrize("part", ["spec/digits.frac", "model.py", "weights.safetensors", "columns.safetensors"])
@pytest.mark.parametrize("how", ["missing", "altered", "cut"])
def test_damage_is_refused_by_name(tmp_path: Path, part: str, how: str) -> None:
    compiled = compile_file(EXAMPLES / "digits.frac")
    save_artifact(compiled, build(compiled), tmp_path / "net")
    file = tmp_path / "net" / part
    data = file.read_bytes()
    match how:
        case "missing":
            file.unlink()
        case "altered":
            file.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
        case _:
            file.write_bytes(data[: len(data) // 2])
    with pytest.raises(UserError, match=part.replace(".", r"\.")):
        load_artifact(tmp_path / "net")


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"format": "fractal_dsl network"}', '{"format": 3}'])
def test_damaged_manifest_is_refused(tmp_path: Path, text: str) -> None:
    compiled = compile_file(EXAMPLES / "digits.frac")
    save_artifact(compiled, build(compiled), tmp_path / "net")
    (tmp_path / "net" / "manifest.json").write_text(text)
    with pytest.raises(UserError, match=r"manifest\.json"):
        load_artifact(tmp_path / "net")


def test_manifest_that_reaches_outside_is_refused(tmp_path: Path) -> None:
    compiled = compile_file(EXAMPLES / "digits.frac")
    save_artifact(compiled, build(compiled), tmp_path / "net")
    path = tmp_path / "net" / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["files"]["../../secret"] = "0"
    path.write_text(json.dumps(manifest))
    with pytest.raises(UserError):
        load_artifact(tmp_path / "net")


def test_weights_of_another_net_are_refused(tmp_path: Path) -> None:
    from fractal_dsl.base.manifest import sha256, write_manifest

    for columns in ("2", "3"):
        compiled = compile_file(EXAMPLES / "digits.frac", {"columns": columns})
        save_artifact(compiled, build(compiled), tmp_path / columns)
    target = tmp_path / "3" / "weights.safetensors"
    target.write_bytes((tmp_path / "2" / "weights.safetensors").read_bytes())
    path = tmp_path / "3" / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["files"][target.name] = sha256(target)
    write_manifest(tmp_path / "3", manifest)
    with pytest.raises(UserError, match="do not fit"):
        load_artifact(tmp_path / "3")


def test_a_folder_of_something_else_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("precious")
    compiled = compile_file(EXAMPLES / "digits.frac")
    with pytest.raises(UserError, match="not a compiled network"):
        save_artifact(compiled, build(compiled), tmp_path / "mine")
    assert (tmp_path / "mine" / "thesis.tex").read_text() == "precious"
    save_artifact(compiled, build(compiled, 1), tmp_path / "net")
    save_artifact(compiled, build(compiled, 2), tmp_path / "net")
    assert load_artifact(tmp_path / "net").seed == 2


def test_unwritable_output_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    compiled = compile_file(EXAMPLES / "digits.frac")
    with pytest.raises(UserError, match="cannot write"):
        save_artifact(compiled, build(compiled), tmp_path / "file" / "net")


def test_flat_module_with_provenance_on_every_node() -> None:
    model = build(compile_file(EXAMPLES / "digits.frac"))
    model.graph.lint()
    assert not any(isinstance(m, torch.fx.GraphModule) for name, m in model.named_modules() if name)
    for node in model.graph.nodes:
        if node.op in ("call_module", "call_function"):
            trace = node.meta["stack_trace"]
            assert 'digits.frac", line ' in trace and "in " in trace and "net Digits" in trace
    names = [node.target for node in model.graph.nodes if node.op == "call_module"]
    assert "block2.column3.conv4.batchnorm2d" in names


def test_torch_export_takes_it_with_a_dynamic_batch() -> None:
    model = trained(compile_file(EXAMPLES / "digits.frac"))
    batch = torch.export.Dim("batch", min=2)
    exported = torch.export.export(model, (inputs(model, 0),), dynamic_shapes=({0: batch},)).module()
    x = torch.cat([inputs(model, 1), inputs(model, 2)])
    torch.testing.assert_close(exported(x), model(x))


@pytest.mark.parametrize(
    ("key", "value"), [("net", 3), ("params", {"columns": 2}), ("column", "a"), ("seed", "q"), ("input", "f32[3]")]
)
def test_an_altered_manifest_is_refused(tmp_path: Path, key: str, value: object) -> None:
    compiled = compile_file(EXAMPLES / "digits.frac")
    save_artifact(compiled, build(compiled), tmp_path / "net")
    path = tmp_path / "net" / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), key: value}))
    with pytest.raises(UserError, match=r"manifest\.json is damaged"):
        load_artifact(tmp_path / "net")
