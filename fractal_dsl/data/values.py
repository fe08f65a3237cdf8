"""Values as a net takes them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fractal_dsl import ops
from fractal_dsl.base.errors import UserError


def checked(x: NDArray[Any], into: ops.Tensor, vocabulary: int | None, where: str) -> NDArray[Any]:
    """Numbers of the net's type; bytes stay bytes. ``vocabulary`` is the number of tokens that the net knows, None for
    any. Raises UserError, which names ``where``, for what is no number, not finite, or no token that the net knows."""
    if x.dtype.kind not in "buif":
        raise UserError(f"{where} holds {x.dtype}, and inputs are numbers")
    if into.dtype == "f32":
        if x.dtype == np.uint8:
            return x
        x = x.astype(np.float32)
        if not np.isfinite(x).all():
            raise UserError(f"{where} holds numbers that are infinite or none at all: fill or remove these rows")
        return x
    if x.dtype.kind not in "ui":
        raise UserError(f"{where} holds {x.dtype}, and the net takes {into}, whole numbers")
    if x.size and (x.min() < 0 or (vocabulary is not None and x.max() >= vocabulary)):
        below = f"0 to {vocabulary - 1:,}" if vocabulary is not None else "0 or more"
        raise UserError(f"{where} holds tokens from {x.min():,} to {x.max():,}, and the net takes {below}")
    return x.astype(np.int64)
