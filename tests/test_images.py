"""Image files of every kind, against a straightforward computation: each is decoded by the rules, or refused."""

from __future__ import annotations

import io
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageSequence
from typer.testing import CliRunner

from fractal_dsl.base.errors import UserError
from fractal_dsl.cli.app import app
from fractal_dsl.data.decode import decode
from fractal_dsl.data.framing import middle, pixels
from tests.test_datasets import get

Pixels = NDArray[np.floating[Any]]
"""What is expected: numbers from 0 to 255, [height, width, 3], before it becomes grey."""
Made = tuple[bytes, str, Pixels | None]
"""A file's bytes and suffix, and what it shows over a background of black; None if it is to be refused."""

TURNS: dict[int, Callable[[Any], Any]] = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: np.rot90(a, 1),
}


def saved(image: Image.Image, kind: str, turn: int = 1, **options: Any) -> bytes:
    """The bytes of a file, with its orientation where that is not 1."""
    if turn != 1:
        tags = Image.Exif()
        tags[0x0112] = turn
        options["exif"] = tags
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def three(grey: NDArray[Any]) -> Pixels:
    return np.repeat(grey[:, :, None].astype(np.float64), 3, 2)


def random_pixels(rng: np.random.Generator, *shape: int) -> NDArray[np.uint8]:
    return rng.integers(0, 256, shape, dtype=np.uint8)


def opaque(rng: np.random.Generator, size: tuple[int, int], turn: int) -> Made:
    kind, suffix, options = [
        ("PNG", ".png", {}),
        ("TIFF", ".tif", {}),
        ("TIFF", ".tiff", {"compression": "tiff_lzw"}),
        ("WEBP", ".webp", {"lossless": True}),
        ("PNG", ".jpg", {}),  # the content counts, not the suffix
    ][rng.integers(5)]
    if rng.integers(2) and kind != "WEBP":
        x = random_pixels(rng, *size)
        return saved(Image.fromarray(x), kind, turn, **options), suffix, three(TURNS[turn](x))
    x = random_pixels(rng, *size, 3)
    return saved(Image.fromarray(x), kind, turn, **options), suffix, TURNS[turn](x).astype(float)


def without_tags(rng: np.random.Generator, size: tuple[int, int], turn: int) -> Made:
    kind, suffix = [("BMP", ".bmp"), ("PPM", ".ppm"), ("GIF", ".gif")][rng.integers(3)]
    x = random_pixels(rng, *size)
    return saved(Image.fromarray(x), kind), suffix, three(x)


def jpeg(rng: np.random.Generator, size: tuple[int, int], turn: int) -> Made:
    image = Image.fromarray(random_pixels(rng, *size, 3))
    shown = np.asarray(Image.open(io.BytesIO(saved(image, "JPEG"))).convert("RGB"))
    return saved(image, "JPEG", turn), ".jpg", TURNS[turn](shown).astype(float)


def clear(rng: np.random.Generator, size: tuple[int, int], turn: int) -> Made:
    mode = ("RGBA", "LA")[rng.integers(2)]
    x = random_pixels(rng, *size, 4 if mode == "RGBA" else 2)
    x[:, :, -1] = rng.choice([0, 255, 77], size)
    kind, suffix = [("PNG", ".png"), ("TIFF", ".tif")][rng.integers(2)]
    shown = x[:, :, :-1].astype(float) * (x[:, :, -1:] / 255)
    return saved(Image.fromarray(x, mode), kind, turn), suffix, TURNS[turn](np.broadcast_to(shown, (*size, 3)))


