"""What a run was trained on, ``data.json``: classes, the kind of inputs, the split, and the identity of the examples.

Evaluation, resumed training and recalibration compare it with their data. Prediction takes class names from it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Literal

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from fractal_dsl.base.errors import UserError
from fractal_dsl.base.parts import read_json, write_part
from fractal_dsl.base.texts import counted, shortened
from fractal_dsl.config.losses import LossName, TaskName
from fractal_dsl.runs.table import Table
from fractal_dsl.runs.tasks import TokenUnit

FILE: Final = "data.json"
Split = Literal["given", "by name", "by content", "by stretch", "by order"]
"""How test and validation examples were chosen: given by the data set, by a hash of each file's name, by a hash of each
example or stretch of text, or by a fixed permutation of all."""
_EXACT = 1e-3


class Inputs(Struct, frozen=True):
    """The inputs before normalisation. ``low`` and ``high`` are the range of the training examples, or None if not all
    examples are in memory."""

    dtype: str
    shape: list[int]
    low: float | None
    high: float | None

    def text(self) -> str:
        """For example "uint8 [1, 8, 8] from 0 to 16"."""
        span = "" if self.low is None or self.high is None else f" from {self.low:g} to {self.high:g}"
        return f"{self.dtype} {self.shape}{span}"


class Images(Struct, frozen=True):
    """How image files were read (``docs/data.md``). ``rules`` is the version of the decoder's rules."""

    background: str
    crop_pct: float
    rules: int = 1


class Content(Struct, frozen=True):
    """The examples of one class: their number and hash. The hash is None where a user's code reads them."""

    examples: int
    sha256: str | None


class TargetRecord(Struct, frozen=True):
    """The targets of a task other than classification. ``low`` and ``high`` are the range of those trained on, or None
    if not all are in memory.

    ``shape`` is that of one target. ``ignored`` is the value of elements that do not count, ``unit`` what one token
    stands for, and ``names`` those of the numbers of regression, whose predictions are ``output * std + mean`` by
    channel, the first axis (empty: the outputs themselves).
    """

    shape: list[int]
    dtype: str = ""
    low: float | None = None
    high: float | None = None
    ignored: int | None = None
    unit: TokenUnit = "token"
    names: list[str] = []
    mean: list[float] = []
    std: list[float] = []

    def text(self) -> str:
        """For example "float32 [1] from 25 to 346"."""
        span = "" if self.low is None or self.high is None else f" from {self.low:g} to {self.high:g}"
        return f"{self.dtype} {self.shape}{span}".lstrip()  # the type of targets that are read later is unknown


class InputRecord(Struct, frozen=True):
    """One of several inputs, and the mean and deviation of its channels."""

    inputs: Inputs
    mean: list[float]
    std: list[float]


class OutputRecord(Struct, frozen=True):
    """One of several outputs: the weight of its loss, its task, and the names of its classes or labels."""

    weight: float
    task: TaskName
    loss: LossName
    classes: list[str]
    targets: TargetRecord | None


class DataRecord(Struct, frozen=True):
    """What a net was trained on, and for which task. ``contents`` describes the examples by part and class;
    ``examples`` counts those for training, validation and test. ``classes`` are the names of classes or of labels;
    ``targets`` is None for classification. ``table`` has the columns of a table, and ``new`` counts the rows with
    values that no training row has.

    For several inputs or outputs, ``by_input`` and ``by_output`` describe each by name, and the other fields the first.
    """

    dataset: str
    classes: list[str]
    inputs: Inputs
    images: Images | None
    mean: list[float]
    std: list[float]
    split: Split
    examples: dict[str, int]
    passed_over: dict[str, int]
    unreadable: list[str]
    contents: dict[str, dict[str, Content]]
    task: TaskName = "classification"
    loss: LossName = "cross_entropy"
    targets: TargetRecord | None = None
    table: Table | None = None
    new: dict[str, int] = {}
    by_input: dict[str, InputRecord] = {}
    by_output: dict[str, OutputRecord] = {}

    @property
    def tasks(self) -> dict[str, TaskName]:
        """The task of each output."""
        return {name: one.task for name, one in self.by_output.items()} or {"output": self.task}

    def of_output(self, name: str) -> DataRecord:
        """The record as if the net had only this one of its outputs."""
        one = self.by_output[name]
        return replace(self, task=one.task, loss=one.loss, classes=one.classes, targets=one.targets, by_output={})

    def of_input(self, name: str) -> DataRecord:
        """The record as if the net had only this one of its inputs."""
        one = self.by_input[name]
        return replace(self, inputs=one.inputs, mean=one.mean, std=one.std, by_input={})

    def write(self, folder: Path) -> None:
        """Write the record into a run's folder."""
        write_part(folder, FILE, json.dumps(msgspec.to_builtins(self), indent=2) + "\n")

    @classmethod
    def read(cls, folder: Path) -> DataRecord | None:
        """The record of a run, or None for a run of an earlier version. Raises UserError if it is damaged."""
        try:
            return msgspec.convert(read_json(folder, FILE), cls)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, RecursionError):  # msgspec's errors are ValueErrors
            raise UserError(f"{folder / FILE} is damaged: restore it, or train again") from None

    @property
    def _meaning(self) -> object:
        """The properties of the targets that decide the meaning of outputs."""
        return self.targets and (self.targets.shape, self.targets.ignored, self.targets.unit, self.targets.names)

    def name_of(self, label: int) -> str:
        """The name of a class."""
        return self.classes[label] if label < len(self.classes) else str(label)

    def of_another_kind(self, now: DataRecord) -> list[str]:
        """The differences in the data that would change the meaning of the net's answers."""
        differences: list[str] = []
        if self.classes != now.classes:
            differences.append(_classes(self.classes, now.classes))
        if self.task != now.task:
            differences.append(f"the task was {self.task} and is now {now.task}")
        elif self._meaning != now._meaning:
            before, after = (r.targets.text() if r.targets else "classes" for r in (self, now))
            differences.append(f"the targets were {before} and are now {after}")
        if not _alike(self.inputs, now.inputs):
            differences.append(f"the inputs were {self.inputs.text()} and are now {now.inputs.text()}")
        if self.table != now.table:
            differences.append(_columns(self.table, now.table))
        if self.images != now.images:
            differences.append(f"image files were read as {_text(self.images)} and are now read as {_text(now.images)}")
        if self.split != now.split:
            differences.append(f"the examples were split {self.split} and are now split {now.split}")
        elif self.split == "by order" and self.examples != now.examples:
            counts = " and ".join(
                f"{sum(r.examples.values()):,} {verb}" for r, verb in ((self, "before"), (now, "now"))
            )
            differences.append(
                f"the number of examples changed, {counts}, and the choice of test examples depends on it"
            )
        return differences + _ends(self, now)

    def of_other_examples(self, now: DataRecord) -> list[str]:
        """The differences in the examples, for data of the same kind."""
        differences: list[str] = []
        for part in self.contents | now.contents:
            before, after = self.contents.get(part, {}), now.contents.get(part, {})
            inside = f" of {part}" if len(self.contents) > 1 else ""
            if not before or not after:
                differences.append(f"the part {part} {'is new' if after else 'is gone'}")
                continue
            for name in [name for name in before | after if before.get(name) != after.get(name)]:
                old, new = (there[name].examples if name in there else 0 for there in (before, after))
                change = f"had {counted(old, 'example')} and has {new:,}" if old != new else "has other examples"
                known = name in self.classes or name in now.classes
                differences.append(f"{f'class `{name}`' if known else name}{inside} {change}")
        if unseen := [value for value in now.new if value not in self.new]:
            differences.append(f"some rows have values that training never saw: {shortened(unseen)}")
        return differences


