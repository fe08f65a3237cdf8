"""CIFAR and SVHN, which torchvision downloads, checks and parses."""

from __future__ import annotations

import importlib
import os
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fractal_dsl.base.errors import UserError
from fractal_dsl.config import Cifar, Svhn
from fractal_dsl.data.source import Examples, Splits, numbered


def torchvision(part: str, need: str) -> ModuleType:
    """A module of torchvision. Raises UserError if it is not installed or does not work."""
    install = "install it with `pip install 'fractal_dsl[vision]'`"
    try:
        return importlib.import_module(f"torchvision.{part}")
    except ModuleNotFoundError as error:
        raise UserError(f"{need} needs torchvision, but there is no module {error.name}: {install}") from None
    except (ImportError, RuntimeError, OSError) as error:  # its compiled part was built for another torch
        raise UserError(
            f"{need} needs torchvision, which does not work with this torch ({_first_line(error)}): "
            "install the matching version, see https://pytorch.org/get-started/locally"
        ) from None


def data_root(given: str | None) -> Path:
    """The folder that a setting names, else FRACTAL_DSL_DATA, else ``data`` in the current folder."""
    return Path(given or os.environ.get("FRACTAL_DSL_DATA") or "data")


def cifar(config: Cifar) -> Splits:
    """CIFAR-10 or CIFAR-100 with its test images. Raises UserError if it is missing or altered."""
    kind = getattr(torchvision("datasets", config.name), config.name.upper())
    root = data_root(config.root)
    files = [(f"{kind.base_folder}/{name}", md5) for name, md5 in (*kind.train_list, *kind.test_list)]
    files.append((f"{kind.base_folder}/{kind.meta['filename']}", kind.meta["md5"]))
    _fetch(config, root, files, lambda: kind(root, download=True))

    def part(train: bool) -> Examples:
        data = kind(root, train=train)
        return Examples(_channels_first(data.data), np.asarray(data.targets, np.int64), tuple(data.classes))

    return Splits(part(True), test=part(False))


def svhn(config: Svhn) -> Splits:
    """SVHN with its test images. Raises UserError if it is missing or altered."""
    torchvision("datasets", "svhn")
    _scipy()
    kind = torchvision("datasets", "svhn").SVHN
    root = data_root(config.root)
    wanted = ["train", "extra", "test"] if config.extra else ["train", "test"]
    files = [(kind.split_list[split][1], kind.split_list[split][2]) for split in wanted]
    _fetch(config, root, files, lambda: [kind(root, split, download=True) for split in wanted])
    parts = [kind(root, split) for split in wanted]
    images, labels = np.concatenate([p.data for p in parts[:-1]]), np.concatenate([p.labels for p in parts[:-1]])
    return Splits(_digits(images, labels), test=_digits(parts[-1].data, parts[-1].labels))


def _digits(images: NDArray[np.uint8], labels: NDArray[Any]) -> Examples:
    return Examples(images, labels.astype(np.int64), numbered(10))


def _channels_first(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.ascontiguousarray(images.transpose(0, 3, 1, 2))


def _fetch(config: Cifar | Svhn, root: Path, files: list[tuple[str, str]], download: Any) -> None:
    """Make sure that the files are there, with the right checksums."""
    check = torchvision("datasets.utils", config.name).check_integrity
    wrong = [name for name, md5 in files if not check(str(root / name), md5)]
    if wrong and config.download:
        try:
            download()
        except (OSError, RuntimeError) as error:
            raise UserError(f"{config.name} could not be downloaded into {root}: {_first_line(error)}") from None
        wrong = [name for name, md5 in files if not check(str(root / name), md5)]
    altered = [name for name in wrong if (root / name).exists()]
    how = "download it with `--download`, or name its folder with `--set dataset.root=FOLDER`"
    if altered:
        raise UserError(
            f"{root / altered[0]} is not the published file of {config.name}, by its checksum: "
            "remove it, then download it again with `--download`"
        )
    if wrong:
        raise UserError(f"{config.name} is not in {root.absolute()}: there is no {wrong[0]}; {how}")


def _scipy() -> None:
    try:
        importlib.import_module("scipy.io")
    except ImportError:
        raise UserError("svhn needs scipy: install it with `pip install 'fractal_dsl[vision]'`") from None


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
