"""The commands of README.md work as written and in order, right after those of `make demo`."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text("utf-8")
BLOCKS = re.findall(r"^```\n((?:fractal-dsl .*\n(?: +#.*\n)*)+)```$", README, re.M)
COMMANDS = [shlex.split(line, comments=True) for block in BLOCKS for line in block.splitlines() if line[0] != " "]
DEMO = re.findall(r"^\t\$\(FRAC\) (.*)$", (ROOT / "Makefile").read_text("utf-8").partition("demo:")[2], re.M)


def test_the_demo_is_the_short_path_of_the_readme() -> None:
    steps = [" ".join(words[1:]) for words in COMMANDS[:6]]
    lines = [line.replace(" --out $(RUN)", "").replace("$(RUN) --columns", "runs/digits-2") for line in DEMO]
    assert [line.replace("$(RUN)", "runs/digits-2") for line in lines] == steps


@pytest.mark.slow
def test_the_commands_of_the_readme_work_after_the_demo(tmp_path: Path) -> None:
    assert len(COMMANDS) > 20
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    (tmp_path / "fractal_dsl").symlink_to(ROOT / "fractal_dsl")
    (tmp_path / "out").mkdir()
    shutil.copy(ROOT / "examples" / "digits.frac", tmp_path / "out")
    demo = [["fractal-dsl", *line.replace("$(RUN)", "runs/digits-1").split()] for line in DEMO]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    for words in demo + [words for words in COMMANDS if words[1] not in ("play", "serve")]:
        line = [sys.executable, "-m", "fractal_dsl", *words[1:]]
        done = subprocess.run(line, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{shlex.join(words)}\n{done.stderr}"
