"""Factors of the learning rate, and what happens to weights that a plan drops."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from fractal_dsl.base.errors import UserError
from fractal_dsl.config import ConfigError, merge, parse_config
from fractal_dsl.data import load, net_ends
from fractal_dsl.pipeline import compile_text
from fractal_dsl.runtime import FractalModule, build
from fractal_dsl.training.parallel import ParallelKind
from fractal_dsl.training.parallel.launch import make_stepper
from fractal_dsl.training.rates import check_rates, rate_factors
from fractal_dsl.training.step import Stepper
from fractal_dsl.training.train import resume, train
from tests.support.runs import ends_of, killed_at

NET = """
layer conv(out: int) = conv2d(out, 3, padding=1) >> batchnorm2d >> relu
rule F(out: int) join mean {
    F[1]   = conv(out)
    F[n+1] = F[n] >> F[n] | conv(out)
}
net N(image: f32[1, 8, 8]) -> f32[4] with drop_path(local=15%, global=50%), init("xavier", fan="in")
    = conv2d(3, 1) @tag("stem") >> F[2](6) >> maxpool2d(2) >> flatten >> linear(4)
train {
    dataset    = synthetic(size=200, noise=0.5)
    epochs     = 3
    batch      = 16
    save_steps = 4
    optimizer  = sgd(lr=0.05, momentum=0.9, weight_decay=0.001)
}
"""
CPU = torch.device("cpu")


def stepper_of(*settings: tuple[str, Any], way: ParallelKind | None = None) -> Stepper:
    compiled = compile_text(NET)
    config = parse_config(merge(compiled.program.train, settings))
    images = load(config, "N", *net_ends(compiled.program), CPU)
    stepper = make_stepper(way, build(compiled, 1), images.task, config, CPU, None)  # type: ignore[arg-type]
    stepper.train()
    return stepper


def stepped(stepper: Stepper, steps: int) -> dict[str, torch.Tensor]:
    """The weights after steps on random images."""
    generator = torch.Generator().manual_seed(3)
    for step in range(steps):
        x = torch.randn(16, 1, 8, 8, generator=generator)
        stepper.step(x, torch.arange(16) % 4, step, 0.05)
    return {name: value.detach().clone() for name, value in stepper.model.named_parameters()}


def named(model: FractalModule, entries: list[str]) -> dict[str, float]:
    names = {parameter: name for name, parameter in model.named_parameters()}
    return {names[parameter]: factor for parameter, factor in rate_factors(model, entries).items()}


def test_factors_go_to_kinds_tags_and_modules_and_multiply() -> None:
    model = build(compile_text(NET), 1)
    assert named(model, []) == {} == named(model, ["bias=2", "bias=0.5"])
    biases = {n for n, _ in model.named_parameters() if n.endswith("bias") and "batchnorm" not in n}
    assert named(model, ["bias=2"]) == dict.fromkeys(biases, 2.0)
    norms = {n for n, _ in model.named_parameters() if "batchnorm" in n}
    assert named(model, ["norm = 1e-1"]) == dict.fromkeys(norms, 0.1)
    assert named(model, ["stem=0.5", "bias=2", "block1.column1=3"])["conv2d.weight"] == 0.5
    both = named(model, ["stem=0.5", "bias=4"])
    assert both["conv2d.bias"] == 2.0 and both["linear.bias"] == 4.0


def test_a_step_is_scaled() -> None:
    """With plain SGD, the first step of a parameter is its gradient times its own rate."""
    before = dict(build(compile_text(NET), 1).named_parameters())
    plain = (("optimizer", {"name": "sgd", "lr": 0.05, "momentum": 0.0}),)
    once, scaled = (stepped(stepper_of(*plain, *more), 1) for more in ((), (("lr_scale", ["bias=2", "stem=0.5"]),)))
    for name, value in before.items():
        factor = (2 if name.endswith("bias") and "batchnorm" not in name else 1) * (0.5 if name[:7] == "conv2d." else 1)
        torch.testing.assert_close(scaled[name] - value, factor * (once[name] - value), rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_dropped_weights_rest_unless_they_are_to_move(optimizer: str) -> None:
    for moves in (False, True):
        chosen = ("optimizer", {"name": optimizer, "lr": 0.05, "move_dropped": moves})
        stepper = stepper_of(chosen)
        model = stepper.model
        live = {step: {m for p in model.plans(0, step) for m in model.live(p)} for step in range(12)}
        norm = model.get_submodule("block1.column1.conv1.conv2d")
        step = next(n for n in range(1, 12) if norm not in live[n] and any(norm in live[k] for k in range(n)))
        before = stepped(stepper, step)
        x = torch.randn(16, 1, 8, 8)
        stepper.step(x, torch.arange(16) % 4, step, 0.05)
        rested = torch.equal(before["block1.column1.conv1.conv2d.weight"], norm.get_parameter("weight"))
        assert rested != moves


def test_moving_is_momentum_and_weight_decay() -> None:
    """As in Caffe: the gradient of a dropped weight is zero, and the update is the usual one."""
    settings = ("optimizer", {"name": "sgd", "lr": 0.1, "momentum": 0.5, "weight_decay": 0.01, "move_dropped": True})
    stepper = stepper_of(settings)
    parameter = next(stepper.model.parameters())
    start = parameter.detach().clone()
    stepper.optimizer.zero_grad()
    buffer: torch.Tensor = stepper.optimizer.state[parameter]["momentum_buffer"]
    buffer.fill_(2.0)
    stepper._update()  # pyright: ignore[reportPrivateUsage]
    rate = stepper.optimizer.param_groups[0]["lr"]
    torch.testing.assert_close(parameter.detach(), start - rate * (1.0 + 0.01 * start))


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_a_killed_run_with_groups_resumes_to_the_same_bits(optimizer: str, tmp_path: Path) -> None:
    compiled = compile_text(NET)
    settings: list[tuple[str, Any]] = [("lr_scale", ["bias=2", "stem=0.5"]), ("freeze", ["linear"])]
    settings.append(("optimizer", {"name": optimizer, "lr": 0.01, "move_dropped": True}))
    config = parse_config(merge(compiled.program.train, settings))
    train(compiled, config, tmp_path / "whole", device="cpu")
    with killed_at(14):
        train(compiled, config, tmp_path / "killed", device="cpu")
    resume(tmp_path / "killed", device="cpu")
    assert ends_of(tmp_path / "killed") == ends_of(tmp_path / "whole")


def test_factors_of_one_change_no_bits() -> None:
    plain, scaled = stepped(stepper_of(), 6), stepped(stepper_of(("lr_scale", ["bias=1", "norm=1.0"])), 6)
    assert all(torch.equal(plain[name], scaled[name]) for name in plain)


@pytest.mark.parametrize("entry", ["bias", "bias=", "=2", "bias=-1", "bias=inf", "bias=2=3", "a b=2"])
def test_entries_are_names_with_numbers(entry: str) -> None:
    with pytest.raises(ConfigError, match="`lr_scale` needs entries such as `bias=2`"):
        parse_config({"lr_scale": [entry]})


def test_unknown_names_are_refused() -> None:
    with pytest.raises(UserError, match=r"lr_scale: net N has no tag and no module 'stm'(.|\n)*did you mean `stem`"):
        check_rates(compile_text(NET).graph, ["stm=2"])


# --- initialisation


@pytest.mark.parametrize("scheme", ["xavier", "xavier_normal", "kaiming", "kaiming_normal"])
@pytest.mark.parametrize("fan", ["in", "out", "average"])
def test_the_variance_is_the_gain_over_the_fan(scheme: str, fan: str) -> None:
    text = f'net N(x: f32[40]) -> f32[640] with init("{scheme}", fan="{fan}") = linear(640)'
    weight = next(m for m in build(compile_text(text), 1).modules() if isinstance(m, nn.Linear)).weight
    connections = {"in": 40, "out": 640, "average": 340}[fan]
    gain = 2 if scheme.startswith("kaiming") else 1
    assert float(weight.detach().var()) == pytest.approx(gain / connections, rel=0.05)
    if "normal" not in scheme:
        assert float(weight.detach().abs().max()) <= (3 * gain / connections) ** 0.5


def test_the_usual_fan_is_the_default_to_the_last_bit() -> None:
    for scheme, fan in (("xavier", "average"), ("kaiming", "in")):
        text = 'net N(x: f32[40]) -> f32[64] with init("{}"{}) = linear(64)'
        plain, named = (build(compile_text(text.format(scheme, f)), 1) for f in ("", f', fan="{fan}"'))
        assert all(torch.equal(a, b) for a, b in zip(plain.parameters(), named.parameters(), strict=True))
