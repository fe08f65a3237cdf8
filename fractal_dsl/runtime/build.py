"""Builds a network with initial weights from a compiled spec."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from fractal_dsl.base.deep import deep
from fractal_dsl.compiled import Compiled
from fractal_dsl.program.program import Init
from fractal_dsl.runtime.graph_to_fx import graph_to_modules
from fractal_dsl.runtime.module import FractalModule


def build(compiled: Compiled, seed: int = 0, device: str | torch.device = "cpu") -> FractalModule:
    """Build the network of a compiled spec. Its weights are drawn from ``seed`` by the net's ``init`` option.

    Drop-path draws from the same seed. On device ``meta``, nothing is allocated or initialised. The schemes are
    xavier (Glorot and Bengio 2010), kaiming (He et al. 2015) and orthogonal (Saxe et al. 2013). Raises TypeError for
    what is not a compiled spec, such as a path or a net of the builder.
    """
    if not isinstance(compiled, Compiled):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(
            f"build needs a compiled net, not {compiled!r}: compile a file with compile_file(path), or a net of the "
            "builder with its compile()"
        )
    with deep(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        modules = graph_to_modules(compiled.graph, device)
        model = FractalModule(compiled.graph, modules, seed)
        if torch.device(device).type != "meta":
            _initialise(model, compiled.program.init)
    return model


def _drawing(init: Init) -> Callable[[Tensor], Any]:
    """What fills a weight. The variance is the scheme's gain over the number of inputs, of outputs, or their mean."""
    if init.scheme == "orthogonal":
        return nn.init.orthogonal_
    activation = "relu" if init.scheme.startswith("kaiming") else "linear"
    normal = init.scheme.endswith("_normal")
    if init.fan == "average":
        fill = nn.init.xavier_normal_ if normal else nn.init.xavier_uniform_
        return partial(fill, gain=nn.init.calculate_gain(activation))
    fill = nn.init.kaiming_normal_ if normal else nn.init.kaiming_uniform_
    return partial(fill, mode="fan_out" if init.fan == "out" else "fan_in", nonlinearity=activation)


_WEIGHTED = (
    nn.Linear,
    *(nn.Conv1d, nn.Conv2d, nn.Conv3d),
    *(nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d),
)


def _initialise(model: nn.Module, init: Init) -> None:
    """Initialise convolutions and linear layers: weights by the scheme, biases to 0. ``default`` keeps torch's own."""
    if init.scheme == "default":
        return
    fill = _drawing(init)
    for module in model.modules():
        if isinstance(module, _WEIGHTED):
            fill(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
