"""Fits a data set to a net: finds the task, and checks that inputs, targets, classes and augmentation suit it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fractal_dsl import ops
from fractal_dsl.base.errors import UserError
from fractal_dsl.base.texts import counted, shortened
from fractal_dsl.config import (
    Csv,
    Dataset,
    Folder,
    NoAugmentation,
    Npz,
    Python,
    ResizedCrop,
    Text,
    TrainConfig,
    Translate,
)
from fractal_dsl.data.folders import ImageFiles
from fractal_dsl.data.masks import MaskedImages
from fractal_dsl.data.plugin import PluginExamples
from fractal_dsl.data.several import SeveralExamples
from fractal_dsl.data.source import ExampleSource, Rows, Splits, classes_of
from fractal_dsl.tasks import Task
from fractal_dsl.tasks.several import heads_of, infer_several
from fractal_dsl.tasks.targets import Targets

Parts = Sequence[tuple[ExampleSource, Rows]]
"""The examples for training, validation and testing."""


Named = SeveralExamples | PluginExamples
"""Sources that give several inputs, or targets for each of several outputs, by name."""


def judged(
    config: TrainConfig, splits: Splits, net: str, into: Mapping[str, ops.Tensor], out: Mapping[str, ops.Tensor]
) -> tuple[Task, Splits]:
    """The task of a net on a data set, and the data set with its targets as the task takes them.

    Raises UserError if the inputs or the targets do not fit the net.
    """
    assert config.dataset is not None
    raw = {part: _raw(source, [*out]) for part, source in splits.given().items()}
    task = infer_several(config, net, out, raw["train"], splits.train.unit)
    for head in heads_of(task):
        targets = {part: by_output[head.name] for part, by_output in raw.items()}
        classes = _classes(config.dataset, targets, out[head.name]) if head.task.name == "classification" else None
        if len(into) == 1 and len(out) == 1:
            _check_ends(config.dataset, splits.train.input, classes, net, *into.values(), *out.values())
        elif classes not in (None, out[head.name].shape[0]):
            raise UserError(
                f"`{config.dataset.name}` has {classes} classes for the output `{head.name}` of net {net}, which gives "
                f"{out[head.name]}: declare `{head.name}: f32[{classes}]`"
            )
    train = splits.train
    given = train.types() if isinstance(train, Named) else {next(iter(into)): train.input}
    for name, tensor in into.items():
        if given[name] != tensor:
            raise UserError(
                f"`{config.dataset.name}` has inputs {given[name]}, but net {net} takes {tensor} as `{name}`"
            )
    return task, splits.judged(task)


def _raw(source: ExampleSource, outputs: Sequence[str]) -> dict[str, Targets]:
    """The targets as stored, by output. All share those of the first if there are no others."""
    own = source.raws() if isinstance(source, Named) else {}
    shared = source.raw() if len(own) < 2 else None
    return {name: shared or own[name] for name in outputs if shared or name in own}


def _check_ends(
    choice: Dataset, given: ops.Tensor, classes: int | None, net: str, into: ops.Tensor, out: ops.Tensor
) -> None:
    """Raise UserError if inputs or classes do not fit a net with one input and one output."""
    if given == into and classes in (None, out.shape[0]):
        return
    examples = f"inputs {given}" + (f" of {classes} classes" if classes is not None else "")
    result = out if classes is None else f"f32[{classes}]"
    published = not isinstance(choice, Folder | Npz | Csv | Text | Python)
    synthetic = ", or add `--set dataset=synthetic`, which generates examples of the net's own type"
    raise UserError(
        f"`{choice.name}` has {examples}, but net {net} takes {into} and gives {out}; "
        f"declare `net {net}(x: {given}) -> {result}`{synthetic if published else ''}"
    )


def _classes(choice: Dataset, raw: dict[str, Targets], out: ops.Tensor) -> int | None:
    """The number of classes; None if targets are read later. Raises UserError if their numbers do not start at 0."""
    train = raw["train"]
    if train.names is not None:
        return len(train.names)
    numbers = [targets.values for targets in raw.values()]
    if choice.name == "python" or not train.whole or train.each not in ((), (1,)):
        return None
    low = int(train.values.min()) if len(train.values) else 0
    high = max([int(y.max()) for y in numbers if len(y)], default=-1)
    if 0 < low <= high and out.shape[0] != high + 1:
        raise UserError(
            f"{getattr(choice, 'path', choice.name)}: labels run from {low} to {high}, but classes start at 0. "
            f"Subtract {low} from the labels: they then run from 0 to {high - low}, for a net that gives "
            f"f32[{high - low + 1}]"
        )
    if high == 0:
        raise UserError(f"{getattr(choice, 'path', choice.name)}: all labels are 0, but a classifier needs two classes")
    if high >= out.shape[0] and train.names is None:
        _check_gaps(raw, out.shape[0], high)
    return high + 1 if low >= 0 else None


def _check_gaps(raw: dict[str, Targets], outputs: int, high: int) -> None:
    """Raise UserError for a class beyond the outputs if classes below it do not occur: it is probably a mistake."""
    present = np.unique(np.concatenate([targets.values.reshape(-1) for targets in raw.values()]))
    if len(present) > high:
        return
    for targets in raw.values():
        beyond = targets.values.reshape(-1) >= outputs
        if beyond.any():
            row = int(beyond.argmax())
            label = int(targets.values.reshape(-1)[row])
            raise UserError(
                f"{targets.name(row)} is class {label}, but the net has {outputs} classes, 0 to {outputs - 1}"
            )


def check_augmentation(
    config: TrainConfig, splits: Splits, task: Task, inputs: Mapping[str, ops.Tensor], out: Mapping[str, ops.Tensor]
) -> None:
    """Raise UserError if the inputs cannot be augmented, or the targets cannot be moved with them."""
    how = config.augment
    if isinstance(how, NoAugmentation):
        return
    if len(inputs) > 1:
        raise UserError(
            f"`augment` moves one image, but the net takes {shortened([*inputs])}, which may belong together: set "
            "augment=none"
        )
    (into,) = inputs.values()
    if into.dtype != "f32" or len(into.shape) != 3:
        raise UserError(f"`augment` is for images, f32[channels, height, width], but the net takes {into}")
    if isinstance(how, ResizedCrop) and not isinstance(splits.train, ImageFiles | MaskedImages):
        raise UserError("`resized_crop` is for image files, from `imagenet` or a `folder`: use `translate` here")
    if isinstance(how, Translate) and how.padding == "reflect" and how.pixels >= min(into.shape[1:]):
        raise UserError(f"an image of {into} is too small to reflect {how.pixels} pixels: lower `augment.pixels`")
    for head in heads_of(task):
        given, moves = out[head.name], isinstance(how, Translate) and how.pixels
        if head.task.name == "regression" and len(given.shape) > 1:
            raise UserError(f"`augment` moves images, but not their targets, {given}: set augment=none")
        if head.task.name == "segmentation" and moves and given.shape[1:] != into.shape[1:]:
            raise UserError(f"masks of {given} cannot be translated with images of {into}: set `augment.pixels` to 0")


def check_parts(config: TrainConfig, splits: Splits, task: Task, parts: Parts) -> None:
    """Raise UserError if a part has too few examples, or there is a class that training would never see.

    If parts are chosen by name or content, a class with a single example is refused, whichever part it falls into.
    """
    choice = config.dataset
    assert choice is not None
    source, rows = parts[0]
    labels, names = classes_of(source), source.names
    if labels is not None and names is not None and source.split != "by order" and splits.test is None:
        every, trained = (np.bincount(y, minlength=len(names)) for y in (labels, labels[rows]))
        few = np.flatnonzero((every == 1) | ((trained == 0) & (every > 0)))
        if len(few):
            others = f" (and {len(few) - 1:,} more)" if len(few) > 1 else ""
            count = counted(int(every[few[0]]), "example")
            raise UserError(f"class `{names[few[0]]}`{others} has {count}, {_too_few(choice)}")
    if not len(rows) or not len(parts[2][1]):
        count = counted(len(source), "example")
        if len(source) > 1 and source.split == "by content" and len(np.unique(source.places())) == 1:
            raise UserError(f"`{choice.name}` has {count}, but their inputs are equal, and equal inputs share a part")
        raise UserError(f"`{choice.name}` has {count}, {_too_few(choice)}")
    for head in heads_of(task):
        own = [(_of_output(one, head.name), chosen) for one, chosen in parts]
        if (targets := own[0][0].targets) is not None:
            _check_seen(head.task, own, targets[rows])
    if config.validation and not len(parts[1][1]):
        share = f"`validation` = {config.validation:g} of {len(rows):,} training examples selects none"
        raise UserError(f"{share}: raise it, or set 0 to keep the last weights as the best")


def _of_output(source: ExampleSource, name: str) -> ExampleSource:
    """The examples with the targets of one output."""
    return source.of_output(name) if isinstance(source, SeveralExamples) else source


def _check_seen(task: Task, parts: Parts, train: NDArray[Any]) -> None:
    unseen = task.unseen(train)
    if unseen is None:
        return
    names = parts[0][0].names
    name = f"`{names[unseen]}`" if names else str(unseen)
    noun = {"multilabel": "label", "segmentation": "pixel"}.get(task.name, "example")
    if noun == "label":
        text = f"label {name} is 0 in every training example"
    else:
        text = f"no training {noun} is of class {name}"
    for source, rows in parts[1:]:
        held = source.targets
        if held is not None and len(rows) and (row := _first_of(task, held[rows], unseen)) is not None:
            raise UserError(f"{text}, but {source.raw().name(int(rows[row]))} is: add examples to train on")
    values = ", ".join(map(str, np.unique(train)[:8].tolist())) if noun == "pixel" else ""
    seen = f" (their values are {values})" if values else ""
    raise UserError(f"{text}{seen}: add some, or declare a net with fewer outputs and number the others from 0")


def _first_of(task: Task, targets: NDArray[Any], number: int) -> int | None:
    """The first target with this class or label."""
    if task.name == "multilabel":
        having = targets[:, number] == 1
    else:
        having = (targets == number).reshape(len(targets), -1).any(1)
    return int(having.argmax()) if having.any() else None


def _too_few(choice: Dataset) -> str:
    help = ""
    if isinstance(choice, Folder):
        help = f", or create your own parts, {choice.path}/train and {choice.path}/test"
    if isinstance(choice, Npz):
        help = ", or give your own parts, x_train, y_train, x_test and y_test"
    return f"too few for both training and testing: add examples{help}"
