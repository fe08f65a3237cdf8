"""Clones of new modules. A clone takes a tenth of the time of its class's constructor, and has the same weights."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase  # pyright: ignore[reportPrivateUsage]
from torch.nn.modules.conv import _ConvNd  # pyright: ignore[reportPrivateUsage]

_RANDOM = (_ConvNd, nn.Linear)
"""Their constructors draw the weights last, with `reset_parameters`."""
_CONSTANT = (_NormBase, nn.LayerNorm, nn.RMSNorm, nn.GroupNorm)
"""Their constructors give all weights the same values."""


def can_clone(module: nn.Module) -> bool:
    """Whether a ``Template`` may stand for the constructor of a new module of torch or of this package."""
    if next(module.children(), None) is not None:
        return False
    return isinstance(module, _RANDOM + _CONSTANT) or not module.state_dict()


class Template:
    """Makes what the constructor of a new module would make the next time: modules with weights of their own, drawn
    from the current state of torch's random numbers. ``can_clone`` must hold for the module."""

    def __init__(self, module: nn.Module) -> None:
        self.cls = type(module)
        self.drawn = isinstance(module, _RANDOM) and not module.weight.is_meta
        self.fixed: dict[str, Any] = {}
        self.copied: dict[str, Callable[[], Any]] = {}
        self.tensors: list[tuple[str, str, Tensor, bool | None]] = []
        for name, value in vars(module).items():
            if type(value) in (dict, OrderedDict, set, list):
                self.copied[name] = value.copy if value else type(value)
            else:
                self.fixed[name] = value
        for name, parameter in module.named_parameters():
            self.tensors.append(("_parameters", name, parameter.detach().clone(), parameter.requires_grad))
        for name, buffer in module.named_buffers():
            self.tensors.append(("_buffers", name, buffer.clone(), None))

    def __call__(self) -> nn.Module:
        """A new module."""
        module = object.__new__(self.cls)
        state = vars(module)
        state.update(self.fixed)
        for name, make in self.copied.items():
            state[name] = make()
        for kind, name, tensor, learns in self.tensors:
            data = torch.empty_like(tensor) if self.drawn else tensor.clone()
            state[kind][name] = data if learns is None else nn.Parameter(data, learns)
        if self.drawn:
            cast(Any, module).reset_parameters()
        return module
