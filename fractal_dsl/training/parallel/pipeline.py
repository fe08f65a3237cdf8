"""Pipeline: every process has a stretch of the net (torch's ``PipelineStage`` with 1F1B, Narayanan et al. 2019).

The net is cut where a single value passes, at the edges of its blocks. A mini-batch passes through in ``accumulate``
parts, one after another, with the same result as ``accumulate`` on one process.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from itertools import repeat
from pathlib import Path
from typing import Any, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.pipelining import PipelineStage, Schedule1F1B, ScheduleGPipe

from fractal_dsl.base.errors import UserError
from fractal_dsl.config import TrainConfig
from fractal_dsl.graph.graph import JoinGraph
from fractal_dsl.plans.plan import FULL, Plan
from fractal_dsl.plans.stretches import Stretch, stretches
from fractal_dsl.runtime.artifact import read_weights
from fractal_dsl.runtime.fit import tensors_of
from fractal_dsl.runtime.module import FractalModule
from fractal_dsl.runtime.world import World
from fractal_dsl.tasks import Task
from fractal_dsl.training.distillation import distilled_loss, teaches
from fractal_dsl.training.mixing import MixedTargets, running_of
from fractal_dsl.training.step import Stepper, plans


class PipelineStepper(Stepper):
    """A training step through all stages. Each process reads the whole mini-batch. Stages exchange the values at the
    cuts and their gradients."""

    sharded = True

    def __init__(
        self, model: FractalModule, task: Task, config: TrainConfig, device: torch.device, world: World
    ) -> None:
        if config.precision == "fp16":
            raise UserError("--parallel pipeline cannot scale fp16's gradients: use `precision` bf16, or fp32")
        if config.batch % config.accumulate:
            raise UserError(f"a mini-batch of {config.batch} cannot be split into {config.accumulate} equal parts")
        self.names = list(tensors_of(model))
        stretch = stretches(model.join_graph, world.size)[world.rank]
        model.keep_modules(stretch.nodes)
        super().__init__(model, task, config, device, world)
        self.last = world.rank == world.size - 1
        self.stage = StageModule(model, stretch, self._precision)
        each = config.batch // config.accumulate
        graph = model.join_graph
        made = PipelineStage(
            self.stage,
            world.rank,
            world.size,
            device,
            input_args=_like(graph, stretch.entry, each, device).requires_grad_(not world.leads),
            output_args=_like(graph, stretch.exit, each, device).requires_grad_(),
        )
        kind = Schedule1F1B if config.accumulate >= world.size else ScheduleGPipe  # the former needs a part for each
        self.schedule = kind(made, config.accumulate, loss_fn=self._loss, scale_grads=False)

    def _gradients(self, x: Tensor, targets: MixedTargets, number: int) -> tuple[Tensor, Tensor]:
        self.shares_of = [weight for _, weight in targets]
        parts = torch.stack([part for part, _ in targets], 1)
        total = torch.zeros(2, dtype=torch.float64, device=x.device)
        todo = list(plans(self.model, self.config.seed, number))
        teacher = self._teacher(x) if teaches(self.config, [plan for plan, _ in todo]) else None
        for i, (plan, weight) in enumerate(todo):
            self.stage.plan, self.weight = plan, weight / self.config.accumulate
            taught = None if plan.route == FULL else teacher
            self.taught = repeat(None) if taught is None else iter(taught.chunk(self.config.accumulate))
            self.sums = torch.zeros_like(total)
            given = (x,) if self.world.leads else ()
            self.schedule.step(*given, target=parts if self.last else None, return_outputs=False)
            if i == 0:
                total += self.sums
        self.world.sum(total)
        return total[0] / self.config.accumulate, total[1]

    def _loss(self, output: Tensor, parts: Tensor) -> Tensor:
        """The loss of one part of the mini-batch, which the last stage computes in their order."""
        targets = list(zip(parts.unbind(1), self.shares_of, strict=True))
        loss = distilled_loss(self.task, self.config, output, targets, next(self.taught))
        self.sums += torch.stack([loss.detach().double(), running_of(self.task, output.detach(), targets).double()])
        return loss * self.weight

    def _whole(self, x: Tensor) -> Tensor | None:
        return self._through(x, self.model.full_plan())

    def _clip(self, norm: float) -> None:
        parameters = [p for p in self.model.parameters() if p.grad is not None]
        own = torch.nn.utils.get_total_norm([cast(Tensor, p.grad) for p in parameters])
        whole = self.world.sum(own.double().square()).sqrt()
        torch.nn.utils.clip_grads_with_norm_(parameters, norm, whole.to(own.dtype))

    def weights(self) -> dict[str, Tensor]:
        own = {name: value.detach().cpu() for name, value in tensors_of(self.model).items()}
        parts: list[Any] = [None] * self.world.size
        dist.gather_object(own, parts if self.world.leads else None)
        whole = {name: value for part in parts if part for name, value in part.items()}
        return {name: whole[name] for name in self.names if name in whole}

    def load_weights(self, file: Path) -> None:
        own = tensors_of(self.model)
        self.model.load_state_dict({name: value for name, value in read_weights([file]).items() if name in own})

    def _sharing(self) -> dict[str, Any]:
        return {"run": self._through, "world": self.world}

    def _through(self, x: Tensor, plan: Plan) -> Tensor | None:
        """The output in the process of the last stage; None in the others."""
        rank, graph, stretch = self.world.rank, self.model.join_graph, self.stage.stretch
        if rank:
            x = _like(graph, stretch.entry, len(x), x.device)
            dist.recv(x, rank - 1)
        self.stage.plan = plan
        result = self.stage(x)
        if self.last:
            return result
        dist.send(result, rank + 1)
        return None


class StageModule(nn.Module):
    """One stretch of a net, run under ``plan``."""

    plan: Plan

    def __init__(
        self, model: FractalModule, stretch: Stretch, precision: Callable[[], AbstractContextManager[Any]]
    ) -> None:
        super().__init__()
        self.model, self.stretch, self.precision = model, stretch, precision

    def forward(self, x: Tensor) -> Tensor:
        """From the stage's input to its output, both [batch, …]. Values between stages are float32."""
        with self.precision():
            result = self.model.run_part(x, self.plan, self.stretch.nodes, self.stretch.entry, self.stretch.exit)
        return result.float().contiguous()


def _like(graph: JoinGraph, number: int, batch: int, device: torch.device) -> Tensor:
    """An empty tensor with the shape and type of a node's value."""
    out = graph[number].out
    return torch.empty(batch, *out.shape, dtype=torch.int64 if out.dtype != "f32" else torch.float32, device=device)
