"""Optimizers from their settings, and their state as tensors by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from fractal_dsl.config import AdamW, Sgd


def make_optimizer(
    model: nn.Module,
    config: Sgd | AdamW,
    *,
    sharded: bool = False,
    factors: Mapping[nn.Parameter, float] | None = None,
) -> torch.optim.Optimizer:
    """Torch's optimizer over the model's parameters, fused if the device supports it and weights are not ``sharded``.

    Parameters with equal ``factors`` of the learning rate, by default 1, are in one group, which has the factor under
    ``scale``. Momentum starts as zeros, which gives the same numbers: fused SGD cannot add a parameter whose first
    gradient comes later than others', as drop-path makes happen.
    """
    parameters = [p for p in model.parameters() if p.requires_grad]
    groups = _groups(parameters, factors or {})
    fused = parameters[0].device.type in ("cpu", "cuda") if parameters else False
    if isinstance(config, AdamW):
        options = config.model_dump(exclude={"name", "move_dropped", "beta1", "beta2"})
        return torch.optim.AdamW(groups, betas=(config.beta1, config.beta2), fused=fused, **options)
    options = config.model_dump(exclude={"name", "move_dropped"})
    optimizer = torch.optim.SGD(groups, fused=fused and not sharded, **options)
    if config.momentum:
        for parameter in parameters:
            optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
    return optimizer


def _groups(parameters: Sequence[nn.Parameter], factors: Mapping[nn.Parameter, float]) -> list[dict[str, Any]]:
    """The parameters by their factors, in order."""
    groups: dict[float, list[nn.Parameter]] = {}
    for parameter in parameters:
        groups.setdefault(factors.get(parameter, 1.0), []).append(parameter)
    return [{"params": members, "scale": factor} for factor, members in groups.items()] or [
        {"params": [], "scale": 1.0}
    ]


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set the learning rate of each group to its share of ``rate``."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group["scale"]


def move_all(optimizer: torch.optim.Optimizer) -> None:
    """Give the parameters that took no part in a step gradients of zero, so that the optimizer moves them, too."""
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)


def optimizer_tensors(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimizer's state: tensors under ``PARAMETER/ENTRY``."""
    return {
        f"{name}/{entry}": value
        for name, parameter in model.named_parameters()
        for entry, value in optimizer.state.get(parameter, {}).items()
        if isinstance(value, Tensor)
    }


def load_optimizer(model: nn.Module, optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Load the state that ``optimizer_tensors`` returned, in the memory layout of the parameters."""
    state: dict[int, dict[str, Tensor]] = {}
    named = {name: p for name, p in model.named_parameters() if p.requires_grad}
    order = [p for group in optimizer.param_groups for p in group["params"]]
    numbers = {p: i for i, p in enumerate(order)}
    places = {name: numbers[p] for name, p in named.items()}
    for key, value in tensors.items():
        name, _, entry = key.rpartition("/")
        like = named[name]
        same = value.shape == like.shape and value.dim() > 0
        state.setdefault(places[name], {})[entry] = torch.empty_like(like).copy_(value) if same else value
    groups: list[dict[str, Any]] = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": state, "param_groups": groups})
