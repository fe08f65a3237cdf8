"""Families of networks beyond the paper's: the specs in examples/ against published figures and other people's code."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch
from torch import nn

from fractal_dsl.compiled import Compiled
from fractal_dsl.language.source import Source
from fractal_dsl.language.syntax_to_text import syntax_to_text
from fractal_dsl.picture.graph_to_dot import graph_to_dot
from fractal_dsl.pipeline import check, compile_file, parse
from fractal_dsl.runtime import FractalModule, build
from fractal_dsl.runtime.artifact import load_artifact, save_artifact
from tests.support import references

EXAMPLES = Path(__file__).parent.parent / "examples"


@dataclass(frozen=True)
class Family:
    """``small`` sets the parameters of a net that runs in no time; ``drawn`` is some of what its picture must show."""

    drawn: str
    columns: int = 1
    small: Mapping[str, str] = field(default_factory=dict[str, str])


FAMILIES = {
    "mlp": Family("block 2 · F[4], dense", 4, {"features": "5", "widths": "[8, 6]"}),
    "transformer": Family(
        "positions, pre_norm, block 2 · F[3]",
        3,
        {"vocab": "50", "length": "12", "width": "16", "heads": "2", "hidden": "32"},
    ),
    "tcn": Family("conv, block 3 · F[4]", 4, {"channels": "3", "length": "60", "widths": "[8, 6, 6]"}),
    "unet": Family("down, up, concat, U[5]", 1, {"size": "32", "width": "4"}),
    "resnet18": Family("keep, halve, sum, 512×7×7", 1, {"size": "64", "width": "4"}),
    "resnet34": Family("keep, halve, sum, 512×7×7", 1, {"size": "64", "width": "4"}),
    "densenet121": Family("grow, concat, 1024×7×7", 1, {"size": "64", "growth": "4", "depths": "[2, 3, 2, 2]"}),
    "googlenet": Family("inception, concat, 1024×7×7", 1, {"size": "64"}),
    "vgg16": Family("conv, maxpool2d, full", 1, {"size": "32", "widths": "[4, 4, 8, 8, 8]", "hidden": "16"}),
}
PUBLISHED = {
    "resnet18": 11_689_512,
    "resnet34": 21_797_672,
    "densenet121": 7_978_856,
    "googlenet": 6_624_904,  # without the extra heads
    "vgg16": 138_357_544,
}
FRACTAL = [name for name, family in FAMILIES.items() if family.columns > 1]


def compiled(name: str, params: Mapping[str, str] | None = None, net: str | None = None) -> Compiled:
    return compile_file(EXAMPLES / f"{name}.frac", params, net)


def inputs(model: FractalModule, batch: int = 3, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    if model.input.dtype == "i64":
        return torch.randint(0, 50, (batch, *model.input.shape), generator=generator)
    return torch.randn(batch, *model.input.shape, generator=generator)


def count(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def reference(name: str) -> nn.Module:
    """torchvision's model, on the current device."""
    options = {"aux_logits": False, "transform_input": False, "init_weights": False} if name == "googlenet" else {}
    return getattr(references.torchvision_models(), name)(weights=None, **options)


@pytest.mark.parametrize("name", FAMILIES)
def test_file_checks_and_reads_as_the_formatter_writes(name: str) -> None:
    source = Source.read(EXAMPLES / f"{name}.frac")
    assert [net.program.net for net in check(source)]
    assert syntax_to_text(parse(source)) == source.text


@pytest.mark.parametrize("name", FAMILIES)
def test_small_net_runs_forward_and_backward(name: str) -> None:
    model = build(compiled(name, FAMILIES[name].small), seed=1).train()
    x = inputs(model)
    for step in range(3):  # by the net's drop-path, where it has one
        y = model.run(x, model.plan(0, step))
        assert y.shape[1:] == model.output.shape and y.isfinite().all()
        y.square().mean().backward()
    model.run(x, model.full_plan()).square().mean().backward()
    for parameter in model.parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all()


@pytest.mark.parametrize("name", FAMILIES)
def test_small_net_compiles_to_a_folder_and_back(name: str, tmp_path: Path) -> None:
    c = compiled(name, FAMILIES[name].small)
    model = build(c, seed=1).eval()
    save_artifact(c, model, tmp_path / "net")
    x = inputs(model)
    with torch.no_grad():
        assert torch.equal(load_artifact(tmp_path / "net").eval()(x), model(x))


@pytest.mark.parametrize("name", FAMILIES)
def test_picture_shows_the_parts_by_name(name: str) -> None:
    dot = graph_to_dot(compiled(name).graph)
    assert dot.startswith("digraph")
    assert [part for part in FAMILIES[name].drawn.split(", ") if part not in dot] == []


