"""Loads Python classes by name, and runs them on the meta device to get their output shapes."""

from __future__ import annotations

import importlib
import inspect
import signal
import sys
import threading
import warnings
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import FrameType
from typing import Any, cast

import torch
from torch import nn

from fractal_dsl.ops.spec import Tensor, TorchModule

_BATCHES = (5, 7)  # two sizes, so that neither can be mistaken for a number of channels
_MAX_PARAMS = 20_000_000  # larger inputs are not run on numbers
_MAX_MACS = 2_000_000_000
_TYPES = {torch.float32: "f32", torch.int64: "i64"}
# these do not map one tensor to one tensor, and large ones are slow to construct
NOT_LAYERS = {"LSTM", "GRU", "RNN", "RNNBase", "Transformer", "TransformerDecoder", "TransformerEncoder", "Module"}


class Failed(Exception):
    """A class does not behave like a layer or join. The message continues the name of the class."""


def nn_names() -> list[str]:
    """The modules of torch.nn that ``nn.Name(…)`` can name."""
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
    if ":" not in target:
        return getattr(nn, target.removeprefix("nn."))
    cls = load_object(target)
    if not (isinstance(cls, type) and issubclass(cls, nn.Module)):
        raise Failed("it is not a subclass of torch.nn.Module")
    return cls


def search_first(folder: Path) -> None:
    """Search this folder for Python modules before all others."""
    path = str(folder.resolve())
    if path not in sys.path[:1]:
        sys.path.insert(0, path)


def load_object(target: str) -> Any:
    """The object that ``package.module:name`` names. Raises Failed if there is none."""
    path, _, name = target.partition(":")
    with _foreign_code(""):
        value: Any = importlib.import_module(path)
        for part in name.split("."):
            value = getattr(value, part)
    return value


@contextmanager
def _foreign_code(subject: str) -> Generator[None]:
    """Turn whatever foreign code raises into Failed, even ``SystemExit``, but not Ctrl-C."""
    interrupted = False
    before = signal.getsignal(signal.SIGINT)

    def interrupt(number: int, frame: FrameType | None) -> None:
        nonlocal interrupted
        interrupted = True
        if callable(before):
            before(number, frame)

    main = threading.current_thread() is threading.main_thread() and callable(before)
    if main:
        signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    except BaseException as error:
        if interrupted:
            raise
        raise Failed(subject + _reason(error)) from None
    finally:
        if main and signal.getsignal(signal.SIGINT) is interrupt:
            signal.signal(signal.SIGINT, before)


@dataclass(frozen=True, slots=True)
class Tried:
    """What a module does: its output without the batch, its parameters, and its multiply-accumulates per sample."""

    out: Tensor
    params: int
    macs: int


def try_layer(call: TorchModule, x: Tensor) -> Tried:
    """Run a module on an input. Raises Failed with torch's message."""
    return _try(call, (x,), repr(call))


def try_join(call: TorchModule, operands: tuple[Tensor, ...]) -> Tried:
    """Run a module on several operands. Raises Failed with torch's message."""
    return _try(call, operands, repr(call))


@lru_cache(10_000)
def _try(call: TorchModule, operands: tuple[Tensor, ...], text: str) -> Tried:
    """``text`` separates calls with equal arguments of different types, such as 1 and true."""
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        with torch.device("meta"):
            module = _made(call)
            _takes(module, operands)
            if any(getattr(m, "inplace", False) for m in module.modules()):
                raise Failed("works in place, which changes the input of other blocks: leave `inplace` out")
            (first, macs), (second, _) = [_shape(module, operands, batch) for batch in _BATCHES]
            if first != second:
                raise Failed(f"gives {first} in a batch of {_BATCHES[0]}, but {second} in one of {_BATCHES[1]}")
            params = sum(p.numel() for p in module.parameters())
        if params <= _MAX_PARAMS and macs <= _MAX_MACS:
            _run_on_numbers(call, operands)
    return Tried(first, params, macs)


def _made(call: TorchModule) -> nn.Module:
    cls = load_class(call.target)
    with _foreign_code("cannot be made: "):
        module = cast(object, cls(*call.args, **dict(call.kwargs)))  # its __new__ may give anything
    if not isinstance(module, nn.Module):
        raise Failed(f"makes no torch.nn.Module, but {type(module).__name__}")
    return module.train()


