"""The commands of README.md, the tutorial and `new`, as written, in an empty environment from the wheel."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from urllib.request import urlopen

import pytest
from hatchling.builders.wheel import WheelBuilder

from tests.support import written
from tests.support.written import ROOT

pytestmark = pytest.mark.slow


class Installed:
    """An environment with the wheel and what pip takes with it, and nothing of this checkout."""

    def __init__(self, folder: Path, wheel: Path) -> None:
        self.bin, self.wheel = folder / "bin", wheel
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        kept = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
        path = f"{self.bin}:/usr/bin:/bin"
        self.environment = {**kept, "PATH": path, "NO_COLOR": "1", "COLUMNS": "200", "BROWSER": "true"}
        self.add("")

    def add(self, extras: str) -> Installed:
        """Install the wheel with some extras, as the pages say it."""
        wanted = f"{self.wheel}[{extras}]" if extras else str(self.wheel)
        self.run(self.bin, "python", "-m", "pip", "install", "-q", "-c", str(ROOT / "constraints.txt"), wanted)
        return self

    def run(self, folder: Path, program: str, *words: str) -> str:
        """What a program of the environment prints. It must succeed."""
        line = [self.bin / program, *words]
        done = subprocess.run(line, cwd=folder, env=self.environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{program} {shlex.join(words)}\n{done.stdout}{done.stderr}"
        return done.stdout + done.stderr

    def frac(self, folder: Path, words: list[str]) -> str:
        """What a command of ``fractal-dsl`` prints. One that serves a page is ended once the page is there."""
        return (self.visit if words[0] in ("play", "serve") else self.run)(folder, "fractal-dsl", *words)

    def visit(self, folder: Path, program: str, *words: str) -> str:
        log = folder / f"{words[0]}.log"
        with log.open("w") as out:
            line = [self.bin / program, *words]
            process = subprocess.Popen(line, cwd=folder, env=self.environment, stdout=out, stderr=out)
            try:
                until = time.monotonic() + 120
                while not (address := re.search(r"http://[\d.]+:\d+/\S*", log.read_text())):
                    assert process.poll() is None and time.monotonic() < until, log.read_text()
                    time.sleep(0.2)
                with urlopen(address[0], timeout=60) as page:
                    assert b"<html" in page.read()
                process.send_signal(signal.SIGINT)
                assert process.wait(60) in (0, 130), log.read_text()
            finally:
                process.kill()
        return log.read_text()


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    folder = tmp_path_factory.mktemp("installed")
    wheel = next(WheelBuilder(str(ROOT)).build(directory=str(folder), versions=["standard"]))
    return Installed(folder / "environment", Path(wheel))


def test_a_new_project_says_what_to_do_next(installed: Installed, tmp_path: Path) -> None:
    """What `new` says next, which installs what training needs, and what its README says."""
    said = installed.frac(tmp_path, ["new", "digits"])
    change, *steps = re.findall(r"^    (.*)$", said, re.M)
    assert change == "cd digits" and "pip install 'fractal_dsl[train]'" in steps
    steps += (tmp_path / "digits" / "README.md").read_text("utf-8").split("```")[1].strip().splitlines()
    for line in steps:
        program, *words = shlex.split(line, comments=True)
        if program == "pip":
            installed.add("train")
        else:
            installed.frac(tmp_path / "digits", words)
    said = installed.frac(tmp_path, ["doctor"])
    assert "extra train        matplotlib" in said and "pip install 'fractal_dsl[sweep]'" in said


def test_the_tutorial_works_as_written(installed: Installed, tmp_path: Path) -> None:
    (extras,) = re.findall(r"^pip install 'fractal_dsl\[(.*)\]'$", written.TUTORIAL, re.M)
    installed.add(extras)
    written.tutorial_files(tmp_path)
    for words, said in written.tutorial_commands():
        written.assert_said(installed.frac(tmp_path, words), said)
    ((folder, code),) = re.findall(r"^```python run (\S+)\n(.*?)^```$", written.TUTORIAL, re.M | re.S)
    assert "torch.Size([1, 10])" in installed.run(tmp_path / folder, "python", "-c", code)


def test_the_commands_of_the_readme_work_after_the_demo(installed: Installed, tmp_path: Path) -> None:
    (extras,) = re.findall(r"-e '\.\[(train\S*)\]'", (ROOT / "Makefile").read_text("utf-8"))
    assert f"pip install -e '.[{extras}]'" in written.README
    installed.add(extras)
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    (tmp_path / "out").mkdir()
    shutil.copy(ROOT / "examples" / "digits.frac", tmp_path / "out")
    (tmp_path / "fractal_dsl" / "data").mkdir(parents=True)
    shutil.copy(ROOT / "fractal_dsl" / "data" / "digits.npz", tmp_path / "fractal_dsl" / "data")
    commands = written.readme_commands()
    assert len(commands) > 20
    for words in [line.replace("$(RUN)", "runs/digits-1").split() for line in written.DEMO] + commands:
        installed.frac(tmp_path, words)
    code = "\n".join(re.findall(r"^```python\n(.*?)^```$", written.README, re.M | re.S))
    (tmp_path / "nets.py").write_text(f"import torch\nimages = torch.rand(4, 3, 32, 32)\n{code}")
    installed.run(tmp_path, "python", "nets.py")
