"""A small net and an archive for each task, which a few epochs learn something of."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fractal_dsl.config.losses import TaskName

RULE = """
rule F join mean {
    F[1]   = block
    F[n+1] = F[n] >> F[n] | block
}
"""
TRAIN = """
train {{
    dataset   = "npz:{path}"
    epochs    = {epochs}
    batch     = 16
    optimizer = adamw(lr=0.01)
    schedule  = constant()
}}
"""
NETS: dict[TaskName, str] = {
    "classification": "layer block = linear(12) >> relu\n"
    "net C(x: f32[6]) -> f32[3] with drop_path(local=15%, global=50%) = F[2] >> linear(3)",
    "multilabel": "layer block = linear(12) >> relu\n"
    "net M(x: f32[6]) -> f32[3] with drop_path(local=15%, global=50%) = F[2] >> linear(3)",
    "regression": "layer block = linear(12) >> relu\n"
    "net R(x: f32[6]) -> f32[2] with drop_path(local=15%, global=50%) = F[2] >> linear(2)",
    "segmentation": "layer block = conv2d(6, 3, padding=1) >> batchnorm2d >> relu\n"
    "net S(x: f32[1, 6, 6]) -> f32[3, 6, 6] with drop_path(local=15%, global=50%) = F[2] >> conv2d(3, 1)",
    "tokens": "layer block = linear(12) >> relu\n"
    "net T(x: i64[8]) -> f32[8, 5] with drop_path(local=15%, global=50%) = embedding(5, 12) >> F[2] >> linear(5)",
}
TASKS = tuple(NETS)


def spec_of(task: TaskName, folder: Path, epochs: int = 3, count: int = 200) -> str:
    """The text of a spec that trains on an archive, which is written into the folder."""
    x, y = ARRAYS[task](np.random.default_rng(0), count)
    path = folder / f"{task}.npz"
    np.savez(path, x=x, y=y)
    return RULE + NETS[task] + TRAIN.format(path=path, epochs=epochs)


Arrays = tuple[NDArray[Any], NDArray[Any]]


def _rows(rng: np.random.Generator, count: int, answer: Callable[[NDArray[Any]], NDArray[Any]]) -> Arrays:
    x = rng.normal(size=(count, 6)).astype("f4")
    return x, answer(x)


def _pixels(rng: np.random.Generator, count: int) -> Arrays:
    """The class is the brightness of a pixel. The first pixel of each image does not count."""
    y = rng.integers(3, size=(count, 6, 6))
    x = (y * 100 + rng.integers(50, size=y.shape)).astype("u1")[:, None]
    y[:, 0, 0] = 255
    return x, y.astype("u1")


def _tokens(rng: np.random.Generator, count: int) -> Arrays:
    """The next token follows from the last one, but for a tenth."""
    s = np.zeros((count, 9), int)
    s[:, 0] = rng.integers(5, size=count)
    for i in range(8):
        drawn = rng.integers(5, size=count)
        s[:, i + 1] = np.where(rng.random(count) < 0.1, drawn, (2 * s[:, i] + 1) % 5)
    return s[:, :-1], s[:, 1:]


ARRAYS: dict[TaskName, Callable[[np.random.Generator, int], Arrays]] = {
    "classification": lambda rng, count: _rows(rng, count, lambda x: x[:, :3].argmax(1)),
    "multilabel": lambda rng, count: _rows(rng, count, lambda x: (x[:, :3] + x[:, 3:] > 0).astype("u1")),
    "regression": lambda rng, count: _rows(rng, count, lambda x: 1e3 * x[:, :2] + 5e3 + x[:, 2:4] ** 2),
    "segmentation": _pixels,
    "tokens": _tokens,
}
