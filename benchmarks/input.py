"""The rate at which examples reach a training step: augmentation, decoding of image files, and waiting.

    python benchmarks/input.py                # about two minutes
    python benchmarks/input.py --quick        # fewer rounds, without the largest files
    python benchmarks/input.py --json
    python benchmarks/input.py --only augmentation

* `augmentation`: CIFAR images in memory as a training step takes them: gathered by row, normalised, mirrored and moved.
  Images per CPU second of one thread. The goal is 83,000 images a second for mini-batches of 100, moved.
* `files`: CPU milliseconds for one image file. `worker` is all that a worker does for one: read, decode, scale, crop.
  `decode` is Pillow's decoder alone, `torchvision` is torchvision.io's, where it can be imported. `draft` is Pillow's
  decoder where a JPEG is decoded at a half, a quarter or an eighth of its size, at least twice what the net sees. The
  signal-to-noise ratio compares what the net sees then with what it sees of the whole image: 255 / root mean square.
* `workers`: images a second of a folder of JPEGs by the number of worker processes, in seconds of the clock.

The images are noise of the spectrum of photographs (1 / frequency), in JPEG files of quality 90.
"""

from __future__ import annotations

import argparse
import io
import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from PIL import Image

from fractal_dsl import ops
from fractal_dsl.config import Augmentation, Folder, NoAugmentation, Translate, parse_config
from fractal_dsl.data import ImageSet, in_order, load
from fractal_dsl.data.decode import decode
from fractal_dsl.data.folders import ImageFiles
from fractal_dsl.data.framing import scaled
from fractal_dsl.data.parts import StreamedPart
from fractal_dsl.data.tree import read_tree

CPU = torch.device("cpu")
NET = ops.Tensor("f32", (3, 224, 224))
GOAL = 83_000
SIZES = [(500, 375), (1600, 1200), (4000, 3000)]
KINDS = {"500 x 375 JPEG": SIZES[0], "1600 x 1200 JPEG": SIZES[1], "4000 x 3000 JPEG": SIZES[2]}
AUGMENTATIONS: dict[str, Augmentation] = {
    "none": NoAugmentation(),
    "mirror": Translate(pixels=0),
    "translate": Translate(),
    "translate, reflect": Translate(padding="reflect"),
}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", choices=["augmentation"], help="measure only this")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rounds = 5 if options.quick else 15
    rows = {"augmentation": augmentation(rounds)}
    if options.only is None:
        with tempfile.TemporaryDirectory() as folder:
            rows["files"] = [file_row(Path(folder), kind, rounds) for kind in list(KINDS)[: 2 if options.quick else 3]]
            rows["workers"] = workers(Path(folder) / "many", 200 if options.quick else 800)
    if options.json:
        print(json.dumps(rows, indent=2))
        return
    for title, table in rows.items():
        print(f"{title}\n" + "\n".join("  " + "   ".join(f"{k} {v}" for k, v in row.items()) for row in table))


