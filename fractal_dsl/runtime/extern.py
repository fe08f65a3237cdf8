"""Python classes by name, and what they do to shapes: found by running them on the meta device."""

from __future__ import annotations

import importlib
import warnings
from functools import cache
from typing import Any

import torch
from torch import nn

from fractal_dsl.ops import Tensor, TorchModule

_BATCH = 3
_TYPES = {torch.float32: "f32", torch.int64: "i64"}
# they map no tensor to one tensor, and with great counts take long to construct
NOT_LAYERS = {"LSTM", "GRU", "RNN", "RNNBase", "Transformer", "TransformerDecoder", "TransformerEncoder", "Module"}


class Failed(Exception):
    """A class does not do what a layer or join must; the message goes on from its name."""


def nn_names() -> list[str]:
    """The modules of torch.nn that ``nn.Name(…)`` may name."""
    return [
        name
        for name, value in vars(nn).items()
        if isinstance(value, type)
        and issubclass(value, nn.Module)
        and name not in NOT_LAYERS
        and not name.startswith("Lazy")
    ]


def load_class(target: str) -> type[nn.Module]:
    """The class of ``nn.X`` or of ``package.module:Class``. Raises Failed if there is none."""
    if target.startswith("nn."):
        return getattr(nn, target.removeprefix("nn."))
    found = load_object(target)
    if not (isinstance(found, type) and issubclass(found, nn.Module)):
        raise Failed(f"{target} is no class derived from torch.nn.Module")
    return found


def load_object(target: str) -> Any:
    """What ``package.module:name`` names. Raises Failed if there is none."""
    path, _, name = target.partition(":")
    try:
        found: Any = importlib.import_module(path)
        for part in name.split("."):
            found = getattr(found, part)
    except Exception as error:  # whatever code there runs may raise anything
        raise Failed(_said(error)) from None
    return found


def try_layer(call: TorchModule, x: Tensor) -> tuple[Tensor, int]:
    """The output of a module for an input, and its parameters. Raises Failed in torch's own words."""
    return _try(call, (x,), repr(call))


def try_join(call: TorchModule, operands: tuple[Tensor, ...]) -> tuple[Tensor, int]:
    """The output of a module for several operands, and its parameters. Raises Failed."""
    return _try(call, operands, repr(call))


@cache
def _try(call: TorchModule, operands: tuple[Tensor, ...], text: str) -> tuple[Tensor, int]:
    """``text`` tells apart calls with arguments that are equal but of other types: 1 and true."""
    cls = load_class(call.target)
    types = {name: dtype for dtype, name in _TYPES.items()}
    given = " and ".join(map(str, operands))
    with torch.device("meta"), torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            module = cls(*call.args, **dict(call.kwargs)).train()
            params = sum(p.numel() for p in module.parameters())
        except Exception as error:  # torch raises many kinds, and a class of the user's any
            raise Failed(f"cannot be made: {_said(error)}") from None
        try:
            out = module(*[torch.empty(_BATCH, *x.shape, dtype=types[x.dtype]) for x in operands])
        except Exception as error:
            raise Failed(f"does not take {given}, tried with a batch of {_BATCH}: {_said(error)}") from None
    if any(getattr(m, "inplace", False) for m in module.modules()):
        raise Failed("works in place, which changes what other blocks read: leave `inplace` out")
    if not isinstance(out, torch.Tensor):
        raise Failed(f"gives a {type(out).__name__} for {given}, not one tensor")
    if out.dtype not in _TYPES:
        raise Failed(f"gives a tensor of {out.dtype}, and tensors here are f32 or i64")
    if out.dim() < 1 or out.shape[0] != _BATCH:
        raise Failed(f"does not keep the batch, the first axis: a batch of {_BATCH} became {tuple(out.shape)}")
    return Tensor(_TYPES[out.dtype], tuple(out.shape[1:])), params


def _said(error: Exception) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 300 else text[:299] + "…"
