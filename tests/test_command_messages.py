"""What commands print where files, parameters or options are wrong, as golden text: ``tests/golden/commands.test``.

A case has files (``@ NAME`` before each; ``@ NAME/`` is a folder, ``@ NAME |`` a named pipe, ``@ NAME ?`` no text)
and a command (``$``).
``UPDATE_GOLDEN=1 pytest tests/test_command_messages.py`` writes the file anew; read the difference before you commit.
"""

from __future__ import annotations

import os
import re
import shlex
import sys
from pathlib import Path

import pytest

from fractal_dsl.cli import main

GOLDEN = Path(__file__).parent / "golden" / "commands.test"
CASES = [
    (title, *re.split(r"^--\n", rest, maxsplit=1, flags=re.M))
    for title, _, rest in (
        part.partition("\n") for part in re.split(r"^== ", GOLDEN.read_text("utf-8"), flags=re.M)[1:]
    )
]


def printed(text: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> str:
    """What the command of a case prints, run in a folder of the case's files."""
    files, _, command = text.partition("$ ")
    for part in re.split(r"^@ ", files, flags=re.M)[1:]:
        name, _, content = part.partition("\n")
        if name.endswith(" |"):
            os.mkfifo(name.removesuffix(" |"))
        elif name.endswith(" ?"):
            Path(name.removesuffix(" ?")).write_bytes(b"\x89PNG\r\n")
        elif name.endswith("/"):
            Path(name).mkdir(parents=True)
        else:
            Path(name).parent.mkdir(parents=True, exist_ok=True)
            Path(name).write_text(content, "utf-8")
    monkeypatch.setattr(sys, "argv", ["fractal-dsl", *shlex.split(command)])
    with pytest.raises(SystemExit):
        main()
    out, err = capsys.readouterr()
    return (out + err).strip("\n") + "\n"


@pytest.mark.parametrize(("title", "text", "expected"), CASES, ids=[c[0] for c in CASES])
def test_commands_print_what_is_written(
    title: str,
    text: str,
    expected: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "nets").mkdir()
    monkeypatch.chdir(tmp_path / "nets")
    monkeypatch.setenv("COLUMNS", "100")
    found = printed(text, monkeypatch, capsys)
    if os.environ.get("UPDATE_GOLDEN"):
        old, new = (f"== {title}\n{text}--\n{result}" for result in (expected, found))
        GOLDEN.write_text(GOLDEN.read_text("utf-8").replace(old, new), "utf-8")
    else:
        assert found == expected
