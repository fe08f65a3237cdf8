"""Clones of new modules. A clone takes a tenth of the time of its class's constructor, and has the same weights."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable
from functools import cache
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
        self.bounds = _bounds(module) if self.drawn and cast(Any, module).weight.device.type == "cpu" else {}
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
            if self.bounds:
                data.uniform_(-self.bounds[name], self.bounds[name])
            state[kind][name] = data if learns is None else nn.Parameter(data, learns)
        if self.drawn and not self.bounds:
            cast(Any, module).reset_parameters()
        return module


_SMALL: dict[type[nn.Module], tuple[int, ...]] = {
    nn.Linear: (3, 2),
    **dict.fromkeys((nn.Conv1d, nn.Conv2d, nn.Conv3d), (3, 2, 2)),
    **dict.fromkeys((nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d), (3, 2, 2)),
}
"""Arguments for a small module of each class that draws its weights uniformly."""


def _bounds(module: nn.Module) -> dict[str, float]:
    """The bounds between which `reset_parameters` draws each parameter; empty if they are not known."""
    if type(module) not in _SMALL or 0 in cast(Any, module).weight.shape or not _draws_uniformly(type(module)):
        return {}
    return _uniform(module)


@cache
def _draws_uniformly(cls: type[nn.Module]) -> bool:
    """Whether `reset_parameters` of this version of torch does nothing but draw between these bounds."""
    with torch.random.fork_rng(devices=[]), torch.device("cpu"):
        module: Any = cls(*_SMALL[cls])
        torch.manual_seed(0)
        module.reset_parameters()
        expected = [parameter.detach().clone() for parameter in module.parameters()]
        after = torch.get_rng_state()
        torch.manual_seed(0)
        drawn = [
            torch.empty_like(p).uniform_(-bound, bound)
            for p, bound in zip(expected, _uniform(module).values(), strict=True)
        ]
        return all(map(torch.equal, drawn, expected)) and torch.equal(after, torch.get_rng_state())


def _uniform(module: Any) -> dict[str, float]:
    """The bounds of He initialisation with a negative slope of the square root of 5, as in torch (He et al. 2015)."""
    fan_in: int = module.weight[0].numel()
    gain = nn.init.calculate_gain("leaky_relu", math.sqrt(5))
    bounds = {"weight": math.sqrt(3.0) * (gain / math.sqrt(fan_in))}
    return bounds if module.bias is None else bounds | {"bias": 1 / math.sqrt(fan_in)}
