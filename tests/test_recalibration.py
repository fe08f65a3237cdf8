"""Re-estimated statistics of batch norms: what they are, when training takes them, and that they disturb nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from typer.testing import CliRunner

from fractal_dsl.cli.app import app
from fractal_dsl.config import parse_config
from fractal_dsl.data import ImageSet, load
from fractal_dsl.deploy.deploy import Options, deploy
from fractal_dsl.deploy.extract import extract
from fractal_dsl.evaluation.evaluate import choose_device, evaluate, images_for
from fractal_dsl.evaluation.recalibrate import recalibrate, recalibrated
from fractal_dsl.evaluation.run import Run
from fractal_dsl.pipeline import compile_text
from fractal_dsl.runtime import FractalModule, build
from fractal_dsl.runtime.artifact import load_artifact
from fractal_dsl.runtime.frozen import frozen_norms
from fractal_dsl.runtime.world import ALONE, World, joined
from fractal_dsl.training.parallel import ParallelKind
from fractal_dsl.training.parallel.launch import make_stepper
from fractal_dsl.training.train import resume, train
from tests.support.runs import ends_of, killed_at
from tests.test_parallel import together

NET = """
layer conv(out: int) = conv2d(out, 3, padding=1, bias=false) >> dropout(40%) >> batchnorm2d >> relu
rule F(out: int) join mean {
    F[1]   = conv(out)
    F[n+1] = F[n] >> F[n] | conv(out)
}
net N(image: f32[1, 8, 8]) -> f32[4] with drop_path(local=15%, global=50%), init("xavier")
    = conv2d(3, 1) >> batchnorm2d @tag("stem") >> F[2](6) >> maxpool2d(2) >> F[2](6) >> maxpool2d(2)
    >> flatten >> linear(4)