def one_clear_colour(rng: np.random.Generator, size: tuple[int, int], turn: int) -> Made:
    """PNG's tRNS: one grey value, or one entry of the palette, is not seen."""
    deep = bool(rng.integers(2))
    x = rng.integers(0, 8, size).astype(np.uint16 if deep else np.uint8)
    if deep:
        x *= 9000
        file = saved(Image.fromarray(x), "PNG", turn, transparency=18000)
        return file, ".png", three(TURNS[turn](np.where(x == 18000, 0, x // 257)))
    colours = random_pixels(rng, 8, 3)
    image = Image.fromarray(x, "P")
    image.putpalette(colours.tobytes())
    shown = np.where((x == 3)[:, :, None], 0, colours[x])
    return saved(image, "PNG", turn, transparency=3), ".png", TURNS[turn](shown).astype(float)


def deep(rng: np.random.Generator, size: tuple[int, int], turn: int) -> Made:
    x = rng.integers(0, 65536, size).astype(np.uint16)
    way = rng.integers(5)
    if way == 0:
        return saved(Image.fromarray(x), "PNG", turn), ".png", three(TURNS[turn](x // 257))
    if way == 1:
        return saved(Image.fromarray(x), "TIFF", turn), ".tif", three(TURNS[turn](x // 257))
    if way == 2:
        return saved(Image.fromarray(x.astype(">u2")), "TIFF", turn), ".tif", three(TURNS[turn](x // 257))
    if way == 3:
        file = saved(Image.fromarray(x), "TIFF", tiffinfo={262: 0, 0x0112: turn})  # white is 0
        return file, ".tif", three(TURNS[turn](255 - x // 257))
    header = f"P5\n{size[1]} {size[0]}\n65535\n".encode()
    return header + x.astype(">u2").tobytes(), ".pgm", three(x // 257)


def floats(rng: np.random.Generator, size: tuple[int, int], turn: int) -> Made:
    x = rng.random(size).astype(np.float32) * [1, 1, 255, -1][rng.integers(4)]
    good = x.min() >= 0 and x.max() <= 1
    x = x.astype(np.float32)
    return saved(Image.fromarray(x), "TIFF", turn), ".tif", three(TURNS[turn](x * 255)) if good else None


def of_no_known_range(rng: np.random.Generator, size: tuple[int, int], turn: int) -> Made:
    if rng.integers(2):
        return saved(Image.fromarray(rng.integers(0, 9**9, size).astype(np.int32)), "TIFF", turn), ".tif", None
    return saved(Image.fromarray(random_pixels(rng, *size, 3), "LAB"), "TIFF", turn), ".tif", None


def printed(rng: np.random.Generator, size: tuple[int, int], turn: int) -> Made:
    x = random_pixels(rng, *size, 4)
    ink = 255 - x.astype(float)
    shown = ink[:, :, :3] * ink[:, :, 3:] / 255
    return saved(Image.fromarray(x, "CMYK"), "TIFF", turn), ".tif", TURNS[turn](shown)


def black_or_white(rng: np.random.Generator, size: tuple[int, int], turn: int) -> Made:
    x = rng.integers(0, 2, size).astype(bool)
    kind, suffix = [("PNG", ".png"), ("TIFF", ".tif")][rng.integers(2)]
    return saved(Image.fromarray(x), kind, turn), suffix, three(TURNS[turn](x) * 255)


def moving(rng: np.random.Generator, size: tuple[int, int], turn: int) -> Made:
    frames = [random_pixels(rng, *size, 3) for _ in range(3)]
    first, *rest = map(Image.fromarray, frames)
    kind, suffix, options = [
        ("PNG", ".png", {}),
        ("WEBP", ".webp", {"lossless": True}),
        ("TIFF", ".tif", {}),
    ][rng.integers(3)]
    file = saved(first, kind, save_all=True, append_images=rest, **options)
    assert len(list(ImageSequence.Iterator(Image.open(io.BytesIO(file))))) == 3
    return file, suffix, frames[0].astype(float)


def nonsense(rng: np.random.Generator, size: tuple[int, int], turn: int) -> Made:
    content = [b"", b"no image\n" * 9, rng.bytes(99), b"\x89PNG\r\n\x1a\n", b"II*\0" + rng.bytes(40), b"GIF89a"]
    return content[rng.integers(len(content))], [".png", ".jpg", ".tif"][rng.integers(3)], None


MAKERS = (opaque, without_tags, jpeg, clear, one_clear_colour, deep, floats, of_no_known_range, printed)
MAKERS += (black_or_white, moving, nonsense)


def check(seed: int, folder: Path) -> bool:
    """Make a file, perhaps cut it off, and hold what is decoded against what it shows. Whether it can be decoded."""
    rng = np.random.default_rng(seed)
    make, turn = MAKERS[seed % len(MAKERS)], int(rng.integers(1, 9))
    size = (int(rng.integers(1, 40)), int(rng.integers(1, 40)))
    content, suffix, expected = make(rng, size, turn)
    cut = bool(content) and rng.random() < 0.25
    path = folder / f"{make.__name__}{seed}{suffix}"
    path.write_bytes(content[: rng.integers(len(content))] if cut else content)
    for channels in (1, 3):
        try:
            found = np.asarray(decode(path, channels, "black"), np.float64)
        except UserError as error:
            assert str(path) in str(error) and "Traceback" not in str(error)
            assert expected is None or cut, error
            return False
        assert expected is not None
        shown = expected if channels == 3 else expected @ [0.299, 0.587, 0.114]
        assert found.shape == shown.shape
        assert np.abs(found - shown).max() <= 1.5, path
    return True


@pytest.mark.parametrize("maker", range(len(MAKERS)), ids=[make.__name__ for make in MAKERS])
def test_files_are_decoded_by_the_rules_or_refused(maker: int, tmp_path: Path) -> None:
    for i in range(5):
        check(maker + i * len(MAKERS), tmp_path)


def test_a_folder_of_all_of_them_trains_without_those_that_are_refused(tmp_path: Path) -> None:
    refused: set[str] = set()
    for seed in range(60):
        rng = np.random.default_rng(seed)
        content, suffix, expected = MAKERS[seed % len(MAKERS)](rng, (9, 7), int(rng.integers(1, 9)))
        name = f"{'ab'[seed % 2]}/{seed}{suffix}"
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
        refused |= {name} if expected is None else set()
    dataset = {"name": "folder", "path": str(tmp_path), "skip_unreadable": True}
    data = get(dataset, "3,8,8", 2)
    assert {*data.record.unreadable} == refused and 5 < len(refused) < 20
    assert sum(data.record.examples.values()) == 60 - len(refused)


def test_many_files_train_or_are_refused_by_name(tmp_path: Path) -> None:
    """Each of 600 files is decoded as it should look, or refused and left out of training by its name."""
    folders = [tmp_path / "data" / name for name in "ab"]
    for folder in folders:
        folder.mkdir(parents=True)
    good = sum(check(seed, folders[seed % 2]) for seed in range(1000, 1600))
    spec = "net N(x: f32[3, 8, 8]) -> f32[2] = global_avgpool >> linear(2)\n"
    (tmp_path / "net.frac").write_text(spec)
    words = ["train", str(tmp_path / "net.frac"), "--out", str(tmp_path / "run"), "--epochs", "1"]
    words += ["--dataset", f"folder:{tmp_path / 'data'}"]
    done = CliRunner().invoke(app, words)
    assert isinstance(done.exception, UserError) and str(tmp_path / "data") in str(done.exception)
    assert not (tmp_path / "run").exists()
    done = CliRunner().invoke(app, [*words, "--skip-unreadable"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    record = json.loads((tmp_path / "run" / "data.json").read_text())
    assert sum(record["examples"].values()) == good and len(record["unreadable"]) == 600 - good
    assert all((tmp_path / "data" / name).is_file() for name in record["unreadable"])


def test_sixteen_bits_are_the_eight_bits_they_stand_for(tmp_path: Path) -> None:
    x = np.arange(256, dtype=np.uint8).reshape(16, 16)
    Image.fromarray(x.astype(np.uint16) * 257).save(tmp_path / "deep.png")
    Image.fromarray(x).save(tmp_path / "plain.png")
    assert np.array_equal(decode(tmp_path / "deep.png", 1), decode(tmp_path / "plain.png", 1))


def test_what_is_clear_shows_the_background(tmp_path: Path) -> None:
    Image.new("RGBA", (2, 2), (9, 9, 9, 0)).save(tmp_path / "x.png")
    shown = [decode(tmp_path / "x.png", 3, name).getpixel((0, 0)) for name in ("white", "black", "#102030")]
    assert shown == [(255, 255, 255), (0, 0, 0), (16, 32, 48)]
    assert decode(tmp_path / "x.png", 1).getpixel((0, 0)) == 255


def test_bombs_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.new("1", (100, 100)).save(tmp_path / "bomb.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 4000)
    with pytest.raises(UserError, match=r"bomb\.png cannot be read as an image: .*decompression bomb"):
        decode(tmp_path / "bomb.png", 1)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 9000)  # below twice the limit: no warning reaches anyone
    assert decode(tmp_path / "bomb.png", 1).size == (100, 100)


def test_damaged_tags_count_as_none(tmp_path: Path) -> None:
    x = np.arange(64, dtype=np.uint8).reshape(8, 8)
    Image.fromarray(x).save(tmp_path / "x.png", exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
    assert np.array_equal(decode(tmp_path / "x.png", 1), x)


def test_the_middle_is_cut_out_and_slivers_are_refused() -> None:
    rng = random.Random(0)
    image = Image.new("L", (40, 16))
    image.paste(255, (12, 0, 28, 16))
    assert (pixels(middle(image, (16, 16), 1.0)) == 255).all()
    for _ in range(20):
        size = rng.randint(1, 60), rng.randint(1, 60)
        assert pixels(middle(Image.new("RGB", (rng.randint(1, 90), rng.randint(1, 90))), size, 0.8)).shape == (3, *size)
    with pytest.raises(UserError, match="too narrow"):
        middle(Image.new("L", (1, 50_000)), (224, 224), 1.0)
