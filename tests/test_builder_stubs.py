"""The stubs of the Python builder say what the language has. ``UPDATE_GOLDEN=1`` writes them; then format them."""

from __future__ import annotations

import ast
import os
from collections.abc import Callable
from pathlib import Path

import pytest

import fractal_dsl.builder
from tests.support import stubs

FOLDER = Path(fractal_dsl.builder.__file__).parent


@pytest.mark.parametrize(("name", "write"), [("layers.pyi", stubs.layers), ("settings.pyi", stubs.settings)])
def test_stubs_are_those_of_the_language(name: str, write: Callable[[], str]) -> None:
    path, text = FOLDER / name, write()
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(text, "utf-8")
    assert ast.dump(ast.parse(path.read_text("utf-8"))) == ast.dump(ast.parse(text))
