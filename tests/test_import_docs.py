"""The examples of docs/import.md work, and print what the page says. UPDATE_GOLDEN=1 writes it."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
import torch

from fractal_dsl.importing import read
from fractal_dsl.pipeline import compile_text
from tests.support.torch_nets import FractalNet

PAGE = Path(__file__).parents[1] / "docs" / "import.md"


def expect(pattern: str, text: str) -> None:
    """Check that a part of the page, found by its surroundings, is this block of Frac."""
    page = PAGE.read_text("utf-8")
    new = re.sub(pattern, lambda m: f"{m[1]}```frac\n{text}```\n{m[2]}", page, count=1, flags=re.S)
    if os.environ.get("UPDATE_GOLDEN"):
        PAGE.write_text(new, encoding="utf-8")
    assert new == PAGE.read_text("utf-8")


def test_the_python_examples_print_what_follows_them(capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, object] = {"__name__": "example"}
    for code in re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.S):
        exec(compile(code, str(PAGE), "exec"), names)
        printed = capsys.readouterr().out.removesuffix("\n")
        expect(f"({re.escape(code)}```\n\nprints\n\n)```frac\n.*?```\n(\n)", printed)


def test_the_fractal_net_is_the_one_of_the_tests() -> None:
    text = read(FractalNet(), torch.zeros(1, 3, 32, 32)).text
    expect(r"(<!-- fractalnet: [^>]*-->\n\n)(?:```frac\n.*?```\n)?(\n?<!-- end)", text)


def test_every_page_of_frac_compiles() -> None:
    pages = re.findall(r"```frac\n(.*?)```", PAGE.read_text("utf-8"), re.S)
    assert len(pages) == 4
    for page in pages:
        compile_text(page)
