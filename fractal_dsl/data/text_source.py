"""Texts as examples: a net reads a stretch of bytes, and predicts the byte after each of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fractal_dsl import ops
from fractal_dsl.base.errors import UserError
from fractal_dsl.config import Text
from fractal_dsl.data.parts import Batch, Part
from fractal_dsl.data.source import MAX_BYTES, UNCHANGED, Moments, Rows, SourceRecord, Splits, numbered, place
from fractal_dsl.data.texts import Texts, read_texts
from fractal_dsl.runs.data_record import Content, Split
from fractal_dsl.runs.tasks import TokenUnit
from fractal_dsl.tasks import Task
from fractal_dsl.tasks.targets import Targets


@dataclass(frozen=True)
class TextExamples:
    """Stretches of texts: inputs int64 [length], and targets int64 [length], the bytes after them."""

    texts: Texts
    split: Split = "by stretch"
    unit: TokenUnit = "byte"

    def __len__(self) -> int:
        return len(self.texts.stretches)

    @property
    def names(self) -> tuple[str, ...]:
        """The bytes by number."""
        return numbered(256)

    @property
    def targets(self) -> NDArray[Any]:
        """The next bytes, uint8 [n, length]."""
        return self.texts.stretches[:, 1:]

    @property
    def input(self) -> ops.Tensor:
        """The type and length of one input."""
        return ops.Tensor("i64", (self.texts.stretches.shape[1] - 1,))

    def raw(self) -> Targets:
        """The next bytes."""
        return Targets(self.targets, "stretch {}".format)

    def judged(self, task: Task) -> TextExamples:
        """The same: bytes suit no other task. Raises UserError if the task takes other targets."""
        first = replace(self.raw(), values=self.targets[:1])
        task.converted(first)
        return self

    def places(self) -> NDArray[np.float64]:
        """A hash of each stretch."""
        return np.array([place(stretch.tobytes()) for stretch in self.texts.stretches], np.float64)

    def record(self, rows: Rows) -> SourceRecord:
        """The number of stretches in each file, and the hash of the file."""
        seen = self.texts.stretches[rows]
        contents = {name: Content(*file) for name, file in self.texts.files.items()}
        return SourceRecord("uint8", (float(seen.min()), float(seen.max())), contents, skipped=self.texts.skipped)

    def moments(self, rows: Rows) -> Moments:
        """None: bytes are tokens."""
        return UNCHANGED

    def part(self, rows: Rows, device: torch.device) -> Part:
        """The stretches of these rows, on the device."""
        return _Stretches(torch.from_numpy(self.texts.stretches[rows]).to(device))


@dataclass(frozen=True)
class _Stretches:
    """``stretches`` uint8 [n, length + 1], on the device."""

    stretches: Tensor
    ahead: bool = False

    def __len__(self) -> int:
        return len(self.stretches)

    def read(self, rows: Tensor, seed: int, epoch: int | None) -> Batch:
        """The bytes of each stretch but the last, and but the first."""
        chosen = self.stretches[rows.to(self.stretches.device)].long()
        return chosen[:, :-1].contiguous(), chosen[:, 1:].contiguous()

    def stream(self, order: Iterable[Tensor], seed: int, epoch: int | None) -> Iterator[Batch]:
        """``read`` for the rows of one mini-batch after the other."""
        return (self.read(rows, seed, epoch) for rows in order)


def text_splits(config: Text, into: ops.Tensor, out: ops.Tensor, vocabulary: int | None) -> Splits:
    """The stretches of a text, or of the texts in a folder, for a net that takes ``into`` and gives ``out``.

    ``vocabulary`` is the number of tokens that its embeddings know. Raises UserError if the net is not one that
    predicts the byte after each byte, if there is too little text, or a byte that the net does not know.
    """
    if into.dtype != "i64" or len(into.shape) != 1 or out.dtype != "f32" or out.shape[:-1] != into.shape:
        raise UserError(
            f"`text` is for nets that predict the byte after each of L bytes, i64[L] to f32[L, 256], but the net takes "
            f"{into} and gives {out}"
        )
    texts = read_texts(Path(config.path), config.include, into.shape[0], MAX_BYTES)
    known = min(out.shape[1], vocabulary or 256)
    if (unknown := np.argwhere(texts.stretches >= known)).size:
        row, column = unknown[0].tolist()
        name, offset = texts.at(row, column)
        file = Path(config.path, name) if Path(config.path).is_dir() else config.path
        raise UserError(
            f"{file} has the byte {texts.stretches[row, column]} at offset {offset:,}, but the net knows only 0 to "
            f"{known - 1}: give its embedding and its output 256"
        )
    return Splits(TextExamples(texts))
