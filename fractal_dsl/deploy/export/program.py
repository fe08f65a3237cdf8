"""A net as a program of ``torch.export``, with a dynamic batch."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from statistics import median
from time import perf_counter
from typing import Any, cast

import torch
from torch import Tensor, nn

from fractal_dsl import ops

_REPEATS, _SECONDS = 30, 0.5


def examples_of(inputs: Sequence[ops.Tensor], batch: int) -> tuple[Tensor, ...]:
    """Zeros for each input: [batch, …]."""
    kinds = {"i64": torch.int64, "f32": torch.float32}
    return tuple([torch.zeros(batch, *into.shape, dtype=kinds[into.dtype]) for into in inputs])


def program_of(
    net: nn.Module, inputs: Sequence[ops.Tensor], largest: int | None = None
) -> torch.export.ExportedProgram:
    """The net for batches of any size, or of up to ``largest``."""
    batch = torch.export.Dim("batch", min=1, max=largest)
    with torch.no_grad():
        return torch.export.export(net, examples_of(inputs, 2), dynamic_shapes=tuple([{0: batch} for _ in inputs]))


def fastest_layout(net: nn.Module, inputs: Sequence[ops.Tensor], batch: int) -> tuple[nn.Module, str]:
    """The net in the memory layout in which torch runs it faster on this machine, in batches of this size."""
    if not any(isinstance(m, nn.Conv2d | nn.ConvTranspose2d) for m in net.modules()):
        return net, "contiguous"
    nets: dict[str, nn.Module] = {"contiguous": net, "channels_last": channels_last(net)}
    x = examples_of(inputs, batch)
    with torch.inference_mode():
        layout = fastest({name: lambda one=one: one(*x) for name, one in nets.items()})
    return nets[layout], layout


def channels_last(net: nn.Module) -> nn.Module:
    """A copy of a net with the weights of its convolutions in the layout channels-last."""
    return cast(nn.Module, cast(Any, copy.deepcopy(net)).to(memory_format=torch.channels_last))


def fastest(calls: Mapping[str, Callable[[], object]]) -> str:
    """The call with the smallest median of times. They take turns, so that other work disturbs all alike."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():
        call()
    began = perf_counter()
    for turn in range(_REPEATS):
        for name, call in calls.items():
            start = perf_counter()
            call()
            times[name].append(perf_counter() - start)
        if turn >= 2 and perf_counter() - began > _SECONDS * len(calls):
            break
    return min(times, key=lambda name: median(times[name]))
