"""Writes a run's figures for TensorBoard."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

from fractal_dsl.base.errors import UserError
from fractal_dsl.base.parts import part_folder


def require_tensorboard() -> None:
    """Raise UserError if TensorBoard is not installed. Called before any work is done."""
    if find_spec("tensorboard") is None:
        raise UserError("TensorBoard files need a package: pip install 'fractal_dsl[tensorboard]'")


class Board:
    """Writes the figures of epochs into a folder of a run."""

    def __init__(self, run: Path, name: str) -> None:
        self.folder = part_folder(run, name)
        self.writer: Any = None

    def close(self) -> None:
        """Close the file."""
        if self.writer is not None:
            self.writer.close()

    def log(self, figures: dict[str, Any]) -> None:
        """Write the figures of an epoch."""
        if self.writer is None:
            from torch.utils.tensorboard.writer import SummaryWriter

            done = len(list(self.folder.glob("*")))  # a resumed run writes a new file
            again = figures["epoch"] if done else None  # a killed run may have been ahead of its checkpoint
            self.writer = SummaryWriter(str(self.folder), purge_step=again, filename_suffix=f".{done}")
        for name, value in flat("", figures):
            self.writer.add_scalar(name, value, figures["epoch"])
        self.writer.flush()


def flat(prefix: str, figures: dict[str, Any]) -> Iterator[tuple[str, float]]:
    """Numbers by name. ``columns`` are listed by column, and other lists are left out."""
    for key, value in figures.items():
        if isinstance(value, dict):
            yield from flat(f"{prefix}{key}/", cast(dict[str, Any], value))
        elif key == "columns":
            for column in cast(list[dict[str, Any]], value):
                rest = {k: v for k, v in column.items() if k != "column"}
                yield from flat(f"{prefix}column{column['column']}/", rest)
        elif isinstance(value, int | float):
            yield prefix + key, value
