"""Small data sets in the formats of the published ones, and torchvision's own parsers pointed at them."""

from __future__ import annotations

import hashlib
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from tests.support import references


def images(count: int, seed: int = 0, shape: tuple[int, ...] = (3, 32, 32)) -> NDArray[np.uint8]:
    return np.random.RandomState(seed).randint(0, 256, (count, *shape)).astype(np.uint8)


def labels(count: int, classes: int) -> NDArray[np.int64]:
    return np.arange(count, dtype=np.int64) % classes


def md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes()).hexdigest()


def datasets() -> Any:
    """``torchvision.datasets``; the test is skipped where there is none."""
    references.torchvision_models()
    import torchvision.datasets

    return torchvision.datasets


def cifar(root: Path, name: str, monkeypatch: pytest.MonkeyPatch, count: int = 20, test: int = 10) -> Path:
    """CIFAR-10 as five pickles of 4 images, or CIFAR-100 as one; their checksums become torchvision's."""
    kind = getattr(datasets(), name.upper())
    classes, key = (10, "labels") if name == "cifar10" else (100, "fine_labels")
    folder = root / kind.base_folder
    folder.mkdir(parents=True)
    x, y = images(count), labels(count, classes)

    def write(file: str, content: Any) -> list[str]:
        (folder / file).write_bytes(pickle.dumps(content, protocol=2))
        return [file, md5(folder / file)]

    files = [name for name, _ in kind.train_list]
    train = [
        write(file, {"data": a.reshape(len(a), -1), key: b.tolist()})
        for file, a, b in zip(files, np.array_split(x, len(files)), np.array_split(y, len(files)), strict=True)
    ]
    held = images(test, 1).reshape(test, -1)
    tests = [write(kind.test_list[0][0], {"data": held, key: labels(test, classes).tolist()})]
    file, checksum = write(kind.meta["filename"], {kind.meta["key"]: [f"class {k}" for k in range(classes)]})
    monkeypatch.setattr(kind, "train_list", train)
    monkeypatch.setattr(kind, "test_list", tests)
    monkeypatch.setattr(kind, "meta", {**kind.meta, "filename": file, "md5": checksum})
    return folder


def svhn(root: Path, monkeypatch: pytest.MonkeyPatch, counts: dict[str, int]) -> None:
    """SVHN as MATLAB files, in which the digit 0 is class 10."""
    io = pytest.importorskip("scipy.io")
    root.mkdir(parents=True, exist_ok=True)
    kind = datasets().SVHN
    known = dict(kind.split_list)
    for i, (split, count) in enumerate(counts.items()):
        url, file, _ = known[split]
        y = labels(count, 10)
        io.savemat(root / file, {"X": images(count, i).transpose(2, 3, 1, 0), "y": np.where(y == 0, 10, y)[:, None]})
        known[split] = [url, file, md5(root / file)]
    monkeypatch.setattr(kind, "split_list", known)


def folder(
    root: Path, classes: int, each: int, size: tuple[int, int] = (8, 8), seed: int = 0, kind: str = "png"
) -> Path:
    """A folder for each class, with images of that size (height, width)."""
    for k in range(classes):
        (root / f"class{k}").mkdir(parents=True)
        for i, image in enumerate(images(each, seed + k, (*size, 3))):
            Image.fromarray(image).save(root / f"class{k}" / f"{i}.{kind}")
    return root


def imagenet(root: Path, classes: int = 2, each: int = 4, size: tuple[int, int] = (40, 50)) -> Path:
    """ImageNet's folders."""
    folder(root / "train", classes, each, size, kind="JPEG")
    folder(root / "val", classes, 2, size, 100, kind="JPEG")
    return root
