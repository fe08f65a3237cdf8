"""One training step: forward and backward under the step's plans, then the optimizer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import torch
from torch import Tensor

from fractal_dsl.config import TrainConfig
from fractal_dsl.plan import Plan
from fractal_dsl.runtime.data import seed_for
from fractal_dsl.runtime.ema import Average
from fractal_dsl.runtime.mixing import Targets, loss_of, mix, right_of
from fractal_dsl.runtime.module import FractalModule
from fractal_dsl.runtime.optimizers import load_optimizer, make_optimizer, optimizer_tensors

_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
_LAYOUTS = {4: torch.channels_last, 5: torch.channels_last_3d}


class Stepper:
    """Trains a model, mini-batch by mini-batch, and holds all that changes while it does."""

    def __init__(self, model: FractalModule, config: TrainConfig, device: torch.device) -> None:
        self.model, self.config, self.device = model, config, device
        if config.channels_last:
            cast(Any, model).to(memory_format=torch.channels_last)
        if config.checkpoint_levels is not None:
            model.checkpoint(config.checkpoint_levels)
        if config.compile:
            model.compile()
        self.optimizer = make_optimizer(model, config.optimizer)
        self.average = Average(model, config.ema) if config.ema is not None else None
        self.scaler = torch.amp.GradScaler(device.type, enabled=config.precision == "fp16")

    def step(self, x: Tensor, y: Tensor, number: int, rate: float) -> tuple[Tensor, Tensor]:
        """Learn from inputs [batch, …] and labels [batch] in step ``number``, counted from 0.

        Returns the loss under the step's first plan, and how many images it classified right.
        """
        self._seed(seed_for("dropout", self.config.seed, number))
        x, targets = mix(x, y, self.config, number)
        self.optimizer.zero_grad()
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        losses: list[Tensor] = []
        rights: list[Tensor] = []
        for inputs, labels, share in self._parts(x, targets):
            for i, (plan, weight) in enumerate(plans(self.model, self.config.seed, number)):
                loss, right = self._backward(inputs, labels, plan, weight * share)
                if i == 0:
                    losses.append(loss if share == 1 else loss * share)
                    rights.append(right)
        self._update()
        if self.average is not None:
            self.average.update(number + 1)
        return sum(losses[1:], losses[0]), sum(rights[1:], rights[0])

    def _parts(self, x: Tensor, targets: Targets) -> Iterator[tuple[Tensor, Targets, float]]:
        """The mini-batch in so many parts, each with its share of the images."""
        if self.config.accumulate == 1:
            yield x, targets, 1.0
            return
        for rows in torch.arange(len(x), device=x.device).tensor_split(min(len(x), self.config.accumulate)):
            yield x[rows], [(labels[rows], weight) for labels, weight in targets], len(rows) / len(x)

    def _backward(self, x: Tensor, targets: Targets, plan: Plan, weight: float) -> tuple[Tensor, Tensor]:
        """Add a plan's gradients: one pass at a time is in memory."""
        if self.config.channels_last and x.dim() in _LAYOUTS:
            x = x.contiguous(memory_format=_LAYOUTS[x.dim()])
        dtype = _DTYPES.get(self.config.precision)
        if dtype is None:
            logits = self.model.run(x, plan)
        else:
            with torch.autocast(self.device.type, dtype):
                logits = self.model.run(x, plan)
        loss = loss_of(logits, targets, self.config.label_smoothing)
        self.scaler.scale(loss if weight == 1 else loss * weight).backward()
        return loss.detach(), right_of(logits.detach(), targets)

    def _seed(self, seed: int) -> None:
        """Dropout draws from torch's generators. ``torch.manual_seed`` also sees to devices that are not used, which
        takes a millisecond."""
        torch.default_generator.manual_seed(seed)
        if self.device.type == "cuda":
            torch.cuda.manual_seed(seed)
        elif self.device.type == "mps":
            torch.mps.manual_seed(seed)

    def _update(self) -> None:
        if self.config.clip is not None:
            self.scaler.unscale_(self.optimizer)
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip)
        self.scaler.step(self.optimizer)
        self.scaler.update()

    # --- what a checkpoint holds

    def tensors(self) -> dict[str, Tensor]:
        """Everything that training changes, as tensors by name."""
        state = {f"model/{name}": value for name, value in self.model.state_dict().items()}
        state |= {f"optimizer/{name}": v for name, v in optimizer_tensors(self.model, self.optimizer).items()}
        if self.average is not None:
            state |= {f"average/{name}": value for name, value in self.average.tensors.items()}
        return state

    def load(self, tensors: dict[str, Tensor], scaler: dict[str, Any]) -> None:
        """Put back ``tensors()`` and the state of the gradients' scale."""

        def below(prefix: str) -> dict[str, Tensor]:
            return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}

        self.model.load_state_dict(below("model/"))
        load_optimizer(self.model, self.optimizer, below("optimizer/"))
        if self.average is not None:
            self.average.load(below("average/"))
        self.scaler.load_state_dict(scaler)


def plans(model: FractalModule, seed: int, step: int) -> Iterator[tuple[Plan, float]]:
    """The plans of a step and the weights of their losses: with ``columns=all`` a local one and every column."""
    yield model.plan(seed, step), 1.0
    if model.drop_path and model.drop_path.all_columns:
        for k in range(1, model.n_columns + 1):
            yield model.column_plan(k), 1 / model.n_columns
