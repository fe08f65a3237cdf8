"""Data in general: parts, mini-batches by counters, augmentation against a naive one, synthetic examples."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor as Array

from fractal_dsl.base.errors import UserError
from fractal_dsl.config import parse_config
from fractal_dsl.data import ImageSet, batch_order, in_order, load, seed_for, vocabulary_of
from fractal_dsl.data.draws import integers
from fractal_dsl.ops import Tensor
from fractal_dsl.pipeline import compile_text

CPU = torch.device("cpu")


def get(
    settings: dict[str, object],
    into: str = "1,8,8",
    classes: int = 10,
    dtype: str = "f32",
    vocabulary: int | None = None,
) -> ImageSet:
    shape = tuple(map(int, into.split(",")))
    return load(
        parse_config(settings),
        "Net",
        {"x": Tensor(dtype, shape)},
        {"output": Tensor("f32", (classes,))},
        CPU,
        vocabulary={"x": vocabulary},
    )


def everything(images: ImageSet) -> tuple[Array, Array]:
    """Inputs as they are stored, and labels: of the test, the validation and the training examples."""
    parts = [p.read(torch.arange(len(p)), 0, None) for p in (images.test, images.validation, images.train)]
    return torch.cat([x for x, _ in parts]), torch.cat([y for _, y in parts])


def test_digits_are_scikit_learns() -> None:
    datasets = pytest.importorskip("sklearn.datasets")
    original = datasets.load_digits()
    seen, labels = everything(get({"dataset": "digits"}))
    order = np.random.RandomState(1605_07648).permutation(1797)
    assert np.array_equal(seen[:, 0].numpy(), original.images[order])
    assert np.array_equal(labels.numpy(), original.target[order])


@pytest.mark.parametrize("settings", [{"dataset": "digits"}, {"dataset": "synthetic"}])
def test_no_image_is_in_two_parts(settings: dict[str, object]) -> None:
    images = get(settings)
    parts = [
        {image.numpy().tobytes() for image in part.read(torch.arange(len(part)), 0, None)[0]}
        for part in (images.train, images.validation, images.test)
    ]
    assert all(parts)
    for i, one in enumerate(parts):
        for other in parts[i + 1 :]:
            assert not one & other


def test_the_test_images_are_the_same_for_every_run() -> None:
    one, other = get({"dataset": "digits", "seed": 1}), get({"dataset": "digits", "seed": 2, "validation": 0})
    rows = torch.arange(359)
    assert torch.equal(one.test.read(rows, 1, None)[0], other.test.read(rows, 2, None)[0])
    assert (len(other.train), len(other.validation)) == (1438, 0)
    assert (len(one.train), len(one.validation), len(one.test)) == (1294, 144, 359)


def test_batches_are_normalised_by_the_training_images() -> None:
    images = get({"dataset": "synthetic"}, "3,5,7")
    x, y = images.batch(images.train, slice(None))
    assert x.shape == (len(images.train), 3, 5, 7)
    assert x.dtype == torch.float32 and y.dtype == torch.int64
    assert x.mean((0, 2, 3)).abs().max() < 1e-4
    assert (x.std((0, 2, 3)) - 1).abs().max() < 1e-2


# --- synthetic examples


@pytest.mark.parametrize(
    ("into", "dtype", "stored"),
    [
        ("3,32,32", "f32", torch.uint8),
        ("1,224,224", "f32", torch.uint8),
        ("2,9", "f32", torch.uint8),
        ("1,4,5,6", "f32", torch.uint8),
        ("6", "f32", torch.float32),
        ("12", "i64", torch.int64),
    ],
)
def test_synthetic_fits_any_net(into: str, dtype: str, stored: torch.dtype) -> None:
    images = get({"dataset": {"name": "synthetic", "size": 80}}, into, 5, dtype, 50)
    inputs, labels = everything(images)
    assert inputs.shape == (80, *map(int, into.split(",")))
    assert inputs.dtype == stored
    assert sorted(labels.tolist()) == sorted(list(range(5)) * 16)
    x, _ = images.batch(images.train, torch.tensor([3, 1]), epoch=0)
    assert x.shape[1:] == inputs.shape[1:] and x.dtype == (torch.int64 if dtype == "i64" else torch.float32)
    if dtype == "i64":
        assert inputs.min() >= 0 and inputs.max() < 50


def nearest(images: ImageSet) -> float:
    """The accuracy of choosing the class whose mean training example is nearest."""
    (x, y), (tests, truth) = (part.read(torch.arange(len(part)), 0, None) for part in (images.train, images.test))
    if x.dtype == torch.int64:
        x, tests = (torch.nn.functional.one_hot(t, 50).sum(1) for t in (x, tests))
    centres = torch.stack([x[y == k].float().mean(0) for k in range(int(y.max()) + 1)]).flatten(1)
    return float((torch.cdist(tests.float().flatten(1), centres).argmin(1) == truth).float().mean())


@pytest.mark.parametrize(
    ("into", "dtype"), [("1,8,8", "f32"), ("3,32,32", "f32"), ("9,40", "f32"), ("6", "f32"), ("40", "i64")]
)
def test_synthetic_classes_can_be_told_apart_and_noise_makes_it_harder(into: str, dtype: str) -> None:
    def accuracy(noise: float) -> float:
        return nearest(get({"dataset": {"name": "synthetic", "size": 1000, "noise": noise}}, into, 10, dtype, 50))

    assert accuracy(0.1) > 0.8
    assert accuracy(20.0) < 0.5


def test_textures_have_the_power_law_of_their_class() -> None:
    """The slope of the spectrum differs by class, over the whole range from 1 to 4."""
    images = get({"dataset": {"name": "synthetic", "size": 400, "noise": 1.0}}, "1,64,64", 10)
    inputs, labels = everything(images)
    power = np.abs(np.fft.fft2(inputs[:, 0].numpy().astype(float) - 128)) ** 2
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(64), np.fft.fftfreq(64)))
    band = (frequency > 0.03) & (frequency < 0.3)
    slopes = [
        -np.polyfit(np.log(frequency[band]), np.log(power[labels.numpy() == k].mean(0)[band]), 1)[0] for k in range(10)
    ]
    assert min(slopes) < 1.5 and max(slopes) > 2.8


def test_synthetic_is_seeded() -> None:
    one, same = get({"dataset": "synthetic"}), get({"dataset": "synthetic", "seed": 9})
    other = get({"dataset": {"name": "synthetic", "seed": 1}})
    assert torch.equal(everything(one)[0], everything(same)[0])
    assert not torch.equal(everything(one)[0], everything(other)[0])


@pytest.mark.parametrize(
    ("into", "dtype", "sha256"),
    [
        ("3,8,8", "f32", "3d446347c81eea07"),
        ("4", "f32", "cc8a9d317f99912f"),
        ("6", "i64", "a343e32c3e550ec2"),
    ],
)
def test_synthetic_examples_are_the_same_everywhere(into: str, dtype: str, sha256: str) -> None:
    inputs, _ = everything(get({"dataset": {"name": "synthetic", "size": 100}}, into, 4, dtype, 50))
    rounded = inputs if inputs.dtype != torch.float32 else (inputs * 1000).round().to(torch.int64)
    assert hashlib.sha256(rounded.numpy().tobytes()).hexdigest()[:16] == sha256


# --- what does not fit


@pytest.mark.parametrize(
    ("settings", "into", "classes", "dtype", "expected"),
    [
        ({}, "1,8,8", 10, "f32", "--set dataset=digits"),
        ({"dataset": "digits"}, "3,32,32", 10, "f32", "declare `net Net(x: f32[1, 8, 8]) -> f32[10]`"),
        ({"dataset": "digits"}, "64", 10, "i64", "inputs f32[1, 8, 8]"),
        ({"dataset": "digits"}, "1,8,8", 7, "f32", "10 classes"),
        ({"dataset": {"name": "synthetic", "classes": 3}}, "1,8,8", 4, "f32", "3 classes"),
        ({"dataset": {"name": "synthetic", "size": 20}}, "1,8,8", 10, "f32", "too few for 10 classes"),
        ({"dataset": {"name": "synthetic", "size": 1_000_000}}, "3,99,99", 10, "f32", "lower `dataset.size`"),
        ({"dataset": "synthetic", "augment": "translate"}, "54", 10, "f32", "`augment` is for images"),
        ({"dataset": "synthetic", "augment": "translate"}, "8", 10, "i64", "`augment` is for images"),
        ({"dataset": "digits", "augment": "resized_crop"}, "1,8,8", 10, "f32", "is for image files"),
        (
            {"dataset": "digits", "augment": {"name": "translate", "padding": "reflect", "pixels": 8}},
            "1,8,8",
            10,
            "f32",
            "is too small to reflect 8",
        ),
    ],
)
def test_what_does_not_fit_is_explained(
    settings: dict[str, object], into: str, classes: int, dtype: str, expected: str
) -> None:
    with pytest.raises(UserError) as caught:
        get(settings, into, classes, dtype)
    assert expected in str(caught.value)


def test_a_net_without_classes_is_refused() -> None:
    with pytest.raises(UserError, match="one number for each class"):
        load(
            parse_config({"dataset": "digits"}),
            "Net",
            {"x": Tensor("f32", (1, 8, 8))},
            {"output": Tensor("f32", (4, 2, 2))},
            CPU,
        )


def test_the_vocabulary_is_the_embeddings() -> None:
    assert vocabulary_of(compile_text("net N(x: i64[4]) -> f32[4, 2] = embedding(70, 2)").graph) == 70
    assert vocabulary_of(compile_text("net N(x: f32[4]) -> f32[2] = linear(2)").graph) is None


# --- order


def test_batch_order_is_a_function_of_seed_and_epoch() -> None:
    first = batch_order(100, 32, seed=1, epoch=4)
    torch.manual_seed(5)
    assert all(map(torch.equal, first, batch_order(100, 32, seed=1, epoch=4)))
    assert [len(rows) for rows in first] == [32, 32, 32]
    assert len(set(torch.cat(first).tolist())) == 96
    for seed, epoch in ((1, 5), (2, 4)):
        assert not torch.equal(first[0], batch_order(100, 32, seed, epoch)[0])
    assert [len(rows) for rows in batch_order(5, 32, 0, 0)] == [5]


def test_ranks_share_the_mini_batches_of_one_process() -> None:
    alone = batch_order(100, 32, 1, 4)
    shares = [batch_order(100, 32, 1, 4, rank, 4) for rank in range(4)]
    for i, rows in enumerate(alone):
        assert torch.equal(torch.cat([share[i] for share in shares]), rows)
    assert [len(rows) for rows in batch_order(5, 32, 0, 0, 1, 2)] == [2]
    with pytest.raises(UserError, match="3 processes cannot share mini-batches of 32"):
        batch_order(100, 32, 0, 0, 0, 3)
    with pytest.raises(UserError, match="4 processes"):
        batch_order(3, 32, 0, 0, 0, 4)


def test_evaluation_goes_once_through_a_part() -> None:
    assert torch.equal(torch.cat(in_order(7, 3)), torch.arange(7))
    assert [len(rows) for rows in in_order(7, 3)] == [3, 3, 1]
    assert in_order(0, 3) == ()


def test_seeds_of_neighbours_differ() -> None:
    assert len({seed_for(what, a, b) for what in ("x", "y") for a in range(9) for b in range(9)}) == 162
    assert seed_for("x", 1, 23) != seed_for("x", 12, 3)


def split_mix(seed: int, row: int) -> int:
    """SplitMix64 as it is published, on whole numbers without a limit."""
    mask = 2**64 - 1
    z = (seed + row * 0x9E3779B97F4A7C15) & mask
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
    return z ^ (z >> 31)


def test_numbers_of_rows_are_those_of_splitmix() -> None:
    rows = torch.tensor([0, 1, 5, 123_456_789, 2**40])
    for seed in (0, 1, 2**62 + 12345):
        assert integers(9, seed, rows).tolist() == [(split_mix(seed, r) >> 32) * 9 >> 32 for r in rows.tolist()]
    counts = integers(9, 7, torch.arange(90_000)).bincount(minlength=9)
    assert (counts - 10_000).abs().max() < 400


# --- augmentation


def windows(image: NDArray[np.float32], pixels: int, mode: str) -> dict[tuple[int, int, bool], NDArray[np.float32]]:
    """Every image that may come of one, by how far it was moved, and whether it was mirrored; written out."""
    padded = np.pad(image, ((0, 0), (pixels, pixels), (pixels, pixels)), mode)  # type: ignore[call-overload]
    height, width = image.shape[1:]
    found: dict[tuple[int, int, bool], NDArray[np.float32]] = {}
    for up in range(2 * pixels + 1):
        for left in range(2 * pixels + 1):
            cut = padded[:, up : up + height, left : left + width]
            found[up, left, False], found[up, left, True] = cut, cut[:, :, ::-1]
    return found


@pytest.mark.parametrize("padding", ["zeros", "reflect"])
def test_every_augmented_image_is_the_image_moved_and_mirrored(padding: str) -> None:
    how = {"name": "translate", "pixels": 2, "padding": padding}
    images = get({"dataset": {"name": "synthetic", "size": 400}, "augment": how}, "3,7,9", 4)
    rows = torch.arange(len(images.train))
    plain, _ = images.batch(images.train, rows)
    moved, _ = images.batch(images.train, rows, epoch=3)
    mode = "constant" if padding == "zeros" else "reflect"
    seen: list[tuple[int, int, bool]] = []
    for image, result in zip(plain.numpy(), moved.numpy(), strict=True):
        fitting = [key for key, window in windows(image, 2, mode).items() if np.array_equal(window, result)]
        assert len(fitting) == 1
        seen += fitting
    assert {up for up, _, _ in seen} == {left for _, left, _ in seen} == set(range(5))
    assert 0.4 < np.mean([mirrored for _, _, mirrored in seen]) < 0.6
    assert len(set(seen)) == 50


def test_augmentation_is_a_function_of_seed_epoch_and_row() -> None:
    images = get({"dataset": "digits", "augment": "translate", "seed": 3})
    rows = torch.tensor([5, 900, 17])
    together, labels = images.batch(images.train, rows, epoch=2)
    for i, row in enumerate(rows.tolist()):
        x, y = images.batch(images.train, torch.tensor([row]), epoch=2)
        assert torch.equal(x[0], together[i]) and y[0] == labels[i]
    streamed = list(images.batches(images.train, (rows[:1], rows[1:]), epoch=2))
    assert torch.equal(torch.cat([x for x, _ in streamed]), together)
    every = torch.arange(len(images.train))
    first = images.batch(images.train, every, epoch=0)[0]
    assert not torch.equal(first, images.batch(images.train, every, epoch=1)[0])
    other = get({"dataset": "digits", "augment": "translate", "seed": 4})
    assert not torch.equal(first, other.batch(other.train, every, epoch=0)[0])
    assert torch.equal(images.batch(images.train, rows)[0], other.batch(other.train, rows)[0])


def test_only_what_is_asked_for_is_done() -> None:
    still = get({"dataset": "digits", "augment": {"name": "translate", "pixels": 0}})
    rows = torch.arange(200)
    plain, mirrored = still.batch(still.train, rows)[0], still.batch(still.train, rows, epoch=0)[0]
    same = (plain == mirrored).flatten(1).all(1)
    flipped = (plain.flip(3) == mirrored).flatten(1).all(1)
    assert (same | flipped).all() and 60 < same.sum() < 140
    none = get({"dataset": "digits"})
    assert torch.equal(none.batch(none.train, rows, epoch=0)[0], plain)
