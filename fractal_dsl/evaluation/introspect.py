"""Measures the inside of a net during training, on one fixed batch of training examples after each epoch."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor

from fractal_dsl.data import ImageSet, seed_for
from fractal_dsl.graph.path_lengths import weighted_depths
from fractal_dsl.plans.plan import Plan
from fractal_dsl.runtime.module import FractalModule

_IMAGES = 256


class Tracker:
    """Measures a net in eval mode on up to 256 fixed training examples without augmentation.

    ``norms`` has the latest L2 norm of the gradient of each weighted layer, by module name.
    """

    def __init__(self, model: FractalModule, images: ImageSet, seed: int, batch: int) -> None:
        self.model, self.images, self.batch = model, images, batch
        generator = torch.Generator().manual_seed(seed_for("tracked", seed))
        self.rows = torch.randperm(len(images.train), generator=generator)[:_IMAGES]
        self.depths = weighted_depths(model.join_graph)
        self.norms: dict[str, float] = {}

    def measure(self) -> dict[str, Any]:
        """``loss`` of the whole net (nats per example), that of each column alone (``columns``), and ``gradients``.

        ``gradients`` lists, for each depth in weighted layers from 1, the mean L2 norm of the layers' gradients there.
        """
        self.model.eval()
        columns = [
            {"column": k, "loss": self._loss(self.model.column_plan(k), False)[0]}
            for k in range(1, self.model.n_columns + 1)
        ]
        loss, sums = self._loss(self.model.full_plan(), True)
        squares = iter([s.square().sum().item() for s in sums])
        self.norms = {name: sum(next(squares) for _ in self._weights(name)) ** 0.5 for name in self.depths}
        return {"loss": loss, "columns": columns, "gradients": self._by_depth()}

    def _weights(self, name: str) -> list[torch.nn.Parameter]:
        return [p for p in self.model.get_submodule(name).parameters() if p.requires_grad]

    def _loss(self, plan: Plan, gradients: bool) -> tuple[float, list[Tensor]]:
        parameters = [p for name in self.depths for p in self._weights(name) if gradients]
        sums = [torch.zeros_like(p) for p in parameters]
        total = 0.0
        for rows in cast(tuple[Tensor, ...], self.rows.split(self.batch)):
            x, y = self.images.batch(self.images.train, rows)
            with torch.set_grad_enabled(gradients):
                loss = self.images.task.losses(self.model.run(x, plan), y).sum() / len(self.rows)
            total += loss.item()
            if gradients:
                grads = torch.autograd.grad(loss, parameters, allow_unused=True)
                for s, g in zip(sums, cast(tuple[Tensor | None, ...], grads), strict=True):
                    if g is not None:
                        s.add_(g)
        return total, sums

    def _by_depth(self) -> list[float]:
        norms_at: dict[int, list[float]] = {}
        for name, depth in self.depths.items():
            norms_at.setdefault(depth, []).append(self.norms[name])
        return [sum(norms) / len(norms) for _, norms in sorted(norms_at.items())]
