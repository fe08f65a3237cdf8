"""Training settings: one schema for the ``train { }`` block, the command line and a run's ``config.json``.

In: settings as plain data. Out: a checked ``TrainConfig``, or a ``ConfigError`` that names each wrong setting.
Not imported here: torch, ``compiled``, ``pipeline`` and above.

A setting with variants (data set, optimizer, schedule) is a union of models told apart by ``name``. In a file
``sgd(lr=0.1)`` arrives as ``{"name": "sgd", "lr": 0.1}``, and a bare text as the name alone.

Names are imported on first use, because the schema takes longer to load than a short command takes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from fractal_dsl.config.datasets import (
        Augmentation,
        Cifar,
        Csv,
        Dataset,
        Digits,
        Folder,
        ImageNet,
        NoAugmentation,
        Npz,
        Python,
        ResizedCrop,
        Svhn,
        Synthetic,
        Text,
        Translate,
    )
    from fractal_dsl.config.distillation import Distill
    from fractal_dsl.config.errors import ConfigError
    from fractal_dsl.config.optimizers import AdamW, Constant, Cosine, Halving, Optimizer, Schedule, Sgd, Step
    from fractal_dsl.config.parsing import parse_config
    from fractal_dsl.config.training import TrainConfig

__all__ = [
    "AdamW",
    "Augmentation",
    "Cifar",
    "ConfigError",
    "Constant",
    "Cosine",
    "Csv",
    "Dataset",
    "Digits",
    "Distill",
    "Folder",
    "Halving",
    "ImageNet",
    "NoAugmentation",
    "Npz",
    "Optimizer",
    "Python",
    "ResizedCrop",
    "Schedule",
    "Sgd",
    "Step",
    "Svhn",
    "Synthetic",
    "Text",
    "TrainConfig",
    "Translate",
    "merge",
    "parse_config",
]

_MODULES = {
    "AdamW": "fractal_dsl.config.optimizers",
    "Augmentation": "fractal_dsl.config.datasets",
    "Cifar": "fractal_dsl.config.datasets",
    "ConfigError": "fractal_dsl.config.errors",
    "Constant": "fractal_dsl.config.optimizers",
    "Cosine": "fractal_dsl.config.optimizers",
    "Csv": "fractal_dsl.config.datasets",
    "Dataset": "fractal_dsl.config.datasets",
    "Digits": "fractal_dsl.config.datasets",
    "Distill": "fractal_dsl.config.distillation",
    "Folder": "fractal_dsl.config.datasets",
    "Halving": "fractal_dsl.config.optimizers",
    "ImageNet": "fractal_dsl.config.datasets",
    "NoAugmentation": "fractal_dsl.config.datasets",
    "Npz": "fractal_dsl.config.datasets",
    "Optimizer": "fractal_dsl.config.optimizers",
    "Python": "fractal_dsl.config.datasets",
    "ResizedCrop": "fractal_dsl.config.datasets",
    "Schedule": "fractal_dsl.config.optimizers",
    "Sgd": "fractal_dsl.config.optimizers",
    "Step": "fractal_dsl.config.optimizers",
    "Svhn": "fractal_dsl.config.datasets",
    "Synthetic": "fractal_dsl.config.datasets",
    "Text": "fractal_dsl.config.datasets",
    "TrainConfig": "fractal_dsl.config.training",
    "Translate": "fractal_dsl.config.datasets",
    "parse_config": "fractal_dsl.config.parsing",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)


def merge(block: Mapping[str, Any], overrides: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """The block with settings replaced: ``("optimizer.lr", 0.1)`` leaves the optimizer's other settings.

    A new name, ``("schedule", "constant")``, drops the settings of the variant that was there, unless it is the same.
    Names go before settings, whatever the order they are given in.
    """
    result = dict(block)
    for key, value in sorted(overrides, key=lambda pair: pair[0].count(".")):
        *outer, last = key.split(".")
        inner = result
        for part in outer:
            inner[part] = _settings(inner.get(part))
            inner = inner[part]
        old = inner.get(last)
        if not (isinstance(old, Mapping) and cast(Mapping[str, Any], old).get("name") == value):
            inner[last] = value
    return result


def _settings(value: object) -> dict[str, Any]:
    """A copy of settings that more can be put into; a text is the name of a variant."""
    if isinstance(value, str):
        return {"name": value}
    return dict(cast(Mapping[str, Any], value)) if isinstance(value, Mapping) else {}
