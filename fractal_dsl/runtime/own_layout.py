"""Convolutions of small images with large weights, which run in the memory layout of their weights.

To compute with channels last on a CPU, torch copies the weights and their gradients to other layouts, which takes
longer than to copy the values.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, fx, nn

from fractal_dsl.graph.graph import JoinGraph, Layer

_SMALL = 16
"""Pixels of a small image."""
_LARGE = 2**20
"""Numbers of a large weight. Smaller ones gain nothing: a processor's cache holds their copies."""


def small_images(graph: JoinGraph, modules: Mapping[str, nn.Module]) -> set[str]:
    """The names of torch's own two-dimensional convolutions with large weights that read small images only."""
    small: dict[str, bool] = {}
    for _, node in graph.items():
        if not isinstance(node, Layer):
            continue
        module = modules.get(node.module)
        if type(module) is nn.Conv2d and module.weight.numel() >= _LARGE:
            _, height, width = node.into.shape
            small[node.module] = small.get(node.module, True) and height * width <= _SMALL
    return {name for name, always in small.items() if always}


class OwnLayout:
    """Calls a convolution in the memory layout of its weights on a CPU.

    Torch takes channels last if either the input or the weights have it, and so would copy the larger weights.
    """

    def __init__(self, module: nn.Module) -> None:
        self.module = cast(nn.Conv2d, module)
        self.modules = (module,)

    def __call__(self, x: Tensor) -> Tensor:
        if not isinstance(x, fx.Proxy) and x.device.type == "cpu" and channels_first(self.module.weight):
            x = x.contiguous()
        return self.module(x)


def channels_first(weight: Tensor) -> bool:
    """Whether a weight has channels first, and not also channels last, as 1 x 1 kernels do."""
    return weight.is_contiguous() and not weight.is_contiguous(memory_format=torch.channels_last)