def _ends(before: DataRecord, now: DataRecord) -> list[str]:
    """The differences of other inputs and outputs than the first."""
    differences: list[str] = []
    for kind, old, new in (("inputs", before.by_input, now.by_input), ("outputs", before.by_output, now.by_output)):
        if [*old] != [*new]:
            return [f"the {kind} were {shortened([*old]) or 'one'} and are now {shortened([*new]) or 'one'}"]
    for name, one in [*before.by_input.items()][1:]:
        other = now.by_input[name].inputs
        if not _alike(one.inputs, other):
            differences.append(f"the inputs `{name}` were {one.inputs.text()} and are now {other.text()}")
    for name in [*before.by_output][1:]:
        old, new = replace(before.of_output(name), by_input={}), replace(now.of_output(name), by_input={})
        differences += [f"output `{name}`: {text}" for text in old.of_another_kind(new)]
    return list(dict.fromkeys(differences))


def _classes(before: list[str], after: list[str]) -> str:
    gone, new = [n for n in before if n not in after], [n for n in after if n not in before]
    if not gone and not new:
        return f"the classes are in another order: {shortened(before)} before, {shortened(after)} now"
    words = [f"class `{name}` is gone" for name in gone[:3]] + [f"class `{name}` is new" for name in new[:3]]
    return ", ".join(words)


def _columns(before: Table | None, now: Table | None) -> str:
    """The difference between two tables."""
    if before is None or now is None:
        return f"the data {'are now' if now else 'were'} a table"
    old, new = ({column.name: column for column in table.columns} for table in (before, now))
    changed = [name for name in old | new if old.get(name) != new.get(name)]
    if changed:
        return f"the column `{changed[0]}` has other values, and would become other inputs"
    return "the columns are in another order, or their text is read in another way"


def _alike(before: Inputs, now: Inputs) -> bool:
    """Whether the type and shape are equal and the ranges similar."""
    if (before.dtype, before.shape) != (now.dtype, now.shape):
        return False
    if before.low is None or before.high is None or now.low is None or now.high is None:
        return True
    width = max(before.high - before.low, _EXACT)
    return abs(now.low - before.low) <= width / 2 and abs(now.high - before.high) <= width / 2


def _text(images: Images | None) -> str:
    return "none" if images is None else f"{msgspec.to_builtins(images)}"


def compare_records(
    before: DataRecord, now: DataRecord, folder: Path, *, exact: bool
) -> Mapping[Literal["refuse", "note"], str]:
    """What to say if data differ from those of the run in ``folder``; empty if they do not.

    ``refuse`` is a reason to stop: the data are of another kind or, if they must be the same (``exact``), have other
    examples. ``note`` is a message for the user.
    """
    if kind := before.of_another_kind(now):
        text = f"the data are not of the kind that {folder} was trained on: {'; '.join(kind[:4])}"
        return {"refuse": f"{text}. Restore the original data, or train again"}
    others = before.of_other_examples(now)
    if not others:
        return {}
    text = f"the data differ from those that {folder} was trained on: {'; '.join(others[:4])}"
    text += f"; {len(others) - 4:,} more differences" if len(others) > 4 else ""
    if exact:
        return {"refuse": f"{text}. Restore the original data, or train again"}
    kept = {
        "by name": "parts are chosen by file name, so training images that kept their names are not used for testing",
        "by content": "parts are chosen by the examples' content, so no training example is used for testing",
        "by stretch": "parts are chosen by stretches of text, which begin elsewhere if the text before them changed: "
        "text that the net was trained on may then be used for testing",
    }
    return {"note": f"{text} ({kept[before.split]})" if before.split in kept else text}
