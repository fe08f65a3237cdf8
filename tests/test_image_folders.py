"""Folders as people have them, the parts they are split into, and what a run keeps of its data."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from rich.console import Console
from typer.testing import CliRunner

from fractal_dsl.base.errors import UserError
from fractal_dsl.cli.app import app
from fractal_dsl.config import Folder, parse_config
from fractal_dsl.config.paths import located, placed
from fractal_dsl.data import ImageSet
from fractal_dsl.data.folders import ImageFiles
from fractal_dsl.data.source import Splits
from fractal_dsl.data.tree import Tree, read_parts
from fractal_dsl.deploy.extract import extract
from fractal_dsl.evaluation.evaluate import evaluate
from fractal_dsl.evaluation.predict import predict
from fractal_dsl.evaluation.run import Run
from fractal_dsl.ops import Tensor
from fractal_dsl.pipeline import compile_file, compile_text
from fractal_dsl.runtime import build
from fractal_dsl.runtime.artifact import save_artifact
from fractal_dsl.stored.spec import open_stored
from fractal_dsl.sweep.checks import CheckedSweep
from fractal_dsl.training.train import resume, train
from tests.test_datasets import archive, refused
from tests.test_datasets import get as load


def get(dataset: object, **options: Any) -> ImageSet:
    return load(dataset, "1,8,8", 2, **options)


NET = """
layer conv(out: int) = conv2d(out, 3, padding=1) >> batchnorm2d >> relu
rule F(out: int) join mean {
    F[1]   = conv(out)
    F[n+1] = F[n] >> F[n] | conv(out)
}
net Two(x: f32[1, 8, 8]) -> f32[2] = F[2](4) >> global_avgpool >> linear(2)
"""


def fill(root: Path, *places: str) -> Path:
    """A small picture at each place, as "cat/1"; where it ends with a suffix, a text of that name."""
    for i, name in enumerate(places):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix:
            path.write_text("text")
        else:
            Image.fromarray(np.full((8, 8), i, np.uint8)).save(path.with_suffix(".png"))
    return root


def several(classes: str, each: int = 12) -> list[str]:
    return [f"{name}/{i}" for name in classes.split() for i in range(each)]


# --- what a folder means


@pytest.mark.parametrize(
    ("places", "parts"),
    [
        (["a/1", "b/1"], {"train": "a b"}),
        (["a/1", "b/1", ".hidden/1", "__MACOSX/a/1", "Thumbs.db", "@eaDir/1"], {"train": "a b"}),
        (["Train/a/1", "Train/b/1", "Test/a/1", "Test/b/1"], {"train": "a b", "test": "a b"}),
        (["training_set/a/1", "test_set/a/1", "Dev/a/1"], {"train": "a", "test": "a", "validation": "a"}),
        (["TRAINING/a/1", "valid/a/1", "testing/a/1"], {"train": "a", "test": "a", "validation": "a"}),
        (["train/train/1", "train/car/1"], {"train": "car train"}),
        (["train/1", "car/1", "plane/1"], {"train": "car plane train"}),
        (["train/1", "train/steam/2", "car/1"], {"train": "car train"}),
        (["cat/1", "cat/black/2", "dog/1"], {"train": "cat dog"}),
        (["train/a/1", "train/b/1", "labels.csv", "scripts/run.py"], {"train": "a b"}),
    ],
)
def test_parts_and_classes_are_known_by_name_and_structure(
    places: list[str], parts: dict[str, str], tmp_path: Path
) -> None:
    found = read_parts(fill(tmp_path, *places), nested=False)
    assert {name: " ".join(tree.names) for name, tree in found.items()} == parts


@pytest.mark.parametrize(
    ("places", "expected"),
    [
        ([], "has no folder of images for each class"),
        (["1", "2"], "has images, but no folder for each class"),
        (["a/1", "b/notes.txt"], "the class b has no images"),
        (["train/1", "test/1"], "has the name of a part, so it must have a folder of images for each"),
        (["train/a/1", "test/1"], "test has the name of a part"),
        (["train/a/1", "train/b/1", "c/1"], "has the part `train` and, beside it, images in `c`"),
        (["train/a/1", "training/a/1"], "has `train` and `training`, which both mean train"),
        (["test/a/1", "val/a/1"], "but no part to train on: name it `train`"),
        (["train/a/1", "test/b/1"], "must have the same classes, but a, b are in only one"),
        (["fold1/cat/1", "fold1/dog/1", "fold2/cat/1"], "has no images of its own, only folders such as `cat`"),
        (["images/cat/1", "images/dog/1"], "only folders such as `cat`. If these are the classes"),
    ],
)
def test_folders_of_no_clear_meaning_are_refused(places: list[str], expected: str, tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        read_parts(fill(tmp_path, *places), nested=False)
    assert expected in str(caught.value)


def test_nested_folders_make_classes_only_where_that_is_said(tmp_path: Path) -> None:
    root = fill(tmp_path, "cat/2020/1", "cat/2021/1", "dog/2020/1")
    (tree,) = read_parts(root, nested=True).values()
    assert [name for name, _ in tree.files] == ["cat/2020/1.png", "cat/2021/1.png", "dog/2020/1.png"]
    (root / "cat" / "again").symlink_to(root / "cat")  # a circle
    (tree,) = read_parts(root, nested=True).values()
    assert len(tree.files) == 3


def test_what_is_no_image_is_passed_over_and_counted(tmp_path: Path) -> None:
    root = fill(tmp_path, "a/1", "b/1", "a/._1.png", "a/.DS_Store", "b/desktop.ini", "b/labels.csv", "stray", ".git/1")
    (tree,) = read_parts(root, nested=False).values()
    assert [name for name, _ in tree.files] == ["a/1.png", "b/1.png"]
    assert tree.skipped == {"hidden": 4, "beside images": 1, "outside of classes": 1}


def test_unreadable_images_are_refused_or_left_out(tmp_path: Path) -> None:
    root = fill(tmp_path, *several("a b", 20), "a/text.png", "a/photo.heic", "b/empty.jpg")
    (root / "b" / "empty.jpg").write_bytes(b"")
    two = ("1,8,8", 2)
    assert f"{root / 'a' / 'photo.heic'} cannot be read as an image" in refused(f"folder:{root}", *two)
    for workers in (0, 2):
        data = get({"name": "folder", "path": str(root), "skip_unreadable": True, "workers": workers})
        assert data.record.unreadable == ["a/photo.heic", "a/text.png", "b/empty.jpg"]
        assert sum(data.record.examples.values()) == 40
        assert "skipped: 3 unreadable images" in data.describe()
    for file in (root / "b").iterdir():
        file.write_text("text")
    said = refused({"name": "folder", "path": str(root), "skip_unreadable": True}, *two)
    assert "no image of class b" in said


def test_pipes_and_broken_links_are_refused(tmp_path: Path) -> None:
    root = fill(tmp_path, *several("a b", 20))
    os.mkfifo(root / "a" / "pipe.png")
    for augment in ("none", "resized_crop"):
        assert "pipe.png" in refused(f"folder:{root}", "1,8,8", 2, augment=augment)
    (root / "a" / "pipe.png").unlink()
    (root / "b" / "link.png").symlink_to(root / "nowhere")
    assert f"{root / 'b' / 'link.png'}" in refused(f"folder:{root}", "1,8,8", 2)
    skipped = get({"name": "folder", "path": str(root), "skip_unreadable": True})
    assert skipped.record.unreadable == ["b/link.png"]


def test_a_class_of_one_image_is_refused_whatever_its_name(tmp_path: Path) -> None:
    for i in range(5):
        root = fill(tmp_path / str(i), *several("a"), f"b/{i}")
        assert "class `b` has 1 example, too few for both training" in refused(f"folder:{root}", "1,8,8", 2)
    root = fill(tmp_path / "parts", *[f"train/{x}" for x in several("a")], "train/b/1", "test/a/1", "test/b/1")
    for validation in (0.1, 0.5):
        rows = get(f"folder:{root}", validation=validation).train
        assert 1 in rows.targets  # it is trained on, not validated with


# --- the split


def names_by_part(names: list[str], validation: float) -> tuple[set[str], set[str], set[str]]:
    tree = Tree(Path("x"), ("a",), [(name, 0) for name in names])
    images = ImageFiles(tree, Tensor("f32", (1, 8, 8)), Folder(path="x"))
    train, held, tests = ({names[i] for i in rows} for _, rows in Splits(images).rows(validation))
    return train, held, tests


@settings(max_examples=40)
@given(st.lists(st.text(min_size=1, max_size=8), min_size=2, max_size=60, unique=True), st.data())
def test_no_training_image_becomes_a_test_image(names: list[str], data: st.DataObject) -> None:
    """Whatever comes, goes, or is put into another order."""
    train, held, tests = names_by_part(names, 0.2)
    assert sorted([*train, *held, *tests]) == sorted(names)
    others = data.draw(st.lists(st.sampled_from(names), unique=True)) + [f"new {i}" for i in range(5)]
    again = names_by_part(data.draw(st.permutations(others)), 0.2)
    assert not (train | held) & again[2] and not tests & (again[0] | again[1])


def test_shares_are_met_on_average() -> None:
    _train, held, tests = names_by_part([f"a/{i}.png" for i in range(20_000)], 0.1)
    assert abs(len(tests) / 20_000 - 0.2) < 0.01 and abs(len(held) / 16_000 - 0.1) < 0.01
    assert names_by_part(["a/cafe\u0301.png"], 0)[2] == set() or names_by_part(["a/caf\u00e9.png"], 0)[2] != set()


def test_rows_of_an_archive_keep_their_part(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 256, (80, 1, 8, 8)).astype(np.uint8), np.arange(80) % 2
    before = get(archive(tmp_path / "a.npz", inputs=x[:60], labels=y[:60]))
    after = get(archive(tmp_path / "b.npz", inputs=x[::-1], labels=y[::-1]))
    held, trained = ({row.numpy().tobytes() for row in part.inputs} for part in (before.test, after.train))
    assert held and not held & trained


# --- what a run keeps


@pytest.fixture(autouse=True)
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reports take long to draw."""
    monkeypatch.setattr("fractal_dsl.training.finish.write_report", lambda folder: None)


