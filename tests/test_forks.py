"""Commands that run in copies of a process: each ends by itself, and gives what it gives in a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fractal_dsl.sweep.forks import Forks

ROOT = Path(__file__).parents[1]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}
SPEC = """
net Tiny(image: f32[1, 8, 8]) -> f32[10] = conv2d(2, 3) >> batchnorm2d >> relu >> flatten >> dropout(20%) >> linear(10)
train {
    dataset   = "digits"
    epochs    = 2
    batch     = 128
    optimizer = sgd(lr=0.05)
}
"""
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are copied on Linux only")


def ended(forks: Forks, words: list[str], log: Path) -> int:
    with log.open("ab") as file:
        return forks.start(["-m", "fractal_dsl", *words], file.fileno()).wait()


@pytest.mark.slow
def test_a_command_that_fails_or_is_killed_harms_no_other(tmp_path: Path) -> None:
    spec, log = tmp_path / "tiny.frac", tmp_path / "log"
    spec.write_text(SPEC)
    with Forks(ENVIRONMENT) as forks:
        assert ended(forks, ["--version"], log) == 0
        assert ended(forks, ["check", str(tmp_path / "missing.frac")], log) == 1
        assert ended(forks, ["check", "--unknown"], log) == 2
        with log.open("ab") as file:
            endless = [
                "-m",
                "fractal_dsl",
                "train",
                str(spec),
                "--set",
                "epochs=100000",
                "--out",
                str(tmp_path / "run"),
            ]
            training = forks.start(endless, file.fileno())
        with pytest.raises(subprocess.TimeoutExpired):
            training.wait(0.1)
        assert training.poll() is None
        training.kill()
        assert training.wait() == -signal.SIGKILL == training.poll()
        training.terminate()  # its number may belong to another process now
        server = forks.server
        assert server is not None and ended(forks, ["--version"], log) == 0 and forks.server is server
        server.kill()
        assert [ended(forks, ["--version"], log) for _ in range(2)] == [0, 0]
    assert log.read_text().count("fractal-dsl ") == 4 and "missing.frac" in log.read_text()


@pytest.mark.slow
def test_a_copy_trains_as_a_process_of_its_own(tmp_path: Path) -> None:
    spec = tmp_path / "tiny.frac"
    spec.write_text(SPEC)
    command = ["train", str(spec), "--device", "cpu", "--out"]
    subprocess.run(
        [sys.executable, "-m", "fractal_dsl", *command, str(tmp_path / "own")],
        check=True,
        capture_output=True,
        env=ENVIRONMENT,
    )
    with Forks(ENVIRONMENT) as forks:
        assert ended(forks, [*command, str(tmp_path / "first")], tmp_path / "log") == 0
        assert ended(forks, [*command, str(tmp_path / "second")], tmp_path / "log") == 0
    weights = [(tmp_path / run / "best.safetensors").read_bytes() for run in ("own", "first", "second")]
    assert weights[0] == weights[1] == weights[2]


@pytest.mark.slow
def test_a_trial_outlives_its_sweep(tmp_path: Path) -> None:
    """As a process that the sweep started itself would."""
    spec = tmp_path / "tiny.frac"
    spec.write_text(SPEC)
    with Forks(ENVIRONMENT) as forks, (tmp_path / "log").open("ab") as file:
        command = ["-m", "fractal_dsl", "train", str(spec), "--out", str(tmp_path / "run")]
        forks.start(command, file.fileno())
        assert forks.channel is not None
        forks.channel.close()
        deadline = time.monotonic() + 60
        while not (tmp_path / "run" / "result.json").exists():
            assert time.monotonic() < deadline
            time.sleep(0.05)
