"""The gallery: every picture can be drawn by its command, and each is on its page."""

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest
from typer.testing import CliRunner

from fractal_dsl.cli.app import app

GALLERY = Path(__file__).parent.parent / "docs" / "gallery"


def make() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make", GALLERY / "make.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_shows_what_the_folder_has() -> None:
    page = (GALLERY / "README.md").read_text("utf-8")
    assert page == make().page()
    files = {f.name for f in GALLERY.iterdir() if f.suffix in (".svg", ".html")}
    assert files == {*re.findall(r"\]\((\S+)\)", page)} == {*make().PICTURES}


@pytest.mark.parametrize("name", [name for name in make().PICTURES if name.endswith(".svg")])
def test_the_command_of_a_picture_still_draws_it(name: str, tmp_path: Path) -> None:
    """Without Graphviz, which only paints: the tooltips and texts of the picture in the folder are in the DOT text."""
    arguments = make().command(name, tmp_path)
    arguments[arguments.index("-o") + 1] = str(tmp_path / "n.dot")
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    dot = (tmp_path / "n.dot").read_text("utf-8")
    drawn = len(re.findall(r'class="?(?:layer|closed|join|skip|input|output)', dot))
    svg = (GALLERY / name).read_text("utf-8")
    assert len(re.findall(r'class="node (?:layer|closed|join|skip|input|output)', svg)) == drawn
