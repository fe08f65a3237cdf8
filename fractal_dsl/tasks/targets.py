"""The targets of a data set before their task is known, and the errors about single ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fractal_dsl.base.errors import UserError

TargetNaming = Callable[[int], str]
"""The name of a target for people, such as ``a.npz: y_train[7]`` or ``masks/7.png``, by its row."""


@dataclass(frozen=True)
class Targets:
    """Targets [n, …] as a data set has them. ``names`` are those of classes, of labels or of numbers, if they have
    names. Elements equal to ``ignored`` do not count."""

    values: NDArray[Any]
    name: TargetNaming
    names: tuple[str, ...] | None = None
    ignored: int | None = None

    @property
    def each(self) -> tuple[int, ...]:
        """The shape of one target."""
        return self.values.shape[1:]

    @property
    def whole(self) -> bool:
        """Whether they are whole numbers, or truth values."""
        return self.values.dtype.kind in "bui"

    @property
    def binary(self) -> bool:
        """Whether they are only 0 and 1."""
        return bool(np.isin(self.values, (0, 1)).all())

    def text(self) -> str:
        """For example "int64 [], such as a.npz: y[0]"."""
        example = f", such as {self.name(0)}" if len(self.values) else ""
        return f"{self.values.dtype} {list(self.each)}{example}"

    def require(self, right: NDArray[np.bool_], wanted: str) -> None:
        """Raise UserError that names the first target with an element [n, …] that is not ``right``."""
        if right.all():
            return
        place = tuple(np.argwhere(~right)[0].tolist())
        value, inner = self.values[place], list(place[1:])
        at = f" at {inner}" if inner else ""
        raise UserError(f"{self.name(place[0])} is {value}{at}, but {wanted}")
