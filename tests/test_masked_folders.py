"""Folders of images and masks as data sets: targets, parts, identity, and what is refused before training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from fractal_dsl.base.errors import UserError
from fractal_dsl.config import Folder, NoAugmentation, ResizedCrop
from fractal_dsl.data.folders import folder
from fractal_dsl.data.masks import MaskedImages
from fractal_dsl.data.source import Examples, Splits
from fractal_dsl.ops import Tensor

SIDE = 12


def scene(seed: int, classes: int = 3) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """A picture whose brightness is the class of its blocks, and its mask."""
    mask = np.random.RandomState(seed).randint(0, classes, (3, 3)).astype(np.uint8).repeat(4, 0).repeat(4, 1)
    return mask * 60 + 20, mask


def fill(root: Path, count: int = 20, part: str = "", classes: int = 3) -> Path:
    for kind in ("images", "masks"):
        (root / part / kind).mkdir(parents=True, exist_ok=True)
    for i in range(count):
        image, mask = scene(i, classes)
        Image.fromarray(image).save(root / part / "images" / f"{i}.png")
        Image.fromarray(mask).save(root / part / "masks" / f"{i}.png")
    return root


def get(root: Path, classes: int = 3, size: int = SIDE, out: int | None = None, **settings: Any) -> Splits:
    augment = settings.pop("augment", NoAugmentation())
    config = Folder(path=str(root), **settings)
    into, gives = Tensor("f32", (1, size, size)), Tensor("f32", (classes, out or size, out or size))
    return folder(config, into, gives, augment, 0.1)


def refused(root: Path, classes: int = 3, **settings: Any) -> str:
    with pytest.raises(UserError) as caught:
        get(root, classes, **settings)
    return str(caught.value)


def test_images_come_with_their_masks(tmp_path: Path) -> None:
    source = get(fill(tmp_path)).train
    assert isinstance(source, Examples) and source.names == ("0", "1", "2") and source.split == "by name"
    x, y = source.part(np.arange(20), torch.device("cpu")).read(torch.arange(20), 0, None)
    assert x.dtype == torch.uint8 and y.dtype == torch.int64
    for i in range(20):
        name = source.origin.pairs.files[i][0]  # type: ignore[union-attr]
        image, mask = scene(int(Path(name).stem))
        assert np.array_equal(x[i, 0].numpy(), image) and np.array_equal(y[i].numpy(), mask)


def test_masks_follow_the_size_of_the_output(tmp_path: Path) -> None:
    source = get(fill(tmp_path), out=3).train
    assert isinstance(source, Examples)
    for i in range(20):
        name = source.origin.pairs.files[i][0]  # type: ignore[union-attr]
        assert np.array_equal(source.targets[i], scene(int(Path(name).stem))[1][::4, ::4])


def test_random_crops_keep_images_and_masks_together(tmp_path: Path) -> None:
    source = get(fill(tmp_path), augment=ResizedCrop(smallest=0.3)).train
    assert isinstance(source, MaskedImages)
    for epoch in range(3):
        (x, y), (again, _) = source.read(4, 7, epoch), source.read(4, 7, epoch)
        inner = (x[0].float() - 20) / 60
        near = (inner - y).abs() < 0.05
        assert torch.equal(x, again) and near.float().mean() > 0.6
    assert torch.equal(source.read(4, 7, None)[1], torch.from_numpy(scene(int(Path(source.pairs.files[4][0]).stem))[1]))


def test_pixels_of_255_do_not_count(tmp_path: Path) -> None:
    fill(tmp_path)
    _, mask = scene(3)
    mask[0] = 255
    Image.fromarray(mask).save(tmp_path / "masks" / "3.png")
    source = get(tmp_path).train
    assert isinstance(source, Examples)
    assert (source.targets == 255).sum() == SIDE


def test_settings_say_what_numbers_mean(tmp_path: Path) -> None:
    fill(tmp_path)
    for i in range(20):
        _, mask = scene(i)
        Image.fromarray(np.array([0, 7, 255], np.uint8)[mask]).save(tmp_path / "masks" / f"{i}.png")
    by_hand = get(tmp_path, values=[0, 7, 255]).train
    assert isinstance(by_hand, Examples)
    fill(tmp_path)
    plain = get(tmp_path).train
    assert isinstance(plain, Examples) and np.array_equal(by_hand.targets, plain.targets)
    zero = get(tmp_path, 2, values=[1, 2], ignored=0).train
    assert isinstance(zero, Examples)
    assert np.array_equal(zero.targets, np.choose(plain.targets, [255, 0, 1]))


def test_parts_have_masks_of_their_own(tmp_path: Path) -> None:
    fill(tmp_path, 12, "train")
    fill(tmp_path, 5, "val")
    splits = get(tmp_path)
    assert {name: len(source) for name, source in splits.given().items()} == {"train": 12, "test": 5}


def test_the_identity_covers_images_and_masks(tmp_path: Path) -> None:
    fill(tmp_path)
    before = get(tmp_path).train.record(np.arange(20)).contents
    _, mask = scene(77)
    Image.fromarray(mask).save(tmp_path / "masks" / "7.png")
    after = get(tmp_path).train.record(np.arange(20)).contents
    assert before["images"] == after["images"] and before["masks"] != after["masks"]
    assert before["masks"].examples == 20


def test_splits_do_not_move_when_pairs_come_or_go(tmp_path: Path) -> None:
    def tests(root: Path) -> set[str]:
        splits = get(root)
        source, rows = splits.rows(0.1)[2]
        return {source.origin.pairs.files[row][0] for row in rows}  # type: ignore[union-attr]

    every = tests(fill(tmp_path / "a", 60))
    assert tests(fill(tmp_path / "b", 40)) <= every


@pytest.mark.parametrize(
    ("spoil", "classes", "settings", "expected"),
    [
        ("size", 3, {}, r"masks/3\.png is 12 x 11 pixels, but its image .*images/3\.png is 12 x 12"),
        (
            "value",
            3,
            {},
            r"masks/3\.png has the number 9 in row 2, column 5, but the net's classes are 0 to 2, and 255",
        ),
        ("missing", 3, {}, r"images/3\.png has no mask: there is no file .*masks/3\.\*"),
        ("broken", 3, {}, r"masks/3\.png cannot be read"),
        ("jpeg", 3, {}, r"masks/3\.jpg cannot be read as a mask: JPEG may change values"),
        ("", 4, {}, r"have classes from 0 to 2, but the net gives 4: declare f32\[3, height, width\]"),
        ("", 3, {"values": [0, 1]}, "`dataset.values` has 2 numbers, but the net has 3 classes"),
        ("", 3, {"ignored": 2}, "masks cannot ignore 2, which is a class of the net"),
        (
            "binary",
            2,
            {},
            r"only pixels of class 0 or none. If 255 is a class in them, list .*, for example \[0, 255\]",
        ),
    ],
)
def test_pairs_that_do_not_fit_are_refused_by_name(
    spoil: str, classes: int, settings: dict[str, Any], expected: str, tmp_path: Path
) -> None:
    fill(tmp_path)
    path, (_, mask) = tmp_path / "masks" / "3.png", scene(3)
    match spoil:
        case "size":
            Image.fromarray(mask[1:]).save(path)
        case "value":
            mask[2, 5] = 9
            Image.fromarray(mask).save(path)
        case "missing":
            path.unlink()
        case "broken":
            path.write_bytes(path.read_bytes()[:40])
        case "jpeg":
            path.unlink()
            Image.fromarray(mask).save(path.with_suffix(".jpg"))
        case "binary":
            for i in range(20):
                Image.fromarray((scene(i)[1] > 0).astype(np.uint8) * 255).save(tmp_path / "masks" / f"{i}.png")
        case _:
            pass
    with pytest.raises(UserError, match=expected):
        get(tmp_path, classes, **settings)


def test_a_class_that_training_never_sees_is_refused(tmp_path: Path) -> None:
    fill(tmp_path, 10, "train", classes=2)
    fill(tmp_path, 5, "test", classes=3)
    assert "test/masks" in refused(tmp_path) and "has pixels of class 2, but no training mask has" in refused(tmp_path)


def test_unreadable_pairs_can_be_skipped(tmp_path: Path) -> None:
    fill(tmp_path)
    for name in ("images/3.png", "masks/5.png"):
        (tmp_path / name).write_bytes(b"no image")
    assert "images/3.png cannot be read" in refused(tmp_path) or "masks/5.png cannot be read" in refused(tmp_path)
    record = get(tmp_path, skip_unreadable=True).train.record(np.arange(18))
    assert {*record.unreadable} == {"3.png", "5.png"} and record.skipped["unreadable"] == 2
    assert record.contents["images"].examples == 18


def test_masks_need_a_net_for_masks(tmp_path: Path) -> None:
    fill(tmp_path)
    with pytest.raises(UserError, match=r"has masks, for nets that give f32\[classes, height, width\], not f32\[3\]"):
        folder(Folder(path=str(tmp_path)), Tensor("f32", (1, 8, 8)), Tensor("f32", (3,)), NoAugmentation(), 0.1)
    (tmp_path / "masks").rename(tmp_path / "cats")
    assert "has no masks for a net that gives f32[3, 12, 12]: it needs the folders" in refused(tmp_path)
