"""Masks: exact numbers from image files, the frame of their image, and which mask belongs to which image."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from fractal_dsl.base.errors import UserError
from fractal_dsl.data.decode import decode_mask
from fractal_dsl.data.framing import cut, middle, random_box
from fractal_dsl.data.pairs import read_pairs
from tests.support.effort import examples


def png(x: NDArray[np.integer], bits: int, palette: bool = False) -> bytes:
    """A PNG file of numbers of that many bits, written by the specification."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    height, width = x.shape
    rows = b""
    for row in x.tolist():
        line = "".join(format(value, f"0{bits}b") for value in row)
        line += "0" * (-len(line) % 8)
        rows += b"\0" + bytes(int(line[i : i + 8], 2) for i in range(0, len(line), 8))
    header = struct.pack(">IIBBBBB", width, height, bits, 3 if palette else 0, 0, 0, 0)
    colours = chunk(b"PLTE", bytes(range(255, 255 - 2**bits, -1)) * 3) if palette else b""
    content = [chunk(b"IHDR", header), colours, chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(content)


def numbers(path: Path) -> NDArray[np.int32]:
    return np.asarray(decode_mask(path))


@settings(max_examples=examples(100), deadline=None)
@given(data=st.data())
def test_numbers_in_png_files_are_read_as_they_are(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    bits = data.draw(st.sampled_from([1, 2, 4, 8, 16]))
    palette = bits < 16 and data.draw(st.booleans())
    shape = data.draw(st.tuples(st.integers(1, 9), st.integers(1, 9)))
    x = np.random.RandomState(data.draw(st.integers(0, 999))).randint(0, 2**bits, shape)
    path = tmp_path_factory.mktemp("png") / "x.png"
    path.write_bytes(png(x, bits, palette))
    assert np.array_equal(numbers(path), x)


@pytest.mark.parametrize("suffix", ["tif", "bmp", "gif", "pgm", "png"])
def test_numbers_in_other_formats_are_read_as_they_are(suffix: str, tmp_path: Path) -> None:
    x = np.random.RandomState(0).randint(0, 7, (9, 11)).astype(np.uint8)
    path = tmp_path / f"x.{suffix}"
    Image.fromarray(x).save(path)
    assert np.array_equal(numbers(path), x)
    Image.fromarray(x > 3).save(path)
    if suffix != "gif":  # where Pillow writes bits as bytes
        assert np.array_equal(numbers(path), x > 3)


@pytest.mark.parametrize("dtype", [np.uint16, np.int32])
def test_numbers_over_255_are_read_as_they_are(dtype: type, tmp_path: Path) -> None:
    x = np.random.RandomState(0).randint(0, 2**15, (5, 6)).astype(dtype)
    Image.fromarray(x).save(tmp_path / "x.tif")
    assert np.array_equal(numbers(tmp_path / "x.tif"), x)


def test_grey_in_colour_is_grey(tmp_path: Path) -> None:
    x = np.random.RandomState(0).randint(0, 256, (5, 6, 1)).astype(np.uint8)
    Image.fromarray(x.repeat(3, 2)).save(tmp_path / "x.png")
    assert np.array_equal(numbers(tmp_path / "x.png"), x[..., 0])
    full = np.full_like(x, 255)
    Image.fromarray(np.concatenate([x, x, x, full], 2)).save(tmp_path / "x.png")
    assert np.array_equal(numbers(tmp_path / "x.png"), x[..., 0])


def test_masks_are_upright_as_their_images_are(tmp_path: Path) -> None:
    x = np.arange(6, dtype=np.uint8).reshape(2, 3)
    tags = Image.new("L", (1, 1)).getexif()
    tags[0x0112] = 6
    Image.fromarray(x).save(tmp_path / "x.png", exif=tags)
    assert np.array_equal(numbers(tmp_path / "x.png"), np.rot90(x, -1))


def test_what_may_have_changed_numbers_is_refused(tmp_path: Path) -> None:
    x = np.random.RandomState(0).randint(0, 256, (8, 8, 3)).astype(np.uint8)
    grey = Image.fromarray(x[..., 0])
    files = {
        "x.jpg": (grey, "JPEG may change values"),
        "x.webp": (Image.fromarray(x), "WEBP may change values"),
        "colours.png": (Image.fromarray(x), "contains colours"),
        "floats.tif": (Image.fromarray(x[..., 0] / np.float32(255)), "does not store whole numbers"),
        "see-through.png": (Image.merge("LA", [grey, grey]), "contains colours"),
    }
    for name, (image, expected) in files.items():
        image.save(tmp_path / name)
        with pytest.raises(UserError, match=f"{name} cannot be read as a mask: .*{expected}"):
            decode_mask(tmp_path / name)
    (tmp_path / "scaled.pgm").write_bytes(b"P5 2 1 15\n\x01\x0f")
    with pytest.raises(UserError, match=r"scaled.pgm cannot be read as a mask: it does not store whole"):
        decode_mask(tmp_path / "scaled.pgm")
    (tmp_path / "broken.png").write_bytes(png(x[..., 0], 8)[:60])
    with pytest.raises(UserError, match=r"broken.png cannot be read"):
        decode_mask(tmp_path / "broken.png")


# --- frames


def lines(height: int, width: int) -> tuple[Image.Image, Image.Image]:
    """A bright disc and its mask."""
    y, x = np.mgrid[:height, :width]
    inside = (y - height / 3) ** 2 + (x - width / 2) ** 2 < (min(height, width) / 4) ** 2
    return Image.fromarray((inside * 250).astype(np.uint8)), Image.fromarray(inside.astype(np.int32) * 3)


@settings(max_examples=examples(100), deadline=None)
@given(
    height=st.integers(8, 90), width=st.integers(8, 90), seed=st.integers(0, 99), pct=st.sampled_from([0.6, 0.875, 1])
)
def test_masks_get_the_frame_of_their_image(height: int, width: int, seed: int, pct: float) -> None:
    image, mask = lines(height, width)
    size = (20, 24)
    box = random_box(image.size, 0.2, Random(seed))
    for x, y in (
        (middle(image, size, pct), middle(mask, size, pct, exact=True)),
        (cut(image, box, size), cut(mask, box, size, exact=True)),
    ):
        grey, numbers = np.asarray(x), np.asarray(y)
        assert grey.shape == numbers.shape == size and {*np.unique(numbers)} <= {0, 3}
        # bilinear scaling reaches into neighbours at the edge only
        assert ((grey > 125) != (numbers == 3)).mean() < 0.12


# --- folders


def fill(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")
    return root


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["images/a.jpg", "masks/a.png"], {"train": [("a.jpg", "a.png")]}),
        (["Images/a.x.jpg", "MASKS/a.x.gif", "notes.txt"], {"train": [("a.x.jpg", "a.x.gif")]}),
        (["images/b/1.png", "masks/b/1.png"], {"train": [("b/1.png", "b/1.png")]}),
        (
            ["train/images/1.jpg", "train/masks/1.png", "Test/images/2.jpg", "Test/masks/2.png"],
            {"train": [("1.jpg", "1.png")], "test": [("2.jpg", "2.png")]},
        ),
        (
            ["images/train/1.jpg", "masks/train/1.png", "images/val/2.jpg", "masks/val/2.png"],
            {"train": [("1.jpg", "1.png")], "validation": [("2.jpg", "2.png")]},
        ),
        (["images/1.png", "images/.DS_Store", "masks/1.png", "masks/Thumbs.db"], {"train": [("1.png", "1.png")]}),
        (["cat/1.png", "dog/1.png"], None),
        (["images/1.png", "dog/1.png"], None),
    ],
)
def test_images_and_masks_are_matched_by_name(
    names: list[str], expected: dict[str, list[tuple[str, str]]] | None, tmp_path: Path
) -> None:
    parts = read_pairs(fill(tmp_path, *names))
    assert (parts and {name: [*pairs.files] for name, pairs in parts.items()}) == expected


