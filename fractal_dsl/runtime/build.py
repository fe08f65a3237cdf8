"""Builds a network with initial weights from a compiled spec."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from fractal_dsl.base.deep import deep
from fractal_dsl.compiled import Compiled
from fractal_dsl.runtime.graph_to_fx import graph_to_modules
from fractal_dsl.runtime.module import FractalModule


def build(compiled: Compiled, seed: int = 0, device: str | torch.device = "cpu") -> FractalModule:
    """Build the network of a compiled spec. Its weights are drawn from ``seed`` by the net's ``init`` option.

    Drop-path draws from the same seed. On device ``meta``, nothing is allocated or initialised. The schemes are
    xavier (Glorot and Bengio 2010), kaiming (He et al. 2015) and orthogonal (Saxe et al. 2013).
    """
    with deep(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        modules = graph_to_modules(compiled.graph, device)
        model = FractalModule(compiled.graph, modules, seed)
        if torch.device(device).type != "meta":
            _initialise(model, compiled.program.init)
    return model


_INITS: dict[str, Callable[[Tensor], Any]] = {
    "xavier": nn.init.xavier_uniform_,
    "xavier_normal": nn.init.xavier_normal_,
    "kaiming": lambda w: nn.init.kaiming_uniform_(w, nonlinearity="relu"),
    "kaiming_normal": lambda w: nn.init.kaiming_normal_(w, nonlinearity="relu"),
    "orthogonal": nn.init.orthogonal_,
}

_WEIGHTED = (
    nn.Linear,
    *(nn.Conv1d, nn.Conv2d, nn.Conv3d),
    *(nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d),
)


def _initialise(model: nn.Module, init: str) -> None:
    """Initialise convolutions and linear layers: weights by the scheme, biases to 0. ``default`` keeps torch's own."""
    if init == "default":
        return
    for module in model.modules():
        if isinstance(module, _WEIGHTED):
            _INITS[init](module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
