"""The command `import`: sources, files, messages."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from fractal_dsl.base.errors import UserError
from fractal_dsl.cli import main
from fractal_dsl.importing import loading
from fractal_dsl.runtime.artifact import load_artifact
from tests.support.references import torchvision_models

CODE = """
import torch
from torch import nn

def make():
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))

def number():
    return 3

def fails():
    raise ValueError("no luck")

class Ends(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 4)

    def forward(self, image, table):
        return {"out": self.linear(image) + table, "aux": table.relu()}

class Two(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 4)
        self.head = nn.Linear(4, 3)  # only in training

    def forward(self, x):
        return self.linear(x) + x
"""

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """Runs a command in a folder with a module ``nets_to_import``."""
    (tmp_path / "nets_to_import.py").write_text(CODE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))

    def run(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["fractal-dsl", *words])
        code = 0
        try:
            main()
        except SystemExit as end:
            code = int(end.code or 0)
        printed = capsys.readouterr()
        assert "Traceback" not in printed.err and "internal error" not in printed.err
        return code, printed.out, printed.err

    return run


MINE = ("--allow-python", "--input", "f32[4]")


def test_python_code_is_imported_with_its_weights(run: Run, tmp_path: Path) -> None:
    code, out, err = run("import", "nets_to_import:make", *MINE, "-o", "net.frac", "--weights", "net", "--net", "Mine")
    assert (code, err) == (0, "")
    assert "net.frac and net: net Mine, 4 lines, 58 parameters" in out and "differ by at most" in out
    assert run("check", "net.frac")[:2] == (0, "net.frac: ok (Mine)\n")
    assert run("fmt", "--check", "net.frac")[0] == 0
    assert run("render", "net.frac")[0] == 0
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = __import__("nets_to_import").make()
    x = torch.randn(3, 4)
    torch.testing.assert_close(load_artifact(tmp_path / "net")(x), net(x))
    assert (tmp_path / "net" / "spec" / "net.frac").read_text() == (tmp_path / "net.frac").read_text()


def test_an_input_is_given_for_each(run: Run, tmp_path: Path) -> None:
    code, _, err = run(
        "import", "nets_to_import:Ends", *MINE, "--input", "f32[4]", "-o", "ends.frac", "--weights", "ends"
    )
    assert (code, err) == (0, "")
    text = (tmp_path / "ends.frac").read_text()
    assert "net Ends(image: f32[4], table: f32[4]) -> (out: f32[4], aux: f32[4])" in text
    assert run("check", "ends.frac")[0] == run("fmt", "--check", "ends.frac")[0] == run("info", "ends")[0] == 0
    out, aux = load_artifact(tmp_path / "ends")(torch.ones(2, 4), torch.ones(2, 4))
    assert out.shape == (2, 4) and aux.equal(torch.ones(2, 4))
    code, _, err = run("import", "nets_to_import:Ends", *MINE)
    assert code == 1 and "it takes 2 inputs (image, table), and examples are given for 1" in " ".join(err.split())


def test_the_text_is_printed_without_an_output(run: Run) -> None:
    code, out, _ = run("import", "nets_to_import:Two", *MINE)
    assert code == 0 and out.startswith("frac 1\n# two, read by") and "sum(id, linear(4))" in out


def test_unused_parameters_are_counted(run: Run) -> None:
    assert "15 parameters of the module take no part" in run("import", "nets_to_import:Two", *MINE, "-o", "x.frac")[1]


def test_a_file_of_torch_export_is_imported(run: Run, tmp_path: Path) -> None:
    program = torch.export.export(
        torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.SiLU()), (torch.zeros(1, 3, 8, 8),)
    )
    torch.export.save(program, tmp_path / "net.pt2")
    code, out, _ = run("import", "net.pt2", "--allow-python")
    assert code == 0 and "conv2d(4, 3) >> silu" in out
    assert "only with --allow-python" in run("import", "net.pt2")[2]
    torch.export.save(torch.export.export(torch.nn.ReLU(), (), {"input": torch.zeros(1, 3)}), tmp_path / "named.pt2")
    assert "takes inputs by keyword (input)" in run("import", "named.pt2", "--allow-python")[2]
    (tmp_path / "bad.pt2").write_text("no archive")
    assert "no file of torch.export" in run("import", "bad.pt2", "--allow-python")[2]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["resnet50"], "names no net: write torchvision:NAME"),
        (["nets_to_import:make"], "runs only with --allow-python"),
        (["nets_to_import:make", "--allow-python"], "give its type"),
        (["nets_to_import:nothing", *MINE], "cannot be loaded"),
        (["no_such_module:make", *MINE], "cannot be loaded"),
        (["nets_to_import:number", *MINE], "returns int, not a torch.nn.Module"),
        (["nets_to_import:fails", *MINE], "ValueError: no luck"),
        (["nets_to_import:make", "--allow-python", "--input", "[4]"], "is no type of an input"),
        (["nets_to_import:make", "--allow-python", "--input", "f32[5]"], "fails on an input of shape [3, 5]"),
        (["missing.pt2", "--allow-python"], "does not exist"),
    ],
)
def test_messages(run: Run, words: list[str], message: str) -> None:
    code, _, err = run("import", *words)
    assert code == 1 and message in " ".join(err.split())


def test_files_are_not_replaced(run: Run, tmp_path: Path) -> None:
    (tmp_path / "net.frac").write_text("# mine")
    code, _, err = run("import", "nets_to_import:make", *MINE, "-o", "net.frac")
    assert code == 1 and "net.frac exists" in err and (tmp_path / "net.frac").read_text() == "# mine"


def test_nets_of_libraries_are_found(run: Run) -> None:
    torchvision_models()
    code, out, _ = run("import", "torchvision:squeezenet1_1", "-o", "net.frac", "--input", "f32[3, 64, 64]")
    assert code == 0 and "1,235,496 parameters" in out
    code, _, err = run("import", "torchvision:resnet5")
    assert code == 1 and "torchvision has no net 'resnet5': did you mean `resnet" in err
    pytest.importorskip("timm")
    code, out, _ = run("import", "timm:resnet18d", "-o", "timm.frac", "--input", "f32[3, 64, 64]")
    assert code == 0 and "11,708,744 parameters" in out


def test_a_torchvision_that_does_not_fit_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(name: str) -> None:
        raise RuntimeError("operator torchvision::nms does not exist")

    monkeypatch.setattr(loading.importlib, "import_module", fail)
    with pytest.raises(UserError, match=r"built for another torch than .*: install the two together"):
        loading.library("torchvision.models")
