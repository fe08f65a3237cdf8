"""torch.fx over a built net: tracing, interpreting, fusing, quantizing, and torchvision's feature extractors."""

from __future__ import annotations

import copy
import importlib
import warnings
from typing import Any, cast

import pytest
import torch
from hypothesis import HealthCheck, Phase, given, settings
from torch import Tensor, fx, nn
from torch.fx.experimental import optimization
from torch.fx.passes.shape_prop import ShapeProp

from fractal_dsl import build, compile_text
from fractal_dsl.runtime import FractalModule
from tests.support import references
from tests.support.effort import examples
from tests.support.programs import Program, programs
from tests.test_programs import build_with_random_norms, compiled, inputs, outputs
from tests.test_replacing import COMPILED, images, net


def rule(join: str, base: str) -> str:
    return f"rule F join {join} {{ F[1] = {base}  F[n+1] = F[n] >> F[n] | {base} }}\n"


def convolutions(join: str) -> str:
    return rule(join, "conv2d(4, 3, padding=1) >> batchnorm2d >> relu") + (
        "net N(x: f32[4, 6, 6]) -> f32[3] with drop_path(local=30%, global=50%) = F[3] >> flatten >> linear(3)"
    )


NETS = {
    **{f"join {join}": (convolutions(join), 0) for join in ("mean", "sum", "max", "gated", "gated(0.3)")},
    "concat": (
        "net N(x: f32[4, 6, 6]) -> f32[3] with drop_path(local=30%)\n"
        "    = concat(conv2d(4, 3, padding=1) >> batchnorm2d, id, conv2d(2, 1)) >> batchnorm2d >> global_avgpool"
        " >> linear(3)",
        0,
    ),
    "shared block": (
        "shared block = conv2d(4, 3, padding=1) >> batchnorm2d >> relu\n"
        + rule("mean", "block")
        + "net N(x: f32[4, 6, 6]) -> f32[4, 6, 6] with drop_path(local=30%, global=50%) = F[3]",
        0,
    ),
    "attention and embedding": (
        rule("mean", "sum(id, layernorm >> attention(2, causal=true))")
        + "net N(x: i64[5]) -> f32[3] with drop_path(local=30%, global=50%)\n"
        "    = embedding(11, 4) >> positions >> F[2] >> lstm(6) >> flatten >> linear(3)",
        11,
    ),
    "shared keys and rotary positions": (
        rule("mean", "sum(id, rmsnorm >> attention(2, causal=true, kv_heads=1, window=3, rotary=true))")
        + "net N(x: i64[5]) -> f32[3] with drop_path(local=30%, global=50%)\n"
        "    = embedding(11, 4) >> class_token >> F[2] >> slice(1, 1) >> reshape([-1, 2]) >> scale(0.5)\n"
        "    >> last_step >> linear(3)",
        11,
    ),
}


def model_and_input(name: str) -> tuple[FractalModule, Tensor]:
    """A net in eval mode, its norms with statistics and weights of their own, and a mini-batch for it."""
    text, tokens = NETS[name]
    model = build(compile_text(text), 2).eval()
    references.scramble_norms(model)
    generator = torch.Generator().manual_seed(5)
    shape = (3, *model.input.shape)
    return model, torch.randint(0, tokens, shape, generator=generator) if tokens else torch.randn(shape)


@pytest.mark.parametrize("name", NETS)
def test_a_traced_net_is_the_net(name: str) -> None:
    model, x = model_and_input(name)
    expected = model(x)
    traced = fx.symbolic_trace(model)
    assert [n.name for n in traced.graph.nodes if n.op == "placeholder"] == ["x"]
    assert torch.equal(traced(x), expected)
    assert torch.equal(fx.symbolic_trace(nn.Sequential(model, nn.Identity()))(x), expected)
    assert torch.equal(fx.symbolic_trace(traced)(x), expected)
    for one in (model, traced):
        assert torch.equal(fx.Interpreter(one).run(x), expected)
        assert torch.equal(fx.Transformer(one).transform()(x), expected)
        assert torch.equal(ShapeProp(copy.deepcopy(one)).propagate(x), expected)
        assert torch.equal(copy.deepcopy(one)(x), expected)
    assert torch.equal(torch.export.export(model, (x,), strict=False).module()(x), expected)
    assert torch.equal(model(x), expected)


@settings(
    max_examples=examples(10),
    deadline=None,
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
    suppress_health_check=[HealthCheck.too_slow],
)
@given(program=programs())
def test_any_traced_program_is_the_program(program: Program) -> None:
    model = build_with_random_norms(compiled(program), 1)
    x = inputs(program, 3)
    for one, other in zip(outputs(fx.symbolic_trace(model)(*x)), outputs(model(*x)), strict=True):
        assert torch.equal(one, other)


