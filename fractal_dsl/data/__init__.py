"""Data sets: three normalised parts, in mini-batches that are functions of seed and epoch.

In: the settings of a data set, and its files. Out: training, validation and test parts, and their mini-batches.
Not imported here: ``evaluation`` and above.

Arrays, tables, texts and small image folders are held and augmented on the device. Worker processes read large image
folders, images with masks, and Datasets of the user, so these may have any size. ``batch_order`` assigns rows to
mini-batches. ``ImageSet.batch`` reads one mini-batch; ``ImageSet.batches`` reads several, ahead of time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import networkx as nx
import torch

from fractal_dsl import ops
from fractal_dsl.base.errors import UserError
from fractal_dsl.base.texts import shortened
from fractal_dsl.compiled import Compiled
from fractal_dsl.config import (
    Cifar,
    Csv,
    Dataset,
    Digits,
    Folder,
    ImageNet,
    Npz,
    Python,
    Svhn,
    Synthetic,
    Text,
    TrainConfig,
)
from fractal_dsl.config.losses import TaskName
from fractal_dsl.data.arrays import digits, npz
from fractal_dsl.data.dataset import ImageSet
from fractal_dsl.data.draws import batch_order, in_order, seed_for
from fractal_dsl.data.fitting import Named, check_augmentation, check_parts, judged
from fractal_dsl.data.folders import ImageFiles, folder, imagenet
from fractal_dsl.data.identity import identified
from fractal_dsl.data.parts import Part
from fractal_dsl.data.plugin import python_dataset
from fractal_dsl.data.several import SeveralExamples
from fractal_dsl.data.source import ExampleSource, Moments, Rows, Splits
from fractal_dsl.data.synthetic import synthesised
from fractal_dsl.data.tables.source import csv
from fractal_dsl.data.text_source import text_splits
from fractal_dsl.data.vision import cifar, svhn
from fractal_dsl.graph.graph import JoinGraph, Layer
from fractal_dsl.ops.shapes import integer
from fractal_dsl.program.program import Program
from fractal_dsl.runs.data_record import DataRecord
from fractal_dsl.tasks.several import trained_outputs

__all__ = [
    "ImageSet",
    "Part",
    "batch_order",
    "in_order",
    "load",
    "net_ends",
    "seed_for",
    "task_of",
    "vocabularies_of",
    "vocabulary_of",
]


def load(
    config: TrainConfig,
    net: str,
    into: Mapping[str, ops.Tensor],
    out: Mapping[str, ops.Tensor],
    device: torch.device,
    *,
    vocabulary: Mapping[str, int | None] | None = None,
    allow_python: bool = False,
    ten_crops: bool = False,
    trained: DataRecord | None = None,
) -> ImageSet:
    """Load the configured data set for a net with inputs ``into`` and outputs ``out``, on the device.

    ``vocabulary`` is the number of tokens that the net knows of each input (``vocabularies_of``). ``allow_python`` lets
    a data set be Python code. With ``ten_crops``, test inputs are ten crops of each image file, [batch, 10, …]. With
    ``trained``, the record of a run, columns of a table become the same inputs as in that run. Raises UserError if no
    data set is set; if it is missing (with how to get it), damaged or does not fit the net; or if it has too few
    examples.
    """
    choice = config.dataset
    if choice is None:
        raise UserError(
            f'{net} has no data set to train on: write `dataset = "digits"` into the file\'s `train` block, '
            "or add `--set dataset=digits` (or `synthetic`)"
        )
    splits = _read(choice, config, net, into, out, vocabulary or {}, allow_python, trained, hold=not ten_crops)
    task, splits = judged(config, splits, net, into, out)
    check_augmentation(config, splits, task, into, out)
    parts = splits.rows(config.validation)
    if ten_crops:
        parts = (*parts[:2], _ten_crops(choice, *parts[2]))
    check_parts(config, splits, task, parts)
    source, rows = parts[0]
    moments = source.moments_of(rows) if isinstance(source, Named) else [source.moments(rows)]
    task = task.fitted(_trained_on(source, rows), device)
    record = identified(choice, splits, parts, moments, task)
    mean, std = _by_channel(moments, [*into.values()], device)
    train, validation, test = [source.part(rows, device) for source, rows in parts]
    name = partial(_short_name, *parts[2])
    return ImageSet(choice.name, train, validation, test, mean, std, config.augment, config.seed, record, task, name)


def _trained_on(source: ExampleSource, rows: Rows) -> Any:
    """The training targets: an array, one for each output that has its own, or None if they are not in memory."""
    if isinstance(source, SeveralExamples) and len(source.targets_of) > 1:
        return [one.targets[rows] for one in source.targets_of.values()]
    return None if source.targets is None else source.targets[rows]


def _by_channel(moments: Sequence[Moments], into: Sequence[ops.Tensor], device: torch.device) -> list[Any]:
    """Means and deviations in the shape of the inputs: a tensor each, or a tuple of tensors for several inputs."""
    shapes = [(-1, *(1,) * (len(one.shape) - 1)) for one in into]
    made = [
        tuple([torch.from_numpy(pair[i]).to(device).reshape(s) for pair, s in zip(moments, shapes, strict=True)])
        for i in range(2)
    ]
    return [one[0] if len(into) == 1 else one for one in made]


def _short_name(source: ExampleSource, rows: Rows, row: int) -> str:
    """The name of an example, with the last folder of its path."""
    return "/".join(source.raw().name(int(rows[row])).split("/")[-2:])


def task_of(config: TrainConfig, compiled: Compiled, *, allow_python: bool) -> TaskName:
    """The task of a net on the configured data set, of which no images are read. Raises UserError as ``load`` does."""
    choice, program = config.dataset, compiled.program
    if choice is None or isinstance(choice, Digits | Cifar | Svhn | ImageNet):
        return "classification"
    into, out = net_ends(program)
    splits = _read(choice, config, program.net, into, out, vocabularies_of(compiled.graph), allow_python, hold=False)
    return judged(config, splits, program.net, into, out)[0].name


def net_ends(program: Program) -> tuple[dict[str, ops.Tensor], dict[str, ops.Tensor]]:
    """The inputs and the outputs of a net, by name."""
    return {one.name: one.tensor for one in program.inputs}, {one.name: one.tensor for one in program.outputs}


def _ten_crops(choice: Dataset, test: ExampleSource, rows: Rows) -> tuple[ExampleSource, Rows]:
    if not isinstance(test, ImageFiles):
        raise UserError(f"ten crops are for image files, from `imagenet` or a `folder`, not for `{choice.name}`")
    return replace(test, ten=True), rows


def vocabulary_of(graph: JoinGraph) -> int | None:
    """The number of tokens that a net's embeddings know; None without embeddings."""
    layers = [node for _, node in graph.items() if isinstance(node, Layer) and node.spec.name == "embedding"]
    return min([integer(node.args, "num_embeddings") for node in layers], default=None)


