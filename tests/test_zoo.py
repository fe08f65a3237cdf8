"""The specs in examples/zoo against published parameter counts and other people's code."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from fractal_dsl.graph.graph import Layer
from fractal_dsl.language.source import Source
from fractal_dsl.language.syntax_to_text import syntax_to_text
from fractal_dsl.picture.graph_to_dot import graph_to_dot
from fractal_dsl.pipeline import checked, compile_file, parse
from fractal_dsl.runtime import FractalModule, build
from tests.support import references

ZOO = Path(__file__).parent.parent / "examples" / "zoo"
PUBLISHED = {"vovnet39": 22_600_296, "dla34": 15_742_104, "fpn_resnet50": 26_852_416, "hrnet_w18": 21_299_004}
SMALL = {"wavenet": {"length": "40", "levels": "6"}, "siamese": {"size": "16"}}


@pytest.mark.parametrize("path", sorted(ZOO.glob("*.frac")), ids=lambda path: path.stem)
def test_the_file_checks_without_warnings_and_reads_as_the_formatter_writes(path: Path) -> None:
    source = Source.read(path)
    assert not checked(source).warnings
    assert syntax_to_text(parse(source)) == source.text


@pytest.mark.parametrize(("name", "count"), PUBLISHED.items())
def test_the_net_has_as_many_parameters_as_its_reference(name: str, count: int) -> None:
    assert compile_file(ZOO / f"{name}.frac").summary.params == count


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
    assert [tuple(one.shape[1:]) for one in outputs] == [out.shape for out in model.outputs]
    sum(one.square().sum() for one in outputs).backward()
    assert all(p.grad is not None for p in model.parameters())


def ours(model: FractalModule) -> list[nn.Module]:
    """The modules with weights, in the order of the graph."""
    nodes = [node for _, node in model.join_graph.items() if isinstance(node, Layer) and not node.idle]
    modules = [model.get_submodule(node.module) for node in nodes]
    return [m for m in modules if next(m.parameters(recurse=False), None) is not None]


def pyramid_in_order(model: nn.Module, x: torch.Tensor) -> list[nn.Module]:
    """The pyramid's own modules as the spec has them: the sides from top to bottom, then the smoothing."""
    modules = references.in_order(model, x)
    body, top = modules[:-8], modules[-8:]
    sides, smooth = top[::2], top[1::2]  # they take turns, from the smallest map to the largest
    return [*body, *sides, *reversed(smooth)]


REFERENCES: dict[str, Callable[[], nn.Module]] = {
    "vovnet39": lambda: references.timm_model("vovnet39a"),
    "dla34": lambda: references.timm_model("dla34"),
    "hrnet_w18": lambda: references.timm_model("hrnet_w18"),
    "fpn_resnet50": lambda: references.PyramidOnResNet50().eval(),
}


@pytest.mark.parametrize("name", REFERENCES)
def test_the_net_computes_what_its_reference_does(name: str) -> None:
    theirs = REFERENCES[name]()
    references.scramble_norms(theirs)
    x = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    model = build(compile_file(ZOO / f"{name}.frac", {"size": "64"}), 0).eval()
    order = pyramid_in_order(theirs, x) if name == "fpn_resnet50" else references.in_order(theirs, x)
    references.copy_each(order, ours(model))
    with torch.no_grad():
        torch.testing.assert_close(model(x), theirs(x), rtol=1e-5, atol=1e-5)
