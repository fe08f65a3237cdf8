"""``docs/architecture.md`` names what is there."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "docs" / "architecture.md").read_text("utf-8")


def test_every_path_exists() -> None:
    for path in re.findall(r"`(?!model\.py`)([\w/.]+(?:/|\.py|\.md|\.test))`", TEXT):
        places = [ROOT / path, ROOT / "fractal_dsl" / path]
        places += [f for f in (ROOT / "fractal_dsl").rglob(path) if "/" not in path.rstrip("/")]
        assert any(place.exists() for place in places), path


def test_every_folder_is_listed() -> None:
    folders = {f.parent.name for f in (ROOT / "fractal_dsl").glob("*/__init__.py")}
    first_column = "".join(re.findall(r"^\| (`.*?) \|", TEXT, re.MULTILINE))
    assert folders <= set(re.findall(r"`(\w+)/`", first_column))
