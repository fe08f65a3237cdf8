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
        x = x.astype(np.float32)
        if not np.isfinite(x).all():
            raise UserError(f"{where} contains infinite or undefined numbers: fill or remove these rows")
        return x
    if x.dtype.kind not in "ui":
        raise UserError(f"{where} contains {x.dtype}, but the net takes {into}, whole numbers")
    if x.size and (x.min() < 0 or (vocabulary is not None and x.max() >= vocabulary)):
        below = f"0 to {vocabulary - 1:,}" if vocabulary is not None else "0 or more"
        raise UserError(f"{where} contains tokens from {x.min():,} to {x.max():,}, but the net takes {below}")
    return x.astype(np.int64)
