"""Data sets from files, in the formats of the published ones: what is read, and what is said where it cannot be."""

from __future__ import annotations

import sys
import tarfile
import textwrap
import threading
from collections.abc import Generator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console
from torch import Tensor as Array

from fractal_dsl.base.errors import UserError
from fractal_dsl.config import parse_config
from fractal_dsl.data import ImageSet, Part, batch_order, load
from fractal_dsl.data.folders import ImageFiles
from fractal_dsl.data.parts import StreamedPart
from fractal_dsl.evaluation.evaluate import evaluate
from fractal_dsl.evaluation.run import Run
from fractal_dsl.ops import Tensor
from fractal_dsl.pipeline import compile_text
from fractal_dsl.training.train import train
from tests.support import fakes


def get(
    dataset: object,
    into: str = "3,8,8",
    classes: int = 2,
    *,
    dtype: str = "f32",
    vocabulary: int | None = None,
    allow_python: bool = False,
    ten_crops: bool = False,
    **settings: object,
) -> ImageSet:
    return load(
        parse_config({"dataset": dataset, **settings}),
        "Net",
        {"x": Tensor(dtype, tuple(map(int, into.split(","))))},
        {"output": Tensor("f32", (classes,))},
        torch.device("cpu"),
        vocabulary={"x": vocabulary},
        allow_python=allow_python,
        ten_crops=ten_crops,
    )


def stored(part: Part) -> tuple[Array, Array]:
    return part.read(torch.arange(len(part)), 0, None)


def refused(*args: object, **settings: object) -> str:
    with pytest.raises(UserError) as caught:
        get(*args, **settings)  # type: ignore[arg-type]
    return str(caught.value)


# --- CIFAR and SVHN


def test_a_class_without_training_images_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fakes.cifar(tmp_path, "cifar100", monkeypatch, count=99)
    message = refused({"name": "cifar100", "root": str(tmp_path)}, "3,32,32", 100, validation=0)
    assert "no training example is of class `class 99`" in message


