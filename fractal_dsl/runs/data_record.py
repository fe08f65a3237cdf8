"""What a run was trained on, ``data.json``: classes, the kind of inputs, the split, and the identity of the examples.

Evaluation, resumed training and recalibration compare it with the data they find; prediction reads and names by it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Literal

import msgspec
from msgspec import Struct

from fractal_dsl.base.errors import UserError
from fractal_dsl.base.parts import read_json, write_part
from fractal_dsl.base.texts import counted, shortened

FILE: Final = "data.json"
Split = Literal["given", "by name", "by content", "by order"]
"""How test and validation examples were chosen: as the data come, by a hash of each file's name, by a hash of each
example, or by a fixed permutation of all."""
_EXACT = 1e-3


class Inputs(Struct, frozen=True):
    """The inputs before they are normalised. ``low`` and ``high`` are the range of the training examples; None where
    the examples are not all at hand."""

    dtype: str
    shape: list[int]
    low: float | None
    high: float | None

    def text(self) -> str:
        """As "uint8 [1, 8, 8] from 0 to 16"."""
        span = "" if self.low is None or self.high is None else f" from {self.low:g} to {self.high:g}"
        return f"{self.dtype} {self.shape}{span}"


class Images(Struct, frozen=True):
    """How image files were read (``docs/data.md``). ``rules`` is the version of the decoder's rules."""

    background: str
    crop_pct: float
    rules: int = 1


class Content(Struct, frozen=True):
    """The examples of one class: how many, and a hash of them; None where they are read by code of the user's."""

    examples: int
    sha256: str | None


class DataRecord(Struct, frozen=True):
    """What a net was trained on. ``contents`` has the examples as they came, by part and class; ``examples`` counts
    those for training, validation and test."""

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

    def write(self, folder: Path) -> None:
        """Write the file of a run."""
        write_part(folder, FILE, json.dumps(msgspec.to_builtins(self), indent=2) + "\n")

    @classmethod
    def read(cls, folder: Path) -> DataRecord | None:
        """The record of a run; None for an earlier version's, which has none. Raises UserError if it is damaged."""
        try:
            return msgspec.convert(read_json(folder, FILE), cls)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, RecursionError):  # of which msgspec's errors are one
            raise UserError(f"{folder / FILE} is damaged: restore it, or train again") from None

    def name_of(self, label: int) -> str:
        """The name of a class."""
        return self.classes[label] if label < len(self.classes) else str(label)

    def of_another_kind(self, now: DataRecord) -> list[str]:
        """How data differ from these so that the net's answers would mean something else."""
        found: list[str] = []
        if self.classes != now.classes:
            found.append(_classes(self.classes, now.classes))
        if not _alike(self.inputs, now.inputs):
            found.append(f"the inputs were {self.inputs.text()} and are {now.inputs.text()}")
        if self.images != now.images:
            found.append(f"image files were read as {_text(self.images)} and are now read as {_text(now.images)}")
        if self.split != now.split:
            found.append(f"the examples were split {self.split} and are split {now.split}")
        elif self.split == "by order" and self.examples != now.examples:
            counts = " and ".join(
                f"{sum(r.examples.values()):,} {verb}" for r, verb in ((self, "before"), (now, "now"))
            )
            found.append(f"there are other examples, {counts}, and test examples are chosen by their number")
        return found

    def of_other_examples(self, now: DataRecord) -> list[str]:
        """Where data of the same kind have other examples."""
        found: list[str] = []
        for part in self.contents | now.contents:
            before, after = self.contents.get(part, {}), now.contents.get(part, {})
            inside = f" of {part}" if len(self.contents) > 1 else ""
            if not before or not after:
                found.append(f"the part {part} {'is new' if after else 'is gone'}")
                continue
            for name in [name for name in before | after if before.get(name) != after.get(name)]:
                old, new = (there[name].examples if name in there else 0 for there in (before, after))
                what = f"had {counted(old, 'example')} and has {new:,}" if old != new else "has other examples"
                found.append(f"class `{name}`{inside} {what}")
        return found


def _classes(before: list[str], after: list[str]) -> str:
    gone, new = [n for n in before if n not in after], [n for n in after if n not in before]
    if not gone and not new:
        return f"the classes are in another order: {shortened(before)} before, {shortened(after)} now"
    words = [f"class `{name}` is gone" for name in gone[:3]] + [f"class `{name}` is new" for name in new[:3]]
    return ", ".join(words)


def _alike(before: Inputs, now: Inputs) -> bool:
    """Of one type and shape, and of ranges that are not far apart."""
    if (before.dtype, before.shape) != (now.dtype, now.shape):
        return False
    if before.low is None or before.high is None or now.low is None or now.high is None:
        return True
    width = max(before.high - before.low, _EXACT)
    return abs(now.low - before.low) <= width / 2 and abs(now.high - before.high) <= width / 2


def _text(images: Images | None) -> str:
    return "none" if images is None else f"{msgspec.to_builtins(images)}"


def compare(
    before: DataRecord, now: DataRecord, folder: Path, *, exact: bool
) -> Mapping[Literal["refuse", "note"], str]:
    """What to say where the data found are not those of the run in ``folder``; nothing where they are.

    ``refuse`` is why to stop: the data are of another kind or, where they must be the same (``exact``), have other
    examples. ``note`` is what to tell.
    """
    if kind := before.of_another_kind(now):
        put = "put back what was there, or train again"
        return {"refuse": f"the data are not of the kind that {folder} was trained on: {'; '.join(kind[:4])}: {put}"}
    others = before.of_other_examples(now)
    if not others:
        return {}
    text = f"the data are not those that {folder} was trained on: {'; '.join(others[:4])}"
    text += f"; {len(others) - 4:,} more differences" if len(others) > 4 else ""
    if exact:
        return {"refuse": f"{text}. Put back what was there, or train again"}
    kept = {
        "by name": "parts are chosen by the files' names, so no image that it trained on is tested with",
        "by content": "parts are chosen by the examples' content, so none that it trained on is tested with",
    }
    return {"note": f"{text} ({kept[before.split]})" if before.split in kept else text}
