"""Converts values to those that a net takes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fractal_dsl import ops
from fractal_dsl.base.errors import UserError


def checked_values(x: NDArray[Any], into: ops.Tensor, vocabulary: int | None, where: str) -> NDArray[Any]:
    """The numbers in the net's type. Bytes stay bytes. ``vocabulary`` is the number of known tokens, or None for any.

    Raises UserError, which names ``where``, for values that are not numbers, not finite, or unknown tokens.
    """
    if x.dtype.kind not in "buif":
        raise UserError(f"{where} contains {x.dtype}, but inputs must be numbers")
    if into.dtype == "f32":
        if x.dtype == np.uint8:
            return x
        with np.errstate(over="ignore"):
            narrow = x.astype(np.float32)
        if (row := _first_row(~np.isfinite(narrow))) is not None:
            large = np.isfinite(x[row]).all()
            wrong = (
                "a number beyond the range of float32: scale it"
                if large
                else "an infinite or undefined number: fill it"
            )
            raise UserError(f"{where}[{row}] contains {wrong}, or remove the row")
        return narrow
    if x.dtype.kind not in "ui":
        raise UserError(f"{where} contains {x.dtype}, but the net takes {into}, whole numbers")
    if x.size and (x.min() < 0 or (vocabulary is not None and x.max() >= vocabulary)):
        below = f"0 to {vocabulary - 1:,}" if vocabulary is not None else "0 or more"
        row = _first_row((x < 0) | (x >= (vocabulary if vocabulary is not None else np.inf)))
        raise UserError(
            f"{where} contains tokens from {x.min():,} to {x.max():,}, but the net takes {below}: the first other "
            f"token is in row {row}"
        )
    return x.astype(np.int64)


def _first_row(wrong: NDArray[np.bool_]) -> int | None:
    """The first row with a wrong value, counted from 0; None if there is none."""
    rows = wrong.reshape(len(wrong), -1).any(1)
    return int(rows.argmax()) if rows.any() else None
