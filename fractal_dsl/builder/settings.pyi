# Written by tests/test_builder_stubs.py from the specifications of the language; do not edit.

from collections.abc import Sequence
from typing import Literal

from fractal_dsl.builder.declaration import Holder
from fractal_dsl.builder.lift import Term

class Setting(Term): ...
class Train(Holder): ...

def train(
    *,
    dataset: str | Setting = ...,
    augment: str | Setting = ...,
    task: Literal["classification", "multilabel", "regression", "segmentation", "tokens"] = ...,
    loss: str | Setting = ...,
    losses: Setting = ...,
    epochs: int = 10,
    batch: int = 32,
    accumulate: int = 1,
    seed: int = 0,
    validation: float = 0.1,
    init_from: str = ...,
    freeze: Sequence[str] = ...,
    lr_scale: Sequence[str] = ...,
    optimizer: str | Setting = ...,
    schedule: str | Setting = ...,
    clip: float = ...,
    ema: float = ...,
    recalibrate: str | Setting = ...,
    label_smoothing: float = 0.0,
    mixup: float = 0.0,
    cutmix: float = 0.0,
    distill: str | Setting = ...,
    patience: int = ...,
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto",
    channels_last: Literal[True, False, "auto"] = "auto",
    compile: bool = False,
    cuda_graphs: bool = False,
    checkpoint_levels: int = ...,
    sync_batchnorm: bool = True,
    deterministic: bool = True,
    max_minutes: float = ...,
    save_steps: int = ...,
    save_minutes: float = 10.0,
    track_columns: bool = False,
    plain: int = ...,
    tensorboard: bool = False,
    wandb: str = ...,
    mlflow: str = ...,
    profile: bool = False,
) -> Train: ...
def digits() -> Setting: ...
def synthetic(*, classes: int = ..., size: int = 2000, noise: float = 0.5, seed: int = 0) -> Setting: ...
def cifar10(*, root: str = ..., download: bool = False) -> Setting: ...
def cifar100(*, root: str = ..., download: bool = False) -> Setting: ...
def svhn(*, extra: bool = False, root: str = ..., download: bool = False) -> Setting: ...
def imagenet(
    *,
    background: str = "white",
    workers: int = ...,
    skip_unreadable: bool = False,
    root: str = ...,
    crop_pct: float = 0.875,
) -> Setting: ...
def folder(
    *,
    background: str = "white",
    workers: int = ...,
    skip_unreadable: bool = False,
    path: str,
    crop_pct: float = 1.0,
    nested: bool = False,
    values: Sequence[int] = ...,
    ignored: int = ...,
) -> Setting: ...
def npz(*, path: str, ignored: int = ...) -> Setting: ...
def csv(
    *,
    path: str,
    target: Sequence[str],
    validation: str = ...,
    test: str = ...,
    columns: Sequence[str] = ...,
    drop: Sequence[str] = ...,
    categories: Sequence[str] = ...,
    missing: Sequence[str] = ...,
    delimiter: str = ...,
    decimal: Literal[".", ","] = ".",
    encoding: str = "utf-8",
) -> Setting: ...
def text(*, path: str, include: Sequence[str] = ...) -> Setting: ...
def python(*, factory: str, workers: int = 0) -> Setting: ...
def none() -> Setting: ...
def translate(*, pixels: int = 4, padding: Literal["zeros", "reflect"] = "zeros", mirror: bool = True) -> Setting: ...
def resized_crop(*, smallest: float = 0.08, mirror: bool = True) -> Setting: ...
def cross_entropy(*, class_weights: Sequence[float] = ..., balanced: bool = False) -> Setting: ...
def binary_cross_entropy(*, pos_weight: Sequence[float] = ..., balanced: bool = False) -> Setting: ...
def squared() -> Setting: ...
def absolute() -> Setting: ...
def huber(*, delta: float = 1.0) -> Setting: ...
def sgd(
    *,
    move_dropped: bool = False,
    lr: float = 0.02,
    momentum: float = 0.9,
    weight_decay: float = 0.0,
    nesterov: bool = False,
) -> Setting: ...
def adamw(
    *,
    move_dropped: bool = False,
    lr: float = 0.001,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-08,
    weight_decay: float = 0.01,
) -> Setting: ...
def halving(*, warmup: float = 0.0, gamma: float = 0.1, drops: int = ...) -> Setting: ...
def cosine(*, warmup: float = 0.0, floor: float = 0.0) -> Setting: ...
def step(*, warmup: float = 0.0, at: Sequence[int], gamma: float = 0.1) -> Setting: ...
def constant(*, warmup: float = 0.0) -> Setting: ...
def end(*, examples: int = 10000) -> Setting: ...
def epoch(*, examples: int = 10000) -> Setting: ...
def distill(*, weight: float = 0.5, temperature: float = ...) -> Setting: ...
def by_output(**outputs: float | str | Setting) -> Setting: ...