def test_layers_with_code_of_this_package_can_be_traced() -> None:
    layers = "stdconv2d(4, 3, padding=1, gamma=1.7) >> shift >> times(0.5) >> plus(1) >> sigmoid >> power(0.5)"
    windows = "permute([2, 3, 1]) >> window_attention(2, 3, shift_size=1) >> permute([3, 1, 2])"
    inline = "matmul(id, id) >> attend(id, id, id)"
    inline += ' >> sum(id, distances(2, "log8") >> flatten(1, 2) >> pairs(2) >> slice(1, stop=1) >> slice(2, stop=1)'
    inline += " >> slice(3, step=2), parameter([4, 1, 1]) >> clamp(max=1) >> exp)"
    inline += " >> sum(id, window_mask(6, 3, 1) >> exp >> slice(2, stop=6) >> slice(3, stop=6)) >> normalize"
    text = f"net N(x: f32[4, 6, 6]) -> f32[4, 6, 6] = {layers} >> {windows} >> layernorm2d >> {inline}"
    model, x = build(compile_text(text), 0).eval(), torch.randn(3, 4, 6, 6)
    assert torch.equal(fx.symbolic_trace(model)(x), model(x))


def test_each_plan_of_a_net_can_be_traced() -> None:
    class Under(nn.Module):
        def __init__(self, model: FractalModule, k: int) -> None:
            super().__init__()
            self.model, self.k = model, k

        def forward(self, x: Tensor) -> Tensor:
            return self.model.run(x, self.model.column_plan(self.k))

    model = net()
    for k in (1, 2, 3):
        expected = model.run(images(1), model.column_plan(k))
        assert torch.equal(fx.symbolic_trace(Under(model, k))(images(1)), expected)
        assert torch.equal(fx.symbolic_trace(model.column(k))(images(1)), expected)
        assert torch.equal(fx.symbolic_trace(model.extract(k))(images(1)), expected)


def norms(model: nn.Module) -> int:
    return sum(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in model.modules())


@pytest.mark.parametrize("name", [name for name in NETS if "batchnorm" in NETS[name][0] and "shared" not in name])
def test_fusion_folds_the_batch_norms(name: str) -> None:
    model, x = model_and_input(name)
    before = copy.deepcopy(model.state_dict())
    fused = optimization.fuse(model)
    assert norms(fused) == (1 if name == "concat" else 0)  # the one behind the join has no convolution before it
    torch.testing.assert_close(fused(x), model(x))
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_a_traced_net_shares_its_weights_and_statistics() -> None:
    model = net()
    traced = fx.symbolic_trace(model)
    with torch.no_grad():
        for value in model.state_dict().values():
            if value.is_floating_point():
                value.mul_(0.5)
    assert torch.equal(traced(images()), model(images()))
    assert {id(p) for p in traced.parameters()} == {id(p) for p in model.parameters()}


def test_quantization_by_fx_runs() -> None:
    try:
        quantize_fx = cast(Any, importlib.import_module("torch.ao.quantization.quantize_fx"))
        mapping = cast(Any, importlib.import_module("torch.ao.quantization")).get_default_qconfig_mapping("x86")
    except (ImportError, AttributeError):
        pytest.skip("this torch has no fx quantization")
    if "x86" not in torch.backends.quantized.supported_engines:
        pytest.skip("this torch has no engine for quantized layers here")
    model = net()
    with warnings.catch_warnings(action="ignore"):
        prepared = quantize_fx.prepare_fx(copy.deepcopy(model), mapping, (images(),))
        for seed in range(4):
            prepared(images(seed))
        quantized = quantize_fx.convert_fx(prepared)
    assert norms(quantized) == 0
    out = quantized(images())
    assert (out - model(images())).norm() < 0.1 * model(images()).norm()


def test_features_of_the_layers_of_a_net() -> None:
    references.torchvision_models()
    extraction = importlib.import_module("torchvision.models.feature_extraction")
    model = net()
    with warnings.catch_warnings(action="ignore"):  # it traces the net in train mode, too
        _, names = extraction.get_graph_node_names(model)
        wanted = [*[name for name in names if "batchnorm" in name][:2], names[-1]]
        extractor = extraction.create_feature_extractor(model, wanted)
    found = extractor(images())
    assert list(found) == wanted
    assert torch.equal(found[wanted[-1]], model(images()))


def test_tracing_in_train_mode_warns_and_leaves_the_net_as_it_was() -> None:
    model = build(COMPILED, 3).train()
    with pytest.warns(UserWarning, match=r"torch\.fx records one call of net N in train mode"):
        traced = fx.symbolic_trace(model)
    assert model.step == 0
    torch.manual_seed(0)
    expected = copy.deepcopy(model).dense(images())
    assert torch.equal(traced(images()), expected)


LARGE = """
rule F(w: int) join mean { F[1] = linear(w)  F[n+1] = F[n] >> F[n] | linear(w) }
net N(x: f32[4]) -> f32[4] with drop_path(local=15%) = F[3](4)
"""


def test_code_of_a_large_net_is_generated_when_it_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    large_net = compile_text(LARGE)
    small, x = build(large_net, seed=1).eval(), torch.randn(2, 4)
    monkeypatch.setattr("fractal_dsl.runtime.module.LARGE", 3)
    large = build(large_net, seed=1)
    assert large._generated is None
    large(x).sum().backward()  # a plan needs no code
    assert large._generated is None
    assert torch.equal(large.eval()(x), small(x))
    assert large._generated is not None and large.code == small.code
    assert torch.equal(copy.deepcopy(build(large_net, seed=1)).eval()(x), small(x))


def test_graphs_of_earlier_stages_are_not_kept() -> None:
    large_net = compile_text(LARGE)
    assert large_net.graph.stage == "labelled"
    assert not {"raw", "collapsed"} & vars(large_net).keys()
    assert (large_net.raw.stage, large_net.collapsed.stage) == ("raw", "collapsed")
