"""The command `fmt`: what it reads, what it writes to, what it leaves as it was."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from fractal_dsl.base.errors import UserError
from fractal_dsl.base.files import rewrite_text, write_text
from fractal_dsl.cli import main

UGLY, NICE = "let  a=1 # c\n", "let a = 1  # c\n"


def run(*args: str | Path) -> int:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["fractal-dsl", "fmt", *map(str, args)])
        try:
            main()
        except SystemExit as stop:
            return int(stop.code or 0)
        return 0


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    path = tmp_path / "a.frac"
    path.write_text(UGLY)
    return path


def test_links_and_modes_stay(spec: Path) -> None:
    spec.chmod(0o640)
    link, circle = spec.with_name("link.frac"), spec.with_name("circle.frac")
    link.symlink_to(spec)
    circle.symlink_to(circle)
    assert run(link) == 0
    assert link.is_symlink()
    assert (spec.read_text(), spec.stat().st_mode & 0o777) == (NICE, 0o640)
    spec.write_text(UGLY)
    other = spec.with_name("other.frac")
    os.link(spec, other)
    assert run(spec) == 0
    assert other.read_text() == NICE
    assert run(circle) == 1


def test_what_cannot_be_written_stays(spec: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec.chmod(0o444)
    assert run(spec) == 1
    assert "it is read-only" in capsys.readouterr().err
    assert spec.read_text() == UGLY


@pytest.mark.parametrize("write", [rewrite_text, write_text])
def test_what_is_no_file_is_not_replaced(write: Callable[[Path, str], None], tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.frac"
    os.mkfifo(pipe)
    with pytest.raises(UserError, match="it is not a regular file"):
        write(pipe, NICE)
    assert pipe.is_fifo()


def test_standard_input(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def given(data: bytes, *options: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
        code = run("-", *options)
        return code, *capsys.readouterr()

    assert given(UGLY.encode()) == (0, NICE, "")
    assert given(NICE.encode()) == (0, NICE, "")
    assert given(UGLY.encode(), "--check") == (1, "<stdin>: would be formatted\n", "")
    code, out, err = given(b"let a = (")
    assert (code, out) == (1, "")
    assert "<stdin>:1" in err
    assert given(b"\xff")[0] == 1


@pytest.mark.parametrize("command", [["info"], ["plan"], ["compile", "--emit", "raw"], ["render", "-o", "x.dot"]])
def test_commands_on_a_spec_read_standard_input(
    command: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    spec = b"net N(x: f32[8]) -> f32[4] = linear(4)"
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(spec)))
    monkeypatch.setattr(sys, "argv", ["fractal-dsl", command[0], "-", *command[1:]])
    with contextlib.suppress(SystemExit):
        main()
    assert capsys.readouterr().err == ""


def test_check_reads_standard_input_as_fmt_does(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = b"net N(x: f32[8]) -> f32[9] = linear(8)"
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(spec)))
    monkeypatch.setattr(sys, "argv", ["fractal-dsl", "check", "-"])
    with pytest.raises(SystemExit):
        main()
    assert "<stdin>:1:21" in capsys.readouterr().err


def test_folders_are_searched(spec: Path, capsys: pytest.CaptureFixture[str]) -> None:
    inner, hidden, other = (spec.parent / name for name in ("b/c.frac", ".git/d.frac", "b/e.txt"))
    for path in (inner, hidden, other):
        path.parent.mkdir(exist_ok=True)
        path.write_text(UGLY)
    assert run(spec.parent, spec) == 0
    assert capsys.readouterr().out == f"{spec}: formatted\n{inner}: formatted\n"
    assert [p.read_text() for p in (spec, inner, hidden, other)] == [NICE, NICE, UGLY, UGLY]
    assert run(spec.parent, "--check") == 0


def test_patches_apply(spec: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = "let a=1\n# \x0c kept\nlet b=2"
    spec.write_text(text)
    assert run(spec, "--diff", "--check") == 1
    out, err = capsys.readouterr()
    assert err == f"{spec}: would be formatted\n"
    assert spec.read_text() == text
    subprocess.run(["patch", str(spec)], input=out, text=True, check=True, capture_output=True)
    assert spec.read_text() == "let a = 1\n# \x0c kept\nlet b = 2\n"
    assert run(spec, "--diff") == 0


def test_line_ends_stay(spec: Path) -> None:
    spec.write_bytes(b"let a=1\r\n\r\n# c\r\nlet b=2")
    assert run(spec) == 0
    assert spec.read_bytes() == b"let a = 1\r\n\r\n# c\r\nlet b = 2\r\n"
    assert run(spec, "--check") == 0


def test_carriage_returns_hide_nothing(spec: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec.write_bytes(b"let a = 1 # c\rlet b = zz\n")
    assert run(spec) == 1
    assert "a carriage return without a line feed" in capsys.readouterr().err
