"""Write the data of the examples into out/data, from what scikit-learn ships. Nothing is downloaded.

    pip install 'fractal_dsl[train]' scikit-learn
    python examples/data.py

``diabetes.csv``       442 patients: ten measurements, and the progression of the disease a year later
``breast_cancer.csv``  569 tumours: thirty measurements, and the diagnosis
``wine.csv``           178 wines: thirteen measurements, and the cultivar
``digits.csv``         1,797 digits: 64 pixels, and whether the digit is even, over 4, and prime
``digit_masks/``       the same digits in larger, noisy images, each with a mask: 0 is the background, 1 a 0, …, 10 a 9
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from sklearn import datasets

SIDE = 16  # pixels of an image with a mask
INK = 4  # of 16: a pixel of the digit


def write(path: Path, names: Iterable[str], rows: Iterable[Iterable[Any]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(names)
        table.writerows(rows)


def classified(folder: Path, name: str, target: str) -> None:
    """A table whose last column is a class."""
    data: Any = getattr(datasets, f"load_{name}")()
    names = [feature.replace(" ", "_").replace("/", "_over_") for feature in data.feature_names]
    classes = data.target_names[data.target]
    write(folder / f"{name}.csv", [*names, target], [[*x, y] for x, y in zip(data.data.tolist(), classes, strict=True)])


def diabetes(folder: Path) -> None:
    """Measurements in their own units."""
    data: Any = datasets.load_diabetes(scaled=False)
    rows = [[*x, y] for x, y in zip(data.data.tolist(), data.target.tolist(), strict=True)]
    write(folder / "diabetes.csv", [*data.feature_names, "progression"], rows)


def labelled_digits(folder: Path) -> None:
    """Pixels row by row, and three labels."""
    data: Any = datasets.load_digits()
    rows = [
        [*map(int, x), int(y % 2 == 0), int(y > 4), int(y in (2, 3, 5, 7))]
        for x, y in zip(data.data, data.target, strict=True)
    ]
    write(folder / "digits.csv", [*data.feature_names, "even", "over_4", "prime"], rows)


def masks(folder: Path) -> None:
    """Each digit once, near the middle of an image, and its pixels in a mask."""
    data: Any = datasets.load_digits()
    rng = np.random.RandomState(0)
    for kind in ("images", "masks"):
        (folder / "digit_masks" / kind).mkdir(parents=True, exist_ok=True)
    for i, (digit, label) in enumerate(zip(data.images, data.target, strict=True)):
        image, mask = np.zeros((SIDE, SIDE)), np.zeros((SIDE, SIDE), np.uint8)
        top, left = rng.randint(2, 7, 2)
        image[top : top + 8, left : left + 8] = digit / 16 * 200
        mask[top : top + 8, left : left + 8][digit >= INK] = label + 1
        image += rng.normal(20, 4, image.shape)
        Image.fromarray(image.clip(0, 255).astype(np.uint8)).save(folder / "digit_masks" / "images" / f"{i:04}.png")
        Image.fromarray(mask).save(folder / "digit_masks" / "masks" / f"{i:04}.png")


def write_all(folder: Path) -> None:
    """Write all files into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    classified(folder, "breast_cancer", "diagnosis")
    classified(folder, "wine", "cultivar")
    diabetes(folder)
    labelled_digits(folder)
    masks(folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?", type=Path, default=Path(__file__).parent.parent / "out" / "data")
    folder: Path = parser.parse_args().folder
    write_all(folder)
    print(f"written to {folder}")


if __name__ == "__main__":
    main()
