"""Exported files in their own runtimes. Only the runtime that a file needs is imported.

A runtime is loaded with a number of threads and gives a ``LoadedNet``: from the net's inputs, numpy arrays [batch, …]
in their order, to its outputs [batch, …] and the number of the answer, counted from 0. That is 0 for a single net. For
an anytime file it is the first answer, from the shallowest column to the whole net, whose first output is confident
enough for each example of the batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Arrays = tuple[Array, ...]
"""One array [batch, …] for each input or output of a net."""
LoadedNet = Callable[[Arrays, float], tuple[Arrays, int]]
"""The outputs for inputs and a confidence from 0 to 1, which single nets ignore, and the number of the answer."""


def load_exported(target: str, path: str, answers: Sequence[str], threads: int) -> LoadedNet:
    """Load an exported file. ``answers`` are the nets in an anytime file, shallowest first; empty for a single net."""
    return _LOADERS[target](path, answers, threads)


def _onnx(path: str, answers: Sequence[str], threads: int) -> LoadedNet:
    runtime: Any = import_module("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3
    session = runtime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    names = [one.name for one in session.get_inputs()]
    if not answers:
        return lambda x, confidence: (tuple(session.run(None, dict(zip(names, x, strict=True)))), 0)

    def anytime(x: Arrays, confidence: float) -> tuple[Arrays, int]:
        given = (*x, np.array(confidence, np.float32))
        *y, answer = session.run(None, dict(zip(names, given, strict=True)))
        return tuple(y), int(answer)

    return anytime


def _openvino(path: str, answers: Sequence[str], threads: int) -> LoadedNet:
    core: Any = import_module("openvino").Core()
    settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY"}
    request = core.compile_model(path, "CPU", settings).create_infer_request()

    def run(*given: Array) -> list[Array]:
        outputs = request.infer(given)
        return [outputs[i].copy() for i in range(len(outputs))]

    if not answers:
        return lambda x, confidence: (tuple(run(*x)), 0)

    def anytime(x: Arrays, confidence: float) -> tuple[Arrays, int]:
        *y, answer = run(*x, np.array(confidence, np.float32))
        return tuple(y), int(answer)

    return anytime


def _pt2(path: str, answers: Sequence[str], threads: int) -> LoadedNet:
    torch = _torch(threads)
    archive: Any = import_module("torch.export.pt2_archive._package")
    programs = archive.load_pt2(path).exported_programs
    return _one_by_one(torch, [programs[name].module() for name in answers or ["model"]])


def _aoti(path: str, answers: Sequence[str], threads: int) -> LoadedNet:
    torch = _torch(threads)
    archive: Any = import_module("torch.export.pt2_archive._package")
    compiled = archive.load_pt2(path).aoti_runners
    return _one_by_one(torch, [compiled[name] for name in answers or ["model"]])


def _executorch(path: str, answers: Sequence[str], threads: int) -> LoadedNet:
    torch = _torch(threads)
    _executorch_threads(threads)
    program: Any = import_module("executorch.runtime").Runtime.get().load_program(path)

    def method(name: str) -> Callable[..., Any]:
        loaded = program.load_method(name)
        return lambda *x: loaded.execute(x)

    return _one_by_one(torch, [method(name) for name in answers or ["forward"]])


@lru_cache(maxsize=1)
def _executorch_threads(threads: int) -> None:
    """Set the thread pool of the process, which has all cores by default. Loaded programs use it, so it is not replaced
    by one of the same size."""
    bindings: Any = import_module("executorch.extension.pybindings.portable_lib")
    bindings._unsafe_reset_threadpool(threads)


def _torch(threads: int) -> Any:
    torch: Any = import_module("torch")
    torch.set_num_threads(threads)
    return torch


def _one_by_one(torch: Any, nets: Sequence[Callable[..., Any]]) -> LoadedNet:
    """Ask nets in order until the softmax's largest probability reaches the confidence for each input."""

    def program(x: Arrays, confidence: float) -> tuple[Arrays, int]:
        given = [torch.from_numpy(one) for one in x]
        with torch.inference_mode():
            for answer, net in enumerate(nets):
                made = net(*given)
                y: Sequence[Any] = [made] if isinstance(made, torch.Tensor) else made
                if answer + 1 == len(nets) or bool(y[0].softmax(1).amax(1).min() >= confidence):
                    return tuple([one.numpy().copy() for one in y]), answer
        raise AssertionError("a file has at least one net")

    return program


_LOADERS: dict[str, Callable[[str, Sequence[str], int], LoadedNet]] = {
    "onnx": _onnx,
    "pt2": _pt2,
    "aoti": _aoti,
    "executorch": _executorch,
    "openvino": _openvino,
}
