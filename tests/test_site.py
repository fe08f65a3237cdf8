"""The documentation site: the tutorial prints what its page says, and the site builds without a broken link."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TUTORIAL = (ROOT / "docs" / "start.md").read_text("utf-8")
COMMANDS = [
    (shlex.split(line.removeprefix("fractal-dsl ")), [*said.splitlines()])
    for block in re.findall(r"^```console\n(.*?)^```$", TUTORIAL, re.M | re.S)
    for line, said in re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", block, re.M)
]
"""The commands of the tutorial, and the lines that each prints. `…` stands for any text, alone for any lines."""
QUICK = ("check", "info", "plan", "render")


def run(folder: Path, *words: str, module: str | None = "fractal_dsl") -> str:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "NO_COLOR": "1", "COLUMNS": "200"}
    line = [sys.executable, *(["-m", module] if module else []), *words]
    done = subprocess.run(line, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{shlex.join(words)}\n{done.stdout}{done.stderr}"
    return done.stdout + done.stderr


def tutorial(folder: Path) -> Path:
    """A folder with the files of the tutorial."""
    for name, text in re.findall(r"^```frac file (\S+)\n(.*?)^```$", TUTORIAL, re.M | re.S):
        (folder / name).write_text(text)
    return folder


def assert_said(said: str, expected: list[str]) -> None:
    pattern = "".join(
        r"(?:.*\n)*?" if line == "…" else re.escape(line).replace("…", ".*") + r"\s*\n" for line in expected
    )
    assert re.search(rf"^{pattern}", said, re.M), said


def test_the_tutorial_says_what_quick_commands_print(tmp_path: Path) -> None:
    quick = [(words, said) for words, said in COMMANDS if words[0] in QUICK]
    assert len(quick) >= 5
    for words, said in quick:
        assert_said(run(tutorial(tmp_path), *words), said)


def test_the_tutorial_shows_the_error_of_a_wrong_net(tmp_path: Path) -> None:
    wrong = (tutorial(tmp_path) / "net.frac").read_text().replace("linear(10)", "linear(9)")
    (tmp_path / "net.frac").write_text(wrong)
    line = [sys.executable, "-m", "fractal_dsl", "check", "net.frac"]
    done = subprocess.run(
        line, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False
    )
    (shown,) = re.findall(r"^```text\n(error.*?)^```$", TUTORIAL, re.M | re.S)
    assert done.returncode == 1 and shown in done.stderr + done.stdout


def test_every_guide_is_in_the_contents_once() -> None:
    contents = (ROOT / "docs" / "index.md").read_text("utf-8").splitlines()
    for page in (ROOT / "docs").glob("*.md"):
        assert page.stem == "index" or contents.count(page.stem) == 1, page.name


@pytest.mark.slow
def test_the_tutorial_works_as_written(tmp_path: Path) -> None:
    for words, said in COMMANDS:
        assert_said(run(tutorial(tmp_path), *words), said)
    ((folder, code),) = re.findall(r"^```python run (\S+)\n(.*?)^```$", TUTORIAL, re.M | re.S)
    assert "torch.Size([1, 10])" in run(tmp_path / folder, "-c", code, module=None)


@pytest.mark.slow
def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    pytest.importorskip("sphinx", reason="make site installs Sphinx")
    run(ROOT, "-W", "--keep-going", "-q", "-E", "-b", "html", "docs", str(tmp_path), module="sphinx")
    pages = {path.relative_to(tmp_path).as_posix(): path.read_text("utf-8") for path in tmp_path.rglob("*.html")}
    assert {"index.html", "start.html", "generated/language.html", "generated/errors.html", "api.html"} <= {*pages}
    assert 'src="play/index.html#s=' in pages["start.html"], "the tutorial embeds the playground"
    for name, text in pages.items():
        assert not re.findall(r"<(?:script|link|img)[^>]*(?:src|href)=\"https?:", text), f"{name} needs the network"