@pytest.mark.parametrize("name", FRACTAL)
def test_fractal_families_have_their_columns_and_each_runs_alone(name: str) -> None:
    family = FAMILIES[name]
    for columns in (2, family.columns):
        model = build(compiled(name, {**family.small, "columns": str(columns)})).eval()
        assert model.n_columns == columns and model.drop_path
        x = inputs(model)
        with torch.no_grad():
            outputs = [model.run(x, model.column_plan(k)) for k in range(1, columns + 1)]
            assert all(y.shape[1:] == model.output.shape for y in outputs)
            torch.testing.assert_close(model.extract(columns).eval()(x), outputs[-1])


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameter_count_is_the_published_one(name: str) -> None:
    c = compiled(name)
    assert c.summary.params == count(build(c, device="meta")) == PUBLISHED[name]


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameter_count_is_torchvisions(name: str) -> None:
    with torch.device("meta"):
        assert count(reference(name)) == PUBLISHED[name]


def assert_same_function(theirs: nn.Module, ours: FractalModule, x: torch.Tensor) -> None:
    """Ours gives what theirs gives once it has their weights, and not before."""
    theirs, ours, x = theirs.double().eval(), ours.double().eval(), x.double()
    torch.manual_seed(2)
    references.scramble_norms(theirs)
    with torch.no_grad():
        expected = theirs(x)
        assert not torch.allclose(ours(x), expected, rtol=0.01)
        references.copy_in_order(theirs, ours, x)
        torch.testing.assert_close(ours(x), expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", ["resnet18", "resnet34", "densenet121", "googlenet"])
def test_outputs_equal_torchvisions(name: str) -> None:
    ours = build(compiled(name, {"size": "64"}))
    torch.manual_seed(1)
    assert_same_function(reference(name), ours, inputs(ours, 2))


SIZES = {"width": "24", "heads": "3", "hidden": "40", "layers": "4", "length": "10"}


def encoder(width: int, heads: int, hidden: int, layers: int, *, norm_first: bool = False) -> nn.Module:
    layer = nn.TransformerEncoderLayer(width, heads, hidden, batch_first=True, norm_first=norm_first)
    return nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)


@pytest.mark.parametrize("sizes", [SIZES, {"width": "512", "heads": "8", "hidden": "2048", "layers": "6"}])
def test_encoder_has_as_many_parameters_as_torchs(sizes: Mapping[str, str]) -> None:
    c = compiled("transformer", sizes, "Encoder")
    with torch.device("meta"):
        theirs = encoder(*(int(sizes[name]) for name in ("width", "heads", "hidden", "layers")))
    assert c.summary.params == count(build(c, device="meta")) == count(theirs)


def test_encoder_outputs_equal_torchs() -> None:
    torch.manual_seed(1)
    ours = build(compiled("transformer", SIZES, "Encoder"))
    assert_same_function(encoder(24, 3, 40, 4), ours, inputs(ours))


def test_base_layers_of_the_fractal_transformer_are_torchs_with_the_norm_first() -> None:
    sizes = {**SIZES, "vocab": "50", "columns": "3", "blocks": "2"}
    plain = 50 * 24 + 10 * 24 + 2 * 24 + 10 * 24 * 2 + 2  # embedding, positions, norm, classifier
    base = encoder(24, 3, 40, 1, norm_first=True)
    assert compiled("transformer", sizes).summary.params == 2 * (2**3 - 1) * count(base) + plain


@pytest.mark.parametrize("levels", [1, 2, 5])
def test_unet_rule_is_unet_written_out(levels: int) -> None:
    c = compiled("unet", {"channels": "3", "classes": "4", "size": "32", "width": "2", "levels": str(levels)})
    torch.manual_seed(1)
    ours = build(c)
    assert_same_function(references.UNet(3, 4, 2, levels), ours, inputs(ours))


def test_unet_has_the_parameters_of_the_papers() -> None:
    with torch.device("meta"):
        assert compiled("unet").summary.params == count(references.UNet(1, 2, 64, 5)) == 31_030_658


@pytest.mark.parametrize("column", [None, 1, 2, 3])
def test_forecast_of_the_temporal_net_sees_the_past_alone(column: int | None) -> None:
    params = {"channels": "2", "length": "40", "widths": "[8, 8]", "columns": "3"}
    model = build(compiled("tcn", params, "Forecast"), seed=3).double().eval()
    run: Callable[[torch.Tensor], torch.Tensor] = model.column(column) if column else model
    reach = 2 * 2**3  # steps before the latest one that an output sees
    x = inputs(model, 1).double().requires_grad_()
    y = run(x)
    assert y.shape == (1, 2, 40 - reach)
    offsets: set[int] = set()
    for at in range(40 - reach):
        (slopes,) = torch.autograd.grad(y[0, :, at].sum(), x, retain_graph=True)
        offsets.update(int(step) - at for step in slopes[0].abs().sum(0).nonzero())
    assert (min(offsets), max(offsets)) == (0, reach)
