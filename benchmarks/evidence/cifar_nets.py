"""The nets of the CIFAR replication, how long each trains, and the time that this takes."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from evidence.trainings import Training
from torch.nn import functional as F

from fractal_dsl.base.errors import UserError
from fractal_dsl.base.files import replacing
from fractal_dsl.compiled import Compiled
from fractal_dsl.language.source import Source
from fractal_dsl.pipeline import check
from fractal_dsl.runtime import build

MIXED, ALL = "drop_path(local=15%, global=50%), ", "drop_path(local=15%, columns=all), "
SPEC = """frac 1
param columns: int    = 3 in 1..6
param layers:  int    = 4 in 1..64
param size:    int    = 16
param widths:  [int]  = [16, 32, 64]
param drops:   [prob] = [0%, 0%, 0%]

layer conv(out: int, drop: prob) =
    conv2d(out, 3, padding=1, bias=false) >> dropout(drop) >> batchnorm2d >> relu

rule F(out: int, drop: prob) join mean {
    F[1]   = conv(out, drop)
    F[n+1] = F[n] >> F[n] | conv(out, drop)
}

## A plain network: a rule without columns.
rule Chain(out: int, drop: prob) {
    Chain[1]   = conv(out, drop)
    Chain[n+1] = Chain[n] >> conv(out, drop)
}

net Net(image: f32[3, size, size]) -> f32[10]
    with DROP_PATHinit("xavier")
    = seq(BLOCK for w, d in zip(widths, drops)) >> flatten >> linear(10)
"""
FRACTAL, PLAIN = "F[columns](w, d).each(maxpool2d(2))", "Chain[layers](w, d) >> maxpool2d(2)"


@dataclass(frozen=True)
class Net:
    """A row of the tables: ``columns`` of a fractal net, or the ``layers`` of each block of a plain one.

    ``steps`` are its training steps, before they are fitted to the time.
    """

    drop_path: str = ""
    dropout: bool = False
    columns: int = 3
    layers: int = 0
    steps: int = 6000
    anytime: bool = False

    @property
    def text(self) -> str:
        """Its spec."""
        return SPEC.replace("DROP_PATH", self.drop_path).replace("BLOCK", PLAIN if self.layers else FRACTAL)


NETS: dict[str, Net] = {  # the longest first, so that two workers end together
    "columns=all, dropout": Net(ALL, dropout=True, steps=12_000, anytime=True),
    "drop-path, dropout, C=4": Net(MIXED, dropout=True, columns=4, steps=12_000),
    "drop-path, dropout": Net(MIXED, dropout=True, steps=12_000, anytime=True),
    "drop-path": Net(MIXED, steps=12_000),
    "dropout": Net(dropout=True),
    "none": Net(steps=3000),
    "drop-path, dropout, C=2": Net(MIXED, dropout=True, columns=2, steps=12_000),
    **{f"plain {3 * n}, dropout": Net(dropout=True, layers=n) for n in (4, 2, 1)},
    **{f"plain {3 * n}": Net(layers=n, steps=3000) for n in (4, 2, 1)},
}


@dataclass(frozen=True)
class Sizes:
    """The sizes of an experiment. ``images`` are the training images that each seed draws; None: a published set."""

    images: int | None = 5000
    batch: int = 50
    size: int = 16
    widths: tuple[int, ...] = (16, 32, 64)
    drops: tuple[int, ...] = (0, 10, 20)
    rate: float = 0.02

    @property
    def epoch(self) -> int:
        """The steps of an epoch."""
        return (self.images or 50_000) // self.batch


SMALL = Sizes()
QUICK = replace(SMALL, images=500, widths=(8, 16, 32))
PAPER = Sizes(None, 100, 32, (64, 128, 256, 512, 512), (0, 10, 20, 30, 40))


def params(net: Net, sizes: Sizes) -> dict[str, str]:
    """The parameters of a net's spec, as literals."""
    drops = sizes.drops if net.dropout else [0] * len(sizes.drops)
    return {
        "columns": str(net.columns),
        "layers": str(net.layers or 1),
        "size": str(sizes.size),
        "widths": str([*sizes.widths]),
        "drops": f"[{', '.join(f'{d}%' for d in drops)}]",
    }