train {
    dataset    = synthetic(size=200, noise=0.5)
    epochs     = 3
    batch      = 16
    save_steps = 4
}
"""


def trained(folder: Path, *settings: tuple[str, Any]) -> Path:
    compiled = compile_text(NET)
    train(compiled, parse_config({**compiled.program.train, **dict(settings)}), folder, device="cpu")
    return folder


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(tmp_path_factory.mktemp("runs") / "plain", ("validation", 0.0), ("recalibrate", "none"))


def data_of(run: Run, model: FractalModule) -> ImageSet:
    return images_for(model, run.compiled, run.config, choose_device("cpu"), False).normalised_as(run.data())


def statistics(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value for name, value in model.state_dict().items() if "running_" in name}


def equal(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_statistics_are_averages_over_the_training_examples_without_dropout() -> None:
    """Against a batch norm at the input, whose statistics can be computed by hand."""
    compiled = compile_text(
        """rule F join mean { F[1] = batchnorm2d >> dropout(50%) >> conv2d(3, 1) >> batchnorm2d >> relu }
        net N(x: f32[1, 8, 8]) -> f32[10] = F[1] >> flatten >> linear(10)"""
    )
    model = build(compiled, 1).eval()
    config = parse_config({"dataset": "digits", "validation": 0.0})
    images = load(config, "N", model.inputs, model.outputs, choose_device("cpu"))
    assert recalibrate(model, images, 10_000, seed=0) == len(images.train)
    x, _ = images.batch(images.train, slice(None))
    first, second = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    torch.testing.assert_close(first.running_mean, x.mean((0, 2, 3)), rtol=0, atol=1e-4)
    torch.testing.assert_close(first.running_var, x.var((0, 2, 3)), rtol=1e-2, atol=0)
    assert second.running_mean is not None and second.running_var is not None
    with torch.no_grad():
        y = model.get_submodule("block1.column1.conv2d")(first(x))
    torch.testing.assert_close(second.running_mean, y.mean((0, 2, 3)), rtol=0, atol=1e-3)
    torch.testing.assert_close(second.running_var, y.var((0, 2, 3)), rtol=2e-2, atol=0)
    assert first.momentum == 0.1 and not any(m.training for m in model.modules())


def test_every_route_gets_its_own_statistics(plain: Path) -> None:
    """The whole net's are those with everything live; column k's are those of column k as a plain network."""
    run = Run.open(plain)
    model, alone = run.load(), [run.load().extract(k) for k in (1, 2)]
    images = data_of(run, model)
    recalibrate(model, images, 150, seed=3)
    for k, column in enumerate(alone, 1):
        recalibrate(column, images, 150, seed=3)
        for name, value in statistics(model.extract(k)).items():
            torch.testing.assert_close(value, column.state_dict()[name], rtol=1e-6, atol=1e-7)
    norm = model.get_submodule("block2.column1.conv1.batchnorm2d")
    assert not torch.equal(norm.get_buffer("running_var"), norm.get_buffer("running_var_column1"))


def test_examples_are_drawn_by_the_seed_and_nothing_else_changes(plain: Path) -> None:
    run = Run.open(plain)
    model, images = run.load(), data_of(run, run.load())
    before = {name: value.clone() for name, value in model.state_dict().items()}
    made = list[dict[str, torch.Tensor]]()
    for seed, count in ((1, 50), (1, 50), (2, 50), (1, 60)):
        with recalibrated(model.train(), images, count, seed=seed) as examples:
            made.append({name: value.clone() for name, value in statistics(model).items()})
            assert examples == count and equal(dict(model.named_parameters()), dict(run.load().named_parameters()))
        assert equal(model.state_dict(), before) and all(m.training for m in model.modules())
    assert equal(made[0], made[1]) and not equal(made[0], made[2]) and not equal(made[0], made[3])


def test_at_the_end_it_is_what_eval_extract_and_compile_do_on_request(plain: Path, tmp_path: Path) -> None:
    """Training is the same with and without it; the kept weights have the statistics of ``eval --recalibrate``."""
    end = trained(tmp_path / "end", ("validation", 0.0), ("recalibrate", "end"))
    lines = [[json.loads(line) for line in (f / "metrics.jsonl").read_text().splitlines()] for f in (plain, end)]
    assert [e["train_loss"] for e in lines[0]] == [e["train_loss"] for e in lines[1]]
    asked = evaluate(Run.open(plain), columns=True, recalibrate=True)
    got = json.loads((end / "result.json").read_text())
    assert asked["loss"] == got["loss"] and [c["loss"] for c in asked["columns"]] == [c["loss"] for c in got["columns"]]
    assert asked["recalibrated"] == 160
    assert got["loss"] != json.loads((plain / "result.json").read_text())["loss"]
    assert (end / "best.safetensors").read_bytes() == (end / "last.safetensors").read_bytes()
    for column in (None, 2):
        extract(plain, column, tmp_path / "asked", recalibrate=True)
        extract(end, column, tmp_path / "end-net")
        assert equal(load_artifact(tmp_path / "asked").state_dict(), load_artifact(tmp_path / "end-net").state_dict())
    assert json.loads((tmp_path / "asked" / "manifest.json").read_text())["recalibrated"]["examples"] == 160


@pytest.mark.parametrize(
    ("mode", "ema"),
    [
        ("epoch", 0.9),
        *(pytest.param(m, e, marks=pytest.mark.slow) for m, e in (("end", None), ("end", 0.9), ("epoch", None))),
    ],
)
def test_a_killed_run_resumes_to_the_same_bits(tmp_path: Path, mode: str, ema: float | None) -> None:
    settings = (("recalibrate", {"name": mode, "examples": 64}), ("ema", ema), ("plain", 2))
    whole = trained(tmp_path / "whole", *settings)
    with killed_at(13):
        trained(tmp_path / "killed", *settings)
    resume(tmp_path / "killed", device="cpu")
    assert ends_of(tmp_path / "killed") == ends_of(whole)
    short = trained(tmp_path / "short", *settings, ("epochs", 1), ("schedule", "constant"))
    resume(short, device="cpu", epochs=3)
    assert ends_of(short) == ends_of(trained(tmp_path / "long", *settings, ("schedule", "constant")))


def test_each_epoch_is_judged_by_re_estimated_statistics(tmp_path: Path) -> None:
    """Validation sees them, and the best weights have them."""
    run = Run.open(trained(tmp_path / "epoch", ("recalibrate", "epoch")))
    model = run.load()
    kept = statistics(model)
    images = data_of(run, model)
    copies = {name: value.clone() for name, value in kept.items()}
    recalibrate(model, images, 10_000, seed=0)
    assert equal(statistics(model), copies)


def test_frozen_parts_keep_their_statistics(plain: Path, tmp_path: Path) -> None:
    start = ("init_from", str(plain / "best.safetensors"))
    frozen = trained(tmp_path / "frozen", ("recalibrate", "end"), ("freeze", ["stem"]), start)
    before, after = Run.open(plain).load(), Run.open(frozen).load()
    stem = [name for name in statistics(before) if name.startswith("batchnorm2d")]
    assert stem and frozen_norms(after, ["stem"])
    assert all(torch.equal(statistics(before)[name], statistics(after)[name]) for name in stem)


SHARED = """
shared same = conv2d(4, 3, padding=1, bias=false) >> batchnorm2d >> relu
net N(x: f32[1, 8, 8]) -> f32[10] = conv2d(4, 1) >> same >> same >> flatten >> linear(10)
"""


def test_a_shared_batch_norm_averages_over_its_uses() -> None:
    model = build(compile_text(SHARED), 1).eval()
    images = load(parse_config({"dataset": "digits"}), "N", model.inputs, model.outputs, choose_device("cpu"))
    recalibrate(model, images, 256, seed=0)
    (norm,) = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    seen: list[torch.Tensor] = []
    norm.register_forward_pre_hook(lambda _, given: seen.append(given[0].mean((0, 2, 3))))
    recalibrate(model, images, 256, seed=0)
    assert len(seen) == 2
    torch.testing.assert_close(norm.running_mean, torch.stack(seen).mean(0))


def cli(*args: object) -> Any:
    return CliRunner().invoke(app, [str(a) for a in args], catch_exceptions=False)


def test_commands_say_what_they_did(plain: Path, tmp_path: Path) -> None:
    done = cli("eval", plain, "--recalibrate", "--json")
    assert "re-estimated on 160 training images" in done.stderr
    assert json.loads(done.stdout)["recalibrated"] == 160
    done = cli("compile", plain, "-o", tmp_path / "net", "--recalibrate")
    assert "batch-norm statistics from 160 training images" in done.stdout and "before" in done.stdout
    spec = tmp_path / "net.frac"
    spec.write_text(NET)
    assert CliRunner().invoke(app, ["compile", str(spec), "--recalibrate"]).exit_code == 2


@pytest.mark.slow
def test_a_shelf_has_the_re_estimated_statistics(plain: Path, tmp_path: Path) -> None:
    """Exports run in other processes; each file is checked against the re-estimated module here."""
    options = Options(("pt2",), columns=(2,), recalibrate=True)
    said: list[str] = []
    shelf = deploy(plain, tmp_path / "shelf", options, said.append).shelf
    rows = {row.net: row for row in shelf.rows}
    assert {*rows} == {"column2", "whole", "anytime"} and all(row.verified for row in shelf.rows)
    assert said[0].startswith("batch-norm statistics from 160 training images of synthetic")
    assert rows["whole"].score == evaluate(Run.open(plain), recalibrate=True)["accuracy"]


def test_a_net_without_batch_norm_says_so_only_if_asked(tmp_path: Path) -> None:
    spec = tmp_path / "n.frac"
    spec.write_text("net N(x: f32[1, 8, 8]) -> f32[4] = flatten >> linear(4)\ntrain { dataset = synthetic(size=50) }")
    quiet = cli("train", spec, "--epochs", 1, "--out", tmp_path / "quiet")
    assert "batch norm" not in quiet.output
    told = cli("train", spec, "--epochs", 1, "--out", tmp_path / "told", "--set", "recalibrate=end")
    assert "note: net N has no batch norm" in told.output
    assert "note: net N has no batch norm" in cli("eval", tmp_path / "quiet", "--recalibrate").stderr
    assert "note: net N has no batch norm" in cli("compile", tmp_path / "quiet", "--recalibrate").stderr


@pytest.mark.parametrize(
    ("value", "message"),
    [("often", "unknown recalibrate `often`"), ({"name": "end", "examples": 1}, "must be at least 2")],
)
def test_wrong_settings_are_explained(value: Any, message: str) -> None:
    with pytest.raises(Exception, match=message):
        parse_config({"recalibrate": value})


def test_none_can_be_written_in_two_ways() -> None:
    assert parse_config({"recalibrate": None}).recalibrate == parse_config({"recalibrate": "none"}).recalibrate


# --- several processes


def re_estimated(ways: tuple[ParallelKind | None, ...], world: World = ALONE) -> list[dict[str, Any]]:
    """The statistics that each way to share the work gives, in the first process."""
    compiled = compile_text(NET)
    results: list[dict[str, Any]] = []
    for way in ways:
        config = parse_config({**compiled.program.train, "recalibrate": {"name": "end", "examples": 100}})
        model = build(compiled, 1)
        images = load(config, "N", model.inputs, model.outputs, torch.device("cpu"))
        stepper = make_stepper(way, model, images.task, config, torch.device("cpu"), world)
        stepper.train()
        with stepper.recalibrated(images):
            results.append({n: v.numpy().copy() for n, v in stepper.weights().items() if "running_" in n})
        stepper.step(*images.batch(images.train, slice(0, 16)), 0, 0.1)  # batch norms are synchronised again
    return results


def shared(ways: tuple[ParallelKind | None, ...]) -> list[dict[str, Any]]:
    with joined(torch.device("cpu")) as world:
        return re_estimated(ways, world)


@pytest.mark.slow
def test_processes_together_re_estimate_what_one_does() -> None:
    ways: tuple[ParallelKind | None, ...] = ("ddp", "fsdp", "pipeline")
    (alone,) = re_estimated((None,))
    for way, got in zip(ways, together(shared, ways)[0], strict=True):
        assert got.keys() == alone.keys(), way
        for name, value in got.items():
            np.testing.assert_allclose(value, alone[name], rtol=1e-5, atol=1e-6, err_msg=f"{way}: {name}")
