"""Modules of torch.nn by name and Python classes of the user's: what they must not do, and what they cost."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from fractal_dsl.language.diagnostics import FracError
from fractal_dsl.pipeline import compile_file, compile_text

CODE = """
import os, signal, sys
import torch
from torch import nn

class InPlace(nn.Module):
    def forward(self, x):
        return x.mul_(2)

class Hidden(nn.Module):
    def forward(self, x):
        x.data.mul_(2)
        return x + 0

class Mean(nn.Module):
    def forward(self, x):
        return x - x.mean(0, keepdim=True)

class Noise(nn.Module):
    def forward(self, x):
        return x + torch.randn_like(x)

class Same(nn.Module):
    def forward(self, x):
        return x

class Exit(nn.Module):
    def __init__(self):
        sys.exit(0)

class Interrupt(nn.Module):
    def forward(self, x):
        raise KeyboardInterrupt

class Pressed(nn.Module):
    def forward(self, x):
        os.kill(os.getpid(), signal.SIGINT)
        return x

class Beside(nn.Module):
    def forward(self, *operands):
        return torch.cat(operands, 1)

class Odd(nn.Module):
    def forward(self, *operands):
        return operands[0] if len(operands) != 2 else torch.cat(operands, 1)

class Most(nn.Module):
    def forward(self, *operands):
        return torch.stack(operands).amax(0)
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is not the current one, with Python code beside a spec."""
    (tmp_path / "these_parts.py").write_text(CODE)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, "these_parts", raising=False)
    return tmp_path


def checked(folder: Path, body: str, kind: str = "layer", net: str = "") -> None:
    spec = folder / "spec.frac"
    spec.write_text(f'extern {kind} f from "these_parts:{body}"\n{net or "net N(x: f32[8]) -> f32[8] = sum(f, id)"}\n')
    compile_file(spec, allow_python=True)


@pytest.mark.parametrize(
    ("layer", "input", "output"),
    [
        ("Conv2d(3, 3, 3, padding=1)", "f32[8, 8]", "f32[8, 8]"),
        ("TransformerEncoderLayer(8, 2, 16)", "f32[5, 8]", "f32[5, 8]"),
        ("Softmax()", "f32[5, 8]", "f32[5, 8]"),
        ("Softmax(0)", "f32[8]", "f32[8]"),
    ],
)
def test_the_batch_is_no_other_axis(layer: str, input: str, output: str) -> None:
    with pytest.raises(FracError, match=r"mixes the samples of a batch|does not take"):
        compile_text(f"net N(x: {input}) -> {output} = nn.{layer}")


@pytest.mark.parametrize(
    ("layer", "input"),
    [
        ("Linear(8, 4)", "f32[8]"),
        ("Conv2d(3, 8, 3)", "f32[3, 6, 6]"),
        ("ConvTranspose1d(3, 8, 3)", "f32[3, 6]"),
        ("TransformerEncoderLayer(8, 2, 16, batch_first=true)", "f32[5, 8]"),
        ("Tanh()", "f32[8]"),
    ],
)
def test_macs_are_those_that_torch_counts(layer: str, input: str) -> None:
    shape = [int(n) for n in input[4:-1].split(",")]
    module = eval(f"torch.nn.{layer.replace('true', 'True')}")
    with FlopCounterMode(display=False) as counter:
        y = module(torch.randn(2, *shape))
    net = f"net N(x: {input}) -> f32{list(y.shape[1:])} = nn.{layer}"
    assert compile_text(net).summary.macs == counter.get_total_flops() // 4


@pytest.mark.parametrize("name", ["InPlace", "Hidden"])
def test_changes_in_place_are_found(folder: Path, name: str) -> None:
    with pytest.raises(FracError, match="changes its input in place"):
        checked(folder, name)


@pytest.mark.parametrize("name", ["Noise", "Same"])
def test_what_is_harmless_is_taken(folder: Path, name: str) -> None:
    checked(folder, name)


def test_means_over_the_batch_are_found(folder: Path) -> None:
    with pytest.raises(FracError, match="mixes the samples"):
        checked(folder, "Mean")


@pytest.mark.parametrize(("name", "message"), [("Exit", "it raises SystemExit: 0"), ("Interrupt", "KeyboardInterrupt")])
def test_exits_are_errors(folder: Path, name: str, message: str) -> None:
    with pytest.raises(FracError, match=message):
        checked(folder, name)


@pytest.mark.slow
def test_a_module_that_exits_is_an_error(folder: Path) -> None:
    (folder / "that_exits.py").write_text("import sys\nsys.exit(0)\n")
    spec = folder / "spec.frac"
    spec.write_text('extern layer f from "that_exits:F"\nnet N(x: f32[8]) -> f32[8] = f\n')
    command = [sys.executable, "-c", "from fractal_dsl.cli import main; main()", "check", str(spec), "--allow-python"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parent.parent, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert "that_exits:F cannot be loaded: it raises SystemExit: 0" in done.stderr


@pytest.mark.skipif(threading.current_thread() is not threading.main_thread(), reason="signals go to the main thread")
def test_a_users_interrupt_still_interrupts(folder: Path) -> None:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            checked(folder, "Pressed")
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)


RULE = "rule F join f { F[1] = linear(8)  F[n+1] = F[n] >> F[n] | linear(8) }\n"


@pytest.mark.parametrize(("name", "out"), [("Beside", 16), ("Odd", 8)])
def test_joins_of_columns_keep_the_shape(folder: Path, name: str, out: int) -> None:
    with pytest.raises(FracError, match="use a join that keeps their shape"):
        checked(folder, name, "join", f"{RULE}net N(x: f32[8]) -> f32[{out}] with drop_path(local=15%) = F[3]")


def test_joins_on_the_spot_may_change_the_shape(folder: Path) -> None:
    checked(folder, "Beside", "join", "net N(x: f32[8]) -> f32[16] = f(id, linear(8))")
    checked(folder, "Most", "join", f"{RULE}net N(x: f32[8]) -> f32[8] with drop_path(local=15%) = F[3]")
    assert Path.cwd() != folder, "found beside the spec, not in the current folder"