@pytest.mark.parametrize(("name", "classes"), [("cifar10", 10), ("cifar100", 100)])
def test_cifar_is_what_its_files_hold(name: str, classes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fakes.cifar(tmp_path, name, monkeypatch, count=200, test=30)
    data = get({"name": name, "root": str(tmp_path)}, "3,32,32", classes, validation=0)
    (train, labels), (test, test_labels) = stored(data.train), stored(data.test)
    assert np.array_equal(train.numpy(), fakes.images(200)) and train.dtype == torch.uint8
    assert np.array_equal(labels.numpy(), fakes.labels(200, classes))
    assert np.array_equal(test.numpy(), fakes.images(30, 1))
    assert np.array_equal(test_labels.numpy(), fakes.labels(30, classes))
    assert len(data.validation) == 0
    pixels = fakes.images(200).astype(np.float64)
    assert np.allclose(data.mean.flatten(), pixels.mean((0, 2, 3)), rtol=1e-6)
    assert np.allclose(data.std.flatten(), pixels.std((0, 2, 3)), rtol=1e-6)
    held = get({"name": name, "root": str(tmp_path)}, "3,32,32", classes, validation=0.1)
    assert len(held.train) + len(held.validation) == 200 and len(held.test) == 30
    assert 0 < len(held.validation) <= 20 and {*stored(held.train)[1].tolist()} == {*range(classes)}


def test_the_folder_of_data_is_found_by_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fakes.cifar(tmp_path, "cifar10", monkeypatch)
    monkeypatch.setenv("FRACTAL_DSL_DATA", str(tmp_path))
    assert len(get("cifar10", "3,32,32", 10).test) == 10


def test_cifar_that_is_missing_or_altered_is_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = fakes.cifar(tmp_path / "there", "cifar10", monkeypatch)
    missing = refused({"name": "cifar10", "root": str(tmp_path / "empty")}, "3,32,32", 10)
    assert f"cifar10 is not in {tmp_path / 'empty'}" in missing
    assert "--download" in missing and "--set dataset.root=FOLDER" in missing
    with (folder / "data_batch_3").open("r+b") as file:
        file.write(b"x")
    altered = refused({"name": "cifar10", "root": str(tmp_path / "there")}, "3,32,32", 10)
    assert f"{folder / 'data_batch_3'} is not the published file of cifar10" in altered


@contextmanager
def served(folder: Path) -> Generator[str]:
    """The address of a web server of this folder."""
    handler = partial(SimpleHTTPRequestHandler, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_cifar_is_fetched_once_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = fakes.cifar(tmp_path / "made", "cifar10", monkeypatch)
    archive = tmp_path / "cifar.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(folder, folder.name)
    kind = fakes.datasets().CIFAR10
    monkeypatch.setattr(kind, "tgz_md5", fakes.md5(archive))
    wanted = {"name": "cifar10", "root": str(tmp_path / "new"), "download": True}
    with served(tmp_path) as address:
        monkeypatch.setattr(kind, "url", f"{address}/cifar.tar.gz")
        assert len(get(wanted, "3,32,32", 10).test) == 10
    assert len(get(wanted, "3,32,32", 10).test) == 10  # it is there now, and the server is not
    failed = refused({**wanted, "root": str(tmp_path / "other")}, "3,32,32", 10)
    assert f"cifar10 could not be downloaded into {tmp_path / 'other'}" in failed


def test_svhn_is_what_its_files_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fakes.svhn(tmp_path, monkeypatch, {"train": 20, "test": 10, "extra": 30})
    data = get({"name": "svhn", "root": str(tmp_path)}, "3,32,32", 10, validation=0)
    assert np.array_equal(stored(data.train)[0].numpy(), fakes.images(20, 0))
    assert np.array_equal(stored(data.train)[1].numpy(), fakes.labels(20, 10))
    assert np.array_equal(stored(data.test)[0].numpy(), fakes.images(10, 1))
    more = get({"name": "svhn", "root": str(tmp_path), "extra": True}, "3,32,32", 10, validation=0)
    assert np.array_equal(stored(more.train)[0].numpy(), np.concatenate([fakes.images(20, 0), fakes.images(30, 2)]))
    (tmp_path / "extra_32x32.mat").unlink()
    assert len(get({"name": "svhn", "root": str(tmp_path)}, "3,32,32", 10).test) == 10
    assert "no extra_32x32.mat" in refused({"name": "svhn", "root": str(tmp_path), "extra": True}, "3,32,32", 10)


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (ModuleNotFoundError("x", name="torchvision"), "no module torchvision: install it with `pip install"),
        (RuntimeError("operator torchvision::nms does not exist"), "does not work with this torch (operator torchv"),
    ],
)
def test_torchvision_that_does_not_work_is_explained(
    fault: Exception, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(name: str) -> None:
        raise fault

    monkeypatch.setattr("fractal_dsl.data.vision.importlib.import_module", fail)
    assert expected in refused("cifar10", "3,32,32", 10)
    assert expected in refused("svhn", "3,32,32", 10)


# --- folders of images


def test_a_folder_is_split_and_holds_what_its_files_hold(tmp_path: Path) -> None:
    root = fakes.folder(tmp_path, 2, 10)
    data = get(f"folder:{root}", validation=0.25)
    assert data.record.examples == {"training": 13, "validation": 3, "test": 4}
    parts = [stored(part) for part in (data.train, data.validation, data.test)]
    found = sorted((x.numpy().tobytes(), int(y)) for xs, ys in parts for x, y in zip(xs, ys, strict=True))
    made = [(x.transpose(2, 0, 1).tobytes(), k) for k in range(2) for x in fakes.images(10, k, (8, 8, 3))]
    assert found == sorted(made)


def test_a_folder_in_parts_keeps_them(tmp_path: Path) -> None:
    for part, each in (("train", 6), ("val", 3), ("test", 2)):
        fakes.folder(tmp_path / part, 2, each, seed=each)
    data = get({"name": "folder", "path": str(tmp_path)})
    assert (len(data.train), len(data.validation), len(data.test)) == (12, 6, 4)
    assert len(get(f"folder:{tmp_path}", validation=0).validation) == 0
    for file in (tmp_path / "test").rglob("*.png"):
        file.unlink()
    for folder in [*(tmp_path / "test").iterdir(), tmp_path / "test"]:
        folder.rmdir()
    data = get(f"folder:{tmp_path}", validation=0.25)
    assert len(data.train) + len(data.validation) == 12 and len(data.validation) and len(data.test) == 6
    (tmp_path / "val" / "class1").rename(tmp_path / "val" / "other")
    assert "must have the same classes, but class1, other" in refused(f"folder:{tmp_path}")


def test_images_are_cut_to_the_nets_size_and_colours(tmp_path: Path) -> None:
    for name, shade in (("a", 10), ("b", 200)):
        (tmp_path / name).mkdir()
        for i, size in enumerate([(8, 8), (20, 9), (9, 31), (3, 3)] * 4):
            Image.new("RGB", size, (shade, shade, shade)).save(tmp_path / name / f"{i}.png")
    for into in ("1,8,8", "3,8,8", "3,5,12"):
        x, y = stored(get(f"folder:{tmp_path}", into).train)
        assert x.shape[1:] == tuple(map(int, into.split(",")))
        assert torch.equal(x.flatten(1).float().mean(1), torch.where(y == 0, 10.0, 200.0))
    image = np.zeros((16, 40, 3), np.uint8)
    image[4:12, 16:24] = 255
    Image.fromarray(image).save(tmp_path / "a" / "wide.png")
    data = get({"name": "folder", "path": str(tmp_path), "crop_pct": 0.5}, "3,8,8", validation=0)
    assert any((x == 255).all() for x in torch.cat([stored(data.train)[0], stored(data.test)[0]]))


@pytest.mark.parametrize("workers", [0, 2])
def test_cropped_images_are_functions_of_seed_epoch_and_row(workers: int, tmp_path: Path) -> None:
    fakes.imagenet(tmp_path, each=6)
    data = get(
        {"name": "imagenet", "root": str(tmp_path), "workers": workers}, "3,24,24", augment="resized_crop", validation=0
    )
    assert (len(data.train), len(data.test)) == (12, 4)
    order = batch_order(12, 4, data.seed, 1)
    torch.manual_seed(workers)
    before = torch.get_rng_state()
    streamed = list(data.batches(data.train, order, epoch=1))
    assert torch.equal(torch.get_rng_state(), before)
    for rows, (x, y) in zip(order, streamed, strict=True):
        again, labels = data.batch(data.train, rows, epoch=1)
        assert torch.equal(x, again) and torch.equal(y, labels)
        assert not torch.equal(x, data.batch(data.train, rows, epoch=2)[0])
        assert not torch.equal(x, data.batch(data.train, rows)[0])
    rest = list(data.batches(data.train, order[1:], epoch=1))
    assert torch.equal(rest[0][0], streamed[1][0])


def test_ten_crops_are_torchvisions_and_their_softmaxes_are_averaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fakes.datasets()
    monkeypatch.setattr("fractal_dsl.training.finish.write_report", lambda folder: None)
    from torchvision.transforms import CenterCrop, Compose, PILToTensor, Resize, TenCrop

    root, rng = tmp_path / "images", np.random.default_rng(0)
    for k in range(2):
        (root / str(k)).mkdir(parents=True)
        for i in range(10):
            size = (30, 40) if i % 2 else (25, 22)
            Image.fromarray(rng.integers(0, 255, (*size, 3), np.uint8)).save(root / str(k) / f"{i}.png")
    spec = compile_text(
        "net Net(x: f32[3, 16, 16]) -> f32[2] = conv2d(4, 5) >> relu >> global_avgpool >> linear(2)\n"
        f'train {{ dataset = folder(path="{root}", crop_pct=0.8) epochs = 1 batch = 4 }}'
    )
    train(spec, parse_config(spec.program.train), tmp_path / "run", console=Console(file=StringIO()))
    run = Run.open(tmp_path / "run")
    data = get({"name": "folder", "path": str(root), "crop_pct": 0.8}, "3,16,16", ten_crops=True)
    assert isinstance(data.test, StreamedPart) and isinstance(data.test.reader, ImageFiles)
    mean, std = (torch.tensor(m).view(3, 1, 1) for m in (run.data().mean, run.data().std))
    probabilities: list[Array] = []
    labels: list[int] = []
    for row in data.test.indices:
        path, label = data.test.reader.tree.files[row]
        image = Resize(20)(Image.open(root / path))  # 16 is 0.8 of 20
        crops = torch.stack([PILToTensor()(crop) for crop in TenCrop(16)(image)])
        assert torch.equal(data.test.reader.read(row, 0, None)[0], crops)
        assert torch.equal(Compose([CenterCrop(16), PILToTensor()])(image), crops[4])
        probabilities.append(run.load()((crops.float() - mean) / std).softmax(1).mean(0).detach())
        labels.append(label)
    expected = torch.stack(probabilities), torch.tensor(labels)
    found = evaluate(run, columns=True, ten_crops=True)
    assert found["loss"] == pytest.approx(torch.nn.functional.nll_loss(expected[0].log(), expected[1]).item(), rel=1e-4)
    assert found["accuracy"] == (expected[0].argmax(1) == expected[1]).double().mean().item()
    assert found["columns"][0]["loss"] == pytest.approx(found["loss"])
    assert "ten crops are for image files" in refused("synthetic", ten_crops=True)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_damaged_image_is_named(workers: int, tmp_path: Path) -> None:
    fakes.imagenet(tmp_path)
    damaged = tmp_path / "train" / "class1" / "2.JPEG"
    damaged.write_bytes(damaged.read_bytes()[:200])
    data = get({"name": "imagenet", "root": str(tmp_path), "workers": workers}, "3,24,24", validation=0)
    with pytest.raises(UserError) as caught:
        list(data.batches(data.train, batch_order(8, 4, 0, 0), epoch=0))
    assert str(caught.value).startswith(f"{damaged} cannot be read as an image")
    assert "Traceback" not in str(caught.value)
    small = refused({"name": "folder", "path": str(tmp_path / "train"), "workers": workers})
    assert small.startswith(f"{damaged} cannot be read")


def test_imagenets_test_images_have_no_classes_and_are_not_read(tmp_path: Path) -> None:
    fakes.imagenet(tmp_path)
    (tmp_path / "test").mkdir()
    Image.new("RGB", (9, 9)).save(tmp_path / "test" / "1.JPEG")
    assert len(get({"name": "imagenet", "root": str(tmp_path)}, "3,24,24", validation=0).train) == 8


def test_imagenet_that_is_missing_says_how_to_get_it(tmp_path: Path) -> None:
    said = refused({"name": "imagenet", "root": str(tmp_path)}, "3,24,24")
    assert "no folder train" in said and "image-net.org" in said and "--set dataset.root=FOLDER" in said


def test_folders_that_do_not_fit_are_explained(tmp_path: Path) -> None:
    assert f"there is no folder {tmp_path / 'nothing'}" in refused(f"folder:{tmp_path / 'nothing'}")
    assert "has no folder of images for each class" in refused(f"folder:{tmp_path}")
    root = fakes.folder(tmp_path / "images", 3, 4)
    assert "of 3 classes, but net Net takes f32[3, 8, 8] and gives f32[2]" in refused(f"folder:{root}")
    assert "for nets that take f32[3, height, width]" in refused(f"folder:{root}", "54", 3)
    few = refused(f"folder:{fakes.folder(tmp_path / 'few', 2, 1)}")
    assert "class `class0` (and 1 more) has 1 example, too few for both training and testing" in few


# --- archives


def archive(path: Path, **arrays: object) -> str:
    np.savez(path, **arrays)  # type: ignore[arg-type]
    return f"npz:{path}"


def test_arrays_are_laid_out_as_the_net_takes_them(tmp_path: Path) -> None:
    x, y = fakes.images(20, shape=(8, 8, 3)), fakes.labels(20, 2)
    data = get(archive(tmp_path / "a.npz", images=x, labels=y), validation=0)
    both = torch.cat([stored(data.test)[0], stored(data.train)[0]])
    assert sorted(row.numpy().tobytes() for row in both) == sorted(row.tobytes() for row in x.transpose(0, 3, 1, 2))
    assert both.dtype == torch.uint8 and both.shape == (20, 3, 8, 8)
    grey = get(archive(tmp_path / "b.npz", x=x[..., 0], y=y[:, None]), "1,8,8")
    assert stored(grey.train)[0].shape[1:] == (1, 8, 8)
    rows = np.arange(150).reshape(50, 3)
    table = get(
        archive(tmp_path / "c.npz", inputs=rows, labels=fakes.labels(50, 2).astype(np.uint8)), "3", validation=0
    )
    values, _ = table.batch(table.train, slice(None))
    assert values.dtype == torch.float32
    assert values.mean(0).abs().max() < 1e-6 and (values.std(0, correction=0) - 1).abs().max() < 1e-6
    tokens = get(
        archive(tmp_path / "d.npz", inputs=rows, labels=fakes.labels(50, 2)),
        "3",
        dtype="i64",
        vocabulary=150,
        validation=0,
    )
    both = torch.cat([stored(tokens.test)[0], stored(tokens.train)[0]])
    assert sorted(both.tolist()) == rows.tolist()


@pytest.mark.parametrize("form", ["x_{0}", "{0}_images"])
def test_archives_in_parts_keep_them(form: str, tmp_path: Path) -> None:
    arrays: dict[str, object] = {}
    for i, part in enumerate(("train", "val", "test")):
        name = form.format(part)
        arrays[name] = fakes.images(10 + i, i, (3, 8, 8))
        arrays[name.replace("x_", "y_").replace("images", "labels")] = fakes.labels(10 + i, 2)
    data = get(archive(tmp_path / "a.npz", **arrays))
    for i, part in enumerate((data.train, data.validation, data.test)):
        found, made = stored(part)[0].numpy(), fakes.images(10 + i, i, (3, 8, 8))
        assert sorted(x.tobytes() for x in found) == sorted(x.tobytes() for x in made)


@pytest.mark.parametrize(
    ("arrays", "expected"),
    [
        (
            {"pixels": np.zeros((4, 3))},
            "x_train and y_train, but it has pixels",
        ),
        ({"x": np.zeros((4, 3)), "y": np.zeros(5, int)}, "has 4 x and 5 y"),
        ({"inputs": np.zeros((4, 3)), "labels": np.zeros(4), "targets": np.zeros(4)}, "both targets and labels"),
        ({"x": np.zeros((20, 3)), "y": np.arange(20) % 3}, "inputs f32[3] of 3 classes"),
        ({"x": np.zeros((20, 4)), "y": np.arange(20) % 2}, "inputs f32[4] of 2 classes"),
        ({"x": np.full((20, 3), np.nan), "y": np.arange(20) % 2}, "x[0] contains an infinite or undefined"),
        ({"x": np.array([["a"] * 3] * 4), "y": np.zeros(4, int)}, "inputs must be numbers"),
        ({"x": np.zeros((4, 3)), "y": np.zeros(4)}, "a class for each input must be a whole number from 0"),
        ({"x": np.zeros((4, 3)), "y": np.array([None] * 4)}, "contains Python objects"),
        ({"x": np.zeros((0, 3)), "y": np.zeros(0, int)}, "x has no examples: its shape is [0, 3]"),
        ({"x": np.float32(3), "y": np.int64(1)}, "x has no examples: its shape is []"),
        ({"x": np.array([[0.0] * 3, [np.nan] * 3]), "y": np.zeros(2, int)}, "x[1] contains an infinite or undefined"),
        ({"x": np.array([[0.0] * 3, [1e300] * 3]), "y": np.zeros(2, int)}, "x[1] contains a number beyond the range"),
        ({"x": np.zeros((4, 3)), "y": np.zeros(4, int)}, "all labels are 0, but a classifier needs two classes"),
        ({"x": np.arange(60).reshape(20, 3), "y": np.array([0, 1] * 9 + [0, 7])}, "y[19] is class 7, but the net has"),
        ({"x": np.ones((20, 3)), "y": np.arange(20) % 2}, "their inputs are equal, and equal inputs share a part"),
    ],
)
def test_arrays_that_do_not_fit_are_explained(arrays: dict[str, object], expected: str, tmp_path: Path) -> None:
    assert expected in refused(archive(tmp_path / "a.npz", **arrays), "3")


def test_tokens_that_do_not_fit_are_explained(tmp_path: Path) -> None:
    y = fakes.labels(20, 2)
    large = archive(tmp_path / "a.npz", x=np.full((20, 3), 50), y=y)
    assert "from 50 to 50, but the net takes 0 to 49" in refused(large, "3", dtype="i64", vocabulary=50)
    negative = archive(tmp_path / "b.npz", x=np.full((20, 3), -1), y=y)
    assert "0 or more" in refused(negative, "3", dtype="i64")
    broken = archive(tmp_path / "c.npz", x=np.zeros((20, 3)), y=y)
    assert "float64, but the net takes i64[3]" in refused(broken, "3", dtype="i64")


def test_files_that_are_no_archives_are_explained(tmp_path: Path) -> None:
    assert "No such file" in refused(f"npz:{tmp_path / 'none.npz'}", "3")
    (tmp_path / "text.npz").write_text("text")
    assert "is not an archive of arrays" in refused(f"npz:{tmp_path / 'text.npz'}", "3")
    archive(tmp_path / "cut.npz", x=np.zeros((20, 3)), y=fakes.labels(20, 2))
    (tmp_path / "cut.npz").write_bytes((tmp_path / "cut.npz").read_bytes()[:-40])
    assert "is not an archive of arrays" in refused(f"npz:{tmp_path / 'cut.npz'}", "3")


# --- a Dataset of the user's

PLUGIN = """
    import os
    import random
    import numpy as np
    import torch

    class Noisy(torch.utils.data.Dataset):
        def __init__(self, count):
            self.count = count
        def __len__(self):
            return self.count
        def __getitem__(self, i):
            if i == 13:
                raise KeyError("thirteen")
            x = torch.rand(3) + random.random() + np.random.rand()
            return (x if i < 20 else x.double()), i % 2 if i < 30 else 9

    def make(part):
        return {"train": Noisy(12), "test": Noisy(5)}.get(part)

    def parts(part):
        return Noisy({"train": 12, "validation": 4, "test": 5}[part])

    def faulty(part):
        return Noisy(40)

    class Deadly(Noisy):
        def __getitem__(self, i):
            if torch.utils.data.get_worker_info():
                os._exit(9)
            return super().__getitem__(i)

    def deadly(part):
        return Deadly(8)

    def broken(part):
        raise ValueError("no data today")

    nothing = lambda part: None
"""


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "their_data.py").write_text(textwrap.dedent(PLUGIN))
    monkeypatch.syspath_prepend(str(tmp_path))
    sys.modules.pop("their_data", None)
    return "python:their_data"