def vocabularies_of(graph: JoinGraph) -> dict[str, int | None]:
    """``vocabulary_of`` by input: the number of tokens that the embeddings know that an input reaches."""
    if len(graph.inputs) == 1:
        return {graph.inputs[0][1].name: vocabulary_of(graph)}
    found: dict[str, int | None] = {}
    for number, node in graph.inputs:
        behind = [graph[one] for one in nx.descendants(graph.g, number)]
        embeddings = [one for one in behind if isinstance(one, Layer) and one.spec.name == "embedding"]
        found[node.name] = min([integer(one.args, "num_embeddings") for one in embeddings], default=None)
    return found


def _read(
    choice: Dataset,
    config: TrainConfig,
    net: str,
    inputs: Mapping[str, ops.Tensor],
    outputs: Mapping[str, ops.Tensor],
    vocabularies: Mapping[str, int | None],
    allow_python: bool,
    trained: DataRecord | None = None,
    *,
    hold: bool,
) -> Splits:
    """The data set. ``hold`` lets image files be read into memory."""
    heads = [*trained_outputs(config, net, [*outputs])]
    into, out, vocabulary = next(iter(inputs.values())), outputs[heads[0]], vocabularies.get(next(iter(inputs)))
    if isinstance(choice, Npz):
        return npz(choice, net, inputs, [*outputs], heads, vocabularies)
    if isinstance(choice, Python):
        return python_dataset(choice, inputs, heads, allow_python)
    if len(inputs) > 1:
        raise UserError(
            f"`{choice.name}` has one input for each example, but net {net} takes {len(inputs)}, "
            f"{shortened([*inputs])}: give them with `npz` or `python`"
        )
    match choice:
        case Digits():
            return digits()
        case Synthetic():
            return Splits(synthesised(choice, into, out.shape[0], vocabulary))
        case Cifar():
            return cifar(choice)
        case Svhn():
            return svhn(choice)
        case ImageNet():
            return imagenet(choice, into, config.augment)
        case Folder():
            return folder(choice, into, out, config.augment, config.validation, hold=hold)
        case Csv():
            return csv(choice, into, out, config.task, config.validation, trained)
        case Text():
            return text_splits(choice, into, out, vocabulary)