def pictures(root: Path, classes: str = "sea sky", each: int = 20) -> Path:
    """Bright above, or below."""
    rng = np.random.default_rng(1)
    for k, name in enumerate(classes.split()):
        (root / name).mkdir(parents=True)
        for i in range(each):
            x = rng.integers(10, 60, (8, 8)).astype(np.uint8)
            x[4 * k : 4 * k + 4] += 180
            Image.fromarray(x).save(root / name / f"{i:02}.png")
    return root


def trained(folder: Path, dataset: str, **options: Any) -> Run:
    config = parse_config({"dataset": dataset, "epochs": 2, "batch": 8, **options})
    train(compile_text(NET), config, folder, console=Console(file=StringIO()))
    return Run.open(folder)


def test_a_run_names_what_it_was_trained_on(tmp_path: Path) -> None:
    root, shown = pictures(tmp_path / "data"), Console(file=StringIO(), width=999)
    config = parse_config({"dataset": f"folder:{root}", "epochs": 1, "batch": 8})
    train(compile_text(NET), config, tmp_path / "run", console=shown)
    first = shown.file.getvalue().splitlines()[0]  # type: ignore[attr-defined]
    assert " test images of uint8 [1, 8, 8]; 2 classes: sea, sky; " in first
    record = Run.open(tmp_path / "run").data()
    assert record.classes == ["sea", "sky"] and record.split == "by name"
    assert record.inputs.text() == "uint8 [1, 8, 8] from 0 to 255"
    assert sum(record.examples.values()) == 40
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    assert manifest["classes"] == ["sea", "sky"] and "data.json" in manifest["files"]


