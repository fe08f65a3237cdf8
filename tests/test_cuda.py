"""On a GPU: the gradients of a CPU, training that resumes to the same bits, and nets that a CPU reads back."""

from __future__ import annotations

from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from fractal_dsl.config import merge, parse_config
from fractal_dsl.deploy.extract import extract
from fractal_dsl.evaluation.evaluate import evaluate
from fractal_dsl.evaluation.run import Run
from fractal_dsl.pipeline import compile_file, compile_text
from fractal_dsl.runtime import build
from fractal_dsl.runtime.anytime import Anytime
from fractal_dsl.runtime.artifact import load_artifact
from fractal_dsl.training.train import resume, train
from tests.support.runs import SPEC, ends_of, killed_at

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
EXAMPLES = Path(__file__).parent.parent / "examples"
NETS: dict[str, dict[str, Any]] = {
    "digits": {},
    "unet": {"size": 32, "width": 4, "levels": 3},
    "tcn": {"widths": [8, 8], "length": 64},
    "transformer": {"drop": 0.0, "width": 16, "hidden": 32, "length": 16, "layers": 2},
    "mlp": {},
    "stochastic_depth": {},
    "zoo/siamese": {},
}
QUIET = Console(file=StringIO())


def start(folder: Path, *overrides: tuple[str, Any]) -> Run:
    compiled = compile_text(SPEC)
    train(compiled, parse_config(merge(compiled.program.train, overrides)), folder, device="cuda", console=QUIET)
    return Run.open(folder)


def example(size: tuple[int, ...], dtype: str) -> torch.Tensor:
    """A mini-batch of three examples of an input."""
    generator = torch.Generator().manual_seed(0)
    if dtype.startswith("i"):
        return torch.randint(0, 10, (3, *size), generator=generator)
    return torch.randn(3, *size, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("net", NETS)
def test_outputs_and_gradients_are_those_of_a_cpu(net: str) -> None:
    compiled = compile_file(EXAMPLES / f"{net}.frac", NETS[net])
    inputs = [example(one.tensor.shape, one.tensor.dtype) for one in compiled.program.inputs]
    results: list[list[torch.Tensor]] = []
    for device in ("cpu", "cuda"):
        model = build(compiled, 0).double().to(device).train()
        for module in model.modules():
            if type(module).__name__.startswith("Dropout"):
                module.p = 0.0  # the two devices draw other numbers
        x = tuple([one.to(device) for one in inputs])
        values: list[torch.Tensor] = []
        for plan in [model.full_plan(), *[model.plan(0, step) for step in range(4)]]:
            model.zero_grad()
            out: Any = model.run(x if len(x) > 1 else x[0], plan)
            outputs: list[torch.Tensor] = [*out] if isinstance(out, tuple) else [out]
            for o in outputs:
                weights = torch.linspace(-1, 1, o.numel(), device=device, dtype=o.dtype)
                (o.flatten() * weights).sum().backward(retain_graph=True)
            values += [o.detach().cpu() for o in outputs]
            gradients = [p.grad for p in model.parameters()]
            values += [gradient.cpu() for gradient in gradients if gradient is not None]
        results.append(values)
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-8)


GRAPHS = {"cuda_graphs": True, "mixup": 0.0, "cutmix": 0.0}


@pytest.mark.parametrize("settings", [{}, {"precision": "bf16"}, GRAPHS], ids=str)
def test_a_run_that_is_killed_ends_the_same(tmp_path: Path, settings: dict[str, Any]) -> None:
    start(tmp_path / "whole", *settings.items())
    with killed_at(25):
        start(tmp_path / "run", *settings.items())
    resume(tmp_path / "run", device="cuda", console=QUIET)
    assert ends_of(tmp_path / "run") == ends_of(tmp_path / "whole")


def test_a_cpu_reads_what_a_gpu_trained(tmp_path: Path) -> None:
    run = start(tmp_path / "run")
    there, here = [evaluate(run, True, device=device, anytime=True) for device in ("cuda", "cpu")]
    assert here["accuracy"] == pytest.approx(there["accuracy"], abs=0.05)
    assert [c["column"] for c in here["columns"]] == [1, 2, 3]
    for one, other in zip(here["columns"], there["columns"], strict=True):
        assert one["loss"] == pytest.approx(other["loss"], rel=1e-2)
    recalibrated = evaluate(run, device="cuda", recalibrate=True)
    assert recalibrated["loss"] == pytest.approx(evaluate(run, device="cpu", recalibrate=True)["loss"], rel=1e-2)
    extract(run.folder, 2, tmp_path / "column", device="cuda")
    assert load_artifact(tmp_path / "column")(torch.zeros(1, 1, 8, 8)).shape == (1, 4)


def test_a_run_goes_on_with_another_device(tmp_path: Path) -> None:
    with killed_at(25):
        start(tmp_path / "run")
    assert resume(tmp_path / "run", device="cpu", console=QUIET).status == "finished"


@pytest.mark.parametrize("settings", [{"compile": True}, {"checkpoint_levels": 2}, {"accumulate": 3}], ids=str)
def test_other_ways_to_train_give_the_same_losses(tmp_path: Path, settings: dict[str, Any]) -> None:
    plain = [("mixup", 0.0), ("cutmix", 0.0), ("epochs", 1)]
    spec = SPEC.replace("dropout2d(20%) >> ", "")
    found: list[list[float]] = []
    for name, more in {"usual": {}, "other": settings}.items():
        compiled = compile_text(spec)
        config = parse_config(merge(compiled.program.train, [*plain, *more.items()]))
        train(compiled, config, tmp_path / name, device="cuda", console=QUIET)
        found.append([m["train_loss"] for m in ends_of(tmp_path / name)["metrics"]])
    assert found[1] == pytest.approx(found[0], rel=0.05 if "accumulate" in settings else 1e-3)


def test_anytime_answers_are_those_of_a_cpu() -> None:
    model = build(compile_file(EXAMPLES / "digits.frac"), 0).eval()
    x = torch.randn(4, 1, 8, 8)
    with torch.no_grad():
        here = [answer.logits for answer in Anytime(model)(x)]
        there = [answer.logits.cpu() for answer in Anytime(model.cuda())(x.cuda())]
    for a, b in zip(here, there, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-2, atol=1e-2)