def compiled(net: Net, sizes: Sizes) -> Compiled:
    """A net, compiled."""
    return check(Source("net", net.text), params(net, sizes))[-1]


def training(name: str, sizes: Sizes, epochs: int, seed: int, dataset: Any, out: Path, device: str) -> Training:
    """The training of a net, in a folder below ``out``. The recipe is the paper's (section 4), without augmentation."""
    net = NETS[name]
    settings: Mapping[str, Any] = {
        "dataset": dataset,
        "optimizer": {"name": "sgd", "lr": sizes.rate, "momentum": 0.9, "weight_decay": 0.0},
        "schedule": {"name": "halving", "gamma": 0.1},
        "validation": 0.1 if sizes.images else 0.0,  # an archive has validation images of its own
        "batch": sizes.batch,
        "epochs": epochs,
        "recalibrate": {"name": "none"},
        "channels_last": False,
    }
    folder = str(out / f"{name.replace(', ', '_').replace(' ', '-')}-{seed}")
    return Training(name, net.text, settings, seed, folder, params(net, sizes), net.anytime, device)


def archive(data: Path, seed: int, images: int, tests: int | None, out: Path, *, validation: bool = True) -> Path:
    """The images of a seed as an archive: ``images`` training images, balanced over the classes, the validation images,
    if they are wanted, and the first ``tests`` test images, by default all. Raises UserError if some are missing."""
    place = out / f"images-{seed}.npz"
    if place.exists():
        return place
    with np.load(data) as file:
        arrays = {name: file[name] for name in file.files if validation or not name.endswith("_val")}
    parts = ("train", "val", "test") if validation else ("train", "test")
    if missing := [f"{a}_{part}" for part in parts for a in "xy" if f"{a}_{part}" not in arrays]:
        raise UserError(f"{data} has no {', '.join(missing)}")
    y = arrays["y_train"]
    rng = np.random.default_rng(seed)
    kinds = np.unique(y)
    rows = np.concatenate([rng.permutation(np.flatnonzero(y == k))[: images // len(kinds)] for k in kinds])
    rows = rng.permutation(rows)
    kept = {"x_train": arrays["x_train"][rows], "y_train": y[rows]}
    kept |= {name: arrays[name][:tests] for name in ("x_test", "y_test")}
    with replacing(place) as temporary, temporary.open("wb") as file:
        np.savez(file, **{**arrays, **kept})
    return place


def step_seconds(name: str, sizes: Sizes, device: str = "cpu", repeats: int = 12) -> float:
    """The measured seconds of a training step of a net: the mean over steps with different plans."""
    model = build(compiled(NETS[name], sizes), 0).to(device).train()
    optimizer = torch.optim.SGD(model.parameters(), 1e-3, 0.9)
    x = torch.randn(sizes.batch, 3, sizes.size, sizes.size, device=device)
    y = torch.randint(0, 10, (sizes.batch,), device=device)
    start = 0.0
    for i in range(-3, repeats):
        if i == 0:
            start = time.perf_counter()
        optimizer.zero_grad()
        for plan in model.plans(0, i + 3):
            F.cross_entropy(model.run(x, plan), y).backward()
        optimizer.step()
    return (time.perf_counter() - start) / repeats


def step_operations(name: str, sizes: Sizes) -> float:
    """The floating-point operations of a training step, by the multiply-accumulates of the layers that run.

    A multiply-accumulate counts as two operations, and the backward pass as twice the forward pass. The shares of
    layers that drop-path leaves are those of the paper's probabilities at C = 3.
    """
    net = NETS[name]
    summary = compiled(net, sizes).summary
    columns = sum(column.macs for column in summary.columns) / max(1, len(summary.columns))
    share = {MIXED: (0.85 * summary.macs + columns) / 2, ALL: 0.85 * summary.macs + columns * net.columns}
    return 6 * sizes.batch * share.get(net.drop_path, summary.macs)