def test_python_code_is_not_run_unless_it_is_allowed(plugin: str) -> None:
    assert "add --allow-python" in refused(f"{plugin}:make", "3")
    assert "their_data" not in sys.modules


@pytest.mark.parametrize("workers", [0, 2])
def test_what_a_dataset_draws_is_a_function_of_seed_epoch_and_index(plugin: str, workers: int) -> None:
    dataset = {"name": plugin + ":make", "workers": workers}
    data = get(dataset, "3", allow_python=True, validation=0.25)
    assert (len(data.train), len(data.validation), len(data.test)) == (9, 3, 5)
    order = batch_order(9, 3, 0, 0)
    torch.manual_seed(workers)
    np.random.seed(workers)
    streamed = [x for x, _ in data.batches(data.train, order, epoch=4)]
    alone = [data.batch(data.train, rows, epoch=4)[0] for rows in order]
    assert all(map(torch.equal, streamed, alone))
    assert not torch.equal(alone[0], data.batch(data.train, order[0], epoch=5)[0])
    parts = get(plugin + ":parts", "3", allow_python=True)
    assert (len(parts.train), len(parts.validation), len(parts.test)) == (12, 4, 5)


def test_what_a_dataset_does_wrong_is_explained(plugin: str) -> None:
    assert "cannot be loaded" in refused("python:their_data:makes", "3", allow_python=True)
    assert "cannot be loaded: No module named 'absent'" in refused("python:absent:make", "3", allow_python=True)
    assert 'make("train") failed: ValueError: no data' in refused(f"{plugin}:broken", "3", allow_python=True).replace(
        "broken", "make"
    )
    assert "training needs examples" in refused(f"{plugin}:nothing", "3", allow_python=True)
    data = get(f"{plugin}:faulty", "3", allow_python=True, validation=0)
    for row, expected in (
        (13, "example 13 cannot be read: KeyError: 'thirteen'"),
        (25, "example 25 is float64 [3], but the net takes f32[3]"),
    ):
        with pytest.raises(UserError) as caught:
            data.batch(data.train, torch.tensor([row]))
        assert expected in str(caught.value)
    assert "example 0 is float32 [3], but the net takes f32[4]" in refused(f"{plugin}:faulty", "4", allow_python=True)


def test_a_worker_that_ends_is_explained(plugin: str) -> None:
    data = get({"name": plugin + ":deadly", "workers": 1}, "3", allow_python=True, validation=0)
    with pytest.raises(UserError, match=r"ended, perhaps because memory ran out: lower `dataset\.workers`"):
        list(data.batches(data.train, batch_order(8, 4, 0, 0), epoch=0))
