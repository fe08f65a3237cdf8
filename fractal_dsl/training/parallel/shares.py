"""What DDP and FSDP have in common: every process has a share of each mini-batch."""

from __future__ import annotations

import torch
from torch import Tensor

from fractal_dsl.base.errors import UserError
from fractal_dsl.config import TrainConfig
from fractal_dsl.data import batch_order
from fractal_dsl.runtime.module import FractalModule
from fractal_dsl.runtime.world import World
from fractal_dsl.tasks import Task
from fractal_dsl.training.mixing import MixedTargets
from fractal_dsl.training.parallel.batchnorm import synchronise
from fractal_dsl.training.step import Stepper


class SharedBatchStepper(Stepper):
    """A training step that processes share. On request, batch norms see the whole mini-batch."""

    def __init__(
        self, model: FractalModule, task: Task, config: TrainConfig, device: torch.device, world: World
    ) -> None:
        super().__init__(model, task, config, device, world)
        self.shares = world
        pieces = world.size * config.accumulate
        if config.batch % pieces:
            parts = f", in {config.accumulate} parts" if config.accumulate > 1 else ""
            raise UserError(
                f"{world.size} processes cannot share mini-batches of {config.batch} evenly{parts}: "
                f"make `batch` a multiple of {pieces}"
            )
        if config.sync_batchnorm:
            synchronise(model)

    def order(self, examples: int, epoch: int) -> tuple[Tensor, ...]:
        """The rows of an even share of each of the ``accumulate`` parts of each mini-batch.

        The parts hold the same rows as on one process.
        """
        config, (rank, size) = self.config, (self.shares.rank, self.shares.size)
        parts = [
            batch_order(examples, config.batch, config.seed, epoch, part * size + rank, config.accumulate * size)
            for part in range(config.accumulate)
        ]
        return tuple([torch.cat(rows) for rows in zip(*parts, strict=True)])

    def _shift(self, x: Tensor) -> Tensor:
        parts = x.view(self.config.accumulate, -1, *x.shape[1:])
        ends = self.shares.gather(parts[:, -1].contiguous()).transpose(0, 1)  # [parts, processes, …], as the rows go on
        before = ends.flatten(0, 1).roll(1, 0).view_as(ends)[:, self.shares.rank]
        return torch.cat([before.unsqueeze(1), parts[:, :-1]], 1).view_as(x)

    def _gradients(self, x: Tensor, targets: MixedTargets, number: int) -> tuple[Tensor, Tensor]:
        loss, figure = super()._gradients(x, targets, number)
        whole = self.shares.sum(torch.stack([loss.double() / self.shares.size, figure.double()]))
        return whole[0], whole[1]