def test_masks_without_an_image_are_counted(tmp_path: Path) -> None:
    parts = read_pairs(fill(tmp_path, "images/1.png", "images/notes.txt", "masks/1.png", "masks/2.png", "masks/.x"))
    assert parts and parts["train"].skipped == {"beside images": 1, "hidden": 1, "masks without image": 1}


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["images/1.jpg", "images/2.jpg", "masks/1.png"], r"images/2\.jpg has no mask: there is no file .*masks/2\.\*"),
        (["images/1.jpg", "images/1.png", "masks/1.png"], r"images/1\.jpg and .*images/1\.png have the same name"),
        (["images/.x", "masks/1.png"], r"images contains no images"),
        (["images/train/1.jpg", "images/val/2.jpg", "masks/train/1.png"], "there is no folder .*masks/val"),
        (
            ["train/images/1.jpg", "train/masks/1.png", "test/a/2.jpg"],
            "test must have the folders `images` and `masks`",
        ),
        (["test/images/1.jpg", "test/masks/1.png"], "but no part to train on: name it `train`"),
        (
            [f"{part}/{kind}/1.png" for part in ("val", "dev", "train") for kind in ("images", "masks")],
            "has `dev` and `val`, which both mean validation",
        ),
    ],
)
def test_unclear_folders_of_masks_are_refused(names: list[str], expected: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=expected):
        read_pairs(fill(tmp_path, *names))
