"""Sample data for new projects: small, the same every time, and learned within seconds. PNG files need no package."""

from __future__ import annotations

import random
import struct
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

_SHAPES = ("circle", "square", "triangle")
_SIZE = 32
_COUNT = 80
"""Images of each shape."""


def images(folder: Path) -> None:
    """PNG images of circles, squares and triangles: ``folder/circle/01.png``."""
    rng = np.random.default_rng(0)
    for shape in _SHAPES:
        (folder / shape).mkdir(parents=True)
        for i in range(_COUNT):
            _write_png(folder / shape / f"{i + 1:02}.png", _painted(_filled(shape, rng), rng))


def masks(folder: Path) -> None:
    """Images of a circle and a square, ``folder/images/01.png``, with masks in ``folder/masks``: 0 is the background,
    1 the circle, 2 the square."""
    rng = np.random.default_rng(1)
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True)
    for i in range(2 * _COUNT):
        mask = np.zeros((_SIZE, _SIZE), np.uint8)
        for number, shape in enumerate(("circle", "square"), 1):
            mask[_filled(shape, rng)] = number
        picture = _painted(mask == 1, rng)
        picture[mask == 2] = _painted(mask == 2, rng)[mask == 2]
        _write_png(folder / "images" / f"{i + 1:03}.png", picture)
        _write_png(folder / "masks" / f"{i + 1:03}.png", mask)


def sample_table(file: Path) -> None:
    """A table of three species by height, weight, width and colour; some widths are missing."""
    rng = random.Random(2)
    kinds = {"ash": (12.0, 5.0, 2.0, "grey"), "birch": (9.0, 3.0, 2.5, "white"), "cedar": (15.0, 4.0, 3.5, "brown")}
    lines = ["height,weight,width,colour,species"]
    for _ in range(600):
        species = rng.choice([*kinds])
        *means, colour = kinds[species]
        height, weight, width = (f"{rng.gauss(mean, 0.15 * mean):.2f}" for mean in means)
        colour = colour if rng.random() < 0.8 else rng.choice(["grey", "white", "brown"])
        lines.append(f"{height},{weight},{'' if rng.random() < 0.05 else width},{colour},{species}")
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")


def text(file: Path) -> None:
    """Sentences of a small grammar."""
    rng = random.Random(3)
    who = ["the cat", "a small bird", "the old man", "my sister", "the fox", "a tall tree"]
    does = ["sees", "hears", "follows", "remembers", "paints", "forgets"]
    where = ["in the garden", "by the river", "at night", "every morning", "behind the house", "when it rains"]
    lines = [f"{rng.choice(who)} {rng.choice(does)} {rng.choice(who)} {rng.choice(where)}." for _ in range(1500)]
    file.write_text("\n".join(line[0].upper() + line[1:] for line in lines) + "\n", encoding="utf-8")


def _filled(shape: str, rng: np.random.Generator) -> NDArray[np.bool_]:
    """The pixels of a shape at a random place and of a random size."""
    radius = rng.uniform(5, 9)
    y, x = np.mgrid[:_SIZE, :_SIZE] - rng.uniform(radius, _SIZE - radius, 2)[:, None, None]
    match shape:
        case "circle":
            return x**2 + y**2 <= radius**2
        case "square":
            return np.maximum(np.abs(x), np.abs(y)) <= 0.9 * radius
        case _:
            return (np.abs(x) <= (y + radius) / 2) & (y <= 0.8 * radius)


def _painted(filled: NDArray[np.bool_], rng: np.random.Generator) -> NDArray[np.uint8]:
    """A bright shape on a dark, noisy background, uint8 [height, width, 3]."""
    colours = np.where(filled[..., None], rng.uniform(130, 255, 3), rng.uniform(0, 90, 3))
    return np.clip(colours + rng.normal(0, 12, colours.shape), 0, 255).astype(np.uint8)


def _write_png(file: Path, pixels: NDArray[np.uint8]) -> None:
    """Write an image of 8 bits, [height, width] in grey or [height, width, 3] in colour."""
    height, width = pixels.shape[:2]
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)
    header = struct.pack(">IIBBBBB", width, height, 8, 0 if pixels.ndim == 2 else 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows, 9)), (b"IEND", b""))
    data = b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    )
    file.write_bytes(b"\x89PNG\r\n\x1a\n" + data)
