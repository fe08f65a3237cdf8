"""Data sets: three normalised parts, in mini-batches that are functions of seed and epoch.

In: the settings of a data set, and its files. Out: training, validation and test parts, and their mini-batches.
Not imported here: ``evaluation`` and above.

Small sets are held and augmented on the device. Worker processes read image folders of any size, and Datasets of the
user. ``batch_order`` assigns rows to mini-batches. ``ImageSet.batch`` reads one mini-batch; ``ImageSet.batches`` reads
several, ahead of time.
"""

from __future__ import annotations

from dataclasses import replace

import torch

from fractal_dsl import ops
from fractal_dsl.base.errors import UserError
from fractal_dsl.config import (
    Cifar,
    Csv,
    Dataset,
    Digits,
    Folder,
    ImageNet,
    NoAugmentation,
    Npz,
    ResizedCrop,
    Svhn,
    Synthetic,
    Text,
    TrainConfig,
    Translate,
)
from fractal_dsl.data.arrays import digits, npz
from fractal_dsl.data.dataset import ImageSet
from fractal_dsl.data.draws import batch_order, in_order, seed_for
from fractal_dsl.data.folders import ImageFiles, folder, imagenet
from fractal_dsl.data.identity import check_classes, identified
from fractal_dsl.data.masks import MaskedImages
from fractal_dsl.data.parts import Part
from fractal_dsl.data.plugin import python_dataset
from fractal_dsl.data.source import ExampleSource, Rows, Splits
from fractal_dsl.data.synthetic import synthesised
from fractal_dsl.data.tables.source import csv
from fractal_dsl.data.text_source import text
from fractal_dsl.data.vision import cifar, svhn
from fractal_dsl.graph.graph import JoinGraph, Layer
from fractal_dsl.ops.shapes import integer
from fractal_dsl.runs.data_record import DataRecord
from fractal_dsl.tasks import infer

__all__ = ["ImageSet", "Part", "batch_order", "in_order", "load", "seed_for", "vocabulary_of"]


def load(
    config: TrainConfig,
    net: str,
    into: ops.Tensor,
    out: ops.Tensor,
    device: torch.device,
    *,
    vocabulary: int | None = None,
    allow_python: bool = False,
    ten_crops: bool = False,
    trained: DataRecord | None = None,
) -> ImageSet:
    """Load the configured data set for a net with input ``into`` and output ``out``, on the device.

    ``vocabulary`` is the number of tokens that the net knows (``vocabulary_of``). ``allow_python`` lets a data set be
    Python code. With ``ten_crops``, test inputs are ten crops of each image file, [batch, 10, …]. With ``trained``,
    the record of a run, columns of a table become the same inputs as in that run. Raises UserError if no data set is
    set; if it is missing (with how to get it), damaged or does not fit the net; or if it has too few
    examples.
    """
    choice = config.dataset
    if choice is None:
        raise UserError(
            f'{net} has no data set to train on: write `dataset = "digits"` into the file\'s `train` block, '
            "or add `--set dataset=digits` (or `synthetic`)"
        )
    task = infer(config, net, out)
    splits = _read(choice, config, into, out, vocabulary, allow_python, ten_crops, trained)
    _check_fit(choice, splits, net, into, out)
    _check_augmentation(config, splits, into)
    parts = splits.rows(config.validation)
    if ten_crops:
        parts = (*parts[:2], _ten_crops(choice, *parts[2]))
    check_classes(choice, splits, parts)
    if config.validation and not len(parts[1][1]):
        share = f"`validation` = {config.validation:g} of {len(parts[0][1]):,} training examples selects none"
        raise UserError(f"{share}: raise it, or set 0 to keep the last weights as the best")
    by_channel = (-1, *(1,) * (len(into.shape) - 1))
    source, rows = parts[0]
    moments = source.moments(rows)
    record = identified(choice, splits, parts, moments, task, out.shape[0])
    mean, std = [torch.from_numpy(m).to(device).reshape(by_channel) for m in moments]
    train, validation, test = [source.part(rows, device) for source, rows in parts]
    return ImageSet(choice.name, train, validation, test, mean, std, config.augment, config.seed, record, task)


def _ten_crops(choice: Dataset, test: ExampleSource, rows: Rows) -> tuple[ExampleSource, Rows]:
    if not isinstance(test, ImageFiles):
        raise UserError(f"ten crops are for image files, from `imagenet` or a `folder`, not for `{choice.name}`")
    return replace(test, ten=True), rows


def vocabulary_of(graph: JoinGraph) -> int | None:
    """The number of tokens that a net's embeddings know; None without embeddings."""
    layers = [node for _, node in graph.items() if isinstance(node, Layer) and node.spec.name == "embedding"]
    return min([integer(node.args, "num_embeddings") for node in layers], default=None)


def _read(
    choice: Dataset,
    config: TrainConfig,
    into: ops.Tensor,
    out: ops.Tensor,
    vocabulary: int | None,
    allow_python: bool,
    ten_crops: bool,
    trained: DataRecord | None,
) -> Splits:
    classes = out.shape[0]
    match choice:
        case Digits():
            return digits()
        case Synthetic():
            return Splits(synthesised(choice, into, classes, vocabulary))
        case Cifar():
            return cifar(choice)
        case Svhn():
            return svhn(choice)
        case Npz():
            return npz(choice, into, vocabulary, classes)
        case ImageNet():
            return imagenet(choice, into, config.augment)
        case Folder():
            return folder(choice, into, out, config.augment, config.validation, hold=not ten_crops)
        case Csv():
            return csv(choice, into, out, config.task, config.validation, trained)
        case Text():
            return text(choice, into, out, vocabulary)
        case _:
            return python_dataset(choice, into, classes, allow_python)


def _check_fit(choice: Dataset, splits: Splits, net: str, into: ops.Tensor, out: ops.Tensor) -> None:
    given, names = splits.train.input, splits.train.names
    classes = None if names is None else len(names)
    if given != into or classes not in (None, out.shape[0]):
        raise UserError(
            f"`{choice.name}` has inputs {given} of {classes} classes, but net {net} takes {into} and gives {out}; "
            f"declare `net {net}(x: {given}) -> f32[{classes}]`, or add `--set dataset=synthetic`, "
            "which generates examples of the net's own type"
        )


def _check_augmentation(config: TrainConfig, splits: Splits, into: ops.Tensor) -> None:
    how = config.augment
    if isinstance(how, NoAugmentation):
        return
    if into.dtype != "f32" or len(into.shape) != 3:
        raise UserError(f"`augment` is for images, f32[channels, height, width], but the net takes {into}")
    if isinstance(how, ResizedCrop) and not isinstance(splits.train, ImageFiles | MaskedImages):
        raise UserError("`resized_crop` is for image files, from `imagenet` or a `folder`: use `translate` here")
    if isinstance(how, Translate) and how.padding == "reflect" and how.pixels >= min(into.shape[1:]):
        raise UserError(f"an image of {into} is too small to reflect {how.pixels} pixels: lower `augment.pixels`")