def augmentation(rounds: int) -> list[dict[str, Any]]:
    """Images per second by augmentation and mini-batch."""
    config = parse_config({"dataset": {"name": "synthetic", "size": 5000}, "validation": 0})
    images = load(config, "N", {"x": ops.Tensor("f32", (3, 32, 32))}, {"output": ops.Tensor("f32", (10,))}, CPU)
    rows = []
    for name, how in AUGMENTATIONS.items():
        prepared = replace(images, augment=how)
        for batch in (32, 100):
            order = in_order(len(images.train) // batch * batch, batch)

            def one_pass(prepared: ImageSet = prepared, order: Any = order) -> None:
                for _ in prepared.batches(prepared.train, order, 1):
                    pass

            rate = sum(map(len, order)) / seconds(one_pass, rounds)
            row: dict[str, Any] = {"augment": name, "batch": batch, "images per second": round(rate)}
            if name == "translate" and batch == 100:
                row["goal"] = f"{GOAL:,}: {'met' if rate >= GOAL else 'missed'}"
            rows.append(row)
    return rows


def file_row(folder: Path, kind: str, rounds: int) -> dict[str, Any]:
    """The figures for one kind of file."""
    path = folder / kind.replace(" ", "") / "train" / "only" / "1.jpg"
    path.parent.mkdir(parents=True)
    photograph(*KINDS[kind]).save(path, "JPEG", quality=90)
    tree = read_tree(path.parents[1], nested=False)
    reader = ImageFiles(tree, NET, Folder(path=str(folder), crop_pct=0.875))
    data = path.read_bytes()

    def whole() -> Image.Image:
        return loaded(Image.open(io.BytesIO(data)))

    def draft() -> Image.Image:
        image = Image.open(io.BytesIO(data))
        wanted = 2 * 256 / min(image.size)
        image.draft(None, (int(image.width * wanted), int(image.height * wanted)))
        return loaded(image)

    opened = whole()
    seen = [np.asarray(scaled(image, (224, 224), 0.875), np.float64) for image in (whole(), draft())]
    noise = float(np.sqrt(((seen[0] - seen[1]) ** 2).mean()))
    row = {
        "file": kind,
        "worker ms": milliseconds(lambda: reader.read(0, 0, None), rounds),
        "decode ms": milliseconds(whole, rounds),
        "draft ms": milliseconds(draft, rounds),
        "draft signal to noise, dB": round(20 * float(np.log10(255 / noise)), 1) if noise else "equal",
        "scale ms": milliseconds(lambda: scaled(opened, (224, 224), 0.875), rounds),
    }
    assert decode(path, 3).size == KINDS[kind]
    return row | with_torchvision(data, np.asarray(whole()), rounds)


def with_torchvision(data: bytes, pixels: Any, rounds: int) -> dict[str, Any]:
    """The decoder of torchvision.io, if it is there."""
    try:
        from torchvision.io import ImageReadMode, decode_jpeg

        buffer = torch.frombuffer(bytearray(data), dtype=torch.uint8)
        same = np.array_equal(decode_jpeg(buffer, ImageReadMode.RGB).permute(1, 2, 0).numpy(), pixels)
    except (ImportError, RuntimeError):
        return {"torchvision": "not installed for this torch"}
    figure = milliseconds(lambda: decode_jpeg(buffer, ImageReadMode.RGB), rounds)
    return {"torchvision ms": figure, "equal pixels": same}


def workers(folder: Path, count: int) -> list[dict[str, Any]]:
    """Images per second by the number of worker processes."""
    for i in range(count):
        path = folder / str(i % 2) / f"{i}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        if i < 8:
            photograph(*SIZES[0], seed=i).save(path, "JPEG", quality=90)
        else:
            path.hardlink_to(folder / str(i % 2) / f"{i % 8}.jpg")
    reader = ImageFiles(read_tree(folder, nested=False), NET, Folder(path=str(folder)))
    rows = []
    for number in (0, 1, 2):
        part = StreamedPart(reader, range(count), CPU, number)
        start = time.perf_counter()
        for _ in part.stream(in_order(count, 32), 0, 0):
            pass
        rate = count / (time.perf_counter() - start)
        rows.append({"workers": number, "images per second": round(rate)})
    return rows


def photograph(width: int, height: int, seed: int = 0) -> Image.Image:
    """Noise whose amplitude falls with the frequency, as that of photographs does."""
    rng = np.random.default_rng(seed)
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])
    frequency = np.maximum(frequency, 1 / max(width, height))
    channels = [np.fft.irfft2(np.fft.rfft2(rng.standard_normal((height, width))) / frequency) for _ in range(3)]
    grey, *colours = [(x - x.mean()) / x.std() for x in channels]
    stacked = np.stack([grey, *(0.9 * grey + 0.4 * x for x in colours)], -1)
    return Image.fromarray((128 + 50 * stacked).clip(0, 255).astype(np.uint8))


def loaded(image: Image.Image) -> Image.Image:
    """The image after its pixels are decoded."""
    image.load()
    return image


def seconds(call: Callable[[], object], rounds: int) -> float:
    """CPU seconds of a call: the median of the rounds, after one that does not count."""
    times = []
    for _ in range(1 + rounds):
        start = time.process_time()
        call()
        times.append(time.process_time() - start)
    return median(times[1:])


def milliseconds(call: Callable[[], object], rounds: int) -> float:
    """CPU milliseconds of a call."""
    return round(1000 * seconds(call, rounds), 2)


if __name__ == "__main__":
    main()
