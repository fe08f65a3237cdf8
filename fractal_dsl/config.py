"""Training settings: one schema for the ``train { }`` block, the command line and a run's ``config.json``.

A setting with variants (data set, optimizer, schedule) is a union of models told apart by ``name``. In a file
``sgd(lr=0.1)`` arrives as ``{"name": "sgd", "lr": 0.1}``, and a bare text as the name alone.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, ClassVar, Literal, cast, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails

from fractal_dsl.diagnostics import UserError, suggestion

Finding = tuple[tuple[str | int, ...], str, str | None]
"""Where (the keys from the outside in), what is wrong, and help."""


class ConfigError(UserError):
    """Settings are wrong. ``findings`` holds every independent error."""

    def __init__(self, findings: Iterable[Finding]) -> None:
        self.findings = list(findings)
        lines = [message + (f"\n  help: {help}" if help else "") for _, message, help in self.findings]
        super().__init__("\n".join(lines))


class _Settings(BaseModel):
    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


# --- data sets


class Digits(_Settings):
    """The 1,797 handwritten digits that come with the package: f32[1, 8, 8], 10 classes."""

    name: Literal["digits"] = "digits"


class Synthetic(_Settings):
    """Made-up images of the net's input shape: noisy, shifted patterns, one for each class."""

    name: Literal["synthetic"] = "synthetic"
    classes: int | None = Field(default=None, ge=2, description="by default as many as the net has outputs")
    size: int = Field(default=2000, ge=10, le=1_000_000, description="number of images, the test images among them")
    noise: float = Field(default=0.5, ge=0, description="standard deviation of the noise; the patterns' is 1")
    seed: int = Field(default=0, ge=0, description="seed of the images, apart from the run's seed")


class Published(_Settings):
    """A published data set by its name alone."""

    name: Literal["cifar10", "cifar100", "svhn", "imagenet"]


# --- optimizers


class Sgd(_Settings):
    """Stochastic gradient descent. What a drop-path plan leaves out has no gradient and is not updated."""

    name: Literal["sgd"] = "sgd"
    lr: float = Field(default=0.02, gt=0, description="learning rate at the start; the schedule lowers it")
    momentum: float = Field(default=0.9, ge=0, lt=1)
    weight_decay: float = Field(default=0.0, ge=0, description="L2 penalty on every parameter")
    nesterov: bool = Field(default=False, description="Nesterov's momentum; needs momentum above 0")

    @model_validator(mode="after")
    def _check(self) -> Sgd:
        if self.nesterov and not self.momentum:
            raise ValueError("`nesterov` needs `momentum` above 0")
        return self


# --- schedules: ``factor`` is what the learning rate is multiplied by when ``epoch`` of ``epochs`` are done


