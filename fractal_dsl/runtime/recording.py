"""Warns about tools that record one call of a net and then ignore its plans."""

from __future__ import annotations

import warnings
from typing import Any, cast

import torch
from torch import Tensor, fx


def recorder_of(x: Tensor) -> str | None:
    """The tool that records the call with this input, or None."""
    if isinstance(x, fx.Proxy):
        return "torch.fx"
    if cast(Any, torch.jit).is_tracing():
        return "torch.jit.trace"
    if torch.compiler.is_exporting():
        return "torch.export"
    if x.is_cuda and torch.cuda.is_current_stream_capturing():
        return "a CUDA graph"
    return None


def warn_of_recording(recorder: str, net: str) -> None:
    """Warn that a recorded net no longer draws plans. Python shows a warning once."""
    warnings.warn(
        f"{recorder} records one call of net {net} in train mode. It will always run the same drop-path plan, or the "
        "whole net. Call `model.eval()` first, or record a column, `model.extract(k).eval()`",
        stacklevel=2,
    )
