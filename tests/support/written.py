"""The commands that README.md, the tutorial and the Makefile's demo show, in the order of the page."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text("utf-8")
TUTORIAL = (ROOT / "docs" / "start.md").read_text("utf-8")
DEMO = re.findall(r"^\t\$\(FRAC\) (.*)$", (ROOT / "Makefile").read_text("utf-8").partition("demo:")[2], re.M)
"""The commands of `make demo`, with variables of make."""


def readme_commands() -> list[list[str]]:
    """The words of each command in blocks of README.md, without `fractal-dsl`."""
    blocks = re.findall(r"^```\n((?:fractal-dsl .*\n(?: +#.*\n)*)+)```$", README, re.M)
    lines = [line for block in blocks for line in block.splitlines() if line[0] != " "]
    return [shlex.split(line, comments=True)[1:] for line in lines]


def tutorial_commands() -> list[tuple[list[str], list[str]]]:
    """The words of each command of the tutorial, and the lines that it prints: `…` alone stands for any lines."""
    return [
        (shlex.split(line.removeprefix("fractal-dsl ")), [*said.splitlines()])
        for block in re.findall(r"^```console\n(.*?)^```$", TUTORIAL, re.M | re.S)
        for line, said in re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", block, re.M)
    ]


def tutorial_files(folder: Path) -> Path:
    """Write the files of the tutorial into a folder, which is returned."""
    for name, text in re.findall(r"^```frac file (\S+)\n(.*?)^```$", TUTORIAL, re.M | re.S):
        (folder / name).write_text(text)
    return folder


def assert_said(said: str, expected: list[str]) -> None:
    """Check that a text has these lines in this order. `…` stands for any text, alone for any lines."""
    pattern = "".join(
        r"(?:.*\n)*?" if line == "…" else re.escape(line).replace("…", ".*") + r"\s*\n" for line in expected
    )
    assert re.search(rf"^{pattern}", said, re.M), said
