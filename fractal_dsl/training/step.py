"""One training step: forward and backward under the step's plans, then the optimizer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from fractal_dsl.config import TrainConfig
from fractal_dsl.config.recalibration import examples_of
from fractal_dsl.data import ImageSet, Part, batch_order, seed_for
from fractal_dsl.evaluation.measure import measure_all
from fractal_dsl.evaluation.recalibrate import recalibrated
from fractal_dsl.evaluation.worst import Worst
from fractal_dsl.plans.plan import FULL, Plan
from fractal_dsl.runtime.arguments import each, merged, parts_of, size_of
from fractal_dsl.runtime.artifact import load_weights
from fractal_dsl.runtime.channels_last import lay_channels_last
from fractal_dsl.runtime.fit import tensors_of
from fractal_dsl.runtime.module import FractalModule
from fractal_dsl.runtime.schedule import lasting
from fractal_dsl.runtime.world import ALONE, World
from fractal_dsl.tasks import Task
from fractal_dsl.training.checkpoint import Checkpoint
from fractal_dsl.training.cuda_graphs import Graphs
from fractal_dsl.training.distillation import distilled_loss, teaches
from fractal_dsl.training.ema import Average, local
from fractal_dsl.training.freezing import freeze
from fractal_dsl.training.mixing import MixedTargets, mix, running_of, shifted
from fractal_dsl.training.optimizers import load_optimizer, make_optimizer, move_all, optimizer_tensors, set_rate
from fractal_dsl.training.precision import precise
from fractal_dsl.training.rates import rate_factors

_LAYOUTS = {4: torch.channels_last, 5: torch.channels_last_3d}


class Stepper:
    """Trains a model, one mini-batch at a time, and holds everything that changes in training."""

    shares: World = ALONE
    """The processes that have a share of each mini-batch."""
    sharded = False
    """Whether each process has only a part of the weights."""

    def __init__(
        self, model: FractalModule, task: Task, config: TrainConfig, device: torch.device, world: World = ALONE
    ) -> None:
        self.model, self.task, self.config, self.device, self.world = model, task, config, device, world
        self.frozen_norms = freeze(model, config.freeze)
        if config.channels_last is True:
            self._channels_last()
        if config.checkpoint_levels is not None:
            model.checkpoint(config.checkpoint_levels)
        if config.compile:
            model.compile()
        self.graphs = Graphs(model) if config.cuda_graphs else None
        factors = rate_factors(model, config.lr_scale)
        self.optimizer = make_optimizer(model, config.optimizer, sharded=self.sharded, factors=factors)
        self.average = Average(model, config.ema) if config.ema is not None else None
        self.scaler = torch.amp.GradScaler(device.type, enabled=config.precision == "fp16")

    def _channels_last(self) -> None:
        if self.config.precision in ("bf16", "fp16") or self.config.compile:  # small images gain nothing then
            cast(Any, self.model).to(memory_format=torch.channels_last)
        else:
            lay_channels_last(self.model)

    def train(self) -> None:
        """Put the model in train mode, apart from frozen batch norms."""
        self.model.train()
        for norm in self.frozen_norms:
            norm.eval()

    def step(self, x: Tensor, y: Tensor, number: int, rate: float) -> tuple[Tensor, Tensor]:
        """Train on this process's share of a mini-batch, inputs and targets [batch, …], in step ``number``.

        Return the loss under the step's first plan and the sum of the figure shown in training, over all processes.
        """
        self._seed(seed_for("dropout", self.config.seed, number, *[self.world.rank] * (self.world.rank > 0)))
        x, targets = mix(x, y, self.config, number, self._shift)
        self.optimizer.zero_grad()
        set_rate(self.optimizer, rate)
        loss, figure = self._gradients(x, targets, number)
        self._update()
        if self.average is not None:
            self.average.update(number + 1)
        return loss, figure

    def _gradients(self, x: Tensor, targets: MixedTargets, number: int) -> tuple[Tensor, Tensor]:
        """Compute the gradients of a step. Return its loss, and the sum of the figure shown in training."""
        losses: list[Tensor] = []
        sums: list[Tensor] = []
        x, todo = self._laid_out(x), list(plans(self.model, self.config.seed, number))
        teacher = self._teacher(x) if teaches(self.config, [plan for plan, _ in todo]) else None
        for (inputs, part, taught, share), final in self._parts(x, targets, teacher):
            for i, (plan, weight) in enumerate(todo):
                last = final and i == len(todo) - 1
                pupil = plan.route != FULL
                loss, figure = self._backward(inputs, part, plan, weight * share, last, taught if pupil else None)
                if i == 0:
                    losses.append(loss if share == 1 else loss * share)
                    sums.append(figure)
        return sum(losses[1:], losses[0]), sum(sums[1:], sums[0])

    def _parts(
        self, x: Tensor, targets: MixedTargets, teacher: Tensor | None
    ) -> Iterator[tuple[tuple[Tensor, MixedTargets, Tensor | None, float], bool]]:
        """The parts of the mini-batch, each with its share of the examples, and whether it is the last."""
        if self.config.accumulate == 1:
            yield (x, targets, teacher, 1.0), True
            return
        count = size_of(x)
        every = torch.arange(count, device=self.device).tensor_split(min(count, self.config.accumulate))
        for i, rows in enumerate(every, 1):
            chosen = partial(torch.index_select, dim=0, index=rows)
            part = [(each(chosen, whole), weight) for whole, weight in targets]
            taught = None if teacher is None else each(chosen, teacher)
            yield (self._laid_out(each(chosen, x)), part, taught, len(rows) / count), i == len(every)

    def _laid_out(self, x: Tensor) -> Tensor:
        """Inputs in the layout of the layers."""
        return each(_channels_last, x) if self.config.channels_last is True else x

    def _teacher(self, x: Tensor) -> Tensor | None:
        """The outputs of the whole net [batch, …] before the step, without gradients.

        It runs in eval mode: nothing is dropped, and batch norms use the running statistics of the whole net and keep
        them. In a pipeline, only the last stage has the outputs.
        """
        self.model.eval()
        with torch.no_grad(), self._precision():  # of its own: autocast keeps weights that it casts without gradients
            rows = torch.arange(size_of(x)).tensor_split(min(size_of(x), self.config.accumulate))
            parts = [self._whole(part) for part in parts_of(x, [len(own) for own in rows])]
        self.train()
        outputs = [part for part in parts if part is not None]
        return merged(outputs) if outputs else None

    def _whole(self, x: Tensor) -> Tensor | None:
        return self.model.run(x, self.model.full_plan())

    def _backward(
        self, x: Tensor, targets: MixedTargets, plan: Plan, weight: float, last: bool, teacher: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Add the gradients of a plan. One pass at a time is in memory. ``last`` marks the step's last pass."""
        if self.graphs is None or not lasting(plan):
            return self._pass(x, targets, plan, weight, teacher)
        ((y, _),) = targets  # the settings exclude mixing and distillation
        only = self.config.accumulate == 1 and not (self.model.drop_path and self.model.drop_path.all_columns)
        return self.graphs.run((plan, weight), lambda x, y: self._pass(x, [(y, 1.0)], plan, weight), x, y, only=only)

    def _pass(
        self, x: Tensor, targets: MixedTargets, plan: Plan, weight: float, teacher: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        with self._precision():
            output = self._output(x, plan)
        loss = distilled_loss(self.task, self.config, output, targets, teacher)
        self.scaler.scale(loss if weight == 1 else loss * weight).backward()
        return loss.detach(), running_of(self.task, each(torch.detach, output), targets)

    def _shift(self, x: Tensor) -> Tensor:
        """This process's share of the whole mini-batch, rotated by one row."""
        return shifted(x)

    def _precision(self) -> AbstractContextManager[Any]:
        return precise(self.config.precision, self.device)

    def _output(self, x: Tensor, plan: Plan) -> Tensor:
        return self.model.run(x, plan)

    def _seed(self, seed: int) -> None:
        """Seed torch's generators, from which dropout draws. ``torch.manual_seed`` would also seed unused devices,
        which takes a millisecond."""
        torch.default_generator.manual_seed(seed)
        if self.device.type == "cuda":
            torch.cuda.manual_seed(seed)
        elif self.device.type == "mps":
            torch.mps.manual_seed(seed)

    def _update(self) -> None:
        if self.config.optimizer.move_dropped:
            move_all(self.optimizer)
        if self.config.clip is not None:
            self.scaler.unscale_(self.optimizer)
            self._clip(self.config.clip)
        self.scaler.step(self.optimizer)
        self.scaler.update()

    def _clip(self, norm: float) -> None:
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), norm)

    def recalibrated(self, images: ImageSet) -> AbstractContextManager[int]:
        """Let the batch norms have re-estimated statistics within the block, which gets the number of examples."""
        config, run = self.config, self._sharing().get("run")
        examples = examples_of(config.recalibrate)
        return recalibrated(self.model, images, examples, seed=config.seed, frozen=self.frozen_norms, run=run)

    # --- what a checkpoint holds

    def tensors(self) -> dict[str, Tensor]:
        """Everything that training changes: tensors by name."""
        state = {f"model/{name}": value for name, value in tensors_of(self.model).items()}
        state |= {f"optimizer/{name}": v for name, v in optimizer_tensors(self.model, self.optimizer).items()}
        if self.average is not None:
            state |= {f"average/{name}": value for name, value in self.average.tensors.items()}
        return state

    def load(self, checkpoint: Checkpoint) -> dict[str, Tensor]:
        """Restore a checkpoint, and return its tensors."""
        own = tensors_of(self.model)

        def like(name: str) -> Tensor | None:
            kind, _, rest = name.partition("/")
            if kind == "epoch":
                return torch.empty(0)
            return own.get(rest.rpartition("/")[0] if kind == "optimizer" else rest)

        tensors = checkpoint.tensors(like if self.sharded else None)

        def below(prefix: str) -> dict[str, Tensor]:
            return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}

        self.model.load_state_dict(below("model/"))
        load_optimizer(self.model, self.optimizer, below("optimizer/"))
        if self.average is not None:
            self.average.load(below("average/"))
        self.scaler.load_state_dict(checkpoint.progress.scaler)
        return tensors

    # --- what a run needs of it

    def order(self, examples: int, epoch: int) -> tuple[Tensor, ...]:
        """The rows of this process's share of each mini-batch of an epoch."""
        return batch_order(examples, self.config.batch, self.config.seed, epoch)

    def weights(self) -> dict[str, Tensor]:
        """The whole parameters and buffers, in the first process."""
        return tensors_of(self.model)

    def load_weights(self, file: Path) -> None:
        """Load the weights in a file."""
        load_weights(self.model, [file])

    def measure(
        self,
        images: ImageSet,
        part: Part,
        columns: bool = True,
        *,
        confusion: bool = False,
        worst: Worst | None = None,
    ) -> dict[str, Any]:
        """The figures of ``measure_all``."""
        sharing = self._sharing()
        return measure_all(self.model, images, part, columns, confusion=confusion, worst=worst, **sharing)

    def _sharing(self) -> dict[str, Any]:
        """The arguments by which ``measure_all`` shares its work among the processes."""
        return {"shares": self.shares}

    def finite(self) -> bool:
        """Whether all parameters of this process are finite."""
        return all(bool(local(p).isfinite().all()) for p in self.model.parameters())


def _channels_last(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=_LAYOUTS[x.dim()]) if x.dim() in _LAYOUTS else x


def plans(model: FractalModule, seed: int, step: int) -> Iterator[tuple[Plan, float]]:
    """The plans of a step with the weights of their losses: with ``columns=all``, a local plan and every column."""
    first, *columns = model.plans(seed, step)
    yield first, 1.0
    for column in columns:
        yield column, 1 / model.n_columns
