"""CUDA graphs: the same losses as without, on a GPU; elsewhere a clear message."""

from __future__ import annotations

from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from fractal_dsl.base.errors import UserError
from fractal_dsl.config import merge, parse_config
from fractal_dsl.data import load, net_ends
from fractal_dsl.pipeline import compile_text
from fractal_dsl.runtime import build
from fractal_dsl.tasks.classification import Classification
from fractal_dsl.training.cuda_graphs import check_graphs
from fractal_dsl.training.step import Stepper
from fractal_dsl.training.train import train

SPEC = """
layer conv(out: int) = conv2d(out, 3, padding=1, bias=false) >> dropout2d(20%) >> batchnorm2d >> relu
rule F(out: int) join mean {
    F[1]   = conv(out)
    F[n+1] = F[n] >> F[n] | conv(out)
}
net Tiny(image: f32[1, 8, 8]) -> f32[4] with drop_path(DROP), init("xavier")
    = F[3](6).each(maxpool2d(2)) >> flatten >> linear(4)
train {
    dataset   = synthetic(size=480, noise=0.5)
    batch     = 16
    optimizer = sgd(lr=0.05, momentum=0.9)
}
"""
VARIANTS: dict[str, tuple[str, list[tuple[str, Any]]]] = {
    "half of the steps by columns": ("local=15%, global=50%", []),
    "bf16, channels last, clipped, averaged": (
        "local=0%, global=50%",
        [("precision", "bf16"), ("channels_last", True), ("clip", 0.5), ("ema", 0.9)],
    ),
    "all columns, in parts": ("local=15%, columns=all", [("accumulate", 3)]),
}


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
@pytest.mark.parametrize("variant", VARIANTS)
def test_losses_and_weights_are_those_without(variant: str) -> None:
    drop, settings = VARIANTS[variant]
    compiled = compile_text(SPEC.replace("DROP", drop))
    found: list[tuple[list[float], dict[str, torch.Tensor]]] = []
    for graphs in (False, True):
        config = parse_config(merge(compiled.program.train, [*settings, ("cuda_graphs", graphs)]))
        p, place = compiled.program, torch.device("cuda")
        images = load(config, p.net, *net_ends(p), place)
        stepper = Stepper(build(compiled, 0).to(place).train(), Classification(10), config, place)
        batches = images.batches(images.train, stepper.order(len(images.train), 0), 0)
        losses = [stepper.step(x, y, i, 0.05)[0].item() for i, (x, y) in enumerate(batches)]
        found.append((losses, {name: value.cpu() for name, value in stepper.weights().items()}))
        assert (stepper.graphs is not None and len(stepper.graphs.captured) >= 3) == graphs
    (eager, weights), (replayed, same) = found
    assert replayed == pytest.approx(eager, rel=1e-5)
    for name, value in weights.items():  # the statistics of batch norms among them: a capture must not count
        assert torch.allclose(value.float(), same[name].float(), rtol=1e-4, atol=1e-5), name


def test_where_there_can_be_none(tmp_path: Path) -> None:
    compiled = compile_text(SPEC.replace("DROP", "local=15%, global=50%"))
    config = parse_config(merge(compiled.program.train, [("cuda_graphs", True)]))
    with pytest.raises(UserError, match=r"is for CUDA, and this run is on cpu: set cuda_graphs=false"):
        train(compiled, config, tmp_path / "run", device="cpu", console=Console(file=StringIO()))
    assert not (tmp_path / "run").exists()
    with pytest.raises(UserError, match="not for --parallel ddp"):
        check_graphs(config, torch.device("cuda"), "ddp", several=False)
