"""The import contracts of pyproject.toml hold, and each of them fails when an import breaks it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def contracts(folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command; lint_imports_command()"]
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    return subprocess.run(
        [*command, "--no-cache", "--no-logo"], cwd=folder, env=environment, capture_output=True, text=True
    )


def copy_of_package(folder: Path) -> Path:
    shutil.copy(ROOT / "pyproject.toml", folder)
    for file in (ROOT / "fractal_dsl").rglob("*.py"):
        target = folder / file.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, target)
    return folder


@pytest.mark.parametrize(
    ("file", "line", "contract"),
    [
        ("base/errors.py", "import fractal_dsl.language.syntax", "Folders import only folders below them"),
        ("graph/graph.py", "def f() -> None:\n    import fractal_dsl.plans.plan", "Folders import only folders"),
        ("picture/shown.py", "import torch", "Only folders above the line import torch"),
        (
            "program/syntax_to_program/names.py",
            "def f() -> None:\n    import fractal_dsl.program.syntax_to_program.calls",
            "The evaluator reads from the top down",
        ),
        (
            "program/syntax_to_program/termination/numbers.py",
            "def f() -> None:\n    import fractal_dsl.program.syntax_to_program.termination.reach",
            "The termination check reads from the top down",
        ),
        ("language/source.py", "def f() -> None:\n    import torch", "Only folders above the line import torch"),
    ],
)
def test_an_import_that_breaks_a_contract_fails(tmp_path: Path, file: str, line: str, contract: str) -> None:
    path = copy_of_package(tmp_path) / "fractal_dsl" / file
    path.write_text(f"{path.read_text('utf-8')}\n{line}\n", encoding="utf-8")
    done = contracts(tmp_path)
    broken = [text for text in done.stdout.splitlines() if " BROKEN" in text]
    assert done.returncode == 1
    assert len(broken) == 1 and broken[0].startswith(contract)


def test_the_package_keeps_its_contracts() -> None:
    done = contracts(ROOT)
    assert done.returncode == 0, done.stdout


def test_a_new_folder_must_find_its_place(tmp_path: Path) -> None:
    new = copy_of_package(tmp_path) / "fractal_dsl" / "elsewhere"
    new.mkdir()
    (new / "__init__.py").write_text('"""A folder without a layer."""\n')
    done = contracts(tmp_path)
    assert done.returncode == 1
    assert "elsewhere" in done.stdout