def _takes(module: nn.Module, operands: Sequence[Tensor]) -> None:
    """Check that a module does not need more tensors than it gets. Raises Failed."""
    try:
        params = inspect.signature(module.forward).parameters.values()
    except (AttributeError, TypeError, ValueError):  # some have no signature that Python can read
        return
    places = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    needed = [q.name for q in params if q.kind in places and q.default is q.empty]
    if len(needed) > len(operands):
        raise Failed(f"takes {len(needed)} tensors ({', '.join(needed)}), but gets {len(operands)}")


def _shape(module: nn.Module, operands: Sequence[Tensor], batch: int) -> tuple[Tensor, int]:
    """The output for a batch on the meta device, without the batch axis, and the multiply-accumulates per sample."""
    from torch.utils.flop_counter import FlopCounterMode

    types = {name: dtype for dtype, name in _TYPES.items()}
    given = " and ".join(map(str, operands))
    inputs = [torch.empty(batch, *x.shape, dtype=types[x.dtype]) for x in operands]
    versions = [x._version for x in inputs]
    refusal = f"does not take {given}, tried with a batch of {batch}: "
    with FlopCounterMode(display=False) as counter, _foreign_code(refusal):
        out = module(*inputs)
    if [x._version for x in inputs] != versions:
        raise Failed("changes its input in place, which other blocks read: write to a new tensor")
    if not isinstance(out, torch.Tensor):
        raise Failed(f"gives a {type(out).__name__} for {given}, not one tensor")
    if out.dtype not in _TYPES:
        raise Failed(f"gives a tensor of {out.dtype}, but tensors must be f32 or i64")
    if out.dim() < 1 or out.shape[0] != batch:
        raise Failed(f"does not keep the batch, the first axis: a batch of {batch} became {tuple(out.shape)}")
    return Tensor(_TYPES[out.dtype], tuple(out.shape[1:])), counter.get_total_flops() // (2 * batch)


def _run_on_numbers(call: TorchModule, operands: Sequence[Tensor]) -> None:
    """Run a module on random numbers: a torch module must work, and a sample must not depend on the rest of its batch.

    A failed run of a user's class, or on tokens, proves nothing: the class may need another device, and tokens may be
    out of range. A module that draws random numbers is not compared. Raises Failed."""
    trusted = not call.target.startswith("nn.") or any(x.dtype == "i64" for x in operands)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        try:
            module = _made(call).eval()
            given = [_random(x, _BATCHES[0]) for x in operands]
            copies = [x.clone() for x in given]
            with _foreign_code(""):
                y, again = module(*given), module(*[x.clone() for x in copies])
            order = [3, 0, 3]  # another batch, with sample 0 at another position
            with _foreign_code(""):
                z = module(*[x[order] for x in copies])
            if not trusted:
                _train_on_numbers(call, copies)
        except Failed as error:
            if not trusted:
                raise Failed(f"fails on random numbers: {error}") from None
            return
    if not all(map(torch.equal, given, copies)):
        raise Failed("changes its input in place, which other blocks read: write to a new tensor")
    if not torch.equal(y, again):
        return
    if not torch.allclose(y[0], z[1], rtol=1e-3, atol=1e-4, equal_nan=True):
        raise Failed(
            "mixes the samples of a batch: its output for one depends on the others. The first axis is the batch: "
            "some modules need `batch_first=true`, or another `dim`"
        )


def _train_on_numbers(call: TorchModule, given: Sequence[torch.Tensor]) -> None:
    """Run a module forward and backward in train mode. Raises Failed."""
    module = _made(call)
    with torch.enable_grad(), _foreign_code("in training, "):
        y: torch.Tensor = module(*[x.clone().requires_grad_() for x in given])
        if y.requires_grad:
            y.sum().backward()
    if not y.isfinite().all():
        raise Failed("it gives numbers that are not finite")


def _random(x: Tensor, batch: int) -> torch.Tensor:
    shape = (batch, *x.shape)
    return torch.randint(0, 2, shape) if x.dtype == "i64" else torch.randn(shape)


def _reason(error: BaseException) -> str:
    text = " ".join(str(error).split())
    if not isinstance(error, Exception):
        text = f"it raises {type(error).__name__}" + (f": {text}" if text else "")
    elif isinstance(error, KeyError):  # its text is only the key
        text = f"KeyError: {text}"
    text = text or type(error).__name__
    return text if len(text) <= 300 else text[:299] + "…"
