"""The worst mistakes of a net: the test examples with the highest loss."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
from torch import Tensor

from fractal_dsl.base.parts import write_part
from fractal_dsl.data import ImageSet
from fractal_dsl.evaluation.readings import Labels, Mask, TokenRow, Values, reader
from fractal_dsl.runs.data_record import DataRecord, Inputs
from fractal_dsl.runs.mistakes import Mistake, MistakePicture
from fractal_dsl.runs.parts import MISTAKES
from fractal_dsl.runtime.arguments import tensors_in
from fractal_dsl.runtime.world import World
from fractal_dsl.tasks import Task

_MOST = 12


@dataclass(frozen=True)
class Wrong:
    """An example by its row in a part, with its loss and the net's output, of which only the best classes are kept for
    masks and tokens."""

    row: int
    loss: float
    output: Tensor


class Worst:
    """Keeps the examples with the highest loss; for classes, among those that are answered wrongly."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self.kept: list[Wrong] = []

    def update(self, rows: Tensor, output: Tensor, targets: Tensor) -> None:
        """Look at the outputs and targets [batch, …] of a mini-batch, which are of these rows."""
        losses = self.task.losses(output, targets)
        good = ~losses.isfinite()
        if self.task.name == "classification":
            good |= output.argmax(1) == targets
        losses = losses.masked_fill(good, -1)
        values, places = losses.topk(min(_MOST, len(losses)))
        for value, place in zip(cast(list[float], values.tolist()), cast(list[int], places.tolist()), strict=True):
            if value > 0:
                self.kept.append(Wrong(int(rows[place]), value, self._shown(output[place])))
        self.kept = _worst(self.kept)

    def _shown(self, output: Tensor) -> Tensor:
        axis = {"segmentation": 0, "tokens": 1}.get(self.task.name)
        return (output.float() if axis is None else output.argmax(axis)).cpu()

    def collected(self, world: World) -> list[Wrong]:
        """The worst examples of all processes, which call this together."""
        return _worst([one for part in world.collect(self.kept) for one in part])


def _worst(kept: Sequence[Wrong]) -> list[Wrong]:
    return sorted(kept, key=lambda one: (-one.loss, one.row))[:_MOST]


def write_mistakes(folder: Path, images: ImageSet, wrong: Sequence[Wrong]) -> None:
    """Write the worst mistakes on the test examples into the folder of a run, as texts and pictures."""
    described: list[Mistake] = []
    if wrong:
        inputs, targets = images.test.read(torch.tensor([one.row for one in wrong]), images.seed, None)
        targets = targets[0] if isinstance(targets, tuple) else targets
        for i, one in enumerate(wrong):
            described.append(_described(one, [x[i].cpu() for x in tensors_in(inputs)], targets[i].cpu(), images))
    write_part(folder, MISTAKES, json.dumps({"mistakes": described}, indent=2) + "\n")


def _described(one: Wrong, inputs: Sequence[Tensor], y: Tensor, images: ImageSet) -> Mistake:
    record = images.record
    titles = {name: record.of_input(name).inputs for name in record.by_input} or {"image": record.inputs}
    shown = {name: (x, kind) for (name, kind), x in zip(titles.items(), inputs, strict=True) if x.ndim == 3}
    target, answer = _texts(one.output, y, record)
    return {
        "example": images.test_name(one.row),
        "loss": one.loss,
        "target": target,
        "answer": answer,
        "pictures": _pictures(one.output, shown, y, record) if shown else [],
    }


def _texts(output: Tensor, y: Tensor, record: DataRecord) -> tuple[str, str]:
    """The target and the answer."""
    unit = record.targets.unit if record.targets else "token"
    match record.task:
        case "classification":
            return record.name_of(int(y)), reader(record)(output).text()
        case "multilabel":
            present = [record.name_of(int(i)) for i in y.nonzero()]
            return ", ".join(present) or "no label", Labels.of(output, record).text()
        case "regression":
            answer = Values.of(output, record)
            return Values(answer.names, y.double()).text(), answer.text()
        case "segmentation":
            count = len(record.classes)
            return Mask.of_classes(y, record, count).text(), Mask.of_classes(output, record, count).text()
        case "tokens":
            rows = [
                TokenRow([max(0, token) for token in cast(list[int], row.tolist())], [], unit) for row in (y, output)
            ]
            return rows[0].text(), rows[1].text()


def _pictures(
    output: Tensor, inputs: Mapping[str, tuple[Tensor, Inputs]], y: Tensor, record: DataRecord
) -> list[MistakePicture]:
    """The inputs that are images, and the masks of segmentation."""
    from PIL import Image

    from fractal_dsl.evaluation.pictures import drawn, palette, png_base64

    shown = {name: drawn(x.numpy(), kind) for name, (x, kind) in inputs.items()}
    if record.task == "segmentation":
        shown |= {name: Image.fromarray(palette(mask.numpy())) for name, mask in (("target", y), ("answer", output))}
    return [{"title": name, "png": png_base64(picture)} for name, picture in shown.items()]
