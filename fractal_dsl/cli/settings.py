"""Flags for settings of the train block, made from the schema in ``fractal_dsl.config``."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal, get_args, get_origin

import typer
from pydantic.fields import FieldInfo

from fractal_dsl.cli.grouped import Command, grouped
from fractal_dsl.config import TrainConfig
from fractal_dsl.config.errors import variants

Flags = Mapping[str, Any]
"""The settings that flags give, by key: ``{"epochs": 5, "optimizer.lr": 0.1}``."""

TRAINING = (
    "epochs",
    "batch",
    "accumulate",
    "optimizer.lr",
    "dataset",
    "dataset.download",
    "precision",
    "channels_last",
    "compile",
    "checkpoint_levels",
    "tensorboard",
    "wandb",
    "mlflow",
)
"""The settings that have flags in each command that trains."""


def with_flags(*keys: str) -> Callable[[Command], Command]:
    """Give a command a flag for each of these settings, in place of its parameter ``flags`` of type ``Flags``.

    The schema gives a flag its type, range and help. A nested setting is named by its last part: ``optimizer.lr``
    becomes ``--lr``. A weight is named by its setting: ``distill.weight`` becomes ``--distill``.
    """
    by_name = {_name(key): key for key in keys}

    def flags(**values: Any) -> Flags:
        return {by_name[name]: value for name, value in values.items() if value is not None}

    return lambda command: grouped(command, "flags", [_option(key) for key in keys], flags)


def settings_of(flags: Flags, given: Mapping[str, str]) -> dict[str, Any]:
    """The settings that flags give. ``--max-minutes inf`` means no limit.

    A setting that ``--set`` gives too (``given``) and a number that is not finite are wrong usage.
    """
    settings: dict[str, Any] = {}
    for key, value in flags.items():
        if key in given:
            raise typer.BadParameter(
                f"--set {key}={given[key]} also gives this setting: leave one of them out", param_hint=_flag(key)
            )
        unlimited = key == "max_minutes" and value == math.inf
        if isinstance(value, float) and not math.isfinite(value) and not unlimited:
            raise typer.BadParameter(f"`{key}` must be a finite number, found {value}", param_hint=_flag(key))
        settings[key] = None if unlimited else value
    return settings


def _name(key: str) -> str:
    setting, _, inner = key.partition(".")
    return setting if inner == "weight" else inner or setting


def _flag(key: str) -> str:
    return f"--{_name(key).replace('_', '-')}"


def _option(key: str) -> inspect.Parameter:
    """The option of a command for a setting. Its value is None if the flag is not given."""
    field, flag = _field(key), _flag(key)
    kind, metavar = _kind(field), None
    if kind is None:
        kind, metavar = str, "NAME"
    if kind is bool and field.default is not False:
        flag = f"{flag}/--no-{flag[2:]}"
    option = typer.Option(flag, metavar=metavar, help=_help(field), min=_limit(field, "ge"), max=_limit(field, "le"))
    kinds = inspect.Parameter.KEYWORD_ONLY
    return inspect.Parameter(_name(key), kinds, default=None, annotation=Annotated[kind | None, option])


def _field(key: str) -> FieldInfo:
    """A setting in the schema. A nested one is taken from the first variant that has it."""
    setting, _, inner = key.partition(".")
    models = variants(setting) if inner else (TrainConfig,)
    return next(model.model_fields[inner or setting] for model in models if (inner or setting) in model.model_fields)


def _kind(field: FieldInfo) -> Any:
    """The type of a plain setting or its choices; None for a setting with variants."""
    kinds = get_args(field.annotation) if type(None) in get_args(field.annotation) else (field.annotation,)
    plain = [kind for kind in kinds if kind in (bool, int, float, str) or get_origin(kind) is Literal]
    return (bool if True in get_args(plain[0]) else plain[0]) if plain else None


def _limit(field: FieldInfo, name: str) -> float | None:
    return next((getattr(limit, name) for limit in field.metadata if hasattr(limit, name)), None)


def _help(field: FieldInfo) -> str:
    text = field.description or ""
    return f"{text[:1].upper()}{text[1:]}."
