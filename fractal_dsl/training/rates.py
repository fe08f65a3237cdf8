"""The setting ``lr_scale``: factors of the learning rate for kinds of parameters and parts of a net."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import nn
from torch.nn.modules.batchnorm import _NormBase  # pyright: ignore[reportPrivateUsage]

from fractal_dsl.graph.graph import JoinGraph
from fractal_dsl.runtime.frozen import frozen_modules
from fractal_dsl.runtime.module import FractalModule
from fractal_dsl.training.freezing import check_named

KINDS = ("bias", "norm")
_NORMS = (_NormBase, nn.GroupNorm, nn.LayerNorm, nn.RMSNorm)


def scales(entries: Sequence[str]) -> dict[str, float]:
    """The factor of each name. One that is given twice counts twice."""
    factors: dict[str, float] = {}
    for entry in entries:
        name, _, factor = entry.partition("=")
        factors[name.strip()] = factors.get(name.strip(), 1.0) * float(factor)
    return factors


def check_rates(graph: JoinGraph, entries: Sequence[str]) -> None:
    """Raise UserError if a name is no kind of parameter, no tag and no module of a net."""
    check_named(graph, [name for name in scales(entries) if name not in KINDS], "lr_scale")


def rate_factors(model: FractalModule, entries: Sequence[str]) -> Mapping[nn.Parameter, float]:
    """The factor of the learning rate of each parameter for which it is not 1.

    A name may be missing: a single column lacks parts of its net.
    """
    factors: dict[nn.Parameter, float] = {}
    for name, factor in scales(entries).items():
        for parameter in _parameters(model, name):
            factors[parameter] = factors.get(parameter, 1.0) * factor
    return {parameter: factor for parameter, factor in factors.items() if factor != 1}


def _parameters(model: FractalModule, name: str) -> list[nn.Parameter]:
    """The parameters of a kind, a tag or a module."""
    if name == "norm":
        return [p for m in model.modules() if isinstance(m, _NORMS) for p in m.parameters(recurse=False)]
    if name == "bias":
        layers = [m for m in model.modules() if not isinstance(m, _NORMS)]
        named = [pair for m in layers for pair in m.named_parameters(recurse=False)]
        return [p for full, p in named if full.startswith("bias") or full.endswith("bias")]
    ours = model.modules_now().modules
    parts = [ours[module] for module in sorted(frozen_modules(model.join_graph, [name]) & ours.keys())]
    return list(dict.fromkeys(p for part in parts for p in part.parameters()))
