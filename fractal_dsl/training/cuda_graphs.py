"""Passes of training steps as CUDA graphs: all their kernels are launched at once.

It pays where kernels are small and plans come again: the whole net and its columns. Local drop-path has a plan of its
own for each step, which is run as ever.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from fractal_dsl.base.errors import UserError
from fractal_dsl.config import TrainConfig

Pass = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""Adds gradients for inputs [batch, …] and labels [batch]; gives the loss, and how many are right."""

_WARM = 3  # passes before the capture, in which libraries choose their kernels


@dataclass(frozen=True)
class _Captured:
    """A graph, what it reads and what it writes: always the same memory."""

    graph: Any
    x: Tensor
    y: Tensor
    loss: Tensor
    right: Tensor
    gradients: list[tuple[nn.Parameter, Tensor]]


class Graphs:
    """Captures passes of a model that come again, and replays them.

    A pass is captured where it first comes, so a run that is resumed replays what an unbroken one does. Dropout draws
    from the device's own generator, which torch registers with each graph: a replay draws by the seed and the offset
    that it then has.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.captured: dict[Hashable, _Captured] = {}
        self.pool: Any = None

    def run(self, key: Hashable, work: Pass, x: Tensor, y: Tensor, *, only: bool) -> tuple[Tensor, Tensor]:
        """What ``work`` does and gives; passes of one key do the same. ``only``: no other pass adds gradients in this
        step. Raises UserError if it cannot be captured."""
        key = (key, x.shape, x.stride(), x.dtype)
        found = self.captured.get(key)
        if found is None:
            found = self.captured[key] = self._capture(work, x, y)
        found.x.copy_(x)
        found.y.copy_(y)
        found.graph.replay()
        # the graphs share their memory: what one leaves there is used, or copied, before the next is replayed
        for parameter, gradient in found.gradients:
            if parameter.grad is None:
                parameter.grad = gradient if only else gradient.clone()
            else:
                parameter.grad.add_(gradient)
        return found.loss.clone(), found.right.clone()

    def _capture(self, work: Pass, x: Tensor, y: Tensor) -> _Captured:
        """A pass as a graph; weights, statistics, gradients and the generator stay as they are."""
        cuda = cast(Any, torch.cuda)
        x, y = torch.empty_like(x).copy_(x), y.clone()
        parameters = list(self.model.parameters())
        gradients = [p.grad for p in parameters]
        buffers = [(buffer, buffer.clone()) for buffer in self.model.buffers()]
        drawn = cuda.get_rng_state(x.device)
        try:
            side = cuda.Stream(x.device)
            side.wait_stream(cuda.current_stream(x.device))
            with cuda.stream(side):
                for _ in range(_WARM):
                    self._forget()
                    work(x, y)
            cuda.current_stream(x.device).wait_stream(side)
            self._forget()
            self.pool = self.pool or cuda.graph_pool_handle()
            graph = cuda.CUDAGraph()
            with cuda.graph(graph, pool=self.pool, capture_error_mode="thread_local"):
                loss, right = work(x, y)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            raise UserError(
                f"this net cannot be run as a CUDA graph ({str(error).strip().splitlines()[0]}): set cuda_graphs=false"
            ) from None
        made = [(p, p.grad) for p in parameters if p.grad is not None]
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient
        for buffer, before in buffers:
            buffer.copy_(before)
        cuda.set_rng_state(drawn, x.device)
        return _Captured(graph, x, y, loss, right, made)

    def _forget(self) -> None:
        for parameter in self.model.parameters():
            parameter.grad = None


def check_graphs(config: TrainConfig, device: torch.device, parallel: str | None) -> None:
    """Raise UserError if the settings ask for CUDA graphs where there can be none."""
    if not config.cuda_graphs:
        return
    if device.type != "cuda":
        raise UserError(f"`cuda_graphs` is for CUDA, and this run is on {device.type}: set cuda_graphs=false")
    if parallel is not None:
        raise UserError(f"`cuda_graphs` is for one process, not for --parallel {parallel}: set cuda_graphs=false")
