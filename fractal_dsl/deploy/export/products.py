"""Convolutions of small images as matrix products, for ONNX Runtime.

A convolution over few pixels with large weights takes the time of reading its weights. As the product of its inputs
[pixels, taps · channels] by its weights, it reads them once and in order.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

PIXELS = 16
"""The largest number of output pixels: the rows that one kernel of a matrix product takes."""
WEIGHTS = 1 << 18
"""The smallest number of weights. Fewer stay in the cache."""


class ConvAsProduct(nn.Module):
    """A convolution of images [batch, channels, height, width] of one size, as a matrix product."""

    taps: Tensor

    def __init__(self, conv: nn.Conv2d, given: torch.Size, made: torch.Size) -> None:
        super().__init__()
        height, width = given[2:]
        (top, left), nothing = cast(tuple[int, int], conv.padding), height * width
        places = F.pad(torch.arange(0.0, nothing).view(1, 1, height, width), (left, left, top, top), value=nothing)
        taps = F.unfold(places, cast(Any, conv.kernel_size), conv.dilation, 0, conv.stride)[0].T
        self.register_buffer("taps", taps.long().flatten())
        self.padded = bool((self.taps == nothing).any())
        self.size = tuple(made[2:])
        self.weight = nn.Parameter(conv.weight.detach().permute(0, 2, 3, 1).flatten(1).contiguous())
        self.bias = conv.bias

    def forward(self, x: Tensor) -> Tensor:
        out, inner = self.weight.shape
        pixels = x.flatten(2).transpose(1, 2)
        if self.padded:  # by one row of zeros, for the taps outside of the image
            pixels = F.pad(pixels, (0, 0, 0, 1))
        rows = pixels.index_select(1, self.taps).reshape(-1, inner)
        y = F.linear(rows, self.weight, self.bias)
        return y.reshape(-1, self.size[0] * self.size[1], out).transpose(1, 2).reshape(-1, out, *self.size)


def with_products(net: nn.Module, examples: Sequence[Tensor]) -> nn.Module | None:
    """A copy of a net for inference with its small convolutions as matrix products. None if it has none.

    ``examples`` are inputs of the net [batch, …], which tell the sizes of the images.
    """
    sizes: dict[nn.Module, set[tuple[torch.Size, torch.Size]]] = {}

    def note(module: nn.Module, given: tuple[Any, ...], made: Any) -> None:
        sizes.setdefault(module, set()).add((given[0].shape, made.shape))

    changed = copy.deepcopy(net)
    modules: dict[str, nn.Module] = dict(cast(Any, changed).named_modules())
    names = {name: module for name, module in modules.items() if isinstance(module, nn.Conv2d)}
    hooks = [module.register_forward_hook(note) for module in names.values()]
    with torch.no_grad():
        changed(*examples)
    for hook in hooks:
        hook.remove()
    count = 0
    for name, conv in names.items():
        shapes = sizes.get(conv, set())
        if len(shapes) == 1 and _gains(conv, *(made for _, made in shapes)):
            changed.set_submodule(name, ConvAsProduct(conv, *shapes.pop()))
            count += 1
    return changed if count else None


def _gains(conv: nn.Conv2d, made: torch.Size) -> bool:
    plain = conv.groups == 1 and conv.padding_mode == "zeros" and not isinstance(conv.padding, str)
    return plain and made[2] * made[3] <= PIXELS and conv.weight.numel() >= WEIGHTS
