"""Lays the weights of a net out with channels last."""

from __future__ import annotations

from typing import Any, cast

import torch

from fractal_dsl.runtime.module import FractalModule
from fractal_dsl.runtime.own_layout import small_images


def lay_channels_last(model: FractalModule) -> None:
    """Lay the weights of a net out with channels last, in place. On a CPU, convolutions of small images keep channels
    first."""
    cast(Any, model).to(memory_format=torch.channels_last)
    modules = model.modules_now().modules
    for name in small_images(model.join_graph, modules):
        weight = modules[name].get_parameter("weight")
        if weight.device.type == "cpu":
            weight.data = weight.data.contiguous()
