"""Nets by name: of torchvision, of timm, of Python code, and of files that ``torch.export`` wrote."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from fractal_dsl.base.errors import UserError, suggestion
from fractal_dsl.ops import Tensor
from fractal_dsl.ops.foreign_python import Failed, load_object

_IMAGE = Tensor("f32", (3, 224, 224))
_KINDS = "torchvision:NAME, timm:NAME, MODULE:FACTORY or FILE.pt2"


class Given(NamedTuple):
    """A net to import: what it is, an example of each input, and a name for the file."""

    net: nn.Module | torch.export.ExportedProgram
    examples: tuple[torch.Tensor, ...]
    name: str


def load(source: str, inputs: Sequence[Tensor] = (), *, pretrained: bool = False, allow_python: bool = False) -> Given:
    """The net that a text names, with weights drawn from seed 0 unless ``pretrained``.

    ``inputs`` are the types of its inputs, in order; by default those of the library. Raises UserError.
    """
    if source.endswith(".pt2"):
        return _exported(Path(source), inputs, allow_python=allow_python)
    library, colon, name = source.partition(":")
    if not colon or not name:
        raise UserError(f"{source!r} names no net: write {_KINDS}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        match library:
            case "torchvision":
                return _torchvision(name, inputs, pretrained=pretrained)
            case "timm":
                return _timm(name, inputs, pretrained=pretrained)
            case _:
                return _factory(library, name, inputs, allow_python=allow_python)


def parse_input(text: str) -> Tensor:
    """A type such as ``f32[3, 224, 224]``. Raises UserError."""
    match = re.fullmatch(r"\s*(f32|i64)\s*\[\s*(\d+(?:\s*,\s*\d+)*)\s*\]\s*", text)
    shape = tuple(map(int, match[2].split(","))) if match else ()
    if not match or not all(shape):
        raise UserError(f"{text!r} is no type of an input: write f32[3, 224, 224], without the batch")
    return Tensor(match[1], shape)


def _examples(inputs: Sequence[Tensor]) -> tuple[torch.Tensor, ...]:
    def example(input: Tensor) -> torch.Tensor:
        shape = (2, *input.shape)
        return torch.zeros(shape, dtype=torch.int64) if input.dtype == "i64" else torch.randn(shape)

    return tuple(map(example, inputs))


def library(name: str) -> Any:
    """A library of nets. Raises UserError if it is missing, or does not fit the installed torch."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        raise UserError(f"{missing} is not installed: pip install {missing}") from None
    except (ImportError, RuntimeError, OSError) as error:
        said = str(error).splitlines()[0] if str(error) else type(error).__name__
        reason = ""
        if "torchvision::" in said:
            reason = f". torchvision was built for another torch than {torch.__version__}: install the two together"
        raise UserError(f"{name} cannot be imported: {said}{reason}") from None


def _torchvision(name: str, inputs: Sequence[Tensor], *, pretrained: bool) -> Given:
    models = library("torchvision.models")
    _known(name, models.list_models(), "torchvision")
    options: dict[str, Any] = {"weights": "DEFAULT" if pretrained else None}
    if name in ("googlenet", "inception_v3") and not pretrained:
        options |= {"init_weights": False, "aux_logits": False}  # the auxiliary heads act in training only
    if "weights_backbone" in _parameters(models.get_model_builder(name)):
        options["weights_backbone"] = None
    usual = Tensor("f32", (3, 299, 299)) if name == "inception_v3" else _IMAGE
    return Given(_made(lambda: models.get_model(name, **options), name), _examples(inputs or [usual]), name)


def _timm(name: str, inputs: Sequence[Tensor], *, pretrained: bool) -> Given:
    library("torchvision")  # timm imports it, too
    timm = library("timm")
    _known(name, timm.list_models(), "timm")
    model = _made(lambda: timm.create_model(name, pretrained=pretrained), name)
    config: dict[str, Any] = vars(model).get("pretrained_cfg") or {}
    usual = Tensor("f32", tuple(config.get("input_size", _IMAGE.shape)))
    return Given(model, _examples(inputs or [usual]), name)


def _known(name: str, names: list[str], library: str) -> None:
    if name not in names:
        raise UserError(f"{library} has no net {name!r}" + (f": {hit}" if (hit := suggestion(name, names)) else ""))


def _parameters(function: Callable[..., Any]) -> list[str]:
    import inspect

    return [*inspect.signature(function).parameters]


def _factory(module: str, name: str, inputs: Sequence[Tensor], *, allow_python: bool) -> Given:
    if not allow_python:
        raise UserError(f"{module}:{name} is Python code, which runs only with --allow-python")
    try:
        made = load_object(f"{module}:{name}")
    except Failed as error:
        raise UserError(f"{module}:{name} cannot be loaded: {error}") from None
    net = made if isinstance(made, nn.Module) else _made(made, f"{module}:{name}")
    if not inputs:
        reason = "give its type, such as --input 'f32[3, 224, 224]', once for each input"
        raise UserError(f"the input of {module}:{name} is unknown: {reason}")
    return Given(net, _examples(inputs), name.rpartition(".")[2].lower())


def _made(factory: Any, name: str) -> nn.Module:
    """The module that a factory returns. Raises UserError if it fails, or returns something else."""
    try:
        made = factory()
    except Exception as error:
        said = str(error).splitlines()[0] if str(error) else ""
        raise UserError(f"{name} cannot be built: {type(error).__name__}: {said}") from None
    if not isinstance(made, nn.Module):
        raise UserError(f"{name} returns {type(made).__name__}, not a torch.nn.Module")
    return made


def _exported(file: Path, types: Sequence[Tensor], *, allow_python: bool) -> Given:
    if not allow_python:
        raise UserError(f"{file} may contain pickled Python objects, which are loaded only with --allow-python")
    if not file.is_file():
        raise UserError(f"{file} does not exist")
    try:
        program = torch.export.load(str(file))
    except Exception as error:
        raise UserError(f"{file} is no file of torch.export: {error}") from None
    inputs = program.example_inputs
    if inputs and inputs[1]:
        names = ", ".join(map(str, inputs[1]))
        raise UserError(f"{file} takes inputs by keyword ({names}): export it with all inputs by position")
    given = [*inputs[0]] if inputs else []
    if not given or not all(isinstance(example, torch.Tensor) for example in given):
        raise UserError(f"{file} has no examples of its inputs, or other inputs than tensors")
    if types and [tuple(example.shape[1:]) for example in given] != [type_.shape for type_ in types]:
        shapes = " and ".join(str([*example.shape]) for example in given)
        word = "inputs" if len(given) > 1 else "input"
        raise UserError(f"{file} was exported for the {word} {shapes}: leave --input out")
    return Given(program, tuple(given), re.sub(r"\W", "_", file.stem))
