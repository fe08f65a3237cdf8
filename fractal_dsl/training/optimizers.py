"""Optimizers from their settings, and their state as tensors by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from fractal_dsl.config import AdamW, Sgd


def make_optimizer(model: nn.Module, config: Sgd | AdamW, *, sharded: bool = False) -> torch.optim.Optimizer:
    """Torch's optimizer over the model's parameters, fused if the device supports it and weights are not ``sharded``.

    Momentum starts as zeros, which gives the same numbers: fused SGD cannot add a parameter whose first gradient comes
    later than others', as drop-path makes happen.
    """
    parameters = [p for p in model.parameters() if p.requires_grad]
    fused = parameters[0].device.type in ("cpu", "cuda") if parameters else False
    if isinstance(config, AdamW):
        options = config.model_dump(exclude={"name", "beta1", "beta2"})
        return torch.optim.AdamW(parameters, betas=(config.beta1, config.beta2), fused=fused, **options)
    optimizer = torch.optim.SGD(parameters, fused=fused and not sharded, **config.model_dump(exclude={"name"}))
    if config.momentum:
        for parameter in parameters:
            optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
    return optimizer


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
    places = {name: i for i, name in enumerate(named)}
    for key, value in tensors.items():
        name, _, entry = key.rpartition("/")
        like = named[name]
        same = value.shape == like.shape and value.dim() > 0
        state.setdefault(places[name], {})[entry] = torch.empty_like(like).copy_(value) if same else value
    groups: list[dict[str, Any]] = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": state, "param_groups": groups})
