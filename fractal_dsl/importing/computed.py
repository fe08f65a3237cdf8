"""How constants are computed from weights, where the language has a counterpart: standardised filters and gains."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from fractal_dsl.importing.building import Held, Relative, Scaled, Standard

_VIEWS = {"view", "reshape", "reshape_as", "view_as", "flatten", "contiguous", "clone", "alias"}


def computed(
    name: str, real: torch.Tensor, held: Sequence[Held], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> Scaled | Standard | Relative | None:
    """How an operation on weights makes its result; None if that has no counterpart."""
    if name in _VIEWS and held[0].value.numel() == real.numel():
        return held[0].made
    if name == "mul" and len(held) == 1 and held[0].name:
        factor = next((v for v in args if isinstance(v, int | float)), None)
        return Scaled(held[0].name, float(factor)) if factor is not None else None
    if name == "_get_relative_position_bias" and held[0].name:  # of torchvision
        return Relative(held[0].name)
    if name == "batch_norm":
        return _standard(args, kwargs)
    return None


def _standard(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Standard | None:
    """The standardisation of a weight [1, filters, numbers of a filter]."""
    aten = ("input", "weight", "bias", "running_mean", "running_var", "training", "momentum", "eps", "cudnn")
    functional = ("input", "running_mean", "running_var", "weight", "bias", "training", "momentum", "eps")
    of = dict(zip(aten if len(args) == len(aten) else functional, args, strict=False)) | dict(kwargs)
    weight, gain = of.get("input"), of.get("weight")
    if not isinstance(weight, Held) or not weight.name or not of.get("training") or of.get("bias") is not None:
        return None
    made = gain.made if isinstance(gain, Held) else None
    if gain is not None and not isinstance(made, Scaled):
        return None
    return Standard(weight.name, made if isinstance(made, Scaled) else None, float(of.get("eps", 1e-5)))