def test_classes_may_have_any_name_that_a_folder_can_have(tmp_path: Path) -> None:
    root = pictures(tmp_path / "data")
    names = ["a\nb\x1b[1m", os.fsdecode(b"caf\xe9")]
    for old, new in zip(("sea", "sky"), names, strict=True):
        (root / old).rename(root / new)
    shown = Console(file=StringIO(), width=999)
    config = parse_config({"dataset": f"folder:{root}", "epochs": 1, "batch": 8})
    train(compile_text(NET), config, tmp_path / "run", console=shown)
    assert r"; 2 classes: a\nb\x1b[1m, caf\xe9; " in shown.file.getvalue().splitlines()[0]  # type: ignore[attr-defined]
    assert Run.open(tmp_path / "run").data().classes == names
    done = CliRunner().invoke(app, ["predict", str(tmp_path / "run"), str(root / names[0] / "00.png"), "--json"])
    assert json.loads(done.stdout)[0]["name"] in names


def rename(root: Path) -> None:
    (root / "sea").rename(root / "ocean")


def add(root: Path) -> None:
    shutil.copy(root / "sky" / "00.png", root / "sky" / "new.png")


def replace(root: Path) -> None:
    shutil.copy(root / "sky" / "00.png", root / "sea" / "00.png")


@pytest.mark.parametrize(
    ("change", "another_kind", "expected"),
    [
        (rename, True, "class `sea` is gone, class `ocean` is new"),
        (lambda root: pictures(root, "fog"), True, "class `fog` is new"),
        (add, False, "class `sky` had 20 examples and has 21"),
        (lambda root: (root / "sky" / "03.png").unlink(), False, "class `sky` had 20 examples and has 19"),
        (replace, False, "class `sea` has other examples"),
    ],
)
def test_other_data_are_told_or_refused(
    change: Callable[[Path], object], another_kind: bool, expected: str, tmp_path: Path
) -> None:
    root = pictures(tmp_path / "data")
    run = trained(tmp_path / "run", f"folder:{root}", max_minutes=1e-9)
    told: list[str] = []
    evaluate(run, say=told.append)
    assert not told
    change(root)

    def extracting() -> object:
        return extract(run.folder, 1, tmp_path / "column", recalibrate=True)

    if another_kind:
        for do in (lambda: evaluate(run), extracting):
            with pytest.raises(UserError) as caught:
                do()
            assert expected in str(caught.value) or "classes, but net Two takes" in str(caught.value)
    else:
        evaluate(run, say=told.append)
        extracting()
        (said,) = told
        assert (
            said.startswith("note: ") and expected in said and "that kept their names are not used for testing" in said
        )
    with pytest.raises(UserError) as caught:
        resume(run.folder, console=Console(file=StringIO()))
    assert expected in str(caught.value) or "classes, but net Two takes" in str(caught.value)


