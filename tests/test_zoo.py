"""The specs in examples/zoo against published parameter counts and other people's code."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from fractal_dsl.graph.graph import Layer
from fractal_dsl.language.source import Source
from fractal_dsl.language.syntax_to_text import syntax_to_text
from fractal_dsl.picture.graph_to_dot import graph_to_dot
from fractal_dsl.pipeline import checked, compile_file, compile_text, parse
from fractal_dsl.runtime import FractalModule, build
from tests.support import references

ZOO = Path(__file__).parent.parent / "examples" / "zoo"
LISTED = {row[0]: row for row in re.findall(r"\| \[(\w+)\].*\| ([\d,]+) \| (.*) \|", (ZOO / "README.md").read_text())}
SMALL = {"wavenet": {"length": "40", "levels": "6"}, "siamese": {"size": "16"}}


@pytest.mark.parametrize("path", sorted(ZOO.glob("*.frac")), ids=lambda path: path.stem)
def test_the_file_checks_without_warnings_and_reads_as_the_formatter_writes(path: Path) -> None:
    source = Source.read(path)
    assert not checked(source).warnings
    assert syntax_to_text(parse(source)) == source.text


@pytest.mark.parametrize("path", sorted(ZOO.glob("*.frac")), ids=lambda path: path.stem)
def test_the_readme_and_the_header_give_the_number_of_parameters(path: Path) -> None:
    _, count, reference = LISTED[path.stem]
    assert f"{compile_file(path).summary.params:,}" == count
    header = path.read_text().split("\n\n")[0]
    assert reference == "none" or f"{count} parameters" in header


@pytest.mark.parametrize("path", sorted(ZOO.glob("*.frac")), ids=lambda path: path.stem)
def test_the_net_is_drawn(path: Path) -> None:
    assert graph_to_dot(compile_file(path).graph).startswith("digraph")


@pytest.mark.parametrize(("name", "params"), SMALL.items())
def test_a_small_net_runs_forward_and_backward(name: str, params: dict[str, str]) -> None:
    model = build(compile_file(ZOO / f"{name}.frac", params), 0).train()
    given = [
        torch.zeros(2, *x.shape, dtype=torch.int64) if x.dtype == "i64" else torch.randn(2, *x.shape)
        for x in model.inputs.values()
    ]
    y = model(*given)
    outputs = y if isinstance(y, tuple) else (y,)
    assert [tuple(one.shape[1:]) for one in outputs] == [out.shape for out in model.outputs.values()]
    sum(one.square().sum() for one in outputs).backward()
    assert all(p.grad is not None for p in model.parameters())


def ours(model: FractalModule) -> list[nn.Module]:
    """The modules with weights, in the order of the graph."""
    nodes = [node for _, node in model.join_graph.items() if isinstance(node, Layer) and not node.idle]
    modules = dict.fromkeys([model.get_submodule(node.module) for node in nodes])
    return [m for m in modules if next(m.parameters(), None) is not None]


def pyramid_in_order(model: nn.Module, x: torch.Tensor) -> list[nn.Module]:
    """The pyramid's own modules as the spec has them: the sides from top to bottom, then the smoothing."""
    modules = references.in_order(model, x)
    body, top = modules[:-8], modules[-8:]
    sides, smooth = top[::2], top[1::2]  # they take turns, from the smallest map to the largest
    return [*body, *sides, *reversed(smooth)]


def scales_last(model: nn.Module, x: torch.Tensor) -> list[nn.Module]:
    """The modules of a ConvNeXt, whose blocks scale their result: a block itself comes after the layers in it."""
    result = references.in_order(model, x)
    for i in [i for i, module in enumerate(result) if type(module).__name__ == "CNBlock"]:
        result.insert(i + 4, result.pop(i))  # a convolution, a norm and two linear layers
    return result


