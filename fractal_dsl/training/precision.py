"""The arithmetic of the layers that torch autocasts."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal

import torch

Precision = Literal["auto", "fp32", "bf16", "fp16"]
"""``auto`` is decided before a run begins."""
_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


def precise(precision: Precision, device: torch.device) -> AbstractContextManager[Any]:
    """Autocasting to a precision; nothing for float32."""
    dtype = _DTYPES.get(precision)
    return nullcontext() if dtype is None else torch.autocast(device.type, dtype)
