"""Paths of data and weights: in a train block they start at the folder of the spec, elsewhere at the current folder."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from fractal_dsl.base.errors import UserError

if TYPE_CHECKING:
    from fractal_dsl.config.training import TrainConfig

_KEYS = ("path", "root", "validation", "test")
_SHORT = ("folder", "npz", "csv", "text")  # as in "folder:PATH"


def located(block: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """The settings of a train block, with absolute paths: a relative one starts at the spec's folder."""
    if isinstance(source := block.get("init_from"), str) and source:
        block = {**block, "init_from": os.path.normpath(Path.cwd() / folder / source)}
    dataset = block.get("dataset")
    settings = dict(cast(Mapping[str, Any], dataset)) if isinstance(dataset, Mapping) else {"name": dataset}
    kind, _, path = str(settings.get("name", "")).partition(":")
    if path and kind in _SHORT:
        settings = {"path": path, **settings, "name": kind}
    given = {key: str(settings[key]) for key in _KEYS if settings.get(key)}
    if not given:
        return dict(block)
    paths = {key: os.path.normpath(Path.cwd() / folder / path) for key, path in given.items()}
    return {**block, "dataset": settings | paths}


def placed(block: Mapping[str, Any], folder: Path) -> dict[str, str]:
    """The settings, by dotted names, that a copy of the block in another folder needs to name the same files."""
    block = located(block, folder)
    paths = {"init_from": block["init_from"]} if block.get("init_from") else {}
    dataset = block.get("dataset")
    if not isinstance(dataset, Mapping):
        return paths
    return paths | {
        f"dataset.{key}": value for key, value in cast(Mapping[str, Any], dataset).items() if key in _KEYS and value
    }


def absolute(config: TrainConfig) -> TrainConfig:
    """Settings with absolute paths: a relative one starts at the current folder.

    Raises UserError for a path that is not UTF-8, which the settings of a run, a text, could not store.
    """
    if config.init_from is not None:
        config = config.model_copy(update={"init_from": _absolute("init_from", config.init_from)})
    dataset = config.dataset
    changed = {key: _absolute(f"dataset.{key}", path) for key in _KEYS if (path := getattr(dataset, key, None))}
    if dataset is None or not changed:
        return config
    return config.model_copy(update={"dataset": dataset.model_copy(update=changed)})


def _absolute(key: str, path: str) -> str:
    whole = os.path.normpath(Path.cwd() / path)
    try:
        whole.encode()
    except UnicodeEncodeError:
        raise UserError(f"{key}: the path {whole} is not UTF-8: rename it") from None
    return whole