def tokens_in_order(model: nn.Module, x: torch.Tensor) -> list[nn.Module]:
    """The modules of a vision transformer: its own class token comes after the patches."""
    whole, patches, *rest = references.in_order(model, x)
    return [patches, whole, *rest]


REFERENCES: dict[str, Callable[[], nn.Module]] = {
    "convnext_tiny": lambda: references.torchvision_model("convnext_tiny"),
    "dla34": lambda: references.timm_model("dla34"),
    "dpn68": lambda: references.timm_model("dpn68"),
    "efficientnet_b0": lambda: references.torchvision_model("efficientnet_b0"),
    "fpn_resnet50": lambda: references.PyramidOnResNet50().eval(),
    "gpt2": lambda: references.GPT2(tokens=1000, length=16, depth=3).eval(),
    "hrnet_w18": lambda: references.timm_model("hrnet_w18"),
    "mixer_b_16": lambda: references.timm_model("mixer_b16_224", img_size=64),
    "mobilenet_v3_large": lambda: references.torchvision_model("mobilenet_v3_large"),
    "regnet_y_400mf": lambda: references.torchvision_model("regnet_y_400mf"),
    "se_resnet50": lambda: references.timm_model("seresnet50"),
    "shufflenet_v2": lambda: references.torchvision_model("shufflenet_v2_x1_0"),
    "swin_t": lambda: references.small_swin(window=2),
    "vit_b_16": lambda: references.torchvision_model("vit_b_16", image_size=64),
    "vovnet39": lambda: references.timm_model("vovnet39a"),
    "wrn_28_10": lambda: references.WideResNet().eval(),
}
SIZES = {
    "gpt2": {"tokens": "1000", "length": "16", "depth": "3"},
    "swin_t": {"size": "64", "window": "2"},
    "wrn_28_10": {},
}
ORDERS = {"fpn_resnet50": pyramid_in_order, "convnext_tiny": scales_last, "vit_b_16": tokens_in_order}
SLOW = {"vit_b_16"}


NESTED_VALUES = """
layer c(out: int) = conv2d(out, 3, padding=1) >> relu
layer neck = concat(a, b, sum(b, slice(1, 0, 4)) >> c(4))
    where a = slice(1, 0, 4) >> c(4), b = sum(a, slice(1, 4)) >> c(4)
layer block = sum(id, c(8) >> concat(neck, slice(1, 4)) >> c(8)) >> relu
layer tree = concat(b >> block, b, maxpool2d(1), a) >> c(8) where a = block >> c(8), b = a >> block
net N(x: f32[8, 8, 8]) -> f32[8, 8, 8] = c(8) >> tree
"""


def test_a_line_that_passes_nothing_is_drawn() -> None:
    """It turns between two units, as in a Res2Net block inside a deep layer aggregation."""
    assert graph_to_dot(compile_text(NESTED_VALUES).graph).startswith("digraph")


def test_every_reference_is_compared() -> None:
    assert {name for name, _, reference in LISTED.values() if reference != "none"} == {*REFERENCES}


@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.slow] if n in SLOW else []) for n in REFERENCES])
def test_the_net_computes_what_its_reference_does(name: str) -> None:
    theirs = REFERENCES[name]()
    references.scramble(theirs)
    model = build(compile_file(ZOO / f"{name}.frac", SIZES.get(name, {"size": "64"})), 0).eval()
    generator = torch.Generator().manual_seed(1)
    if model.input.dtype == "i64":
        x = torch.randint(1000, (1, *model.input.shape), generator=generator)
    else:
        x = torch.randn(1, *model.input.shape, generator=generator)
    references.copy_each(ORDERS.get(name, references.in_order)(theirs, x), ours(model))
    with torch.no_grad():
        expected, actual = theirs(x), model(x)
    for theirs_out, ours_out in zip(*[y if isinstance(y, tuple) else (y,) for y in (expected, actual)], strict=True):
        assert (ours_out - theirs_out).abs().max() <= 1e-5 * theirs_out.abs().max()
