"""``docs/architecture.md`` and the docstrings of folders describe what is there."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "fractal_dsl"
FOLDERS = sorted(path.parent for path in PACKAGE.rglob("__init__.py") if path.parent != PACKAGE)
CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]["contracts"]
RANKS = {name: rank for rank, layer in enumerate(CONTRACTS[0]["layers"]) for name in layer.split(" | ")}
UNLISTED = ("__pycache__", "grammar")  # in an installed package, the grammar lies beside the code
TEXT = (ROOT / "docs" / "architecture.md").read_text("utf-8")


def test_every_path_exists() -> None:
    for path in re.findall(r"`(?!model\.py`)([\w/.]+(?:/|\.py|\.md|\.test))`", TEXT):
        places = [ROOT / path, PACKAGE / path]
        places += [f for f in PACKAGE.rglob(path) if "/" not in path.rstrip("/")]
        assert any(place.exists() for place in places), path


def test_every_folder_is_listed() -> None:
    folders = {f.name for f in PACKAGE.iterdir() if f.is_dir() and f.name not in UNLISTED}
    first_column = "".join(re.findall(r"^\| (`.*?) \|", TEXT, re.MULTILINE))
    assert folders <= set(re.findall(r"`(\w+)/`", first_column))


def test_the_evaluator_is_listed_in_the_order_of_its_imports() -> None:
    """A module of syntax_to_program imports only modules below it in the list of its docstring."""
    package = ROOT / "fractal_dsl" / "program" / "syntax_to_program"
    doc = ast.get_docstring(ast.parse((package / "__init__.py").read_text("utf-8"))) or ""
    listed = [name for names in re.findall(r"^    (\w+(?:, \w+)*)  +", doc, re.MULTILINE) for name in names.split(", ")]
    assert listed[0] == "evaluate" and listed[-1] == "types"
    for rank, name in enumerate(listed):
        for node in ast.walk(ast.parse((package / f"{name}.py").read_text("utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("fractal_dsl.program.syntax_to"):
                target = (node.module or "").split(".")[3:] or [alias.name for alias in node.names]
                assert not set(target) & set(listed[:rank]), (name, target)


def test_files_and_functions_are_small() -> None:
    files, functions = dict[str, int](), dict[str, int]()
    for file in PACKAGE.rglob("*.py"):
        text = file.read_text("utf-8")
        files[str(file)] = len(text.splitlines())
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                functions[f"{file}:{node.lineno} {node.name}"] = (node.end_lineno or 0) - node.lineno + 1
    assert {name: lines for name, lines in files.items() if lines > 350} == {}
    assert {name: lines for name, lines in functions.items() if lines > 60} == {}
    assert sorted(files.values())[len(files) // 2] < 150
    assert sorted(functions.values())[len(functions) * 95 // 100] < 30


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.relative_to(PACKAGE).as_posix())
def test_each_folder_says_what_comes_in_what_goes_out_and_what_it_does_not_import(folder: Path) -> None:
    text = ast.get_docstring(ast.parse((folder / "__init__.py").read_text("utf-8"))) or ""
    match = re.search(r"^In: .+ Out: .+\n(?:.+\n)?Not imported here: (.+)", text, re.MULTILINE)
    assert match, text
    top = folder.relative_to(PACKAGE).parts[0]
    excluded = [name for name in re.findall(r"``(\w+)``", match[1]) if name in RANKS]
    assert excluded or folder == PACKAGE / "cli"
    assert all(RANKS[name] <= RANKS[top] for name in excluded), "a folder may import what is below it"
