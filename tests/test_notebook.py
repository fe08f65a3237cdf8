"""Notebooks: what displays itself, the magic `%%frac`, live curves, and the tutorial, run by a real kernel."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from fractal_dsl.notebook.magic import CellError, frac
from fractal_dsl.pipeline import compile_file, compile_text
from fractal_dsl.plans.plan import Plan, plan_of_text

ROOT = Path(__file__).parents[1]
SVG, TEXT = "image/svg+xml", "text/plain"
SPEC = """\
rule F(out: int) join mean {
    F[1]   = conv2d(out, 3, padding=1)
    F[n+1] = F[n] >> F[n] | conv2d(out, 3, padding=1)
}
net Tiny(x: f32[1, 8, 8]) -> f32[10] = F[3](4) >> flatten >> linear(10)
train { dataset = "digits" }
"""


def executed(notebook: Any, monkeypatch: pytest.MonkeyPatch, **options: Any) -> Any:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    NotebookClient(notebook, timeout=300, kernel_name="python3", **options).execute()
    return notebook


def displayed(cell: Any) -> list[dict[str, str]]:
    return [out["data"] for out in cell.outputs if "data" in out]


def cells(*sources: str) -> Any:
    notebook: Any = nbformat.v4.new_notebook()
    notebook.cells = [nbformat.v4.new_code_cell(source) for source in sources]
    return notebook


def test_nets_plans_and_errors_in_a_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    notebook = executed(
        cells(
            "%load_ext fractal_dsl.notebook",
            f"%%frac tiny -p width=4\n{SPEC.replace('F[3](4)', 'F[3](width)')}param width: int = 8\n",
            "import fractal_dsl\nmodel = fractal_dsl.build(tiny)\nmodel",
            "model.column_plan(2)",
            "%%frac wrong\nnet N(x: f32[8]) -> f32[8] = linaer(8)\n",
            "'wrong' in globals(), tiny.program.params",
            "%%frac --nett x\nlet a = 1\n",
        ),
        monkeypatch,
        allow_errors=True,
    )
    _, compiled, model, plan, wrong, known, usage = notebook.cells
    for cell, word in ((compiled, "net Tiny"), (model, "net Tiny"), (plan, "plan 2:")):
        (data,) = displayed(cell)
        assert "<svg" in data[SVG] and word in data[TEXT]
    assert all([out["output_type"] for out in cell.outputs] == ["error"] for cell in (wrong, usage))  # stops "Run all"
    told = re.sub(r"\x1b\[[\d;]*m", "", "\n".join(wrong.outputs[0]["traceback"]))
    assert "unknown name `linaer`" in told and "did you mean `linear`?" in told
    assert "Traceback" not in told and "magic.py" not in told
    assert displayed(known)[0][TEXT] == "(False, {'width': 4})"
    assert usage.outputs[0]["traceback"] == ["error: write %%frac [VARIABLE] [-p NAME=VALUE]… [--net NAME]"]


@pytest.mark.slow
def test_the_tutorial_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    notebook = nbformat.read(ROOT / "docs" / "tutorial.ipynb", as_version=4)
    assert all(not cell.get("outputs") for cell in notebook.cells), "clear the outputs before you save it"
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    executed(notebook, monkeypatch, resources={"metadata": {"path": str(ROOT / "docs")}})
    codes = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert "<svg" in displayed(codes[1])[0][SVG]
    training = next(cell for cell in codes if "with live" in cell.source)
    curves, accuracy = displayed(training)
    assert "<svg" in curves[SVG] and "6 epochs" in curves[TEXT]
    assert float(accuracy[TEXT]) > 0.8


class Shell:
    """What the magic needs of IPython."""

    def __init__(self) -> None:
        self.variables: dict[str, Any] = {}

    def push(self, variables: dict[str, Any]) -> None:
        self.variables |= variables


@pytest.mark.parametrize(
    ("line", "variable", "net"),
    [("", "net", "B"), ("mine", "mine", "B"), ("--net A", "net", "A"), ("x -p w=4 --net A", "x", "A")],
)
def test_the_line_of_the_magic(line: str, variable: str, net: str) -> None:
    shell = Shell()
    cell = "param w: int = 8\nnet A(x: f32[8]) -> f32[w] = linear(w)\nnet B(x: f32[8]) -> f32[8] = id\n"
    compiled = frac(shell, line, cell)
    assert shell.variables == {variable: compiled}
    assert compiled.program.net == net
    assert compiled.summary.output_shape == ((4,) if "w=4" in line else (8,))


@pytest.mark.parametrize("line", ["1x", "-p w", "--net", "a b", "-q 3", "-p q=3", "net 'x"])
def test_a_line_that_is_wrong_changes_no_variable(line: str) -> None:
    shell = Shell()
    with pytest.raises(CellError, match="error"):
        frac(shell, line, SPEC)
    assert not shell.variables


def test_a_net_that_is_too_large_shows_its_rule() -> None:
    compiled = compile_file(ROOT / "examples" / "fractalnet_deep.frac", {"columns": "11"})
    bundle = compiled._repr_mimebundle_()
    assert "<svg" in bundle[SVG] and len(bundle[SVG]) < 100_000


def test_without_graphviz_there_is_a_text(monkeypatch: pytest.MonkeyPatch) -> None:
    from fractal_dsl.base.errors import UserError
    from fractal_dsl.picture import dot_to_picture

    def missing(*_: Any, **__: Any) -> str:
        raise UserError("no Graphviz")

    monkeypatch.setattr(dot_to_picture, "svg_text", missing)
    assert compile_text(SPEC)._repr_mimebundle_() == {TEXT: compile_text(SPEC)._repr_mimebundle_()[TEXT]}
    assert "(no picture: no Graphviz)" in compile_text(SPEC)._repr_mimebundle_()[TEXT]


def test_a_net_is_short_in_a_terminal() -> None:
    assert repr(compile_text(SPEC)) == "net Tiny: 3,282 parameters, 46,336 MACs per sample, depth 4"
    assert "net Tiny" in compile_text(SPEC)._repr_mimebundle_()[TEXT]


def test_a_plan_is_drawn_as_dots() -> None:
    plan = plan_of_text("0:110.11*3.01")
    svg = plan._repr_mimebundle_()[SVG]
    assert (svg.count("<circle"), svg.count('fill="none"')) == (7, 2)
    assert "×3" in svg
    many = Plan(0, tuple((True, bool(i % 2)) for i in range(100)))
    assert "… and 40 more" in many._repr_mimebundle_()[SVG]


def test_importing_the_package_needs_no_ipython() -> None:
    """Displays are methods, which a notebook looks up: nothing is registered at import."""
    code = "import sys, fractal_dsl, fractal_dsl.notebook; fractal_dsl.compile_file; sys.exit('IPython' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, timeout=60).returncode == 0
