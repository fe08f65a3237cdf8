"""The demo of the Makefile is what README.md shows. `test_installed.py` runs the commands."""

from __future__ import annotations

from tests.support.written import DEMO, readme_commands


def test_the_demo_is_the_short_path_of_the_readme() -> None:
    steps = [" ".join(words) for words in readme_commands()[:6]]
    lines = [line.replace(" --out $(RUN)", "").replace("$(RUN) --columns", "runs/digits-2") for line in DEMO]
    assert [line.replace("$(RUN)", "runs/digits-2") for line in lines] == steps
