"""A net as a program of ``torch.export``, with a dynamic batch."""

from __future__ import annotations

import copy
from statistics import median
from time import perf_counter
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

from fractal_dsl import ops

Layout = Literal["contiguous", "channels_last"]
_REPEATS, _SECONDS = 30, 0.5


def example_of(into: ops.Tensor, batch: int) -> Tensor:
    """Inputs of zeros: [batch, …]."""
    return torch.zeros(batch, *into.shape, dtype=torch.int64 if into.dtype == "i64" else torch.float32)


def program_of(net: nn.Module, into: ops.Tensor, largest: int | None = None) -> torch.export.ExportedProgram:
    """The net for batches of any size, or of up to ``largest``."""
    batch = torch.export.Dim("batch", min=1, max=largest)
    with torch.no_grad():
        return torch.export.export(net, (example_of(into, 2),), dynamic_shapes=({0: batch},))


def fastest_layout(net: nn.Module, into: ops.Tensor, batch: int) -> tuple[nn.Module, Layout]:
    """The net in the memory layout in which torch runs it faster on this machine, in batches of this size."""
    if not any(isinstance(m, nn.Conv2d | nn.ConvTranspose2d) for m in net.modules()):
        return net, "contiguous"
    last = channels_last(net)
    x = example_of(into, batch)
    slow, fast = _milliseconds(net, x), _milliseconds(last, x)
    return (last, "channels_last") if fast < slow else (net, "contiguous")


def channels_last(net: nn.Module) -> nn.Module:
    """A copy of a net with the weights of its convolutions in the layout channels-last."""
    return cast(nn.Module, cast(Any, copy.deepcopy(net)).to(memory_format=torch.channels_last))


def _milliseconds(net: nn.Module, x: Tensor) -> float:
    times: list[float] = []
    began = perf_counter()
    with torch.inference_mode():
        net(x)
        while len(times) < 3 or (len(times) < _REPEATS and perf_counter() - began < _SECONDS):
            start = perf_counter()
            net(x)
            times.append(1000 * (perf_counter() - start))
    return median(times)
