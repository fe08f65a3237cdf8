"""The data sets: what is in them, that no image is in two parts, and that they fit the net or say why not."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fractal_dsl.config import parse_config
from fractal_dsl.diagnostics import UserError
from fractal_dsl.ops import Tensor
from fractal_dsl.runtime.data import ImageSet, batch_order, load, seed_for

CPU = torch.device("cpu")


def get(settings: dict[str, object], into: str = "1,8,8", classes: int = 10, dtype: str = "f32") -> ImageSet:
    shape = tuple(map(int, into.split(",")))
    return load(parse_config(settings), "Net", Tensor(dtype, shape), Tensor("f32", (classes,)), CPU)


def test_digits_are_scikit_learns() -> None:
    datasets = pytest.importorskip("sklearn.datasets")
    original = datasets.load_digits()
    images = get({"dataset": "digits"})
    seen = torch.cat([part.images for part in (images.test, images.validation, images.train)])
    labels = torch.cat([part.labels for part in (images.test, images.validation, images.train)])
    order = np.random.RandomState(1605_07648).permutation(1797)
    assert np.array_equal(seen[:, 0].numpy(), original.images[order])
    assert np.array_equal(labels.numpy(), original.target[order])


@pytest.mark.parametrize("settings", [{"dataset": "digits"}, {"dataset": "synthetic"}])
def test_no_image_is_in_two_parts(settings: dict[str, object]) -> None:
    images = get(settings)
    parts = [
        {image.numpy().tobytes() for image in part.images} for part in (images.train, images.validation, images.test)
    ]
    assert all(parts)
    for i, one in enumerate(parts):
        for other in parts[i + 1 :]:
            assert not one & other


def test_the_test_images_are_the_same_for_every_run() -> None:
    one, other = get({"dataset": "digits", "seed": 1}), get({"dataset": "digits", "seed": 2, "validation": 0})
    assert torch.equal(one.test.images, other.test.images)
    assert (len(other.train), len(other.validation)) == (1438, 0)
    assert (len(one.train), len(one.validation), len(one.test)) == (1294, 144, 359)


def test_batches_are_normalised_by_the_training_images() -> None:
    images = get({"dataset": "synthetic"}, "3,5,7")
    x, y = images.batch(images.train, slice(None))
    assert x.shape == (len(images.train), 3, 5, 7)
    assert x.dtype == torch.float32 and y.dtype == torch.int64
    assert x.mean((0, 2, 3)).abs().max() < 1e-4
    assert (x.std((0, 2, 3)) - 1).abs().max() < 1e-2


@pytest.mark.parametrize(
    ("shape", "classes"), [("3,32,32", 100), ("6", 2), ("2,9", 3), ("1,4,4,4", 5), ("1,224,224", 4)]
)
def test_synthetic_fits_any_net(shape: str, classes: int) -> None:
    images = get({"dataset": {"name": "synthetic", "size": 400}}, shape, classes)
    assert images.train.images.shape[1:] == tuple(map(int, shape.split(",")))
    assert images.train.images.dtype == torch.uint8
    assert set(images.train.labels.tolist()) == set(range(classes))


def test_synthetic_is_seeded() -> None:
    one, same = get({"dataset": "synthetic"}), get({"dataset": "synthetic", "seed": 9})
    other = get({"dataset": {"name": "synthetic", "seed": 1}})
    assert torch.equal(one.train.images, same.train.images)
    assert not torch.equal(one.train.images, other.train.images)


@pytest.mark.parametrize(
    ("settings", "into", "classes", "dtype", "expected"),
    [
        ({}, "1,8,8", 10, "f32", "--set dataset=digits"),
        ({"dataset": "digits"}, "3,32,32", 10, "f32", "declare `net Net(image: f32[1, 8, 8]) -> f32[10]`"),
        ({"dataset": "digits"}, "1,8,8", 7, "f32", "10 classes"),
        ({"dataset": {"name": "synthetic", "classes": 3}}, "1,8,8", 4, "f32", "3 classes"),
        ({"dataset": "cifar10"}, "3,32,32", 10, "f32", "it has `digits` and `synthetic`"),
        ({"dataset": {"name": "synthetic", "size": 20}}, "1,8,8", 10, "f32", "too few for 10 classes"),
        ({"dataset": {"name": "synthetic", "size": 1_000_000}}, "3,99,99", 10, "f32", "lower `dataset.size`"),
        ({"dataset": "synthetic"}, "256", 10, "i64", "takes i64[256]"),
    ],
)
def test_what_does_not_fit_is_explained(
    settings: dict[str, object], into: str, classes: int, dtype: str, expected: str
) -> None:
    with pytest.raises(UserError) as caught:
        get(settings, into, classes, dtype)
    assert expected in str(caught.value)


def test_a_net_without_classes_is_refused() -> None:
    with pytest.raises(UserError, match="a number for each class"):
        load(parse_config({"dataset": "digits"}), "Net", Tensor("f32", (1, 8, 8)), Tensor("f32", (4, 2, 2)), CPU)


def test_batch_order_is_a_function_of_seed_and_epoch() -> None:
    first = batch_order(100, 32, seed=1, epoch=4)
    torch.manual_seed(5)
    assert all(map(torch.equal, first, batch_order(100, 32, seed=1, epoch=4)))
    assert [len(rows) for rows in first] == [32, 32, 32]
    assert len(set(torch.cat(first).tolist())) == 96
    for seed, epoch in ((1, 5), (2, 4)):
        assert not torch.equal(first[0], batch_order(100, 32, seed, epoch)[0])
    assert [len(rows) for rows in batch_order(5, 32, 0, 0)] == [5]


def test_seeds_of_neighbours_differ() -> None:
    assert len({seed_for(what, a, b) for what in ("x", "y") for a in range(9) for b in range(9)}) == 162
    assert seed_for("x", 1, 23) != seed_for("x", 12, 3)
