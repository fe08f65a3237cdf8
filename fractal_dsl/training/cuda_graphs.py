"""CUDA graphs for the passes of training steps, which launch all their kernels at once.

They pay if kernels are small and plans recur, as for the whole net and its columns. Local drop-path has a new plan in
each step, which runs as usual.
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
"""Adds gradients for inputs and targets [batch, …]. Returns the loss, and the sum of the figure shown in training."""

_WARM = 3  # passes before the capture, in which libraries choose their kernels


@dataclass(frozen=True)
class _Captured:
    """A graph with its inputs and outputs, which always use the same memory."""

    graph: Any
    x: Tensor
    y: Tensor
    loss: Tensor
    figure: Tensor
    gradients: list[tuple[nn.Parameter, Tensor]]


class Graphs:
    """Captures the recurring passes of a model and replays them.

    A pass is captured at its first use, so a resumed run replays the same graphs as an uninterrupted one. Dropout draws
    from the device's generator, which torch registers with each graph: a replay uses the current seed and offset.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.captured: dict[Hashable, _Captured] = {}
        self.pool: Any = None

    def run(self, key: Hashable, work: Pass, x: Tensor, y: Tensor, *, only: bool) -> tuple[Tensor, Tensor]:
        """Do what ``work`` does, and return its result. Passes with equal keys do the same.

        ``only`` means that no other pass adds gradients in this step. Raises UserError if the pass cannot be captured.
        """
        key = (key, x.shape, x.stride(), x.dtype)
        captured = self.captured.get(key)
        if captured is None:
            captured = self.captured[key] = self._capture(work, x, y)
        captured.x.copy_(x)
        captured.y.copy_(y)
        captured.graph.replay()
        # graphs share memory: the results of one are used or copied before the next is replayed
        for parameter, gradient in captured.gradients:
            if parameter.grad is None:
                parameter.grad = gradient if only else gradient.clone()
            else:
                parameter.grad.add_(gradient)
        return captured.loss.clone(), captured.figure.clone()

    def _capture(self, work: Pass, x: Tensor, y: Tensor) -> _Captured:
        """Capture a pass as a graph. Weights, statistics, gradients and the generator stay unchanged."""
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
                loss, figure = work(x, y)
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
        return _Captured(graph, x, y, loss, figure, made)

    def _forget(self) -> None:
        for parameter in self.model.parameters():
            parameter.grad = None


def check_graphs(config: TrainConfig, device: torch.device, parallel: str | None, several: bool) -> None:
    """Raise UserError if the settings ask for CUDA graphs where they are impossible, as for ``several`` inputs."""
    if not config.cuda_graphs:
        return
    if several:
        raise UserError("`cuda_graphs` is for nets with one input and one output: set cuda_graphs=false")
    if device.type != "cuda":
        raise UserError(f"`cuda_graphs` is for CUDA, and this run is on {device.type}: set cuda_graphs=false")
    if parallel is not None:
        raise UserError(f"`cuda_graphs` is for one process, not for --parallel {parallel}: set cuda_graphs=false")
