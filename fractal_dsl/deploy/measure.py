"""Runs an exported file in its own runtime, in a process of its own: ``python -m fractal_dsl.deploy.measure JOB``.

A runtime may crash or take much memory, so nothing else runs in this process, and torch is imported only for files that
need it. The job is a JSON file (``Job``). The result is written beside it: ``result.json`` (``RuntimeFigures``), and
``tests-answers.npy``, ``tests-output0.npy`` and so on with the numbers of the answers to the test inputs and the net's
outputs; those for other inputs are called ``checks``.
"""

from __future__ import annotations

import sys
from itertools import count
from pathlib import Path
from time import perf_counter
from typing import Any

import msgspec
import numpy as np
from msgspec import Struct

from fractal_dsl.deploy.runtimes import Array, Arrays, LoadedNet, load_exported

SIZES = (1, 2, 5)
"""The batch sizes that a file is checked with."""
_BATCHES, _PASSES = 50, (3, 20)


class Job(Struct, frozen=True):
    """What to run. ``checks`` and ``tests`` are .npy files, one for each input of the net. ``answers`` names the nets
    in an anytime file."""

    target: str
    file: str
    answers: list[str]
    threads: int
    batch: int
    confidence: float
    checks: list[str]
    tests: list[str]
    largest: int = 256
    warmup: int = 10
    seconds: float = 2.0


class RuntimeFigures(Struct, frozen=True):
    """Milliseconds for a batch over ``repeats`` runs, and the largest memory of the process meanwhile, in bytes."""

    ms: float
    ms_p95: float
    ms_mean: float
    repeats: int
    warmup: int
    memory: int


def main(path: Path) -> None:
    """Do the job in ``path``. Results are written into its folder."""
    job = msgspec.json.decode(path.read_bytes(), type=Job)
    program = load_exported(job.target, job.file, job.answers, job.threads)
    tests, checks = (tuple([np.load(file, mmap_mode="r") for file in files]) for files in (job.tests, job.checks))
    timed = latency(program, tests, job)
    for name, inputs, sizes in (("checks", checks, SIZES), ("tests", tests, (job.largest,))):
        outputs, answers = _run(program, inputs, sizes, job)
        for number, output in enumerate(outputs):
            np.save(path.with_name(f"{name}-output{number}.npy"), output)
        np.save(path.with_name(f"{name}-answers.npy"), answers)
    path.with_name("result.json").write_bytes(msgspec.json.encode(timed))


def outputs_in(folder: Path, name: str, count: int) -> tuple[Arrays, Array]:
    """The ``count`` outputs for ``tests`` or ``checks`` that a job wrote, and the numbers of the answers."""
    outputs = tuple([np.load(folder / f"{name}-output{number}.npy") for number in range(count)])
    return outputs, np.load(folder / f"{name}-answers.npy")


def latency(program: LoadedNet, inputs: Arrays, job: Job) -> RuntimeFigures:
    """Time batches of different inputs, one after another, and each several times.

    The mean is that of the batches' medians, so that an anytime net gets the time that its inputs take on average.
    """
    count = len(inputs[0])
    starts = range(0, min(job.batch * _BATCHES, max(count, job.batch)), job.batch)
    batches = [_rows(inputs, np.arange(at, at + job.batch) % count) for at in starts]
    for turn in range(job.warmup):
        program(batches[turn % len(batches)], job.confidence)
    passes: list[list[float]] = []
    began = perf_counter()
    while len(passes) < _PASSES[0] or (len(passes) < _PASSES[1] and perf_counter() - began < job.seconds):
        passes.append([_milliseconds(program, x, job.confidence) for x in batches])
    times = np.array(passes)
    middle, late, mean = np.median(times), np.quantile(times, 0.95), np.median(times, 0).mean()
    return RuntimeFigures(float(middle), float(late), float(mean), times.size, job.warmup, _peak_memory())


def _rows(inputs: Arrays, rows: Any) -> Arrays:
    return tuple([np.ascontiguousarray(one[rows]) for one in inputs])


def _milliseconds(program: LoadedNet, x: Arrays, confidence: float) -> float:
    start = perf_counter()
    program(x, confidence)
    return 1000 * (perf_counter() - start)


def _peak_memory() -> int:
    """The largest memory that this process has had, in bytes. 0 if the system does not report it."""
    status = Path("/proc/self/status")
    if status.exists():  # getrusage counts the memory of the parent process, too
        line = next((line for line in status.read_text().splitlines() if line.startswith("VmHWM")), "")
        return 1024 * int(line.split()[1]) if line else 0
    try:
        import resource
    except ImportError:
        return 0
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _run(program: LoadedNet, inputs: Arrays, sizes: tuple[int, ...], job: Job) -> tuple[Arrays, Array]:
    """The outputs for all inputs, in batches of these sizes by turns, and the number of each answer.

    Anytime files get one input at a time, because a batch is answered when all of its inputs are.
    """
    outputs: list[Arrays] = []
    answers: list[int] = []
    start = 0
    for turn in count():
        if start >= len(inputs[0]):
            return tuple([np.concatenate(parts) for parts in zip(*outputs, strict=True)]), np.array(answers)
        size = 1 if job.answers else min(sizes[turn % len(sizes)], job.largest)
        y, answer = program(_rows(inputs, slice(start, start + size)), job.confidence)
        outputs.append(y)
        answers += [answer] * len(y[0])
        start += size
    raise AssertionError("count() does not end")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
