"""DDP: every process has the whole net and a share of each mini-batch (torch's DistributedDataParallel).

Annotations are not postponed here, because DDP inspects those of its hooks.
"""

import warnings
from collections.abc import Iterable
from contextlib import nullcontext
from typing import Any, cast

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from fractal_dsl.config import TrainConfig
from fractal_dsl.plans.plan import Plan
from fractal_dsl.runtime.arguments import tensors_in
from fractal_dsl.runtime.module import FractalModule
from fractal_dsl.runtime.world import World
from fractal_dsl.tasks import Task
from fractal_dsl.training.mixing import MixedTargets
from fractal_dsl.training.parallel.shares import SharedBatchStepper
from fractal_dsl.training.step import plans


class ReplicatedStepper(SharedBatchStepper):
    """Averages gradients in buckets during the backward pass.

    All processes know the plans of the step, so each bucket sends only the gradients of live layers. Buffers are not
    sent: synchronised batch norms keep them equal, and otherwise those of the first process are used.
    """

    def __init__(
        self, model: FractalModule, task: Task, config: TrainConfig, device: torch.device, world: World
    ) -> None:
        super().__init__(model, task, config, device, world)
        self.live = Live()
        with warnings.catch_warnings(action="ignore", category=FutureWarning):  # its new name is not in torch 2.8
            self.replica = DistributedDataParallel(model, find_unused_parameters=True, broadcast_buffers=False)
        cast(Any, self.replica).register_comm_hook(self.live, average_live)

    def _gradients(self, x: Tensor, targets: MixedTargets, number: int) -> tuple[Tensor, Tensor]:
        self.live.take(self.model, [plan for plan, _ in plans(self.model, self.config.seed, number)])
        return super()._gradients(x, targets, number)

    def _backward(
        self, x: Tensor, targets: MixedTargets, plan: Plan, weight: float, last: bool, teacher: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        with nullcontext() if last else self.replica.no_sync():
            return super()._backward(x, targets, plan, weight, last, teacher)

    def _output(self, x: Tensor, plan: Plan) -> Tensor:
        return self.replica(*tensors_in(x), plan)


class Live:
    """The parameters that the plans of a step use, and the bytes of gradients sent so far."""

    def __init__(self) -> None:
        self.parameters: set[int] = set()
        self.sent = 0

    def take(self, model: FractalModule, plans: Iterable[Plan]) -> None:
        """Set the parameters to those of a step's plans."""
        modules = {module for plan in plans for module in model.live(plan)}
        self.parameters = {id(p) for module in modules for p in module.parameters(recurse=False)}


def average_live(
    live: Live,
    bucket: dist.GradBucket,  # pyright: ignore[reportPrivateImportUsage]
) -> torch.futures.Future[Tensor]:
    """A communication hook for DDP that averages the gradients of live parameters over the processes."""
    buffer = bucket.buffer()
    pairs = zip(bucket.parameters(), bucket.gradients(), strict=True)
    gradients = [gradient for parameter, gradient in pairs if id(parameter) in live.parameters]
    if not gradients:
        nothing: torch.futures.Future[Tensor] = torch.futures.Future()
        nothing.set_result(buffer)
        return nothing
    whole = len(gradients) == len(bucket.parameters())
    sent = buffer if whole else torch.cat([gradient.flatten() for gradient in gradients])
    sent.div_(dist.get_world_size())
    live.sent += sent.numel() * sent.element_size()
    work = cast(Any, dist.all_reduce(sent, async_op=True))

    def put_back(future: torch.futures.Future[Any]) -> Tensor:
        future.value()
        if not whole:
            parts = cast(tuple[Tensor, ...], sent.split([gradient.numel() for gradient in gradients]))
            for gradient, part in zip(gradients, parts, strict=True):
                gradient.copy_(part.view_as(gradient))
        return buffer

    return work.get_future().then(put_back)
