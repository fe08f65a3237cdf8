"""Packed nets for inference: the net's own answers, and refusals where packing would be silently wrong."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from fractal_dsl.base.errors import UserError
from fractal_dsl.pipeline import compile_text
from fractal_dsl.runtime import FractalModule, build
from fractal_dsl.runtime.anytime import anytime
from fractal_dsl.runtime.artifact import save_artifact
from fractal_dsl.runtime.fuse import alone, fuse
from fractal_dsl.runtime.packed import PackedConv2d, pack

NET = """
layer conv(out: int) = conv2d(out, 3, padding=1) >> batchnorm2d >> relu
rule F(out: int) join mean {
  F[1] = conv(out)
  F[n+1] = F[n] >> F[n] | conv(out)
}
net N(x: f32[3, 8, 8]) -> f32[5] with drop_path(local=15%, global=50%) =
  conv2d(4, 3, stride=2, padding=1, bias=false) >> F[3](8).each(maxpool2d(2)) >> F[2](8) >> global_avgpool >> linear(5)
"""


def trained(text: str = NET) -> FractalModule:
    """A net in eval mode whose batch norms have seen images."""
    model = build(compile_text(text), seed=1).train()
    for plan in [model.full_plan(), *map(model.column_plan, range(1, model.n_columns + 1))]:
        model.run(torch.randn(16, *model.input.shape), plan)
    return model.eval()


def same(a: Tensor, b: Tensor) -> None:
    torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


def kinds(model: FractalModule) -> list[type]:
    return [type(m) for m in model.modules_now().modules.values()]


@pytest.mark.parametrize("batch", [1, 2, 33])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_packed_columns_answer_as_the_columns_do(batch: int, layout: torch.memory_format) -> None:
    model = trained()
    x = torch.randn(batch, 3, 8, 8).contiguous(memory_format=layout)
    with torch.no_grad():
        for k in (1, 2, 3):
            column = fuse(model.extract(k).eval())
            fast = pack(column)
            assert nn.Conv2d not in kinds(fast) and nn.ReLU not in kinds(fast)
            assert nn.Conv2d in kinds(column)
            same(fast(x), column(x))
            same(copy.deepcopy(fast)(x), column(x))
        same(pack(fuse(alone(model)))(x), model(x))


def test_a_whole_net_gives_packed_anytime_answers() -> None:
    model = trained()
    x = torch.randn(2, 3, 8, 8)
    for ours, packed in zip(anytime(model, x), anytime(pack(model), x), strict=True):
        same(packed.logits, ours.logits)


@pytest.mark.parametrize(
    "chain",
    [
        "conv2d(6, 3, stride=2) >> relu",
        "conv2d(6, 3, dilation=2, groups=3, padding=[1, 2]) >> relu >> conv2d(2, 1)",
        'conv2d(6, 3, padding="same") >> relu',
        'conv2d(6, 3, padding=1, padding_mode="reflect") >> relu',
        "conv2d(3, 1) >> sum(relu, id)",
        "sum(conv2d(3, 1), conv2d(3, 1)) >> relu",
        "conv2d(3, 1)",
    ],
)
def test_chains_of_all_kinds(chain: str) -> None:
    text = f"net N(x: f32[3, 9, 9]) -> f32[5] = {chain} >> global_avgpool >> linear(5)"
    model = build(compile_text(text), seed=1).eval()
    x = torch.randn(3, 3, 9, 9)
    with torch.no_grad():
        same(pack(model)(x), model(x))


def test_other_weights_do_not_reach_a_packed_copy() -> None:
    model = fuse(trained().extract(1).eval())
    x = torch.randn(1, 3, 8, 8)
    fast = pack(model)
    with torch.no_grad():
        before = fast(x)
        for parameter in model.parameters():
            parameter.zero_()
        assert torch.equal(fast(x), before)


def test_layers_with_hooks_stay_as_they_are() -> None:
    model = fuse(trained().extract(1).eval())
    seen: list[Tensor] = []
    relu = next(m for m in model.modules() if isinstance(m, nn.ReLU))
    relu.register_forward_hook(lambda _m, _x, y: seen.append(y))
    with torch.no_grad():
        x = torch.randn(1, 3, 8, 8)
        same(pack(model)(x), model(x))
    assert len(seen) == 2


def test_what_packing_cannot_do_is_refused(tmp_path: Path) -> None:
    compiled = compile_text(NET)
    model = build(compiled)
    with pytest.raises(UserError, match="eval mode"):
        pack(model.train())
    fast = pack(model.eval())
    x = torch.randn(1, 3, 8, 8)
    with pytest.raises(UserError, match="no gradients"):
        fast(x.clone().requires_grad_())
    with pytest.raises(UserError, match="float32 on a CPU"):
        fast(x.double())
    with pytest.raises(UserError, match="PackedConv2d"):
        save_artifact(compiled, fast, tmp_path / "net")
    assert any(kind is PackedConv2d for kind in kinds(fast))
