"""The processes that export and measure. A crash of one becomes a message."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

import msgspec
from msgspec.structs import replace

from fractal_dsl.deploy.measure import Job, RuntimeFigures
from fractal_dsl.deploy.work import Export, Exported, Exports


class Exporter:
    """Yields each export of a job with its result. The next one begins when the caller asks for it.

    If the process ends before its time, the export at hand has failed, and another process does the rest.
    """

    def __init__(self, job: Exports, work: Path) -> None:
        self.job, self.work = job, work

    def __iter__(self) -> Iterator[tuple[Export, Exported]]:
        waiting = list(self.job.exports)
        while waiting:
            path = self.work / "exports.json"
            path.write_bytes(msgspec.json.encode(replace(self.job, exports=waiting)))
            with (self.work / "exports.log").open("wb") as log, _process("work", path, log) as process:
                try:
                    yield from self._answers(process, waiting)
                finally:
                    if process.stdin is not None:
                        process.stdin.close()
                    process.terminate()

    def _answers(self, process: subprocess.Popen[bytes], waiting: list[Export]) -> Iterator[tuple[Export, Exported]]:
        assert process.stdin is not None and process.stdout is not None
        while waiting:
            line = process.stdout.readline()
            if not line:
                reason = crash(process.wait(), self.work / "exports.log", "the export")
                yield waiting.pop(0), Exported(error=reason)
                return
            yield waiting.pop(0), msgspec.json.decode(line, type=Exported)
            if waiting:
                try:
                    process.stdin.write(b"\n")
                    process.stdin.flush()
                except OSError:
                    continue  # it ended: reading its answer fails, too


def measured_in_runtime(job: Job, work: Path) -> RuntimeFigures | str:
    """The figures of a file in its runtime, or what went wrong there."""
    path, result = work / "measure.json", work / "result.json"
    path.write_bytes(msgspec.json.encode(job))
    result.unlink(missing_ok=True)
    with (work / "measure.log").open("wb") as log, _process("measure", path, log) as process:
        try:
            process.communicate()
        except BaseException:
            process.kill()
            raise
    if process.returncode == 0 and result.is_file():
        return msgspec.json.decode(result.read_bytes(), type=RuntimeFigures)
    return crash(process.returncode, work / "measure.log", "the runtime")


def crash(code: int, log: Path, who: str) -> str:
    """Why a process ended: the signal, the message of its exception, or the last line that it printed."""
    if code < 0:
        name = signal.Signals(-code).name if -code in {*signal.Signals} else f"signal {-code}"
        memory = ", perhaps for lack of memory" if name == "SIGKILL" else ""
        return f"{who} crashed ({name}{memory})"
    lines = [line for line in log.read_text("utf-8", "replace").splitlines() if line.strip()]
    if not lines:
        return f"{who} ended with exit code {code}"
    traces = [i for i, line in enumerate(lines) if line.startswith("Traceback ")]
    behind = [line for line in lines[traces[-1] + 1 :] if not line[0].isspace()] if traces else []
    return f"{who} failed: {(behind or lines[-1:])[0].strip()[:300]}"


def _process(module: str, job: Path, log: IO[bytes]) -> subprocess.Popen[bytes]:
    words: Sequence[str] = (sys.executable, "-m", f"fractal_dsl.deploy.{module}", str(job))
    settings = {"OMP_WAIT_POLICY": "PASSIVE", "TORCH_CPP_LOG_LEVEL": "ERROR", "PYTHONWARNINGS": "ignore"}
    return subprocess.Popen(
        words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, env={**settings, **os.environ}
    )