def test_evaluation_normalises_as_training_did(tmp_path: Path) -> None:
    root = pictures(tmp_path / "data")
    run = trained(tmp_path / "run", f"folder:{root}")
    before = evaluate(run, say=print)
    for i in range(300, 330):  # of which some are trained on: the mean of all would be another
        Image.new("L", (8, 8), 255).save(root / "sky" / f"{i}.png")
    now = {name for name, _ in read_parts(root, nested=False)["train"].files}
    keep = names_by_part(sorted(now), 0.1)[0]
    for name in now - keep:
        if int(Path(name).stem) >= 300:
            (root / name).unlink()
    assert evaluate(run, say=print)["loss"] == pytest.approx(before["loss"], rel=1e-6)


def test_an_archive_on_another_scale_is_refused(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 256, (60, 1, 8, 8)).astype(np.uint8), np.arange(60) % 2
    run = trained(tmp_path / "run", archive(tmp_path / "a.npz", inputs=x, labels=y))
    archive(tmp_path / "a.npz", inputs=(x / 255).astype("f4"), labels=y)
    with pytest.raises(
        UserError, match=r"inputs were uint8 \[1, 8, 8\] from 0 to 255 and are now float32 .* from 0 to 1"
    ):
        evaluate(run)
    archive(tmp_path / "a.npz", inputs=x // 255, labels=y)
    with pytest.raises(UserError, match=r"from 0 to 255 and are now uint8 \[1, 8, 8\] from 0 to 1"):
        evaluate(run)


def test_predictions_take_the_values_of_training(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 256, (60, 1, 8, 8)).astype(np.uint8), np.arange(60) % 2
    run = trained(tmp_path / "run", archive(tmp_path / "a.npz", inputs=x, labels=y))
    Image.fromarray(x[0, 0]).save(tmp_path / "x.png")
    np.save(tmp_path / "x.npy", x[:1])
    np.save(tmp_path / "same.npy", x[:1].astype("f8"))
    answers = [next(iter(predict(run, [tmp_path / name]))) for name in ("x.png", "x.npy", "same.npy")]
    assert len({tuple(answer.reading.probabilities) for answer in answers}) == 1
    np.save(tmp_path / "unit.npy", x[:1] / 255)
    with pytest.raises(UserError, match=r"trained on uint8 .* from 0 to 255: multiply them by 255"):
        predict(run, [tmp_path / "unit.npy"])
    np.save(tmp_path / "signed.npy", x[:1] / 127.5 - 1)
    with pytest.raises(UserError, match="give values as in training"):
        predict(run, [tmp_path / "signed.npy"])
    told: list[str] = []
    Image.new("L", (900, 300)).save(tmp_path / "wide.png")
    list(predict(run, [tmp_path / "wide.png"], say=told.append))
    assert "wide.png is 900 x 300 pixels, but the net sees 8 x 8" in told[0] and "the net sees 33% of it" in told[0]


def test_predictions_of_a_net_for_floats_tell_of_other_scales(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.random((60, 1, 8, 8)).astype("f4"), np.arange(60) % 2
    run = trained(tmp_path / "run", archive(tmp_path / "a.npz", inputs=x, labels=y))
    Image.new("L", (8, 8)).save(tmp_path / "x.png")
    with pytest.raises(UserError, match=r"trained on float32 .* give inputs as \.npy"):
        predict(run, [tmp_path / "x.png"])
    np.save(tmp_path / "bytes.npy", (x[:1] * 255).astype(np.uint8))
    with pytest.raises(UserError, match="scale them as in training"):
        predict(run, [tmp_path / "bytes.npy"])
    np.save(tmp_path / "large.npy", x[:1] * 255)
    told: list[str] = []
    list(predict(run, [tmp_path / "large.npy"], say=told.append))
    assert "on another scale" in told[0]


def test_predict_prints_the_names_of_classes(tmp_path: Path) -> None:
    root = pictures(tmp_path / "data", "10 9")
    run = trained(tmp_path / "run", f"folder:{root}", epochs=8, optimizer={"name": "adamw", "lr": 0.02})
    done = CliRunner().invoke(app, ["predict", str(run.folder), str(root / "10" / "00.png"), "--json", "--top", "2"])
    (row,) = json.loads(done.stdout)
    assert list(row) == ["file", "class", "name", "probability", "top", "column", "ms"]
    assert row["name"] == {0: "10", 1: "9"}[row["class"]] == "10"
    assert [one["name"] for one in row["top"]] == ["10", "9"]


def test_a_turned_photo_gets_the_prediction_of_the_upright_one(tmp_path: Path) -> None:
    """The orientation tag is obeyed in training and in prediction alike."""
    root = pictures(tmp_path / "data")
    run = trained(tmp_path / "run", f"folder:{root}", epochs=8, optimizer={"name": "adamw", "lr": 0.02})
    for path in sorted((root / "sky").iterdir()):
        with Image.open(path) as image:
            tags = Image.Exif()
            tags[0x0112] = 3  # the camera was upside down
            image.transpose(Image.Transpose.ROTATE_180).save(tmp_path / "turned.png", exif=tags)
        upright, turned = predict(run, [path, tmp_path / "turned.png"])
        assert upright.reading == turned.reading
    for path in sorted((root / "sky").iterdir()):
        with Image.open(path) as image:
            image.transpose(Image.Transpose.ROTATE_180).save(path, exif=tags)
    told: list[str] = []
    assert (
        evaluate(run, say=told.append)["accuracy"] == json.loads((run.folder / "result.json").read_text())["accuracy"]
    )
    assert "class `sky` has other examples" in told[0]


def test_predict_is_for_runs(tmp_path: Path) -> None:
    (tmp_path / "net.frac").write_text(NET)
    done = CliRunner().invoke(app, ["predict", str(tmp_path / "net.frac"), "x.png"], catch_exceptions=True)
    assert f"is a spec, not the folder of a training run: `fractal-dsl train {tmp_path}" in str(done.exception)
    (tmp_path / "model.pt").write_text("")
    done = CliRunner().invoke(app, ["predict", str(tmp_path / "model.pt"), "x.png"], catch_exceptions=True)
    assert "is a file, but a training run is a folder" in str(done.exception)


def test_runs_without_a_record_are_refused(tmp_path: Path) -> None:
    run = trained(tmp_path / "run", f"folder:{pictures(tmp_path / 'data')}", max_minutes=1e-9)
    (run.folder / "data.json").unlink()
    with pytest.raises(UserError, match=r"has no data\.json, .*train it again"):
        resume(run.folder, console=Console(file=StringIO()))


def test_labels_that_begin_with_one_are_explained(tmp_path: Path) -> None:
    x, y = np.zeros((60, 3), "f4"), np.arange(60) % 3 + 1
    said = refused(archive(tmp_path / "a.npz", inputs=x, labels=y), "3", 3)
    assert (
        "labels run from 1 to 3, but classes start at 0" in said
        and "Subtract 1 from the labels" in said
        and "f32[3]" in said
    )


def test_images_need_no_torchvision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "torchvision", None)
    data = get(f"folder:{pictures(tmp_path)}", augment="resized_crop")
    x, _ = data.batch(data.train, torch.arange(4), epoch=1)
    assert x.shape == (4, 1, 8, 8)


# --- where paths start


def test_paths_start_at_the_specs_folder_and_runs_find_them_from_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures(tmp_path / "specs" / "data")
    (tmp_path / "specs" / "net.frac").write_text(NET + 'train { dataset = "folder:data" epochs = 1 batch = 8 }')
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    compiled = compile_file("specs/net.frac")
    train(compiled, parse_config(compiled.program.train), tmp_path / "run", console=Console(file=StringIO()))
    monkeypatch.chdir(tmp_path / "elsewhere")
    run = Run.open(tmp_path / "run")
    assert run.config.dataset == Folder(path=str(tmp_path / "specs" / "data"))
    assert evaluate(run, say=print)["accuracy"] >= 0


@pytest.mark.parametrize(
    ("written", "path"),
    [
        ("folder:data", "/specs/data"),
        ("folder:../data", "/data"),
        ("npz:/x/a.npz", "/x/a.npz"),
        ({"name": "folder", "path": "data"}, "/specs/data"),
        ({"name": "folder:data", "crop_pct": 0.5}, "/specs/data"),
    ],
)
def test_paths_of_a_train_block_become_absolute(written: object, path: str) -> None:
    settings = located({"dataset": written, "epochs": 3}, Path("/specs"))
    assert getattr(parse_config(settings).dataset, "path", None) == path
    assert placed({"dataset": written}, Path("/specs")) == {"dataset.path": path}


def test_paths_of_the_command_line_start_at_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pictures(tmp_path / "data")
    (tmp_path / "specs").mkdir()
    (tmp_path / "specs" / "net.frac").write_text(NET + 'train { dataset = "folder:other" epochs = 1 batch = 8 }')
    monkeypatch.chdir(tmp_path)
    for i, options in enumerate((["--dataset", "folder:data"], ["--set", "dataset.path=data"])):
        command = ["train", "specs/net.frac", "--out", f"run{i}", *options]
        done = CliRunner().invoke(app, command, catch_exceptions=False)
        assert done.exit_code == 0, done.output
        assert Run.open(tmp_path / f"run{i}").config.dataset == Folder(path=str(tmp_path / "data"))
    assert located({"dataset": "digits"}, tmp_path) == {"dataset": "digits"} and located({}, tmp_path) == {}


def test_paths_of_compiled_networks_and_of_sweeps_are_those_of_the_spec(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures(tmp_path / "specs" / "data")
    spec = tmp_path / "specs" / "net.frac"
    spec.write_text(NET + 'train { dataset = "folder:data" epochs = 1 batch = 8 }')
    monkeypatch.chdir(tmp_path / "specs" / "data")
    compiled = compile_file(spec)
    save_artifact(compiled, build(compiled, 0), tmp_path / "compiled")
    extract(tmp_path / "compiled", 1, tmp_path / "column", recalibrate=True)
    assert open_stored(tmp_path / "column").compiled.program.train == compiled.program.train
    checked = CheckedSweep(str(spec), {}, {"optimizer.lr": "0.1|0.2"}, None, 1000, False)
    assert checked.settings["dataset.path"] == str(tmp_path / "specs" / "data")
