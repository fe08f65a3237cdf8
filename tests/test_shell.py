"""In the shell: completion scripts, and commands that run again when a file changes."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fractal_dsl.cli.commands import COMMANDS

ROOT = Path(__file__).parents[1]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
NET = "net N(x: f32[8]) -> f32[8] = linear(8)\n"


def run(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "fractal_dsl", *words]
    return subprocess.run(command, cwd=cwd, env=ENVIRONMENT, capture_output=True, text=True, timeout=120)


@pytest.fixture(scope="module")
def scripts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("completion")
    for shell in ("bash", "zsh", "fish"):
        (folder / shell).write_text(run("completion", shell, cwd=folder).stdout)
    return folder


COMPLETED = [
    ("", {"check", "render", "new", "--version"}, {"--net"}),
    ("ren", {"render"}, {"check"}),
    ("render --th", {"--theme"}, {"--view"}),
    ("render --theme ", {"light", "dark", "auto"}, {"--theme"}),
    ("render --theme d", {"dark"}, {"light"}),
    ("render -o ", set[str](), {"--theme", "light"}),
    ("render --theme =", {"light", "dark", "auto"}, {"--theme"}),
    ("render --theme = d", {"dark"}, {"light"}),
    ("explain E05", {"E0501"}, {"E0101"}),
    ("completion ", {"bash", "zsh", "fish"}, set[str]()),
    ("check net.frac --", {"--format", "--watch", "--help"}, {"--theme"}),
]


@pytest.mark.parametrize(("typed", "offered", "left_out"), COMPLETED)
def test_bash_completes(typed: str, offered: set[str], left_out: set[str], scripts: Path) -> None:
    words = ["fractal-dsl", *typed.split(" ")]
    quoted = " ".join(f"'{word}'" for word in words)
    code = f"""source {scripts / "bash"}
COMP_WORDS=({quoted}); COMP_CWORD={len(words) - 1}
_fractal_dsl fractal-dsl '{words[-1]}' '{words[-2]}'
printf '%s\\n' "${{COMPREPLY[@]}}"
"""
    done = subprocess.run(["bash", "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stderr == ""
    found = {*done.stdout.split()}
    assert offered <= found and not left_out & found


def test_helps_keep_their_brackets(scripts: Path) -> None:
    assert "such as ’f32[3, 224, 224]’" in (scripts / "fish").read_text()
    assert r"such as ’f32\[3, 224, 224\]’" in (scripts / "zsh").read_text()


def test_every_script_has_every_command(scripts: Path) -> None:
    for shell in ("bash", "zsh", "fish"):
        script = (scripts / shell).read_text()
        assert all(name in script for name in COMMANDS)
        assert script.count("'") % 2 == 0


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_scripts_are_sound(shell: str, scripts: Path) -> None:
    if not shutil.which(shell):
        pytest.skip(f"{shell} is not installed")
    subprocess.run([shell, "-n", str(scripts / shell)], check=True, timeout=60)


# --- watch


class Watched:
    """A command that watches. Its output is read from files, so that nothing blocks."""

    def __init__(self, folder: Path, *words: str) -> None:
        self.out, self.err = folder / ".out", folder / ".err"
        command = [sys.executable, "-m", "fractal_dsl", *words]
        with self.out.open("w") as out, self.err.open("w") as err:
            self.process = subprocess.Popen(command, cwd=folder, env=ENVIRONMENT, stdout=out, stderr=err)

    def until(self, text: str, times: int = 1) -> str:
        for _ in range(600):
            told = self.out.read_text() + self.err.read_text()
            if told.count(text) >= times:
                return told
            time.sleep(0.05)
        raise AssertionError(f"no {text!r} in {told!r}")

    def stop(self) -> int:
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(30)


@pytest.fixture
def started(tmp_path: Path) -> Iterator[list[Watched]]:
    all: list[Watched] = []
    yield all
    for watched in all:
        watched.process.kill()
        watched.process.wait()


def test_check_runs_again_when_a_file_or_an_import_changes(tmp_path: Path, started: list[Watched]) -> None:
    (tmp_path / "part.frac").write_text("layer l = linear(8)\n")
    net = tmp_path / "net.frac"
    net.write_text('import "part.frac" as p\nnet N(x: f32[8]) -> f32[8] = p.l\n')
    watched = Watched(tmp_path, "check", "net.frac", "--watch")
    started.append(watched)
    watched.until("watching 2 files; press Ctrl-C to stop")
    (tmp_path / "part.frac").write_text("layer l = linaer(8)\n")
    assert "did you mean `linear`?" in watched.until("press Ctrl-C", 2)
    net.write_text(NET)
    assert watched.until("press Ctrl-C", 3).count("net.frac: ok (N)") == 2
    assert watched.stop() == 0


def test_a_file_that_is_deleted_and_comes_back(tmp_path: Path, started: list[Watched]) -> None:
    (tmp_path / "net.frac").write_text(NET)
    watched = Watched(tmp_path, "check", ".", "--watch")
    started.append(watched)
    watched.until("press Ctrl-C")
    (tmp_path / "net.frac").unlink()
    watched.until("no .frac files found")
    (tmp_path / "other.frac").write_text(NET)
    watched.until("other.frac: ok (N)")
    assert watched.stop() == 0


def test_render_draws_again(tmp_path: Path, started: list[Watched]) -> None:
    (tmp_path / "net.frac").write_text(NET)
    watched = Watched(tmp_path, "render", "net.frac", "--watch")
    started.append(watched)
    watched.until("press Ctrl-C")
    before = (tmp_path / "net.svg").read_bytes()
    (tmp_path / "net.frac").write_text(NET.replace("linear(8)", "relu >> linear(8)"))
    watched.until("press Ctrl-C", 2)
    assert (tmp_path / "net.svg").read_bytes() != before
    assert watched.stop() == 0


@pytest.mark.parametrize("words", [("check", "-"), ("render", "net.frac", "-o", "-")])
def test_what_cannot_be_watched_is_refused(words: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "net.frac").write_text(NET)
    done = run(*words, "--watch", cwd=tmp_path)
    assert done.returncode == 2 and "watch" in done.stderr