class Halving(_Settings):
    """The paper's: the rate falls each time the remaining epochs halve (at 200, 300, 350, 375, … of 400)."""

    name: Literal["halving"] = "halving"
    gamma: float = Field(default=0.1, gt=0, le=1, description="factor of each fall")
    drops: int | None = Field(default=None, ge=0, description="stop after this many falls; by default never")

    def factor(self, epoch: float, epochs: int) -> float:
        """``gamma`` to the number of halvings so far; it changes between epochs only."""
        remaining = max(1, epochs - int(epoch))
        halvings = (epochs // remaining).bit_length() - 1
        return self.gamma ** (halvings if self.drops is None else min(halvings, self.drops))


class Constant(_Settings):
    """One rate throughout."""

    name: Literal["constant"] = "constant"

    def factor(self, epoch: float, epochs: int) -> float:
        """1."""
        return 1.0


# --- the whole


def _named(default: str | None) -> BeforeValidator:
    """A text is a name; settings without a name are those of the default variant."""

    def expand(value: Any) -> Any:
        if isinstance(value, str):
            return {"name": value}
        if isinstance(value, Mapping) and "name" not in value and default:
            return {"name": default, **cast(Mapping[str, Any], value)}
        return cast(object, value)

    return BeforeValidator(expand)


Dataset = Annotated[Digits | Synthetic | Published, Field(discriminator="name")]
Schedule = Annotated[Halving | Constant, Field(discriminator="name")]


class TrainConfig(_Settings):
    """How to train a net. A run's result is a function of this, the spec and its parameters."""

    dataset: Annotated[Dataset | None, _named(None)] = Field(default=None, description="what to train on")
    epochs: int = Field(default=10, ge=1, le=1_000_000, description="passes over the training images")
    batch: int = Field(default=32, ge=1, le=1_000_000, description="images in a mini-batch")
    seed: int = Field(default=0, ge=0, lt=2**63, description="seed of the weights and of every draw in training")
    validation: float = Field(
        default=0.1,
        ge=0,
        le=0.5,
        description="share of the training images held out to choose the best weights by; 0: the last are the best",
    )
    optimizer: Annotated[Sgd, _named("sgd")] = Sgd()
    schedule: Annotated[Schedule, _named("halving")] = Halving()


def merge(block: Mapping[str, Any], overrides: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """The block with settings replaced: ``("optimizer.lr", 0.1)`` leaves the optimizer's other settings.

    A new name, ``("schedule", "constant")``, drops the settings of the variant that was there, unless it is the same.
    """
    result = dict(block)
    for key, value in overrides:
        *outer, last = key.split(".")
        inner = result
        for part in outer:
            inner[part] = _settings(inner.get(part))
            inner = inner[part]
        old = inner.get(last)
        if not (isinstance(old, Mapping) and cast(Mapping[str, Any], old).get("name") == value):
            inner[last] = value
    return result


def _settings(value: object) -> dict[str, Any]:
    """A copy of settings that more can be put into; a text is the name of a variant."""
    if isinstance(value, str):
        return {"name": value}
    return dict(cast(Mapping[str, Any], value)) if isinstance(value, Mapping) else {}


def parse_config(data: Mapping[str, Any]) -> TrainConfig:
    """Check settings and fill in defaults. Raises ConfigError with every error."""
    try:
        return TrainConfig.model_validate(dict(data))
    except ValidationError as error:
        raise ConfigError([_finding(e, data) for e in error.errors()]) from None


_WANTED = {
    "int_type": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "string_type": "a text",
    "finite_number": "a finite number",
    "greater_than": "above {gt:,.10g}",
    "greater_than_equal": "at least {ge:,.10g}",
    "less_than": "below {lt:,.10g}",
    "less_than_equal": "at most {le:,.10g}",
    "model_type": "a name, or a name with settings",
    "model_attributes_type": "a name, or a name with settings",
}


def _finding(error: ErrorDetails, data: Mapping[str, Any]) -> Finding:
    """pydantic's error in our words. Its ``loc`` has the variant's name in it, which is no key of the user's."""
    first, *inner = error["loc"]
    setting = str(first)
    if len(inner) > 1 and inner[0] in _names(setting):
        del inner[0]
    path, where, kind, given = (first, *inner), ".".join(map(str, (first, *inner))), error["type"], error["input"]
    if kind == "extra_forbidden":
        name = _name_at(data.get(setting)) or next(iter(_names(setting)), None)
        known = _keys(setting, name) if inner else list(TrainConfig.model_fields)
        owner = f" of `{name}`" if inner else ""
        help = None if inner else _inside(setting, given)
        help = help or suggestion(str(path[-1]), known) or _there_are(known)
        return path, f"unknown setting `{path[-1]}`{owner}", help
    if kind in ("union_tag_invalid", "union_tag_not_found", "literal_error"):
        known, name = _names(setting), _name_at(given)
        what = "data set" if setting == "dataset" else setting
        message = f"unknown {what} `{name}`" if name else f"`{setting}` needs a name"
        return path, message, suggestion(name or "", known) or _there_are(known)
    if kind == "value_error":
        return path, f"`{where}`: {error['msg'].removeprefix('Value error, ')}", None
    wanted = _WANTED[kind].format(**error.get("ctx", {})) if kind in _WANTED else error["msg"]
    return path, f"`{where}` must be {wanted}, found {json.dumps(given, default=str)}", None


def _variants(setting: str) -> tuple[type[_Settings], ...]:
    """The models of a setting; none for a plain one."""

    def models(annotation: Any) -> tuple[type[_Settings], ...]:
        if isinstance(annotation, type):
            return (annotation,) if issubclass(annotation, _Settings) else ()
        return tuple(m for arg in get_args(annotation) for m in models(arg))

    field = TrainConfig.model_fields.get(setting)
    return models(field.annotation) if field else ()


def _names(setting: str) -> list[str]:
    return [n for model in _variants(setting) for n in get_args(model.model_fields["name"].annotation)]


def _keys(setting: str, name: str | None) -> list[str]:
    """The settings of a variant."""
    models = [m for m in _variants(setting) if name in get_args(m.model_fields["name"].annotation)]
    return [key for model in models for key in model.model_fields if key != "name"]


def _name_at(value: object) -> str | None:
    name = cast(Mapping[str, Any], value).get("name") if isinstance(value, Mapping) else value
    return None if name is None else str(name)


def _inside(key: str, value: object) -> str | None:
    """Where a key stands that is no setting by itself, but one of a variant."""
    key = {"learning_rate": "lr"}.get(key, key)
    for setting in TrainConfig.model_fields:
        for name in _names(setting):
            if key in _keys(setting, name):
                return f"write `{setting} = {name}({key}={json.dumps(value, default=str)})`"
    return None


def _there_are(names: list[str]) -> str:
    if len(names) == 1:
        return f"there is only `{names[0]}`"
    return f"there are {', '.join(f'`{n}`' for n in names)}" if names else "it has no settings"
