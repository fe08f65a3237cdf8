"""Errors in settings, in plain English."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, cast, get_args

from pydantic_core import ErrorDetails

from fractal_dsl.base.errors import Help, UserError, help_text, suggestion
from fractal_dsl.base.numbers import first_not_finite
from fractal_dsl.config.settings import Settings
from fractal_dsl.config.training import TrainConfig

SettingFinding = tuple[tuple[str | int, ...], str, Help]
"""The place (the keys from the outside in), the message, and help."""


class ConfigError(UserError):
    """Settings are wrong. ``findings`` holds every independent error."""

    def __init__(self, findings: Iterable[SettingFinding]) -> None:
        self.findings = list(findings)

    def __str__(self) -> str:
        texts = [(message, help_text(help)) for _, message, help in self.findings]
        return "\n".join([message + (f"\n  help: {help}" if help else "") for message, help in texts])

    def __reduce__(self) -> tuple[type[ConfigError], tuple[list[SettingFinding]]]:
        """Errors must survive pickling, which passes them between processes."""
        return ConfigError, ([(path, message, help_text(help)) for path, message, help in self.findings],)


_KINDS = {"dataset": "data set", "augment": "augmentation"}
_WANTED = {
    "int_type": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "string_type": "a string",
    "string_too_short": "a non-empty string",
    "string_too_long": "a string of at most {max_length} characters",
    "list_type": "a list",
    "dict_type": "`by_output(main=1, aux=0.3)`, a weight for each output",
    "too_short": "a non-empty list",
    "greater_than": "above {gt}",
    "greater_than_equal": "at least {ge}",
    "less_than": "below {lt}",
    "less_than_equal": "at most {le}",
    "model_type": "a name, or a name with settings",
    "model_attributes_type": "a name, or a name with settings",
}


def finding(error: ErrorDetails, data: Mapping[str, Any]) -> SettingFinding:
    """Pydantic's error in our words. Its ``loc`` contains the name of the variant, which is not a key in the
    settings."""
    kind, given = error["type"], error["input"]
    if not error["loc"]:
        return (), error["msg"].removeprefix("Value error, "), None
    first, *inner = error["loc"]
    setting = str(first)
    if setting == "losses" and inner[1:2] == ["loss"]:  # the loss of an output
        _, message, advice = finding({**error, "loc": ("loss", *inner[2:])}, {"loss": {"name": (*inner[2:], None)[0]}})
        return (first, *inner), message.replace("`loss", f"`losses.{inner[0]}"), advice
    if inner and inner[0] in _names(setting):
        del inner[0]
    path, where = (first, *inner), ".".join(map(str, (first, *inner)))
    if kind == "extra_forbidden":
        name = _name_at(data.get(setting)) or next(iter(_names(setting)), None)
        known = _keys(setting, name) if inner else list(TrainConfig.model_fields)
        if path[-1] == "download" and inner:
            return path, f"`{name}` needs no download", None
        owner = f" of `{name}`" if inner else ""

        def help() -> str:
            variant = None if inner else _inside(setting, given)
            return variant or suggestion(str(path[-1]), known) or _there_are(known)

        return path, f"unknown setting `{path[-1]}`{owner}", help
    if kind in ("union_tag_invalid", "union_tag_not_found"):
        return path, *_choice(_KINDS.get(setting, setting), _name_at(given), _names(setting))
    if kind == "literal_error":
        written = error.get("ctx", {})["expected"].replace("True", "true").replace("False", "false")
        known = written.replace("'", "").replace(" or ", ", ").split(", ")
        return path, *_choice(where.removesuffix(".name"), _name_at(given), known)
    if kind == "missing":
        name = str(_name_at(data[setting])).partition(":")[0]
        return path, f"`{where}` is missing: `{name}` needs it", None
    if kind == "value_error":
        return path, f"`{where}`: {error['msg'].removeprefix('Value error, ')}", None
    if kind == "int_type" and isinstance(given, str) and given.isdecimal() and len(given) > 18:
        return path, f"`{where}` is too large: {given}", None
    numeric = ("int_type", "float_type", "list_type", "finite_number")
    if kind in numeric and (wrong := first_not_finite(str(given))):
        wanted = "a list of finite numbers" if kind == "list_type" else "a finite number"
        wanted = "a finite whole number" if kind == "int_type" else wanted
        return path, f"`{where}` must be {wanted}, found {wrong}", None
    if kind == "string_pattern_mismatch" and setting == "lr_scale":
        return path[:1], f"`lr_scale` needs entries such as `bias=2`, found {json.dumps(given)}", None
    wanted = _WANTED[kind].format(**_readable(error.get("ctx", {}))) if kind in _WANTED else error["msg"]
    return path, f"`{where}` must be {wanted}, found {json.dumps(given, default=str)}", None


def _choice(setting: str, name: str | None, known: list[str]) -> tuple[str, str]:
    """The message and the help for an unknown name."""
    message = f"unknown {setting} `{name}`" if name else f"the {setting} needs a name"
    return message, suggestion(name or "", known) or _there_are(known)


def _readable(limits: Mapping[str, Any]) -> dict[str, str]:
    """Numbers with their thousands apart; other limits as pydantic writes them."""

    def text(limit: object) -> str:
        return f"{limit:,}" if isinstance(limit, int) else f"{limit:,.10g}" if isinstance(limit, float) else str(limit)

    return {name: text(limit) for name, limit in limits.items()}


def variants(setting: str) -> tuple[type[Settings], ...]:
    """The models of a setting; none for a plain one."""

    def models(annotation: Any) -> tuple[type[Settings], ...]:
        if isinstance(annotation, type):
            return (annotation,) if issubclass(annotation, Settings) else ()
        return tuple(m for arg in get_args(annotation) for m in models(arg))

    field = TrainConfig.model_fields.get(setting)
    return tuple(m for m in (models(field.annotation) if field else ()) if "name" in m.model_fields)


def _names(setting: str) -> list[str]:
    return [n for model in variants(setting) for n in get_args(model.model_fields["name"].annotation)]


def _keys(setting: str, name: str | None) -> list[str]:
    """The settings of a variant."""
    models = [m for m in variants(setting) if name in get_args(m.model_fields["name"].annotation)]
    return [key for model in models for key in model.model_fields if key != "name"]


def _name_at(value: object) -> str | None:
    name = cast(Mapping[str, Any], value).get("name") if isinstance(value, Mapping) else value
    return None if name is None else str(name)


def _inside(key: str, value: object) -> str | None:
    """How to write a key that is not a setting itself, but one of a variant."""
    key = {"learning_rate": "lr"}.get(key, key)
    for setting in TrainConfig.model_fields:
        for name in _names(setting):
            if key in _keys(setting, name):
                return f"write `{setting} = {name}({key}={json.dumps(value, default=str)})`"
    return None


def setting_path(key: str) -> str | None:
    """A setting as ``--set`` takes it, by its last name, such as ``optimizer.momentum`` for ``momentum``."""
    if key in TrainConfig.model_fields:
        return key
    owners = (s for s in TrainConfig.model_fields for name in _names(s) if key in _keys(s, name))
    return next((f"{owner}.{key}" for owner in owners), None)


def _there_are(names: list[str]) -> str:
    if len(names) == 1:
        return f"there is only `{names[0]}`"
    return f"there are {', '.join(f'`{n}`' for n in names)}" if names else "it has no settings"
