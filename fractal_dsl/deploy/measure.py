"""Runs an exported file in its own runtime, in a process of its own: ``python -m fractal_dsl.deploy.measure JOB``.

A runtime may crash or take much memory, so nothing else runs in this process, and torch is imported only for files that
need it. The job is a JSON file (``Job``). The result is written beside it: ``result.json`` (``RuntimeFigures``), and
``outputs.npy`` and ``answers.npy`` with the net's outputs for the test inputs and the numbers of the answers.
"""

from __future__ import annotations

import sys
from itertools import count
from pathlib import Path
from time import perf_counter

import msgspec
import numpy as np
from msgspec import Struct

from fractal_dsl.deploy.runtimes import Array, LoadedNet, load_exported

SIZES = (1, 2, 5)
"""The batch sizes that a file is checked with."""
_BATCHES, _PASSES = 50, (3, 20)


class Job(Struct, frozen=True):
    """What to run. ``checks`` and ``tests`` are .npy files of inputs. ``answers`` names the nets in an anytime file."""

    target: str
    file: str
    answers: list[str]
    threads: int
    batch: int
    confidence: float
    checks: str
    tests: str
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
    tests, checks = (np.load(file, mmap_mode="r") for file in (job.tests, job.checks))
    timed = latency(program, tests, job)
    for name, inputs, sizes in (("checks", checks, SIZES), ("tests", tests, (job.largest,))):
        outputs, answers = _run(program, inputs, sizes, job)
        np.save(path.with_name(f"{name}-outputs.npy"), outputs)
        np.save(path.with_name(f"{name}-answers.npy"), answers)
    path.with_name("result.json").write_bytes(msgspec.json.encode(timed))


def latency(program: LoadedNet, inputs: Array, job: Job) -> RuntimeFigures:
    """Time batches of different inputs, one after another, and each several times.

    The mean is that of the batches' medians, so that an anytime net gets the time that its inputs take on average.
    """
    starts = range(0, min(job.batch * _BATCHES, max(len(inputs), job.batch)), job.batch)
    batches = [np.ascontiguousarray(inputs[np.arange(at, at + job.batch) % len(inputs)]) for at in starts]
    for turn in range(job.warmup):
        program(batches[turn % len(batches)], job.confidence)
    passes: list[list[float]] = []
    began = perf_counter()
    while len(passes) < _PASSES[0] or (len(passes) < _PASSES[1] and perf_counter() - began < job.seconds):
        passes.append([_milliseconds(program, x, job.confidence) for x in batches])
    times = np.array(passes)
    middle, late, mean = np.median(times), np.quantile(times, 0.95), np.median(times, 0).mean()
    return RuntimeFigures(float(middle), float(late), float(mean), times.size, job.warmup, _peak_memory())


def _milliseconds(program: LoadedNet, x: Array, confidence: float) -> float:
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


def _run(program: LoadedNet, inputs: Array, sizes: tuple[int, ...], job: Job) -> tuple[Array, Array]:
    """The outputs for all inputs, in batches of these sizes by turns, and the number of each answer.

    Anytime files get one input at a time, because a batch is answered when all of its inputs are.
    """
    outputs: list[Array] = []
    answers: list[int] = []
    start = 0
    for turn in count():
        if start >= len(inputs):
            return np.concatenate(outputs), np.array(answers)
        size = 1 if job.answers else min(sizes[turn % len(sizes)], job.largest)
        y, answer = program(np.ascontiguousarray(inputs[start : start + size]), job.confidence)
        outputs.append(y)
        answers += [answer] * len(y)
        start += size
    raise AssertionError("count() does not end")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
